"""`open_dataset`: from a name on the command line to a `Dataset`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from litesam_bench.errors import UsageError
from litesam_bench.types import Dataset

if TYPE_CHECKING:
    from litesam_bench.datasets.bsds_segments import BsdsSegments
    from litesam_bench.datasets.coco import CocoDataset
    from litesam_bench.datasets.scenes import ScenesDataset

NAMES = {
    "scenes": "generated scenes, no download (default)",
    "scenes-train": "generated scenes with other seeds, for training",
    "coco": "COCO val2017; coco-<split> or --split for another split",
    "lvis": "LVIS v1 val; --split for another split",
    "lvis-v0.5": "LVIS v0.5 val",
    "bsds": "BSDS500 test, the segments of all annotators; --split for another split",
}


def open_dataset(
    name: str,
    *,
    data_root: Path,
    limit: int | None = None,
    split: str | None = None,
    ann_file: Path | None = None,
    image_dir: Path | None = None,
    available_only: bool = False,
) -> Dataset:
    """Open a dataset by name, or a folder in COCO's format by path.

    Args:
        name: one of `NAMES`, `coco-<split>`, or a path to a folder with COCO-style annotations.
        data_root: the folder that holds `coco/` and `lvis/`.
        limit: only the first so many images, by ascending id.
        split: of coco (val2017) or lvis (val).
        ann_file, image_dir: files in place of the dataset's usual ones.
        available_only: LVIS only: leave out images whose file is missing.

    Raises:
        UsageError: unknown name (near ones are suggested), or options that do not fit together.
        DataError: missing or broken files.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} leaves no image", fix="use a limit of at least 1")
    if name in ("scenes", "scenes-train"):
        return _open_scenes(name, limit, any((split, ann_file, image_dir)))
    if name == "bsds":
        return _open_bsds(data_root, split, limit, any((ann_file, image_dir)))
    dataset = _open_files(name, data_root, split, ann_file, image_dir, available_only)
    return dataset if limit is None else dataset.subset(dataset.image_ids[:limit])


def _open_scenes(name: str, limit: int | None, has_files: bool) -> ScenesDataset:
    from litesam_bench.datasets.scenes import DEFAULT_IMAGES, ScenesDataset

    if has_files:
        raise UsageError(
            f"{name} is generated: it has no split, annotation file or image folder",
            fix="leave those options out",
        )
    n = DEFAULT_IMAGES[name]
    return ScenesDataset(n if limit is None else min(n, limit), split=name)


def _open_bsds(
    data_root: Path, split: str | None, limit: int | None, has_files: bool
) -> BsdsSegments:
    from litesam_bench.datasets.bsds_segments import BsdsSegments

    if has_files:
        raise UsageError(
            "bsds has a ground-truth file per image, not an annotation file",
            fix="leave --ann-file and --image-dir out",
        )
    return BsdsSegments(data_root / "bsds500", split or "test", limit)


def _open_files(
    name: str,
    data_root: Path,
    split: str | None,
    ann_file: Path | None,
    image_dir: Path | None,
    available_only: bool,
) -> CocoDataset:
    from litesam_bench.datasets.coco import open_coco, open_folder
    from litesam_bench.datasets.lvis import open_lvis

    if name == "lvis" or name.startswith("lvis-v"):
        return open_lvis(
            data_root,
            name.removeprefix("lvis").removeprefix("-") or "v1",
            split or "val",
            ann_file=ann_file,
            image_dir=image_dir,
            available_only=available_only,
        )
    if name == "coco" or name.startswith("coco-"):
        named = name.removeprefix("coco").removeprefix("-")
        if named and split and named != split:
            raise UsageError(f"{name} with --split {split} names two splits", fix="name one")
        return open_coco(
            data_root, named or split or "val2017", ann_file=ann_file, image_dir=image_dir
        )
    folder = Path(name)
    if folder.is_dir():
        return open_folder(folder, ann_file=ann_file, image_dir=image_dir)
    near = get_close_matches(name, NAMES, n=1)
    raise UsageError(
        f"no dataset {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        fix=f"use {', '.join(NAMES)}, or the path of a folder in COCO's format",
    )
