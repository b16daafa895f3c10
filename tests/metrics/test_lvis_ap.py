"""Our LVIS evaluator against the `lvis` package: every number, bit for bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ap_cases import nudge, random_problem, to_ground_truth, without

from litesam_bench.metrics import rle
from litesam_bench.metrics.lvis_ap import LvisResult, evaluate
from litesam_bench.metrics.lvis_reference import evaluate_reference, numpy_float_alias
from litesam_bench.types import Category


def ours(dataset: dict[str, Any], results: list[dict[str, Any]], **options: Any) -> LvisResult:
    return evaluate(
        to_ground_truth(dataset, ignore_key="ignore"),
        results,
        categories=[Category(c["id"], c["name"], c["frequency"]) for c in dataset["categories"]],
        **options,
    )


def assert_same(result: LvisResult, reference: Any) -> None:
    assert np.array_equal(result.precision, reference.eval["precision"])
    assert np.array_equal(result.recall, reference.eval["recall"])
    theirs = {"ar300" if k == "AR@300" else k.lower().removesuffix("@300"): v
              for k, v in reference.results.items()}  # fmt: skip
    theirs = {k: np.nan if v == -1 else float(v) for k, v in theirs.items()}
    assert result.stats.keys() == theirs.keys()
    assert all(np.array_equal(result.stats[k], theirs[k], equal_nan=True) for k in theirs)


@pytest.mark.parametrize("seed", range(25))
def test_random_masks_equal_lvis(seed: int) -> None:
    dataset, results = random_problem(seed, n_categories=8, dets_per_image=20)
    results = without(results, "bbox")
    reference = evaluate_reference(dataset, results)
    assert (reference.eval["precision"] > 0).any()
    assert_same(ours(dataset, results), reference)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_random_boxes_and_box_areas_equal_lvis(seed: int, iou_type: str) -> None:
    dataset, results = random_problem(100 + seed, n_categories=8, dets_per_image=20)
    reference = evaluate_reference(dataset, results, iou_type=iou_type)  # a bbox key: area of box
    assert_same(ours(dataset, results, iou_type=iou_type, det_area="box"), reference)


@pytest.mark.parametrize("seed", range(4))
def test_limit_per_image_over_all_categories(seed: int) -> None:
    dataset, results = random_problem(200 + seed, n_images=3, n_categories=8, dets_per_image=700)
    results = without(results, "bbox")
    result = ours(dataset, results)
    assert result.skipped["over-limit"] > 0
    assert_same(result, evaluate_reference(dataset, results))
    few = evaluate_reference(dataset, results, max_dets=5)
    assert np.array_equal(ours(dataset, results, max_dets=5).precision, few.eval["precision"])


def one_image(**federated: list[int]) -> dict[str, Any]:
    square = np.zeros((20, 20), np.bool_)
    square[:10, :10] = True
    image = {"id": 1, "height": 20, "width": 20}
    image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []} | federated
    return {
        "images": [image],
        "categories": [{"id": c, "name": str(c), "frequency": "rcf"[c - 1]} for c in (1, 2, 3)],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": rle.encode(square),
                "bbox": [0, 0, 10, 10],
                "area": 100.0,
            }
        ],
    }


def hit_and_miss(miss_category: int) -> list[dict[str, Any]]:
    """A false alarm with a higher score than the only hit."""
    miss = np.zeros((20, 20), np.bool_)
    miss[12:, 12:] = True
    hit = one_image()["annotations"][0]["segmentation"]
    return [
        {
            "image_id": 1,
            "category_id": miss_category,
            "segmentation": rle.encode(miss),
            "score": 0.9,
        },
        {"image_id": 1, "category_id": 1, "segmentation": hit, "score": 0.5},
    ]


def test_federated_rules_by_hand() -> None:
    plain = ours(one_image(), hit_and_miss(1))
    assert plain.stats["ap"] == pytest.approx(0.5)
    assert plain.stats["apr"] == pytest.approx(0.5)
    assert np.isnan(plain.stats["apc"])
    # Not exhaustively annotated: the false alarm may be a real object, so it is ignored.
    open_ = ours(one_image(not_exhaustive_category_ids=[1]), hit_and_miss(1))
    assert open_.stats["ap"] == pytest.approx(1.0)
    # Nothing is known about category 2 in this image, unless it is listed as negative.
    unknown = ours(one_image(), hit_and_miss(2))
    assert unknown.skipped["federated"] == 1
    negative = ours(one_image(neg_category_ids=[2]), hit_and_miss(2))
    assert negative.skipped["federated"] == 0
    assert negative.stats["ap"] == pytest.approx(1.0)  # category 2 has no object anywhere


def test_what_is_left_out_is_counted() -> None:
    dataset, results = random_problem(9)
    empty = rle.encode(np.zeros((48, 64), np.bool_))
    annotation = dataset["annotations"][0]
    at = {"image_id": annotation["image_id"], "category_id": annotation["category_id"]}
    extra = [
        at | {"segmentation": empty, "score": 0.5, "image_id": 999},
        at | {"segmentation": empty, "score": 0.5, "category_id": 888},
        at | {"segmentation": empty, "score": 0.5},
    ]
    before, after = ours(dataset, results), ours(dataset, results + extra)
    for reason in ("unknown-image", "unknown-category", "no-area"):
        assert after.skipped[reason] == before.skipped[reason] + 1, reason
    assert np.array_equal(after.precision, before.precision)


def test_results_are_named_by_their_own_index() -> None:
    dataset, results = random_problem(10, n_images=2, dets_per_image=700)
    scores = [r["score"] for r in results]
    best = int(np.argmax(scores))
    results[best] = results[best] | {"segmentation": {"size": [48, 64], "counts": b"1"}}
    with pytest.raises(Exception, match=rf"result {best} \(image \d+\): corrupt RLE"):
        ours(dataset, results)


def test_the_alias_is_lent_and_taken_back() -> None:
    assert not hasattr(np, "float")
    with numpy_float_alias():
        assert np.float is float
        with numpy_float_alias():
            assert np.float is float
        assert np.float is float
    assert not hasattr(np, "float")
    with pytest.raises(ZeroDivisionError), numpy_float_alias():
        raise ZeroDivisionError
    assert not hasattr(np, "float")


def test_a_numpy_that_has_the_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = object()
    monkeypatch.setattr(np, "float", own, raising=False)
    with numpy_float_alias():
        assert np.float is own
    assert np.float is own


def test_the_reference_fails_without_the_alias() -> None:
    dataset, results = random_problem(1)
    evaluator = evaluate_reference(dataset, without(results, "bbox"))
    with pytest.raises(AttributeError, match="float"):
        evaluator.accumulate()
    with numpy_float_alias():
        evaluator.accumulate()


def test_the_reference_leaves_its_arguments_alone() -> None:
    dataset, results = random_problem(2)
    before = copy.deepcopy((dataset, results))
    evaluate_reference(dataset, results)
    assert (dataset, results) == before


@pytest.mark.data
def test_real_annotations_equal_lvis(data_root: Path) -> None:
    path = data_root / "lvis" / "annotations" / "lvis_v0.5_val_100.json"
    dataset = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    images = {i["id"]: i for i in dataset["images"]}
    results = []
    for a in dataset["annotations"]:
        image = images[a["image_id"]]
        segmentation = rle.from_ann(a["segmentation"], image["height"], image["width"])
        mask = rle.decode(segmentation)
        others = image["neg_category_ids"] + image["not_exhaustive_category_ids"]
        for _ in range(rng.integers(0, 3)):
            wrong = rng.random() < 0.2 and others
            results.append(
                {
                    "image_id": a["image_id"],
                    "category_id": int(rng.choice(others)) if wrong else a["category_id"],
                    "segmentation": rle.encode(nudge(rng, mask)),
                    "score": round(float(rng.random()), 2),
                }
            )
    assert len(images) == 100
    assert_same(ours(dataset, results), evaluate_reference(dataset, results))
