"""From a system to a folder of edge maps, one 16-bit PNG per image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from litesam_bench.edges.boundary_gt import BoundaryImage
from litesam_bench.edges.maps import SUFFIXES, write_png
from litesam_bench.errors import DataError, ModelOutputError, UsageError
from litesam_bench.records.files import write_atomic
from litesam_bench.types import ImageU8

FloatMap = npt.NDArray[np.float64]

_IDENTITY = "maps.json"


@runtime_checkable
class EdgeDetector(Protocol):
    """A loaded system that finds edges (`Capabilities.edges`). Stateless and thread-safe."""

    def edge_map(self, image: ImageU8) -> FloatMap:
        """(H, W, 3) RGB uint8 to edge strength, (H, W) float64 in [0, 1]."""
        ...


def map_folder(folder: Path, identity: dict[str, Any]) -> Path:
    """Make or reopen the folder that holds the maps of one system with one choice of settings.

    Raises UsageError when the folder holds maps of something else, which would be mixed up.
    """
    described = json.dumps(identity, indent=1, sort_keys=True) + "\n"
    note = folder / _IDENTITY
    if note.is_file():
        if note.read_text(encoding="utf-8") != described:
            raise UsageError(
                f"{folder} holds maps of another system or of other settings (see {note})",
                fix="give another --save-maps folder, or delete this one",
            )
    elif folder.is_dir() and any(p.suffix in SUFFIXES for p in folder.iterdir()):
        raise UsageError(
            f"{folder} holds maps that no earlier run of this command wrote",
            fix="give an empty --save-maps folder, or evaluate these with --from-maps",
        )
    else:
        write_atomic(note, described)
    return folder


def write_maps(
    load: Callable[[], EdgeDetector],
    images: Sequence[BoundaryImage],
    folder: Path,
    *,
    threads: int = 1,
    advance: Callable[[str, bool], None] = lambda image_id, resumed: None,
) -> None:
    """Write the map of every image that the folder does not have yet.

    Args:
        load: called once, and only if there is something to do.
        advance: called as each image is done, with its id and whether its map was there already.

    Raises:
        DataError: an image is missing or cannot be decoded.
        ModelOutputError: a map of another size, not finite, or outside [0, 1].
    """
    todo = []
    for image in images:
        if (folder / f"{image.image_id}.png").is_file():
            advance(image.image_id, True)
        else:
            todo.append(image)
    if not todo:
        return
    detector = load()

    def detect(image: BoundaryImage) -> str:
        pixels = read_image(image)
        strength = _checked(detector.edge_map(pixels), pixels, image.image_id)
        write_png(folder / f"{image.image_id}.png", strength)
        return image.image_id

    for image_id in _each(detect, todo, threads):
        advance(image_id, False)


def _each(
    work: Callable[[BoundaryImage], str], todo: Sequence[BoundaryImage], threads: int
) -> Iterator[str]:
    if threads <= 1:
        yield from map(work, todo)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="edges") as pool:
        try:
            yield from pool.map(work, todo)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_image(image: BoundaryImage) -> ImageU8:
    """Decode to RGB. Raises DataError naming the image that is missing or damaged."""
    import cv2

    if image.image_path is None:
        raise DataError(
            f"no picture of image {image.image_id}: its ground truth is {image.truth_path}",
            fix="give the folder of the images: --image-dir DIR",
        )
    decoded = cv2.imread(str(image.image_path), cv2.IMREAD_COLOR)
    if decoded is None:
        raise DataError(f"{image.image_path} cannot be decoded", fix="restore the file")
    rgb: ImageU8 = np.ascontiguousarray(decoded[..., ::-1])
    return rgb


def _checked(strength: FloatMap, pixels: ImageU8, image_id: str) -> FloatMap:
    if strength.shape != pixels.shape[:2]:
        raise ModelOutputError(
            f"image {image_id}: the edge map is {strength.shape}, the image {pixels.shape[:2]}",
            fix="the system's edge_map must return one value per pixel of the original image",
        )
    if not np.isfinite(strength).all() or strength.min() < 0 or strength.max() > 1:
        raise ModelOutputError(
            f"image {image_id}: the edge map has values that are not in [0, 1]",
            fix="the system's edge_map must return finite strengths in [0, 1]",
        )
    return strength
