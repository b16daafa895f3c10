"""Datasets by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litesam_bench.datasets.open import NAMES, open_dataset
from litesam_bench.errors import DataError, UsageError
from litesam_bench.types import Dataset


def test_scenes_need_no_data(tmp_path: Path) -> None:
    dataset = open_dataset("scenes", data_root=tmp_path, limit=3)
    assert isinstance(dataset, Dataset)
    assert list(dataset.image_ids) == [1, 2, 3]
    assert dataset.info.name == "scenes"


def test_scenes_have_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="generated"):
        open_dataset("scenes", data_root=tmp_path, split="val2017")


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_must_leave_something(tmp_path: Path, limit: int) -> None:
    with pytest.raises(UsageError, match="leaves no image"):
        open_dataset("scenes", data_root=tmp_path, limit=limit)


@pytest.mark.parametrize(
    ("typo", "meant"), [("scene", "scenes"), ("cocoo", "coco"), ("lviss", "lvis")]
)
def test_near_names_are_suggested(tmp_path: Path, typo: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        open_dataset(typo, data_root=tmp_path)


def test_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_dataset("imagenet", data_root=tmp_path)
    assert "did you mean" not in caught.value.message
    for name in NAMES:
        assert name in caught.value.fix


@pytest.mark.parametrize("name", ["coco", "coco-train2017", "lvis", "lvis-v0.5"])
def test_missing_data(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(name, data_root=tmp_path)
    assert "litesam-bench data where" in caught.value.fix
    assert "http" in caught.value.fix


def test_two_splits(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names two splits"):
        open_dataset("coco-val2017", data_root=tmp_path, split="train2017")


def test_folder_by_path_and_limit(
    document: dict[str, Any], folder_of: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    folder = folder_of(document)
    dataset = open_dataset(str(folder), data_root=tmp_path, limit=1)
    assert list(dataset.image_ids) == [1]
    assert dataset.info.footnote == "mini subset, 1 images"


@pytest.mark.data
def test_coco_limit_takes_the_first_by_id(data_root: Path) -> None:
    dataset = open_dataset("coco", data_root=data_root, limit=5)
    everything = open_dataset("coco-val2017", data_root=data_root)
    assert list(dataset.image_ids) == list(everything.image_ids)[:5]
    assert dataset.info.footnote == "coco-val2017 subset, 5 images"
    assert dataset.info.digest != everything.info.digest


def test_importing_is_light() -> None:
    code = (
        "import sys, litesam_bench.datasets.open as o; "
        "print([m for m in ('torch', 'cv2', 'numba', 'pycocotools') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
