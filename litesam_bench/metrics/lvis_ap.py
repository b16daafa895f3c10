"""LVIS average precision and recall under its federated rules, equal to the `lvis` package.

The rules, as `lvis.LVISResults` and `lvis.LVISEval` 0.5.3 apply them:

* the 300 best detections of an image are kept, over all categories together;
* objects and detections without area are left out;
* a detection is left out unless its category has an object in the image or is in the image's
  `neg_category_ids`: about other categories nothing is known;
* an unmatched detection of a category in `not_exhaustive_category_ids` is ignored;
* there are no crowds; `Instance.iscrowd` stands for the optional `ignore` key of an annotation;
* AP is also averaged over the rare, common and frequent categories.

Class-agnostic recall on LVIS (proposals) is `coco_ap.evaluate(..., use_cats=False)`; the package's
own `use_cats=0` evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from litesam_bench.metrics.coco_ap import (
    DetArea,
    ImageTable,
    IouType,
    Result,
    check_grid,
    collect_detections,
    collect_truths,
    image_ids_of,
    image_table,
    index_of,
    precision_stats,
    scores_of,
    unique_ids,
)
from litesam_bench.metrics.matching import (
    COCO_AREA_RANGES,
    COCO_IOU_THRESHOLDS,
    COCO_RECALL_THRESHOLDS,
    AreaRange,
    BoolArray,
    curves,
    mean_or_nan,
)
from litesam_bench.metrics.rle import IntArray
from litesam_bench.types import Category, FloatArray, GroundTruth

FREQUENCIES = ("r", "c", "f")


@dataclass(frozen=True)
class LvisResult:
    """Arrays as LVISEval's, -1 where a category has no ground truth in an area range.

    precision: (T, R, K, A). recall: (T, K, A).
    stats: fractions in [0, 1], NaN where there is no ground truth (lvis prints -1): ap, ap50,
        ap75, aps, apm, apl, apr, apc, apf, and ar300, ars, arm, arl (the number is `max_dets`).
    category_ids: along K, ascending.
    skipped: detections left out, by reason: "unknown-image", "unknown-category", "over-limit"
        (beyond the best 300), "no-area", "federated" (category not judged in that image).
    """

    precision: FloatArray
    recall: FloatArray
    stats: dict[str, float]
    category_ids: tuple[int, ...]
    skipped: dict[str, int]


def evaluate(
    gts: Sequence[GroundTruth],
    dts: Sequence[Result],
    *,
    categories: Sequence[Category],
    iou_type: IouType = "segm",
    iou_thresholds: FloatArray = COCO_IOU_THRESHOLDS,
    recall_thresholds: FloatArray = COCO_RECALL_THRESHOLDS,
    area_ranges: Sequence[AreaRange] = COCO_AREA_RANGES,
    max_dets: int = 300,
    det_area: DetArea | None = None,
) -> LvisResult:
    """Average precision and recall as `LVISEval(gt, LVISResults(gt, dts)).run()`.

    Args:
        gts: every image of the evaluation, in any order, with its federated fields.
        dts: results in COCO's format; the order decides between equal scores.
        categories: with `frequency` r, c or f; others belong to no group.
        max_dets: detections kept per image over all categories.
        det_area: see `coco_ap.evaluate`.

    Raises:
        DataError, UsageError: see `coco_ap.evaluate`.
    """
    check_grid(recall_thresholds, [max_dets])
    det_area = det_area or ("mask" if iou_type == "segm" else "box")
    images = image_table(gts)
    category_ids = unique_ids([c.id for c in categories], "category")
    # The limit comes before any other rule: a detection dropped later has still used a place.
    within = _best_per_image(image_ids_of(dts), scores_of(dts), max_dets)
    detections, skipped = collect_detections(
        dts, images, category_ids, iou_type, det_area, keep=within
    )
    with_area = [
        replace(truth, instances=tuple(i for i in truth.instances if i.area_px > 0))
        for truth in gts
    ]
    truths = collect_truths(with_area, images, category_ids, iou_type)
    truths = replace(truths, crowd=np.zeros_like(truths.crowd))

    n = len(category_ids)
    listed_negative = [(t.image_id, c) for t in gts for c in t.neg_category_ids]
    listed_open = [(t.image_id, c) for t in gts for c in t.not_exhaustive_category_ids]
    negative = _pair_keys(listed_negative, images, category_ids)
    judged = np.concatenate([truths.image * n + truths.category, negative])
    pairs = detections.image * n + detections.category
    has_area = detections.area_px > 0
    is_judged = np.isin(pairs, judged)
    detections = replace(
        detections, forgiven=np.isin(pairs, _pair_keys(listed_open, images, category_ids))
    ).take(np.flatnonzero(has_area & is_judged))

    result = curves(
        truths,
        detections,
        n_images=len(images.ids),
        n_categories=n,
        use_cats=True,
        iou_thresholds=np.asarray(iou_thresholds, np.float64),
        recall_thresholds=np.asarray(recall_thresholds, np.float64),
        area_ranges=area_ranges,
        max_dets=[max_dets],
    )
    precision, recall = result.precision[..., 0], result.recall[..., 0]
    stats = precision_stats(precision, iou_thresholds, area_ranges)
    frequency = {c.id: c.frequency for c in categories}
    group = np.array([frequency[i] for i in category_ids.tolist()])
    for label in FREQUENCIES:
        stats[f"ap{label}"] = mean_or_nan(precision[:, :, np.flatnonzero(group == label), 0])
    stats[f"ar{max_dets}"] = mean_or_nan(recall[:, :, 0])
    for a, area_range in enumerate(area_ranges[1:], start=1):
        stats[f"ar{area_range.label[0]}"] = mean_or_nan(recall[:, :, a])
    return LvisResult(
        precision=precision,
        recall=recall,
        stats=stats,
        category_ids=tuple(category_ids.tolist()),
        skipped=skipped
        | {
            "over-limit": int(np.count_nonzero(~within)),
            "no-area": int(np.count_nonzero(~has_area)),
            "federated": int(np.count_nonzero(has_area & ~is_judged)),
        },
    )


def evaluate_dataset(
    gts: Sequence[GroundTruth],
    dts: Sequence[Result],
    categories: Sequence[Category],
    *,
    det_area: DetArea = "mask",
    max_dets: int = 300,
) -> dict[str, float]:
    """Mask AP by LVIS's rules: the `stats` of `evaluate`; see `coco_ap.evaluate_dataset`."""
    return evaluate(gts, dts, categories=categories, det_area=det_area, max_dets=max_dets).stats


def _best_per_image(image_id: IntArray, score: FloatArray, limit: int) -> BoolArray:
    """(D,) whether a detection is among the `limit` best of its image; ties: the earlier."""
    order = np.lexsort((-score, image_id))
    ordered = image_id[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    within = np.empty(len(order), np.bool_)
    within[order] = rank < limit
    return within


def _pair_keys(
    pairs: Sequence[tuple[int, int]], images: ImageTable, category_ids: IntArray
) -> IntArray:
    """(image id, category id) pairs as image index * K + category index; unknown ids fall out."""
    array = np.array(pairs, np.int64).reshape(-1, 2)
    image, in_images = index_of(images.ids, array[:, 0])
    category, in_categories = index_of(category_ids, array[:, 1])
    keys: IntArray = (image * len(category_ids) + category)[in_images & in_categories]
    return keys
