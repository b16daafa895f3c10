"""COCO average precision and recall, for masks and boxes, equal to pycocotools' `COCOeval`.

The numbers (precision, recall and score arrays, and the statistics) equal pycocotools 2.0 bit for
bit; `tests/metrics/test_coco_ap.py` checks that on random and real data. It is an order of
magnitude faster because it visits only (image, category) pairs that exist, and because matching and
accumulation are compiled (`matching.py`).

What pycocotools leaves implicit is a parameter here: whose area decides a detection's size bin
(`det_area`), class-agnostic evaluation (`use_cats`), and recall at any detection limit, which
`COCOeval.summarize` prints as -1 unless the limits are exactly its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import rle
from litesam_bench.metrics.matching import (
    COCO_AREA_RANGES,
    COCO_IOU_THRESHOLDS,
    COCO_RECALL_THRESHOLDS,
    AreaRange,
    BoolArray,
    Detections,
    Shapes,
    Truths,
    curves,
    mean_or_nan,
)
from litesam_bench.metrics.rle import IntArray
from litesam_bench.types import Category, FloatArray, GroundTruth

IouType = Literal["segm", "bbox"]
DetArea = Literal["mask", "box"]
Result = Mapping[str, Any]
"""One detection in COCO's results format: image_id, category_id, score, and `segmentation`
(compressed RLE) or `bbox` [x, y, w, h] or both."""


@dataclass(frozen=True)
class CocoResult:
    """Arrays as COCOeval's, -1 where a category has no ground truth in an area range.

    T IoU thresholds, R recall thresholds, K categories (1 when class-agnostic), A area ranges,
    M detection limits.

    precision, scores: (T, R, K, A, M). recall: (T, K, A, M).
    stats: fractions in [0, 1], NaN where there is no ground truth (pycocotools prints -1) or the
        threshold was not evaluated: ap, ap50, ap75 and one ap per area range (aps, apm, apl) at
        the largest detection limit; ar at every limit (ar1, ar10, ar100); ars, arm, arl at the
        largest.
    category_ids: the categories along K, ascending; empty when class-agnostic.
    skipped: detections left out, by reason: "unknown-image", "unknown-category".
    """

    precision: FloatArray
    recall: FloatArray
    scores: FloatArray
    stats: dict[str, float]
    category_ids: tuple[int, ...]
    skipped: dict[str, int]


def evaluate(
    gts: Sequence[GroundTruth],
    dts: Sequence[Result],
    *,
    category_ids: Sequence[int],
    iou_type: IouType = "segm",
    iou_thresholds: FloatArray = COCO_IOU_THRESHOLDS,
    recall_thresholds: FloatArray = COCO_RECALL_THRESHOLDS,
    area_ranges: Sequence[AreaRange] = COCO_AREA_RANGES,
    max_dets: Sequence[int] = (1, 10, 100),
    use_cats: bool = True,
    det_area: DetArea | None = None,
) -> CocoResult:
    """Average precision and recall as `COCOeval(iouType).evaluate(); .accumulate()`.

    Args:
        gts: every image of the evaluation, in any order, also those without instances. The size
            bins use `Instance.area_px`; crowd instances are "ignore" and match repeatedly.
        dts: results; the order decides between equal scores, as in pycocotools.
        category_ids: the categories of the data set. Instances of others are left out.
        recall_thresholds: ascending.
        area_ranges: the first one must be the one that `ap` and `ar` are computed on.
        max_dets: limits per (image, category), or per image when class-agnostic.
        use_cats: False pools all categories, as for proposals (`useCats=0`).
        det_area: whose area puts an unmatched detection into a size bin. pycocotools silently
            takes the box's if the first result has a `bbox`. Default: mask for "segm", box for
            "bbox".

    Raises:
        DataError: a NaN score, a missing key, a corrupt mask or one whose size is not its
            image's; names the index of the result.
        UsageError: thresholds or limits that make no sense.
    """
    check_grid(recall_thresholds, max_dets)
    det_area = det_area or ("mask" if iou_type == "segm" else "box")
    images = image_table(gts)
    categories = unique_ids(category_ids, "category")
    truths = collect_truths(gts, images, categories, iou_type)
    detections, skipped = collect_detections(dts, images, categories, iou_type, det_area)
    limits = sorted(max_dets)
    result = curves(
        truths,
        detections,
        n_images=len(images.ids),
        n_categories=len(categories),
        use_cats=use_cats,
        iou_thresholds=np.asarray(iou_thresholds, np.float64),
        recall_thresholds=np.asarray(recall_thresholds, np.float64),
        area_ranges=area_ranges,
        max_dets=limits,
    )
    stats = precision_stats(result.precision[..., -1], iou_thresholds, area_ranges)
    for m, limit in enumerate(limits):
        stats[f"ar{limit}"] = mean_or_nan(result.recall[:, :, 0, m])
    for a, area_range in enumerate(area_ranges[1:], start=1):
        stats[f"ar{area_range.label[0]}"] = mean_or_nan(result.recall[:, :, a, -1])
    return CocoResult(
        precision=result.precision,
        recall=result.recall,
        scores=result.scores,
        stats=stats,
        category_ids=tuple(categories.tolist()) if use_cats else (),
        skipped=skipped,
    )


def evaluate_dataset(
    gts: Sequence[GroundTruth],
    dts: Sequence[Result],
    categories: Sequence[Category],
    *,
    det_area: DetArea = "mask",
    max_dets: int = 100,
) -> dict[str, float]:
    """Mask AP by COCO's rules: the `stats` of `evaluate` at limits 1, 10 and `max_dets`.

    `lvis_ap.evaluate_dataset` has the same signature, so that a caller chooses the rules only.
    """
    return evaluate(
        gts,
        dts,
        category_ids=[category.id for category in categories],
        det_area=det_area,
        max_dets=sorted({1, 10, max_dets}),
    ).stats


def precision_stats(
    precision: FloatArray, iou_thresholds: FloatArray, area_ranges: Sequence[AreaRange]
) -> dict[str, float]:
    """ap, ap50, ap75 and ap by area range, from (T, R, K, A) precision."""
    stats = {"ap": mean_or_nan(precision[:, :, :, 0])}
    for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
        at = np.isclose(iou_thresholds, threshold)
        stats[name] = mean_or_nan(precision[at][:, :, :, 0])
    for a, area_range in enumerate(area_ranges[1:], start=1):
        stats[f"ap{area_range.label[0]}"] = mean_or_nan(precision[:, :, :, a])
    return stats


def check_grid(recall_thresholds: FloatArray, max_dets: Sequence[int]) -> None:
    """Raises UsageError unless recalls ascend and every limit is at least 1."""
    if np.any(np.diff(recall_thresholds) < 0):
        raise UsageError("recall thresholds must ascend", fix="sort them")
    if not max_dets or min(max_dets) < 1:
        raise UsageError(f"detection limits must be at least 1, not {list(max_dets)}")


def unique_ids(ids: Sequence[int], what: str) -> IntArray:
    """Ascending array. Raises DataError naming an id that occurs twice."""
    array = np.sort(np.array(ids, np.int64))
    twice = array[1:][array[1:] == array[:-1]]
    if len(twice):
        raise DataError(f"{what} id {twice[0]} occurs twice")
    return array


@dataclass(frozen=True, slots=True)
class ImageTable:
    """The images of an evaluation: (I,) ascending `ids`, and (I, 2) `size_hw` in pixels."""

    ids: IntArray
    size_hw: IntArray


def image_table(gts: Sequence[GroundTruth]) -> ImageTable:
    """Raises DataError naming an image that occurs twice."""
    ids = unique_ids([truth.image_id for truth in gts], "image")
    sizes = {truth.image_id: truth.size_hw for truth in gts}
    return ImageTable(ids, np.array([sizes[i] for i in ids.tolist()], np.int64).reshape(-1, 2))


def index_of(ids: IntArray, values: IntArray) -> tuple[IntArray, BoolArray]:
    """Position of every value in the ascending `ids`, and whether it is there at all."""
    position = np.minimum(np.searchsorted(ids, values), max(len(ids) - 1, 0))
    known = ids[position] == values if len(ids) else np.zeros(len(values), np.bool_)
    return position, known


def collect_truths(
    gts: Sequence[GroundTruth],
    images: ImageTable,
    categories: IntArray,
    iou_type: IouType,
) -> Truths:
    """Columns of all instances of known categories. Raises DataError naming a corrupt mask."""
    known = set(categories.tolist())
    instances = [i for t in gts for i in t.instances if i.category_id in known]
    image_ids = [t.image_id for t in gts for i in t.instances if i.category_id in known]
    n = len(instances)
    image, _ = index_of(images.ids, np.array(image_ids, np.int64))
    category, _ = index_of(categories, np.fromiter((i.category_id for i in instances), np.int64, n))
    shapes: Shapes
    if iou_type == "segm":
        shapes = _unpack([i.rle for i in instances], lambda i: f"annotation {instances[i].id}")
        _check_sizes(shapes, image, images, lambda i: f"annotation {instances[i].id}")
    else:
        shapes = np.array([i.bbox_xywh for i in instances], np.float64).reshape(n, 4)
    crowd = np.fromiter((i.iscrowd for i in instances), np.bool_, n)
    return Truths(
        image=image,
        category=category,
        area_px=np.fromiter((i.area_px for i in instances), np.float64, n),
        crowd=crowd,
        ignore=crowd,
        shapes=shapes,
    )


def collect_detections(
    dts: Sequence[Result],
    images: ImageTable,
    categories: IntArray,
    iou_type: IouType,
    det_area: DetArea,
    keep: BoolArray | None = None,
) -> tuple[Detections, dict[str, int]]:
    """Columns of the detections of known images and categories, and how many were not.

    `keep` (D,) leaves out further results before their masks are read.

    Raises:
        DataError: see `evaluate`.
    """
    image_id = image_ids_of(dts)
    category_id = _column(dts, "category_id", np.int64)
    score = scores_of(dts)
    image, in_images = index_of(images.ids, image_id)
    category, in_categories = index_of(categories, category_id)
    wanted = np.ones(len(dts), np.bool_) if keep is None else keep
    skipped = {
        "unknown-image": int(np.count_nonzero(wanted & ~in_images)),
        "unknown-category": int(np.count_nonzero(wanted & in_images & ~in_categories)),
    }
    rows = np.flatnonzero(wanted & in_images & in_categories)
    image, category, score = image[rows], category[rows], score[rows]

    def name(i: int) -> str:
        return f"result {rows[i]} (image {image_id[rows[i]]})"

    masks: rle.RunTable | None = None
    boxes: FloatArray | None = None
    if iou_type == "segm" or det_area == "mask":
        masks = _unpack([_get(dts, i, "segmentation") for i in rows.tolist()], name)
        _check_sizes(masks, image, images, name)
    if iou_type == "bbox" or det_area == "box":
        boxes = _boxes([_get(dts, i, "bbox") for i in rows.tolist()], name)
    shapes: Shapes | None = masks if iou_type == "segm" else boxes
    assert shapes is not None
    if det_area == "mask":
        assert masks is not None
        area = masks.area_px.astype(np.float64)
    else:
        assert boxes is not None
        area = boxes[:, 2] * boxes[:, 3]
    forgiven = np.zeros(len(rows), np.bool_)
    return Detections(image, category, score, area, forgiven, shapes), skipped


def image_ids_of(dts: Sequence[Result]) -> IntArray:
    """(D,). Raises DataError naming a result without one."""
    return _column(dts, "image_id", np.int64)


def scores_of(dts: Sequence[Result]) -> FloatArray:
    """(D,). Raises DataError naming a result without a score, or with NaN."""
    score = _column(dts, "score", np.float64)
    nan = np.flatnonzero(np.isnan(score))
    if len(nan):
        raise DataError(f"result {nan[0]} has a score of NaN")
    return score


def _column(dts: Sequence[Result], key: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """One number of every result."""
    try:
        return np.fromiter((d[key] for d in dts), dtype, len(dts))
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    for i, d in enumerate(dts):
        try:
            np.fromiter([d[key]], dtype, 1)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"result {i} has no usable {key!r}: {d!r:.80}") from error
    raise AssertionError("every value was usable on its own")


def _get(dts: Sequence[Result], i: int, key: str) -> Any:
    try:
        return dts[i][key]
    except KeyError:
        raise DataError(f"result {i} has no {key!r}; its keys are {sorted(dts[i])}") from None


def _boxes(values: list[Any], name: Callable[[int], str]) -> FloatArray:
    for i, value in enumerate(values):
        if not isinstance(value, Sequence | np.ndarray) or len(value) != 4:
            raise DataError(f"{name(i)} has a bbox that is not x, y, w, h: {value!r:.60}")
    boxes = np.array(values, np.float64).reshape(len(values), 4)
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(bad):
        raise DataError(f"{name(int(bad[0]))} has a bbox that is not finite")
    return boxes


def _unpack(rles: list[Any], name: Callable[[int], str]) -> rle.RunTable:
    try:
        return rle.unpack(rles)
    except rle.CorruptMaskError as error:
        raise DataError(f"{name(error.index)}: {error.message}") from error


def _check_sizes(
    masks: rle.RunTable,
    image: IntArray,
    images: ImageTable,
    name: Callable[[int], str],
) -> None:
    unequal = np.flatnonzero((masks.size_hw != images.size_hw[image]).any(axis=1))
    if len(unequal):
        i = int(unequal[0])
        raise DataError(
            f"{name(i)}: the mask is {masks.size_hw[i].tolist()} (h, w), "
            f"the image {images.size_hw[image[i]].tolist()}"
        )
