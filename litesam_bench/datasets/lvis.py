"""LVIS: v1 and v0.5, with the federated fields that its evaluation needs.

    DATA_ROOT/lvis/annotations/lvis_v1_<split>.json, or in DATA_ROOT/{lvis,coco/annotations}
    DATA_ROOT/coco/{train2017,val2017}/<file>, or the same folders in DATA_ROOT/lvis

LVIS images are COCO's: those of its val set lie in train2017 and val2017 both, so an image is found
by the last two parts of its `coco_url`. Where v0.5 has no such field, the file name
`COCO_val2014_000000000139.jpg` stands for `val2017/000000000139.jpg`.

No image has all its objects annotated. For each image, LVIS says which categories were looked for
and are absent (`neg_category_ids`), and of which not all objects are marked
(`not_exhaustive_category_ids`); AP uses nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from litesam_bench.datasets.coco import CocoDataset
from litesam_bench.datasets.index import read_index
from litesam_bench.errors import DataError, UsageError

URL = "https://dl.fbaipublicfiles.com/LVIS/lvis_{version}_{split}.json.zip"
OFFICIAL_IMAGES = {
    ("v1", "val"): 19_809,
    ("v1", "train"): 100_170,
    ("v0.5", "val"): 5_000,
    ("v0.5", "train"): 57_263,
}
LICENCE = "annotations CC BY 4.0; images are COCO's, under their Flickr licences"
_OLD_NAME = re.compile(r"^COCO_(train|val|test)2014_(\d{12}\.jpg)$")


IMAGE_FOLDERS = ("train2017", "val2017", "test2017")
"""The folders in `coco_url`, which all LVIS images are in."""


def open_lvis(
    data_root: Path,
    version: str = "v1",
    split: str = "val",
    *,
    ann_file: Path | None = None,
    image_dir: Path | None = None,
    available_only: bool = False,
) -> CocoDataset:
    """LVIS from its usual places under `data_root`, or from files given one by one.

    Args:
        version: "v1" or "v0.5".
        image_dir: the folder that holds train2017 and val2017, or one of these two.
        available_only: leave out images whose file is missing, for fixtures; the footnote of the
            dataset then says how many remain.

    Raises:
        UsageError: no such version.
        DataError: a missing file, naming the expected paths and the download.
    """
    if version not in ("v1", "v0.5"):
        raise UsageError(f"no LVIS version {version!r}", fix="use v1 or v0.5")
    annotations = ann_file or _find_annotations(data_root, version, split)
    if image_dir is not None:
        # one of the two folders instead of the one that holds them is what people type
        image_dirs = [image_dir.parent if image_dir.name in IMAGE_FOLDERS else image_dir]
    else:
        image_dirs = [data_root / "coco", data_root / "lvis"]
    found = [folder for folder in image_dirs if folder.is_dir()]
    if not found:
        raise DataError(
            f"the folder of LVIS images, {image_dirs[0]}, does not exist",
            fix="put COCO's train2017 and val2017 there (LVIS has no images of its own); "
            "litesam-bench data where names the downloads",
        )
    dataset = CocoDataset(
        read_index(annotations, federated=True, file_name_of=image_file_name),
        found,
        name=f"lvis-{version}-{split}",
        licence=LICENCE,
        federated=True,
        n_official=OFFICIAL_IMAGES.get((version, split), 0),
    )
    if not available_only:
        return dataset
    present = [i for i in dataset.image_ids if Path(dataset.truth(i).path).is_file()]
    return dataset.subset(present)


def image_file_name(image: dict[str, Any]) -> str:
    """An image entry's file relative to the folder of train2017 and val2017.

    Raises KeyError when the entry has neither `coco_url` nor `file_name`.
    """
    url = image.get("coco_url")
    if url:
        return "/".join(str(url).split("/")[-2:])
    name = str(image["file_name"])
    old = _OLD_NAME.match(name)
    return f"{old.group(1)}2017/{old.group(2)}" if old else name


def count_frequencies(dataset: CocoDataset) -> dict[str, int]:
    """Categories by frequency: rare, common and frequent, {"r": ..., "c": ..., "f": ...}."""
    return dict(sorted(Counter(category.frequency for category in dataset.categories).items()))


def _find_annotations(data_root: Path, version: str, split: str) -> Path:
    name = f"lvis_{version}_{split}.json"
    folders = [
        data_root / "lvis" / "annotations",
        data_root / "lvis",
        data_root / "coco" / "annotations",
    ]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"LVIS {version} {split} is missing: none of "
        f"{', '.join(str(folder / name) for folder in folders)} exists",
        fix=f"unpack {URL.format(version=version, split=split)} into {folders[0]}; "
        "litesam-bench data where shows every expected path",
    )
