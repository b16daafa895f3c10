"""Our COCO evaluator against pycocotools: every number, bit for bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ap_cases import (
    encode,
    nudge,
    pycocotools_eval,
    random_problem,
    to_ground_truth,
    without,
)

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import coco_ap, lvis_ap, rle
from litesam_bench.metrics.coco_ap import CocoResult, evaluate
from litesam_bench.metrics.matching import AreaRange
from litesam_bench.types import Category, GroundTruth, Instance

NAMES = "ap ap50 ap75 aps apm apl {} {} {} ars arm arl"


def ours(dataset: dict[str, Any], results: list[dict[str, Any]], **options: Any) -> CocoResult:
    category_ids = [c["id"] for c in dataset["categories"]]
    return evaluate(to_ground_truth(dataset), results, category_ids=category_ids, **options)


def assert_same(result: CocoResult, reference: Any) -> None:
    for key in ("precision", "recall", "scores"):
        assert np.array_equal(getattr(result, key), reference.eval[key]), key
    if len(reference.params.maxDets) != 3 or reference.params.maxDets[2] != 100:
        return  # summarize() prints -1 there
    names = NAMES.format(*(f"ar{m}" for m in reference.params.maxDets)).split()
    theirs = [np.nan if s == -1 else float(s) for s in reference.stats]
    assert np.array_equal([result.stats[n] for n in names], theirs, equal_nan=True)


@pytest.mark.parametrize("seed", range(25))
def test_random_masks_equal_pycocotools(seed: int) -> None:
    dataset, results = random_problem(seed)
    stripped = without(results, "bbox")
    reference = pycocotools_eval(dataset, stripped, "segm")
    assert (reference.eval["precision"] > 0).any()
    assert_same(ours(dataset, results), reference)
    assert_same(ours(dataset, stripped), reference)


@pytest.mark.parametrize("seed", range(25))
def test_random_boxes_equal_pycocotools(seed: int) -> None:
    dataset, results = random_problem(100 + seed)
    reference = pycocotools_eval(dataset, results, "bbox")
    assert_same(ours(dataset, without(results, "segmentation"), iou_type="bbox"), reference)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_class_agnostic_equals_pycocotools(seed: int, iou_type: str) -> None:
    dataset, results = random_problem(200 + seed)
    results = without(results, "bbox") if iou_type == "segm" else results
    reference = pycocotools_eval(dataset, results, iou_type, useCats=0)
    result = ours(dataset, results, iou_type=iou_type, use_cats=False)
    assert_same(result, reference)
    assert result.category_ids == ()


@pytest.mark.parametrize("seed", range(10))
def test_box_area_decides_the_bin_when_asked(seed: int) -> None:
    dataset, results = random_problem(300 + seed)
    reference = pycocotools_eval(dataset, results, "segm")  # a bbox key is there: area of the box
    assert_same(ours(dataset, results, det_area="box"), reference)


def test_mask_and_box_area_differ_for_a_diagonal_mask() -> None:
    diagonal = np.eye(48, 48, dtype=np.uint8)  # 48 px; its box has 2304
    block = np.zeros((48, 48), np.uint8)
    block[:20, :20] = 1
    dataset = {
        "images": [{"id": 1, "height": 48, "width": 48}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": encode(block),
             "bbox": [0, 0, 20, 20], "area": 400.0, "iscrowd": 0}
        ],
    }  # fmt: skip
    results = [
        {"image_id": 1, "category_id": 1, "segmentation": encode(diagonal), "score": 0.9,
         "bbox": [0, 0, 48, 48]},
        {"image_id": 1, "category_id": 1, "segmentation": encode(block), "score": 0.8,
         "bbox": [0, 0, 20, 20]},
    ]  # fmt: skip
    by_mask = ours(dataset, results, det_area="mask").stats
    by_box = ours(dataset, results, det_area="box").stats
    # As a small mask, the diagonal is a false positive ahead of the hit; as a medium box it is out.
    assert by_mask["aps"] == pytest.approx(0.5)
    assert by_box["aps"] == pytest.approx(1.0)
    assert np.isnan(by_mask["apm"])


@pytest.mark.parametrize("seed", range(6))
def test_limits_thresholds_and_ranges_equal_pycocotools(seed: int) -> None:
    dataset, results = random_problem(400 + seed, n_images=4, n_categories=2, dets_per_image=60)
    results = without(results, "bbox")
    thresholds = np.array([0.3, 0.5, 0.75, 1.0])
    recalls = np.linspace(0, 1, 11)
    ranges = (AreaRange("all", 0, 1e10), AreaRange("tiny", 0, 200), AreaRange("big", 200, 1e10))
    reference = pycocotools_eval(
        dataset,
        results,
        "segm",
        maxDets=[3, 7, 20, 1000],
        iouThrs=thresholds,
        recThrs=recalls,
        areaRng=[[r.lo_px, r.hi_px] for r in ranges],
    )
    result = ours(
        dataset,
        results,
        max_dets=(1000, 3, 20, 7),
        iou_thresholds=thresholds,
        recall_thresholds=recalls,
        area_ranges=ranges,
    )
    assert_same(result, reference)


@pytest.mark.parametrize("seed", range(4))
def test_limit_cuts_detections(seed: int) -> None:
    dataset, results = random_problem(500 + seed, n_images=3, n_categories=1, dets_per_image=250)
    assert len(results) > 120
    results = without(results, "bbox")
    assert_same(ours(dataset, results), pycocotools_eval(dataset, results, "segm"))


def test_recall_at_1000_is_read_where_summarize_prints_minus_one() -> None:
    dataset, results = random_problem(7, n_images=3, n_categories=1, dets_per_image=300)
    results = without(results, "bbox")
    reference = pycocotools_eval(dataset, results, "segm", maxDets=[10, 100, 1000])
    assert reference.stats[0] == reference.stats[0]
    recall = reference.eval["recall"][:, :, 0, 2]
    result = ours(dataset, results, max_dets=(10, 100, 1000))
    assert result.stats["ar1000"] == recall[recall > -1].mean() > 0
    assert result.stats["ar1000"] >= result.stats["ar10"]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_nothing_detected_and_nothing_annotated(iou_type: str) -> None:
    dataset, results = random_problem(3)
    none = ours(dataset, [], iou_type=iou_type)
    assert none.stats["ap"] == 0.0
    assert none.stats["ar100"] == 0.0
    empty = ours(dataset | {"annotations": []}, results, iou_type=iou_type)
    assert np.isnan(empty.stats["ap"])
    assert (empty.precision == -1).all()
    nothing = evaluate([], [], category_ids=[], iou_type=iou_type)
    assert nothing.precision.shape == (10, 101, 0, 4, 3)


def test_perfect_predictions_reach_one() -> None:
    dataset, _ = random_problem(5)
    things = [a for a in dataset["annotations"] if not a["iscrowd"] and rle.area(a["segmentation"])]
    results = [
        {k: a[k] for k in ("image_id", "category_id", "segmentation")} | {"score": 1.0}
        for a in things
    ]
    assert ours(dataset | {"annotations": things}, results).stats["ap"] == pytest.approx(1.0)


def test_annotation_id_zero_can_be_found() -> None:
    """pycocotools takes id 0 for "no match"; we do not."""
    square = rle.encode(np.ones((4, 4), np.bool_))
    truth = GroundTruth(1, "", "", (4, 4), (Instance(0, 1, square, (0, 0, 4, 4), 16.0),))
    result = {"image_id": 1, "category_id": 1, "segmentation": square, "score": 1.0}
    assert evaluate([truth], [result], category_ids=[1]).stats["ap"] == pytest.approx(1.0)


def test_one_signature_for_both_rules() -> None:
    dataset, results = random_problem(6)
    truths = to_ground_truth(dataset)
    categories = [Category(c["id"], c["name"], c["frequency"]) for c in dataset["categories"]]
    coco = coco_ap.evaluate_dataset(truths, results, categories, det_area="mask", max_dets=100)
    assert coco == pytest.approx(ours(dataset, results).stats, nan_ok=True)
    lvis = lvis_ap.evaluate_dataset(truths, results, categories, det_area="mask", max_dets=300)
    expected = lvis_ap.evaluate(truths, results, categories=categories).stats
    assert lvis == pytest.approx(expected, nan_ok=True)
    assert {"ap", "ap50", "aps", "apm", "apl"} <= coco.keys() & lvis.keys()


def test_neither_input_is_changed() -> None:
    dataset, results = random_problem(11)
    before = copy.deepcopy(results)
    ours(dataset, results)
    assert results == before


def test_order_of_images_does_not_matter() -> None:
    dataset, results = random_problem(12)
    turned = dataset | {"images": dataset["images"][::-1]}
    assert np.array_equal(ours(dataset, results).precision, ours(turned, results).precision)


def test_unknown_ids_are_counted() -> None:
    dataset, results = random_problem(13)
    stray = [
        results[0] | {"image_id": 999},
        results[0] | {"category_id": 888},
        results[0] | {"image_id": 999, "category_id": 888},
    ]
    result = ours(dataset, stray + results)
    assert result.skipped == {"unknown-image": 2, "unknown-category": 1}
    assert np.array_equal(result.precision, ours(dataset, results).precision)


def test_bad_results_are_named() -> None:
    dataset, results = random_problem(14)
    h, w = 48, 64

    def run(i: int, **changes: Any) -> None:
        bad = [dict(r) for r in results]
        bad[i].update(changes)
        ours(dataset, bad)

    with pytest.raises(DataError, match="result 2 has a score of NaN"):
        run(2, score=float("nan"))
    with pytest.raises(DataError, match="result 3 has no usable 'score'"):
        run(3, score="high")
    with pytest.raises(DataError, match="result 0 has no usable 'image_id'"):
        run(0, image_id="x")
    with pytest.raises(DataError, match=r"result 4 \(image \d+\): the mask is \[64, 48\]"):
        run(4, segmentation=rle.encode(np.zeros((w, h), np.bool_)))
    with pytest.raises(DataError, match=r"result 5 \(image \d+\): corrupt RLE"):
        run(5, segmentation={"size": [h, w], "counts": b"5"})
    with pytest.raises(DataError, match=r"result 6 \(image \d+\): not a compressed RLE"):
        run(6, segmentation=[[0, 0, 5, 0, 5, 5]])
    with pytest.raises(DataError, match="result 0 has no 'segmentation'"):
        ours(dataset, without(results, "segmentation"))
    with pytest.raises(DataError, match=r"result 0 .* not x, y, w, h: \[1, 2, 3\]"):
        ours(dataset, [results[0] | {"bbox": [1, 2, 3]}], iou_type="bbox")
    with pytest.raises(DataError, match=r"result 0 .* not x, y, w, h: None"):
        ours(dataset, [results[0] | {"bbox": None}], iou_type="bbox")
    with pytest.raises(DataError, match="result 0 has no usable 'score'"):
        ours(dataset, without(results, "score"))
    with pytest.raises(DataError, match=r"result 0 .* bbox that is not finite"):
        ours(dataset, [results[0] | {"bbox": [1, 2, 3, np.inf]}], iou_type="bbox")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="ascend"):
        evaluate([], [], category_ids=[1], recall_thresholds=np.array([1.0, 0.0]))
    with pytest.raises(UsageError, match="at least 1"):
        evaluate([], [], category_ids=[1], max_dets=(0, 10))
    with pytest.raises(DataError, match="category id 4 occurs twice"):
        evaluate([], [], category_ids=[4, 4])
    twice = GroundTruth(1, "", "", (4, 4), ())
    with pytest.raises(DataError, match="image id 1 occurs twice"):
        evaluate([twice, twice], [], category_ids=[1])


@pytest.mark.data
def test_real_annotations_equal_pycocotools(data_root: Path) -> None:
    path = data_root / "coco" / "annotations" / "instances_val2017.json"
    dataset = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    sizes = {i["id"]: (i["height"], i["width"]) for i in dataset["images"]}
    categories = [c["id"] for c in dataset["categories"]]
    results = []
    for a in dataset["annotations"]:
        mask = rle.decode(rle.from_ann(a["segmentation"], *sizes[a["image_id"]]))
        for _ in range(rng.integers(0, 4)):
            category = a["category_id"] if rng.random() < 0.9 else int(rng.choice(categories))
            results.append(
                {
                    "image_id": a["image_id"],
                    "category_id": category,
                    "segmentation": rle.encode(nudge(rng, mask)),
                    "bbox": (np.array(a["bbox"]) * rng.uniform(0.9, 1.1, 4)).tolist(),
                    "score": round(float(rng.random()), 2),
                }
            )
    assert len(dataset["images"]) == 124
    masks = without(results, "bbox")
    assert_same(ours(dataset, masks), pycocotools_eval(dataset, masks, "segm"))
    boxes = without(results, "segmentation")
    assert_same(ours(dataset, boxes, iou_type="bbox"), pycocotools_eval(dataset, boxes, "bbox"))
