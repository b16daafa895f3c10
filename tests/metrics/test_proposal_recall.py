"""AR@K against pycocotools' recall array, and against cases worked by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import rle
from litesam_bench.metrics.proposal_recall import (
    ImageProposals,
    ProposalRecall,
    proposal_recall,
    rank_scores,
)
from litesam_bench.types import GroundTruth, Instance

SIZE = (48, 64)


def box_mask(x: int, y: int, w: int, h: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def random_image(
    rng: np.random.Generator, image_id: int, n_proposals: int
) -> tuple[GroundTruth, ImageProposals]:
    """Objects of several categories, some crowds; proposals near them, some empty, many ties."""
    instances = []
    for k in range(int(rng.integers(0, 7))):
        x, y = int(rng.integers(0, 40)), int(rng.integers(0, 30))
        w, h = int(rng.integers(2, 24)), int(rng.integers(2, 18))
        mask = box_mask(x, y, w, h)
        area = float(mask.sum()) * float(rng.choice([1, 20]))  # some count as medium or large
        instances.append(
            Instance(
                id=1 + 100 * image_id + k,
                category_id=int(rng.integers(1, 4)),
                rle=rle.encode(mask),
                bbox_xywh=(x, y, w, h),
                area_px=area,
                iscrowd=bool(rng.random() < 0.2),
            )
        )
    masks = []
    for _ in range(n_proposals):
        if instances and rng.random() < 0.5:
            x, y, w, h = (int(v) for v in instances[int(rng.integers(len(instances)))].bbox_xywh)
            x, y = max(x + int(rng.integers(-2, 3)), 0), max(y + int(rng.integers(-2, 3)), 0)
            masks.append(box_mask(x, y, w, h))
        elif rng.random() < 0.1:
            masks.append(np.zeros(SIZE, bool))
        else:
            x, y, w, h = rng.integers(1, 40, 4).tolist()
            masks.append(box_mask(x, y, w, h))
    truth = GroundTruth(image_id, f"{image_id}.jpg", f"/{image_id}.jpg", SIZE, tuple(instances))
    return truth, ImageProposals(
        rle.encode_many(np.array(masks).reshape(-1, *SIZE)),
        (rng.integers(0, 10, n_proposals) / 10).tolist(),
        (rng.integers(0, 10, n_proposals) / 10).tolist(),
    )


def reference(
    images: list[tuple[GroundTruth, ImageProposals]], limits: list[int], iou_type: str, key: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """COCOeval's recall array (T, A, M), with empty masks left out."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for truth, proposals in images:
        annotations += [
            {
                "id": i.id,
                "image_id": truth.image_id,
                "category_id": i.category_id,
                "segmentation": i.rle,
                "bbox": list(i.bbox_xywh),
                "area": i.area_px,
                "iscrowd": int(i.iscrowd),
            }
            for i in truth.instances
        ]
        for mask, iou, stable in zip(
            proposals.masks, proposals.predicted_iou, proposals.stability, strict=True
        ):
            decoded = rle.decode(mask)
            if not decoded.any():
                continue
            entry: dict[str, Any] = {"image_id": truth.image_id, "category_id": 1}
            entry["score"] = {
                "mean": (iou + stable) / 2,
                "iou": iou,
                "stability": stable,
                "area": float(decoded.sum()),
            }[key]
            if iou_type == "segm":
                entry["segmentation"] = mask
            else:
                y, x = np.nonzero(decoded)
                entry["bbox"] = [
                    int(x.min()),
                    int(y.min()),
                    int(np.ptp(x)) + 1,
                    int(np.ptp(y)) + 1,
                ]
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": t.image_id, "height": SIZE[0], "width": SIZE[1]} for t, _ in images],
            "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
            "annotations": annotations,
            "info": {},
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), iou_type)
        evaluation.params.useCats = 0
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
    recall: np.ndarray[Any, np.dtype[np.float64]] = evaluation.eval["recall"][:, 0]
    return recall


@pytest.mark.parametrize("key", ["mean", "iou", "stability", "area"])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_equals_pycocotools(iou_type: str, key: str) -> None:
    rng = np.random.default_rng(len(key) + len(iou_type))
    images = [random_image(rng, i, int(rng.integers(0, 60))) for i in range(1, 24)]
    ours = proposal_recall(images, limits=(3, 10, 40), iou_type=iou_type, rank_key=key)  # type: ignore[arg-type]
    assert np.array_equal(ours.recall, reference(images, [3, 10, 40], iou_type, key))
    assert ours.n_empty > 0
    assert ours.n_images == 23


def test_more_than_a_thousand_proposals() -> None:
    rng = np.random.default_rng(5)
    images = [random_image(rng, i, 1300) for i in (1, 2)]
    assert all(truth.instances for truth, _ in images)
    ours = proposal_recall(images, limits=(10, 100, 1000))
    assert np.array_equal(ours.recall, reference(images, [10, 100, 1000], "segm", "mean"))


def test_the_order_of_images_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    images = [random_image(rng, i, 20) for i in range(40)]
    assert np.array_equal(proposal_recall(images).recall, proposal_recall(images[::-1]).recall)


def test_by_hand() -> None:
    objects = [box_mask(0, 0, 10, 10), box_mask(20, 20, 10, 10)]
    instances = tuple(
        Instance(k, 1, rle.encode(m), (20.0 * k, 20.0 * k, 10, 10), 100.0)
        for k, m in enumerate(objects)
    )
    truth = GroundTruth(1, "1.jpg", "/1.jpg", SIZE, instances)
    half = box_mask(0, 0, 10, 6)  # IoU 0.6 with the first: found at .5, .55 and .6
    proposals = ImageProposals(
        rle.encode_many(np.stack([objects[1], half])), [0.1, 0.9], [0.1, 0.9]
    )
    stats = proposal_recall([(truth, proposals)], limits=(1, 2)).stats
    assert stats["ar1"] == pytest.approx(0.3 * 0.5)  # only `half` is ranked first
    assert stats["ar2"] == pytest.approx((0.3 + 1.0) / 2)
    assert stats["ar2_s"] == stats["ar2"]
    assert np.isnan(stats["ar2_l"])
    by_stability = proposal_recall(
        [(truth, ImageProposals(proposals.masks, [0.1, 0.9], [1.0, 0.0]))],
        limits=(1,),
        rank_key="stability",
    )
    assert by_stability.stats["ar1"] == pytest.approx(0.5)


def test_nothing_at_all() -> None:
    empty: ProposalRecall = proposal_recall([])
    assert np.isnan(empty.stats["ar1000"])
    truth = random_image(np.random.default_rng(1), 1, 0)
    assert proposal_recall([truth]).stats["ar1000"] == 0.0


def test_nan_keys_and_unknown_keys() -> None:
    one = rle.encode_many(np.ones((1, *SIZE), bool))
    with pytest.raises(DataError, match="proposal 0"):
        rank_scores(ImageProposals(one, [np.nan], [1.0]), "mean")
    with pytest.raises(UsageError, match="ranking key"):
        rank_scores(ImageProposals(one, [1.0], [1.0]), "score")  # type: ignore[arg-type]


def test_a_mask_of_another_size() -> None:
    truth, _ = random_image(np.random.default_rng(1), 1, 0)
    wrong = ImageProposals([rle.encode(np.ones((5, 5), bool))], [1.0], [1.0])
    with pytest.raises(DataError, match="5, 5"):
        proposal_recall([(truth, wrong)])
