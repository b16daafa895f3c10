"""Edge maps of any method, as files: PNG, NPY, or MATLAB contour maps and segmentations.

| file | read as |
|---|---|
| `.png` 8 bit | value / 255, as the official benchmark does |
| `.png` 16 bit | value / 65535 |
| `.npy` | float in [0, 1], or bool |
| `.mat` with `ucm2` | double-size contour map: every second value from the third, in [0, 1] |
| `.mat` with `segs` | a cell of label maps; one operating point per segmentation |
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError

SUFFIXES = (".mat", ".png", ".npy")

Strength = npt.NDArray[np.float64]
BoolMap = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StrengthMap:
    """(H, W) float64 in [0, 1]; a pixel is an edge at threshold t when its strength is >= t."""

    strength: Strength

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.strength.shape[0], self.strength.shape[1]


@dataclass(frozen=True)
class Segmentations:
    """The boundaries of S segmentations of one image, (H, W) bool each, in the file's order."""

    boundaries: tuple[BoolMap, ...]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.boundaries[0].shape[0], self.boundaries[0].shape[1]


EdgeMap = StrengthMap | Segmentations


def find_map(folder: Path, image_id: str) -> Path | None:
    """The file `<image_id>.mat`, `.png` or `.npy` of a folder; None when there is none.

    Raises DataError when there are two: which one was meant cannot be known.
    """
    found = [path for s in SUFFIXES if (path := folder / f"{image_id}{s}").is_file()]
    if len(found) > 1:
        raise DataError(
            f"{folder} holds both {found[0].name} and {found[1].name}",
            fix="keep the one that is to be evaluated",
        )
    return found[0] if found else None


def read_map(path: Path) -> EdgeMap:
    """Read one file (see the module's table).

    Raises DataError naming the file: unreadable, colours, NaN, or values outside [0, 1].
    """
    try:
        if path.suffix == ".png":
            return StrengthMap(_read_png(path))
        if path.suffix == ".npy":
            return StrengthMap(_in_range(np.load(path, allow_pickle=False), path))
        return _read_mat(path)
    except NotImplementedError as error:  # MATLAB 7.3 files are HDF5
        raise DataError(
            f"{path} is a MATLAB 7.3 file", fix="save it again with save(..., '-v7')"
        ) from error
    except (OSError, ValueError, TypeError, IndexError, EOFError, zlib.error) as error:
        raise DataError(
            f"edge map {path} cannot be read: {error}", fix="write the file again"
        ) from error


def write_png(path: Path, strength: npt.NDArray[np.floating[Any]]) -> None:
    """Save a map as 16-bit PNG: what `read_map` gives back differs by at most 1/131070."""
    import cv2

    from litesam_bench.records.files import write_atomic

    levels = np.rint(np.clip(strength.astype(np.float64), 0, 1) * 65535).astype(np.uint16)
    done, octets = cv2.imencode(".png", levels)
    assert done, "encoding a uint16 array as PNG cannot fail"
    write_atomic(path, octets.tobytes())


def label_boundaries(labels: npt.NDArray[Any]) -> BoolMap:
    """Boundaries of a label map at image size, as the official `seg2bdry(., 'imageSize')`.

    A pixel is boundary when any two neighbours in the 2 x 2 square to its lower right differ:
    boundaries lie half a pixel to the lower right. In the last row and column only differences
    along the border count.
    """
    vertical = np.zeros(labels.shape, np.bool_)  # differs from the pixel below
    vertical[:-1] = labels[:-1] != labels[1:]
    horizontal = np.zeros(labels.shape, np.bool_)  # differs from the pixel to the right
    horizontal[:, :-1] = labels[:, :-1] != labels[:, 1:]
    boundary = vertical | horizontal
    boundary[:, :-1] |= vertical[:, 1:]
    boundary[:-1] |= horizontal[1:]
    return boundary


def _read_png(path: Path) -> Strength:
    import cv2

    octets = np.fromfile(path, np.uint8)
    levels = cv2.imdecode(octets, cv2.IMREAD_UNCHANGED) if octets.size else None
    if levels is None:
        raise DataError(f"edge map {path} is not a PNG image", fix="write the file again")
    if levels.ndim == 3:
        colour = levels[..., :3]
        if (colour != colour[..., :1]).any():
            raise DataError(
                f"edge map {path} is a colour image", fix="save edge strength as a grey PNG"
            )
        levels = colour[..., 0]
    # A quotient, not a product with the reciprocal: thresholds are compared for equality.
    strength: Strength = levels.astype(np.float64) / (255 if levels.dtype == np.uint8 else 65535)
    return strength


def _read_mat(path: Path) -> EdgeMap:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
    except MatReadError as error:
        raise DataError(
            f"{path} is not a MATLAB file: {error}", fix="write the file again"
        ) from error
    if "ucm2" in content:
        doubled = content["ucm2"]
        if (
            doubled.ndim != 2
            or min(doubled.shape) < 3
            or 0 in (doubled.shape[0] % 2, doubled.shape[1] % 2)
        ):
            raise DataError(
                f"{path}: ucm2 of shape {doubled.shape} is not a double-size contour map",
                fix="save the (2H+1) x (2W+1) map that contours2ucm(., 'doubleSize') returns",
            )
        return StrengthMap(_in_range(doubled[2::2, 2::2], path))
    if "segs" in content:
        boundaries = tuple(label_boundaries(labels) for labels in content["segs"].ravel())
        if not boundaries or len({b.shape for b in boundaries}) != 1 or boundaries[0].ndim != 2:
            raise DataError(
                f"{path}: segs must be a cell of label maps of one size", fix="write the file again"
            )
        return Segmentations(boundaries)
    raise DataError(
        f"{path} has neither ucm2 nor segs",
        fix="save the contour map as ucm2 or segmentations as segs",
    )


def _in_range(values: npt.NDArray[Any], path: Path) -> Strength:
    if values.ndim != 2 or values.dtype.kind not in "fb":
        raise DataError(
            f"edge map {path} has shape {values.shape} and type {values.dtype}",
            fix="save a two-dimensional array of floats in [0, 1]",
        )
    strength = values.astype(np.float64)
    if np.isnan(strength).any():
        y, x = np.argwhere(np.isnan(strength))[0]
        raise DataError(
            f"edge map {path} has NaN, first at row {y}, column {x}",
            fix="mend the method that wrote it; NaN is neither an edge nor none",
        )
    if strength.size and (strength.min() < 0 or strength.max() > 1):
        raise DataError(
            f"edge map {path} has values from {strength.min():.4g} to {strength.max():.4g}",
            fix="scale the maps of all images by one factor into [0, 1]",
        )
    return strength
