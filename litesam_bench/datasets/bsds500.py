"""BSDS500: 200 train, 100 val and 200 test images, each outlined by four to nine people.

Layout under the data root, as in the official archive:

    bsds500/data/images/{train,val,test}/<id>.jpg
    bsds500/data/groundTruth/{train,val,test}/<id>.mat

Source: Arbelaez, Maire, Fowlkes, Malik, "Contour Detection and Hierarchical Image Segmentation",
TPAMI 2011.
"""

from __future__ import annotations

from pathlib import Path

from litesam_bench.edges.boundary_gt import BoundaryData, boundary_folder
from litesam_bench.errors import DataError, UsageError

SPLIT_SIZES = {"train": 200, "val": 100, "test": 200}


def open_bsds500(root: Path, split: str = "test") -> BoundaryData:
    """One split; `root` is `bsds500/`, its `data/`, or a folder that holds `bsds500/`.

    A split with other than the official number of images is allowed and says so in its footnote.

    Raises:
        UsageError: no such split.
        DataError: the folder is missing, or an image has no ground truth or the reverse.
    """
    if split not in SPLIT_SIZES:
        raise UsageError(f"BSDS500 has no split {split!r}", fix="--split train, val or test")
    base = next(
        (
            folder
            for folder in (root / "data", root / "bsds500" / "data", root)
            if (folder / "groundTruth").is_dir()
        ),
        None,
    )
    if base is None:
        raise DataError(
            f"no BSDS500 in {root}: data/groundTruth is missing",
            fix="download BSR_bsds500.tgz from the Berkeley segmentation page and put its BSDS500 "
            "folder in the data root as bsds500/, or give it: --bsds FOLDER",
        )
    data = boundary_folder(
        base / "groundTruth" / split,
        base / "images" / split,
        name=f"bsds500-{split}",
        licence="research use; cite Arbelaez et al., TPAMI 2011",
    )
    ids = {image.image_id for image in data.images}
    without_image = sorted(image.image_id for image in data.images if image.image_path is None)
    without_truth = sorted(
        p.stem for p in (base / "images" / split).glob("*.jpg") if p.stem not in ids
    )
    if without_image or without_truth:
        first, lacks = (
            (without_image[0], "no image")
            if without_image
            else (without_truth[0], "no ground truth")
        )
        raise DataError(
            f"{base}: {split} image {first} has {lacks} "
            f"({len(without_image) + len(without_truth)} such in all)",
            fix="unpack the archive again",
        )
    if len(ids) == SPLIT_SIZES[split]:
        return data
    footnote = f"BSDS500 {split} subset, {len(ids)} of {SPLIT_SIZES[split]} images"
    return BoundaryData(data.name, data.images, data.licence, footnote)
