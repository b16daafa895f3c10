"""Human boundaries: several annotators' maps per image, in the file format of BSDS500."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io.matlab import MatReadError

from litesam_bench.errors import DataError
from litesam_bench.records.files import canonical_json, sha256_text

BoolMap = npt.NDArray[np.bool_]

# What a damaged or foreign file makes scipy raise; MatReadError is a plain Exception.
_BROKEN = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, zlib.error, MatReadError,
)  # fmt: skip
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class BoundaryImage:
    """One image: its id (the file name without suffix), its picture if known, its `.mat` file."""

    image_id: str
    truth_path: Path
    image_path: Path | None = None


@dataclass(frozen=True)
class BoundaryData:
    """The images of one split, by ascending id. `footnote` says what a reader must know."""

    name: str
    images: tuple[BoundaryImage, ...]
    licence: str = ""
    footnote: str = ""


def boundary_folder(
    truth_dir: Path, image_dir: Path | None = None, *, name: str = "", licence: str = ""
) -> BoundaryData:
    """All `.mat` files of a folder, each with the image of the same name if `image_dir` has it.

    Raises DataError when the folder is missing or holds no `.mat` file.
    """
    truths = sorted(truth_dir.glob("*.mat")) if truth_dir.is_dir() else []
    if not truths:
        problem = "holds no .mat file" if truth_dir.is_dir() else "does not exist"
        raise DataError(
            f"ground-truth folder {truth_dir} {problem}",
            fix="give the folder of one split, as in BSDS500's data/groundTruth/test",
        )
    images = tuple(
        BoundaryImage(path.stem, path, _image_of(path.stem, image_dir)) for path in truths
    )
    return BoundaryData(name or truth_dir.name, images, licence)


def _image_of(image_id: str, folder: Path | None) -> Path | None:
    candidates = [folder / f"{image_id}{s}" for s in _IMAGE_SUFFIXES] if folder else []
    return next((path for path in candidates if path.is_file()), None)


def read_boundaries(path: Path) -> tuple[BoolMap, ...]:
    """The boundary map of each annotator, (H, W) bool, from `groundTruth{a}.Boundaries`.

    As in the official benchmark every non-zero value is boundary; lines may be two pixels thick and
    are not thinned. An annotator who drew nothing is kept: the map then has no boundary to find.

    Raises DataError naming the file: unreadable, no `groundTruth`, no annotator, or maps of
    different sizes.
    """
    from scipy.io import loadmat

    try:
        with path.open("rb") as handle:
            cells = loadmat(handle, variable_names=["groundTruth"])["groundTruth"]
        maps = tuple(_boundaries_of(cell) for cell in cells.ravel())
    except FileNotFoundError as error:
        raise DataError(
            f"ground truth {path} does not exist", fix="check --ground-truth, or --data-root"
        ) from error
    except NotImplementedError as error:  # MATLAB 7.3 files are HDF5
        raise DataError(
            f"{path} is a MATLAB 7.3 file", fix="save it again with save(..., '-v7')"
        ) from error
    except _BROKEN as error:
        raise DataError(
            f"{path} is not a BSDS ground truth: {error}",
            fix="it must hold a cell array groundTruth whose structs have a field Boundaries",
        ) from error
    if not maps:
        raise DataError(f"{path} has no annotator", fix="remove the file or restore it")
    sizes = {m.shape for m in maps}
    if len(sizes) != 1 or len(maps[0].shape) != 2:
        raise DataError(
            f"{path}: annotators differ in size: {sorted(sizes)}", fix="restore the file"
        )
    return maps


def _boundaries_of(cell: npt.NDArray[np.void]) -> BoolMap:
    """The cell is a 1 x 1 struct array."""
    boundaries: BoolMap = np.asarray(cell["Boundaries"].item()) != 0
    return boundaries


def boundary_digest(maps: tuple[BoolMap, ...]) -> str:
    """sha256 over what is scored: sizes and boundary pixels in the annotators' order."""
    digest = hashlib.sha256()
    for boundary in maps:
        digest.update(repr(boundary.shape).encode())
        digest.update(np.packbits(boundary).tobytes())
    return digest.hexdigest()


def dataset_digest(by_image: dict[str, str]) -> str:
    """The digest of a data set from its images' digests, whatever their order."""
    return sha256_text(canonical_json(by_image))
