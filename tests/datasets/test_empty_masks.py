"""Which polygons rasterise to nothing is known at opening, without rasterising them all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from litesam_bench.datasets import index as annotation_index
from litesam_bench.datasets.index import read_index


def test_counts_equal_rasterising_everything(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    height, width = 60, 80
    annotations = []
    expected_empty = set()
    for number in range(600):
        n = int(rng.integers(3, 9))
        centre = rng.uniform(-10, [width + 10, height + 10])
        # From far below a pixel to a third of the image, some of them slivers.
        spread = 10 ** rng.uniform(-2, 1.3, 2)
        polygon = (centre + rng.normal(size=(n, 2)) * spread).ravel().tolist()
        mask = coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))
        if coco_mask.area(mask) == 0:
            expected_empty.add(number)
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "bbox": [1, 1, 2, 2],
                "area": 4,
                "segmentation": [polygon],
            }
        )
    assert 50 < len(expected_empty) < 500
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a", "height": height, "width": width}],
                "categories": [{"id": 1, "name": "c"}],
                "annotations": annotations,
            }
        )
    )
    index = read_index(path)
    assert index.skipped == {1: {"empty-mask": len(expected_empty)}}
    kept = {annotation.id for annotation in index.annotations[1]}
    assert kept == set(range(600)) - expected_empty


def test_large_polygons_in_the_frame_are_not_rasterised_at_opening() -> None:
    square = np.array([10.0, 10, 50, 10, 50, 50, 10, 50])
    sliver = np.array([10.0, 10, 50, 50, 10.5, 10])
    beyond = square + 45
    sizes = np.array([[60, 80]] * 3)
    visible = annotation_index._surely_visible([square, sliver, beyond], sizes)
    assert visible.tolist() == [True, False, False]
