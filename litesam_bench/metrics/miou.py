"""Mean IoU over instances: the mean, size bins, per-image mean and a bootstrap interval; and
EdgeSAM's resampled ground truth.

Values are fractions in [0, 1]; tables multiply by 100. Sources: the evaluation scripts of
EfficientViT-SAM (bins, epsilon) and EdgeSAM (`evaluation/eval_mIoU.py`: NaN rule, ground truth).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics.rle import BoolMask, IntArray
from litesam_bench.types import FloatArray

AreaBins = Literal["inclusive-both", "coco", "half-open"]
EmptyUnion = Literal["drop", "zero"]

SMALL_PX = 32.0**2
LARGE_PX = 96.0**2
RESAMPLES = 1000
# Images are drawn in blocks of this many resamples, which bounds memory. Part of the random stream.
_BLOCK = 50


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """IoU of one instance. `iou` is NaN where prediction and truth are both empty and the protocol
    adds no epsilon. `area_px` is the annotation's own area, which decides the bin."""

    image_id: int
    ann_id: int
    area_px: float
    iou: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and the number of terms in it; NaN over nothing."""

    value: float
    n: int


@dataclass(frozen=True, slots=True)
class MeanIoU:
    """All values are fractions in [0, 1].

    all, small, medium, large: mean over instances.
    per_image: mean over images of the image's mean; `n` counts images.
    low, high: 95 % interval of `all`, see `bootstrap_interval`.
    dropped: instances left out because their IoU was NaN.
    """

    all: Mean
    small: Mean
    medium: Mean
    large: Mean
    per_image: Mean
    low: float
    high: float
    dropped: int


def mean_iou(
    scores: Iterable[InstanceScore],
    *,
    area_bins: AreaBins = "inclusive-both",
    empty_union: EmptyUnion = "drop",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanIoU:
    """Average instance IoUs. The result does not depend on the order of `scores`.

    Args:
        area_bins: "inclusive-both" (EfficientViT-SAM): small is area <= 32^2, medium 32^2..96^2,
            large >= 96^2, so that an instance of exactly 1024 or 9216 px is in two bins; "coco":
            the ranges of COCOeval, the same but for instances above 1e10 px, which are in none;
            "half-open": every instance is in one bin, a bound belongs to the larger.
        empty_union: what a NaN IoU becomes: left out and counted (EdgeSAM), or 0, which is what
            an epsilon in the denominator makes of it (EfficientViT-SAM).
        resamples, seed: of the bootstrap, see `bootstrap_interval`.

    Raises:
        DataError: an instance is scored twice, or an IoU is outside [0, 1].
    """
    ordered = sorted(scores, key=lambda s: (s.image_id, s.ann_id))
    for a, b in pairwise(ordered):
        if (a.image_id, a.ann_id) == (b.image_id, b.ann_id):
            raise DataError(f"annotation {a.ann_id} of image {a.image_id} is scored twice")
    iou = np.array([s.iou for s in ordered], np.float64)
    wrong = np.flatnonzero((iou < 0) | (iou > 1))
    if len(wrong):
        s = ordered[int(wrong[0])]
        raise DataError(f"annotation {s.ann_id} of image {s.image_id} has an IoU of {s.iou}")
    empty = np.isnan(iou)
    if empty_union == "zero":
        iou[empty] = 0.0
        empty = np.zeros_like(empty)
    iou = iou[~empty]
    area = np.array([s.area_px for s in ordered], np.float64)[~empty]
    image = np.array([s.image_id for s in ordered], np.int64)[~empty]

    _, index = np.unique(image, return_inverse=True)
    sums = np.bincount(index, weights=iou).astype(np.float64)
    counts = np.bincount(index)
    small, medium, large = _bins(area, area_bins)
    low, high = bootstrap_interval(sums, counts, resamples=resamples, seed=seed)
    return MeanIoU(
        all=_mean(iou),
        small=_mean(iou[small]),
        medium=_mean(iou[medium]),
        large=_mean(iou[large]),
        per_image=_mean(sums / counts),
        low=low,
        high=high,
        dropped=int(np.count_nonzero(empty)),
    )


def _mean(values: FloatArray) -> Mean:
    return Mean(float(np.mean(values)) if values.size else float("nan"), int(values.size))


def _bins(area: FloatArray, rule: AreaBins) -> tuple[BoolMask, BoolMask, BoolMask]:
    if rule == "half-open":
        small, large = area < SMALL_PX, area >= LARGE_PX
        return small, ~small & ~large, large
    if rule not in ("inclusive-both", "coco"):
        raise UsageError(f"no area bins {rule!r}", fix="use inclusive-both, coco or half-open")
    highest = 1e5**2 if rule == "coco" else np.inf
    medium = (area >= SMALL_PX) & (area <= LARGE_PX)
    return area <= SMALL_PX, medium, (area >= LARGE_PX) & (area <= highest)


def bootstrap_interval(
    sums: FloatArray, counts: IntArray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of an instance mean, resampling whole images.

    Instances of one image are not independent, so the image is the unit that is drawn (cluster
    bootstrap): as many images as there are, with replacement; the statistic is the sum of their
    IoUs over the number of their instances. PCG64 from `seed`: the same input gives the same bits.

    Args:
        sums: (I,) sum of the IoUs of every image, in ascending order of image id.
        counts: (I,) instances of every image, all at least 1.

    Returns:
        Low and high end; NaN without images.
    """
    n = len(sums)
    if n == 0 or resamples == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        drawn = rng.integers(0, n, size=(min(_BLOCK, resamples - start), n))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


