"""Greedy matching and precision-recall curves: what COCO AP and LVIS AP have in common.

`coco_ap.py` and `lvis_ap.py` turn their inputs and rules into `Truths` and `Detections`; this
module does the arithmetic of `COCOeval.evaluateImg` and `COCOeval.accumulate` (pycocotools), bit
for bit, over ragged arrays:

1. sort the detections by (category, image, falling score) and keep the best of each group;
2. for every (category, image) that has both ground truth and detections: IoU, then greedy matching
   at every area range and threshold, in one compiled pass that keeps only one group's IoU matrix;
3. for every category, area range and detection limit: the interpolated precision.

One difference is deliberate: matches are kept as indices. pycocotools keeps annotation ids and
takes id 0 for "no match", so that there an annotation with id 0 can never be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from litesam_bench.metrics._jit import kernel
from litesam_bench.metrics.rle import ByteArray, IntArray, RunArray, RunTable, intersection_px
from litesam_bench.types import FloatArray

BoolArray = npt.NDArray[np.bool_]
Shapes: TypeAlias = RunTable | FloatArray
"""Masks, or (N, 4) float64 boxes as x, y, w, h."""

# pycocotools caps the threshold so that an IoU of 1 still passes a threshold of 1.
_HIGHEST_THRESHOLD = 1 - 1e-10
_FALSE_POSITIVE, _TRUE_POSITIVE, _IGNORED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class AreaRange:
    """Object areas counted under `label`: lo_px <= area <= hi_px, both ends included."""

    label: str
    lo_px: float
    hi_px: float


COCO_AREA_RANGES = (
    AreaRange("all", 0, 1e5**2),
    AreaRange("small", 0, 32**2),
    AreaRange("medium", 32**2, 96**2),
    AreaRange("large", 96**2, 1e5**2),
)
COCO_IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
COCO_RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Truths:
    """G ground truths. `image` and `category` are indices, not ids.

    crowd: may be matched any number of times, and IoU is intersection over the detection's area.
    ignore: a detection matched to it is neither right nor wrong.
    """

    image: IntArray
    category: IntArray
    area_px: FloatArray
    crowd: BoolArray
    ignore: BoolArray
    shapes: Shapes


@dataclass(frozen=True, slots=True)
class Detections:
    """D detections in the order that decides ties. `image` and `category` are indices.

    forgiven: unmatched, it is ignored instead of wrong (LVIS's not-exhaustive categories).
    """

    image: IntArray
    category: IntArray
    score: FloatArray
    area_px: FloatArray
    forgiven: BoolArray
    shapes: Shapes

    def take(self, rows: IntArray) -> Detections:
        """Those rows, in that order."""
        shapes = self.shapes
        return Detections(
            image=self.image[rows],
            category=self.category[rows],
            score=self.score[rows],
            area_px=self.area_px[rows],
            forgiven=self.forgiven[rows],
            shapes=shapes.take(rows) if isinstance(shapes, RunTable) else shapes[rows],
        )


@dataclass(frozen=True, slots=True)
class Curves:
    """COCO's result arrays; -1 where a category has no ground truth in the area range.

    precision: (T, R, K, A, M) interpolated precision at each recall threshold.
    scores: (T, R, K, A, M) the score at which that recall is reached, 0 where it is not.
    recall: (T, K, A, M) the highest recall.
    """

    precision: FloatArray
    scores: FloatArray
    recall: FloatArray


# ------------------------------------------------------------------------------------- matching


@kernel
def _match_group(
    iou: FloatArray, truths: IntArray, n_dt: int, first_dt: int, crowd: BoolArray,
    ignore: BoolArray, thresholds: FloatArray, outcome: ByteArray,
) -> None:  # fmt: skip
    """Match the detections first_dt .. first_dt + n_dt to the truths of one (category, image).

    iou: (n_dt, n_gt) scratch, rows in falling score.
    truths: (n_gt,) rows of `crowd` (G,) and `ignore` (A, G).
    outcome: (A, T, D); only matched detections are written.
    """
    n_gt = len(truths)
    order = np.empty(n_gt, np.int64)
    taken = np.empty(n_gt, np.bool_)
    for a in range(outcome.shape[0]):
        n_real = 0  # truths that count come first, in their own order
        for g in range(n_gt):
            if not ignore[a, truths[g]]:
                order[n_real] = g
                n_real += 1
        position = n_real
        for g in range(n_gt):
            if ignore[a, truths[g]]:
                order[position] = g
                position += 1
        for t in range(len(thresholds)):
            taken[:] = False
            lowest = min(thresholds[t], _HIGHEST_THRESHOLD)
            for d in range(n_dt):
                best = lowest
                match = -1
                for position in range(n_gt):
                    g = order[position]
                    if position == n_real and match >= 0:
                        break  # a real match is never given up for an ignored one
                    if taken[g] and not crowd[truths[g]]:
                        continue
                    if iou[d, g] < best:
                        continue
                    best = iou[d, g]  # equal IoU: the later truth wins
                    match = g
                if match >= 0:
                    taken[match] = True
                    ignored = ignore[a, truths[match]]
                    outcome[a, t, first_dt + d] = _IGNORED if ignored else _TRUE_POSITIVE


@kernel
def _match_masks(
    groups: IntArray, gt_rows: IntArray, dt_rows: IntArray,
    gt_runs: RunArray, gt_starts: IntArray, gt_ends: IntArray,
    gt_area: IntArray, gt_extent: IntArray,
    dt_runs: RunArray, dt_starts: IntArray, dt_ends: IntArray,
    dt_area: IntArray, dt_extent: IntArray,
    crowd: BoolArray, ignore: BoolArray, thresholds: FloatArray, outcome: ByteArray,
) -> None:  # fmt: skip
    """IoU and matching of every group; `groups` is (n, 4): ranges into gt_rows and dt_rows."""
    for n in range(len(groups)):
        g0, g1 = groups[n, 0], groups[n, 1]
        d0, d1 = groups[n, 2], groups[n, 3]
        truths = gt_rows[g0:g1]
        iou = np.zeros((d1 - d0, g1 - g0))
        for i in range(d1 - d0):
            d = dt_rows[d0 + i]
            for j in range(g1 - g0):
                g = truths[j]
                if (
                    dt_extent[d, 0] >= gt_extent[g, 2]
                    or gt_extent[g, 0] >= dt_extent[d, 2]
                    or dt_extent[d, 1] >= gt_extent[g, 3]
                    or gt_extent[g, 1] >= dt_extent[d, 3]
                ):
                    continue
                inter = intersection_px(
                    dt_runs, dt_starts[d], dt_ends[d],
                    gt_runs, gt_starts[g], gt_ends[g],
                )  # fmt: skip
                if inter > 0:
                    union = dt_area[d] if crowd[g] else dt_area[d] + gt_area[g] - inter
                    iou[i, j] = inter / union
        _match_group(iou, truths, d1 - d0, d0, crowd, ignore, thresholds, outcome)


@kernel
def _match_boxes(
    groups: IntArray, gt_rows: IntArray, dt_rows: IntArray, gt_boxes: FloatArray,
    dt_boxes: FloatArray, crowd: BoolArray, ignore: BoolArray, thresholds: FloatArray,
    outcome: ByteArray,
) -> None:  # fmt: skip
    """As `_match_masks`, for (N, 4) boxes x, y, w, h."""
    for n in range(len(groups)):
        g0, g1 = groups[n, 0], groups[n, 1]
        d0, d1 = groups[n, 2], groups[n, 3]
        truths = gt_rows[g0:g1]
        iou = np.zeros((d1 - d0, g1 - g0))
        for i in range(d1 - d0):
            a = dt_boxes[dt_rows[d0 + i]]
            for j in range(g1 - g0):
                b = gt_boxes[truths[j]]
                w = min(a[2] + a[0], b[2] + b[0]) - max(a[0], b[0])
                h = min(a[3] + a[1], b[3] + b[1]) - max(a[1], b[1])
                if w <= 0 or h <= 0:
                    continue
                inter = w * h
                union = a[2] * a[3] if crowd[truths[j]] else a[2] * a[3] + b[2] * b[3] - inter
                iou[i, j] = inter / union
        _match_group(iou, truths, d1 - d0, d0, crowd, ignore, thresholds, outcome)


# --------------------------------------------------------------------------------- accumulation


@kernel
def _accumulate(
    outcome: ByteArray, order: IntArray, category_starts: IntArray, rank: IntArray,
    score: FloatArray, n_truths: IntArray, recall_thresholds: FloatArray, max_dets: IntArray,
    precision: FloatArray, scores: FloatArray, recall: FloatArray,
) -> None:  # fmt: skip
    """Precision-recall curves of every category, area range, threshold and detection limit."""
    A, T, _ = outcome.shape
    eps = np.spacing(1.0)
    chosen = np.empty(len(order), np.int64)
    envelope = np.empty(len(order))
    reached = np.empty(len(order))
    for k in range(len(category_starts) - 1):
        for m in range(len(max_dets)):
            n = 0
            for i in range(category_starts[k], category_starts[k + 1]):
                if rank[order[i]] < max_dets[m]:
                    chosen[n] = order[i]
                    n += 1
            for a in range(A):
                if n_truths[k, a] == 0:
                    continue
                for t in range(T):
                    tp = 0.0
                    fp = 0.0
                    for i in range(n):
                        state = outcome[a, t, chosen[i]]
                        if state == _TRUE_POSITIVE:
                            tp += 1.0
                        elif state == _FALSE_POSITIVE:
                            fp += 1.0
                        reached[i] = tp / n_truths[k, a]
                        envelope[i] = tp / (fp + tp + eps)
                    recall[t, k, a, m] = reached[n - 1] if n else 0.0
                    for i in range(n - 1, 0, -1):
                        envelope[i - 1] = max(envelope[i - 1], envelope[i])
                    i = 0
                    for r in range(len(recall_thresholds)):
                        while i < n and reached[i] < recall_thresholds[r]:
                            i += 1
                        precision[t, r, k, a, m] = envelope[i] if i < n else 0.0
                        scores[t, r, k, a, m] = score[chosen[i]] if i < n else 0.0


def curves(
    truths: Truths,
    detections: Detections,
    *,
    n_images: int,
    n_categories: int,
    use_cats: bool,
    iou_thresholds: FloatArray,
    recall_thresholds: FloatArray,
    area_ranges: Sequence[AreaRange],
    max_dets: Sequence[int],
) -> Curves:
    """Match and accumulate.

    Args:
        use_cats: False puts all categories into one (K = 1); they still decide ties, since
            pycocotools then lists an image's objects category by category.
        recall_thresholds: (R,) ascending.
        max_dets: M limits per (image, category), ascending; the last one also bounds matching.

    Returns:
        Curves with T thresholds, R recalls, K categories, A area ranges and M limits.
    """
    T, R, K = len(iou_thresholds), len(recall_thresholds), n_categories if use_cats else 1
    A, M = len(area_ranges), len(max_dets)
    lo = np.array([r.lo_px for r in area_ranges], np.float64)[:, None]
    hi = np.array([r.hi_px for r in area_ranges], np.float64)[:, None]

    gt_class = truths.category if use_cats else np.zeros_like(truths.category)
    dt_class = detections.category if use_cats else np.zeros_like(detections.category)
    # The sorts are stable, as pycocotools' are: equal scores keep the order of the input.
    dt_rows = np.lexsort((detections.category, -detections.score, detections.image, dt_class))
    dt_key = (dt_class * n_images + detections.image)[dt_rows]
    rank = np.arange(len(dt_key)) - np.searchsorted(dt_key, dt_key)
    kept = rank < max_dets[-1]
    dt_rows, dt_key, rank = dt_rows[kept], dt_key[kept], rank[kept]
    gt_rows = np.lexsort((truths.category, truths.image, gt_class))
    gt_key = (gt_class * n_images + truths.image)[gt_rows]

    ignore = truths.ignore | (truths.area_px < lo) | (truths.area_px > hi)  # (A, G)
    area = detections.area_px[dt_rows]
    outside = detections.forgiven[dt_rows] | (area < lo) | (area > hi)  # (A, D)
    outcome = np.empty((A, T, len(dt_rows)), np.uint8)
    outcome[:] = np.where(outside, _IGNORED, _FALSE_POSITIVE)[:, None, :]
    groups = _shared_groups(gt_key, dt_key)
    gt, dt = truths.shapes, detections.shapes
    if isinstance(gt, RunTable) and isinstance(dt, RunTable):
        _match_masks(
            groups, gt_rows, dt_rows,
            gt.runs, gt.starts, gt.ends, gt.area_px, gt.extent,
            dt.runs, dt.starts, dt.ends, dt.area_px, dt.extent,
            truths.crowd, ignore, iou_thresholds, outcome,
        )  # fmt: skip
    else:
        assert isinstance(gt, np.ndarray)
        assert isinstance(dt, np.ndarray)
        _match_boxes(
            groups, gt_rows, dt_rows, gt, dt, truths.crowd, ignore, iou_thresholds, outcome
        )

    n_truths = np.zeros((K, A), np.int64)
    for a in range(A):
        n_truths[:, a] = np.bincount(gt_class[~ignore[a]], minlength=K)
    dt_class, score = dt_class[dt_rows], detections.score[dt_rows]
    order = np.lexsort((-score, dt_class))
    result = Curves(
        precision=np.full((T, R, K, A, M), -1.0),
        scores=np.full((T, R, K, A, M), -1.0),
        recall=np.full((T, K, A, M), -1.0),
    )
    _accumulate(
        outcome, order, np.searchsorted(dt_class, np.arange(K + 1)), rank, score, n_truths,
        recall_thresholds, np.array(max_dets, np.int64),
        result.precision, result.scores, result.recall,
    )  # fmt: skip
    return result


def _shared_groups(gt_key: IntArray, dt_key: IntArray) -> IntArray:
    """(n, 4) ranges [g0, g1, d0, d1) of the keys that occur in both sorted arrays."""
    keys = np.intersect1d(gt_key, dt_key)
    return np.stack(
        [
            np.searchsorted(gt_key, keys, "left"),
            np.searchsorted(gt_key, keys, "right"),
            np.searchsorted(dt_key, keys, "left"),
            np.searchsorted(dt_key, keys, "right"),
        ],
        axis=1,
    )


def mean_or_nan(values: FloatArray) -> float:
    """Mean of the entries that are not -1; NaN where pycocotools prints -1, when there is none."""
    valid = values[values > -1]
    return float(np.mean(valid)) if valid.size else float("nan")
