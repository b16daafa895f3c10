"""A small COCO-style set on disk that tests bend into every kind of broken file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    """Two 40x30 images; image 1 has a square and a triangle, image 2 a crowd."""
    return {
        "images": [
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "square"}, {"id": 3, "name": "other"}],
        "annotations": [
            {
                "id": 12,
                "image_id": 1,
                "category_id": 3,
                "bbox": [20.0, 10.0, 10.0, 10.0],
                "area": 50.0,
                "segmentation": [[20.0, 10.0, 30.0, 10.0, 20.0, 20.0]],
                "iscrowd": 0,
            },
            {
                "id": 11,
                "image_id": 1,
                "category_id": 7,
                "bbox": [2.0, 3.0, 8.0, 8.0],
                "area": 64.0,
                "segmentation": [[2, 3, 10, 3, 10, 11, 2, 11]],
                "iscrowd": 0,
            },
            {
                "id": 21,
                "image_id": 2,
                "category_id": 7,
                "bbox": [0.0, 0.0, 2.0, 30.0],
                "area": 60.0,
                "segmentation": {"size": [30, 40], "counts": [0, 60, 1140]},
                "iscrowd": 1,
            },
        ],
    }


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[Document], Path]:
    """Writes a document and its images as a folder in COCO's format."""

    def write(document: Document) -> Path:
        folder = tmp_path / "mini"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "annotations.json").write_text(json.dumps(document))
        for number, name in enumerate(("a.png", "b.png")):
            pixels = np.full((30, 40, 3), 10 + number, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name)
        return folder

    return write
