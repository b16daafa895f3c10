"""Decoding images to RGB, and keeping file names inside their folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from litesam_bench.errors import DataError
from litesam_bench.types import ImageU8

_HELP = "litesam-bench data where"


def read_rgb(path: str | Path) -> ImageU8:
    """Decode an image file to (H, W, 3) RGB uint8.

    Grey, palette, CMYK and alpha images are converted (alpha is dropped), 16-bit grey is scaled
    to 8 bits rather than clipped. The EXIF orientation tag is ignored: annotations of COCO, LVIS
    and SA-1B are drawn in the frame of the stored pixels, not of the rotated picture.

    Raises:
        DataError: the file is missing, truncated, no image, or of a pixel type without a
            defined range.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(image, Path(path))
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist", fix=_HELP) from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that can be read", fix=_HELP) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports truncation and corrupt streams by any of these, depending on the format.
        raise DataError(
            f"image {path} cannot be decoded: {error}", fix="download the file again"
        ) from error


def _to_rgb(image: Image.Image, path: Path) -> ImageU8:
    if image.mode.startswith("I"):  # 16-bit grey arrives as I;16, I;16B or I
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(
                f"image {path} has pixel values outside 16 bits", fix="convert it to 8-bit RGB"
            )
        eight_bit = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(eight_bit[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise DataError(
            f"image {path} has float pixels without a defined range", fix="convert it to 8-bit RGB"
        )
    return np.array(image.convert("RGB"), dtype=np.uint8)


def check_file_name(name: str, source: Path) -> str:
    """`name` unchanged if it is a relative path that stays in its folder on every platform.

    Raises:
        DataError: it is empty, absolute, has a drive letter or a `..` part.
    """
    parts = name.replace("\\", "/").split("/")
    absolute = parts[0] == "" or ":" in parts[0]  # "" before a leading slash; a drive letter
    if absolute or ".." in parts or "\0" in name:
        raise DataError(
            f"{source}: image file name {name!r} leaves the image folder",
            fix="use file names relative to the image folder, without '..'",
        )
    return name


def resolve_inside(folder: Path, name: str) -> Path:
    """The absolute path of `name` in `folder`, links followed; the file need not exist.

    A folder that is itself a link is fine. Raises DataError when the file is a link that leads
    out of the folder.
    """
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DataError(
            f"image {root / name} is a link out of its folder (to {path})",
            fix="copy the file into the folder",
        )
    return path
