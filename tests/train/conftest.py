"""A handful of made-up pairs in SA-1B's format."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask


def write_pair(folder: Path, number: int, size_hw: tuple[int, int] = (96, 128)) -> None:
    """`sa_N.jpg` and `sa_N.json`: three filled ellipses on noise."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 80, (*size_hw, 3)).astype(np.uint8)
    annotations = []
    for i in range(3):
        mask = np.zeros(size_hw, np.uint8)
        center = (int(rng.integers(20, size_hw[1] - 20)), int(rng.integers(20, size_hw[0] - 20)))
        axes = (int(rng.integers(8, 20)), int(rng.integers(8, 20)))
        cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
        image[mask > 0] = rng.integers(100, 255, 3)
        rle = coco_mask.encode(np.asfortranarray(mask))
        rle["counts"] = rle["counts"].decode()
        annotations.append({"id": i, "segmentation": rle})
    cv2.imwrite(str(folder / f"sa_{number}.jpg"), image)
    (folder / f"sa_{number}.json").write_text(json.dumps({"annotations": annotations}))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of eight pairs."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(8):
        write_pair(folder, number)
    return folder


@pytest.fixture
def tar_file(pairs: Path, tmp_path: Path) -> Path:
    """The same eight pairs in a tar file, as SA-1B is distributed."""
    path = tmp_path / "tars" / "sa_000000.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for file in sorted(pairs.iterdir()):
            tar.add(file, arcname=f"sa_000000/{file.name}")
    return path