# ------------------------------------------------------------------- EdgeSAM's resampled truth


def gt_roundtrip(mask: BoolMask, long_side: int = 1024) -> BoolMask:
    """Ground truth as EdgeSAM scores it: nearest to the network frame, bilinear back, > 0.

    The (H, W) mask is resized with nearest neighbours so that its longer side is `long_side` px,
    and back with bilinear interpolation; every pixel that foreground contributes to becomes
    foreground, which dilates the mask a little. Equal to `torch.nn.functional.interpolate` in
    float32 (mode "nearest", then "bilinear" with `align_corners=False`). Since only "more than
    nothing" is asked for, no sums are needed: a pixel is set if a source with non-zero weight is.

    Returns:
        (H, W) bool.
    """
    h, w = mask.shape
    scale = long_side / max(h, w)
    frame_h, frame_w = int(h * scale + 0.5), int(w * scale + 0.5)
    frame = mask.astype(np.bool_)[_nearest(h, frame_h)][:, _nearest(w, frame_w)]
    low, high, high_counts = _bilinear(frame_h, h)
    rows = frame[low] | (frame[high] & high_counts[:, None])
    low, high, high_counts = _bilinear(frame_w, w)
    out: BoolMask = rows[:, low] | (rows[:, high] & high_counts[None, :])
    return out


def _nearest(n_in: int, n_out: int) -> npt.NDArray[np.intp]:
    """Source index of every output index: floor(i * n_in / n_out), in float32 as torch does."""
    scale = np.float32(n_in) / np.float32(n_out)
    source = np.floor(np.arange(n_out, dtype=np.float32) * scale).astype(np.intp)
    nearest: npt.NDArray[np.intp] = np.minimum(source, n_in - 1)
    return nearest


def _bilinear(n_in: int, n_out: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], BoolMask]:
    """Lower and upper source of every output index, and whether the upper one has any weight.

    The lower one always has: its weight is 1 minus a fraction below 1.
    """
    scale = np.float32(n_in) / np.float32(n_out)
    half = np.float32(0.5)
    source = np.maximum(scale * (np.arange(n_out, dtype=np.float32) + half) - half, np.float32(0))
    low = np.minimum(np.floor(source).astype(np.intp), n_in - 1)
    return low, np.minimum(low + 1, n_in - 1), source > low
