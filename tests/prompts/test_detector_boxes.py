"""Detector files: what is used, what is skipped and counted, what is refused."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.errors import DataError
from litesam_bench.prompts.detector import DetectorBoxes

Detections = list[dict[str, Any]]


@pytest.fixture(scope="module")
def scenes() -> ScenesDataset:
    return ScenesDataset(3, size_hw=(120, 160))


def detection(image_id: int = 1, **fields: Any) -> dict[str, Any]:
    base = {"image_id": image_id, "category_id": 2, "bbox": [1.5, 2, 30, 40], "score": 0.5}
    return base | fields


def perfect(scenes: ScenesDataset) -> Detections:
    return [
        detection(
            image_id, category_id=instance.category_id, bbox=list(instance.bbox_xywh), score=0.9
        )
        for image_id in scenes.image_ids
        for instance in scenes.truth(image_id).instances
    ]


@pytest.fixture
def load(tmp_path: Path, scenes: ScenesDataset) -> Any:
    def write_and_load(value: Any) -> DetectorBoxes:
        path = tmp_path / "boxes.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return DetectorBoxes.load(path, scenes)

    return write_and_load


def test_grouped_by_image_in_the_order_of_the_file(load: Any) -> None:
    boxes = load(
        [
            detection(2, score=0.1),
            detection(1, bbox=[0, 0, 5, 6], category_id=3, score=0.2),
            detection(2, bbox=[7.25, 8, 9, 10.5], score=0.3, extra="ignored"),
        ]
    )
    prompts = boxes.prompts(2)
    assert prompts.ids == (0, 2)
    assert prompts.boxes is not None
    assert prompts.boxes.tolist() == [[1.5, 2, 31.5, 42], [7.25, 8, 16.25, 18.5]]
    assert boxes.prompts(1).ids == (1,)
    assert boxes.category_and_score(1) == (3, 0.2)
    assert boxes.category_and_score(2) == (2, 0.3)
    assert len(boxes) == 3


def test_image_without_boxes(load: Any) -> None:
    prompts = load([detection(1)]).prompts(3)
    assert len(prompts) == 0
    assert prompts.boxes is not None
    assert prompts.boxes.shape == (0, 4)


def test_no_threshold_no_suppression(load: Any) -> None:
    boxes = load([detection(score=0.0)] * 150)
    assert len(boxes.prompts(1)) == 150


def test_sha256_is_of_the_bytes(load: Any) -> None:
    boxes = load([detection()])
    assert boxes.sha256 == hashlib.sha256(boxes.path.read_bytes()).hexdigest()


def test_skips_are_counted_and_ids_stay_positions(load: Any) -> None:
    boxes = load(
        [
            detection(99),
            detection(98),
            detection(category_id=77),
            detection(bbox=[1, 1, 0, 5]),
            detection(bbox=[1, 1, 5, -3]),
            detection(score=0.7),
        ]
    )
    assert boxes.skipped == {"unknown-category": 1, "unknown-image": 2, "zero-area-box": 2}
    assert boxes.prompts(1).ids == (5,)
    assert boxes.category_and_score(5) == (2, 0.7)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"category_id": 1, "bbox": [1, 1, 2, 2], "score": 1}, "has no 'image_id'"),
        ({"image_id": 1, "bbox": [1, 1, 2, 2], "score": 1}, "has no 'category_id'"),
        ({"image_id": 1, "category_id": 1, "score": 1}, "has no 'bbox'"),
        ({"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}, "has no 'score'"),
        (detection(bbox=[1, math.nan, 2, 2]), "NaN"),
        (detection(score=math.nan), "NaN"),
        (detection(score=math.inf), "infinity"),
        (detection(bbox=[1, 2, 3]), "bbox of 3 numbers"),
        (detection(bbox=None), "not made of numbers"),
        (detection(score="high"), "not made of numbers"),
        (detection("000000000139"), "not an integer"),
        ([1, 2, 3], "is not an object"),
    ],
)
def test_broken_entries_are_named(load: Any, entry: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"boxes\.json: detection 1 .*{problem}"):
        load([detection(), entry])


def test_not_a_list(load: Any) -> None:
    with pytest.raises(DataError, match=r"boxes\.json holds a dict, not a list of detections"):
        load({"annotations": []})


def test_not_json(load: Any) -> None:
    with pytest.raises(DataError, match=r"boxes\.json is not valid JSON"):
        load("[{")


def test_missing_file(tmp_path: Path, scenes: ScenesDataset) -> None:
    with pytest.raises(DataError, match="does not exist"):
        DetectorBoxes.load(tmp_path / "none.json", scenes)


@pytest.mark.parametrize("entries", [[], [detection(99)]])
def test_nothing_fits(load: Any, entries: Detections) -> None:
    with pytest.raises(DataError, match=r"none of the . boxes .* fits scenes"):
        load(entries)


def test_box_ap_of_perfect_boxes_is_one(load: Any, scenes: ScenesDataset) -> None:
    described = load(perfect(scenes)).describe()
    assert described["box_ap"]["ap"] == pytest.approx(1.0)
    assert described["n_boxes"] == scenes.info.n_instances
    assert described["skipped"] == {}
    json.dumps(described, allow_nan=False)


def test_box_ap_equals_pycocotools(load: Any, scenes: ScenesDataset, tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from litesam_bench.datasets.export import export

    rng = np.random.default_rng(0)
    detections = perfect(scenes)
    for entry in detections:
        entry["bbox"] = [
            float(v * rng.uniform(0.8, 1.2)) if v else float(rng.uniform(0, 2))
            for v in entry["bbox"]
        ]
        entry["score"] = float(rng.random())
    boxes = load(detections[: len(detections) * 3 // 4])
    reference = COCO(export(scenes, tmp_path, "coco"))
    evaluation = COCOeval(reference, reference.loadRes(str(boxes.path)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    described = boxes.describe()["box_ap"]
    assert 0.05 < described["ap"] < 0.9
    assert described["ap"] == pytest.approx(evaluation.stats[0], abs=1e-10)
    assert described["ap50"] == pytest.approx(evaluation.stats[1], abs=1e-10)
