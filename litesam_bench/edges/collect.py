"""From counts to ODS, OIS, AP and R50, as `collect_eval_bdry.m` of the official benchmark.

R50 is not in the official code; it is that of Dollar's structured-edge toolbox (`edgesEvalDir`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageCounts:
    """Pixels of one image at each of T thresholds, (T,) int64 each.

    truth, truth_matched: summed over annotators.
    detected: pixels of the thinned map; detected_matched: those that any annotator's pixel claims,
        each counted once.
    """

    image_id: str
    truth: IntArray
    truth_matched: IntArray
    detected: IntArray
    detected_matched: IntArray


@dataclass(frozen=True)
class Point:
    """An operating point. `threshold` is None where images have their own."""

    recall: float
    precision: float
    f: float
    threshold: float | None = None


@dataclass(frozen=True)
class Scores:
    """The benchmark's numbers.

    curve: (T, 4) threshold, recall, precision, F over the whole data set.
    per_image: each image's best interpolated point, in the order of the counts.
    """

    ods: Point
    ois: Point
    ap: float
    r50: float
    curve: FloatArray
    per_image: dict[str, Point]


def thresholds_of(count: int) -> FloatArray:
    """`count` thresholds at equal distances inside (0, 1): k / 100 for the usual 99.

    Rounded as MATLAB's `linspace` does, because 8-bit maps hit thresholds exactly (51/255 = 0.2).
    """
    low, high = 1 / (count + 1), 1 - 1 / (count + 1)
    if count == 1:
        return np.array([high])
    values = low + np.arange(count) * (high - low) / (count - 1)
    values[-1] = high
    return values


def collect(counts: Sequence[ImageCounts], thresholds: FloatArray) -> Scores:
    """Scores of a data set from the counts of its images.

    Args:
        counts: at least one image, all with T counts.
        thresholds: (T,) ascending.
    """
    assert counts, "no image was evaluated"
    totals = [
        np.sum([getattr(c, name) for c in counts], axis=0)
        for name in ("truth_matched", "truth", "detected_matched", "detected")
    ]
    recall, precision = _ratio(totals[0], totals[1]), _ratio(totals[2], totals[3])
    best_sums = np.zeros(4)
    per_image = {}
    for c in counts:
        own_recall = _ratio(c.truth_matched, c.truth)
        own_precision = _ratio(c.detected_matched, c.detected)
        per_image[c.image_id] = best_point(thresholds, own_recall, own_precision)
        k = int(np.argmax(f_measure(own_recall, own_precision)))
        best_sums += (c.truth_matched[k], c.truth[k], c.detected_matched[k], c.detected[k])
    ois_recall = float(_ratio(best_sums[0], best_sums[1]))
    ois_precision = float(_ratio(best_sums[2], best_sums[3]))
    return Scores(
        ods=best_point(thresholds, recall, precision),
        ois=Point(ois_recall, ois_precision, float(f_measure(ois_recall, ois_precision))),
        ap=area_under_curve(recall, precision),
        r50=recall_at_half_precision(recall, precision),
        curve=np.stack([thresholds, recall, precision, f_measure(recall, precision)], axis=1),
        per_image=per_image,
    )


def f_measure(recall: npt.ArrayLike, precision: npt.ArrayLike) -> FloatArray:
    """Harmonic mean; 0 where both are 0."""
    r, p = np.asarray(recall, np.float64), np.asarray(precision, np.float64)
    total = r + p
    f: FloatArray = 2 * p * r / (total + (total == 0))
    return f


def best_point(thresholds: FloatArray, recall: FloatArray, precision: FloatArray) -> Point:
    """The highest F on the curve, 100 steps between neighbouring thresholds; the first on ties.

    Threshold, recall and precision are interpolated linearly, F is computed from them.
    """
    step = np.linspace(0, 1, 100)

    def between(values: FloatArray) -> FloatArray:
        if len(values) == 1:
            return values
        fine: FloatArray = (values[1:, None] * step + values[:-1, None] * (1 - step)).ravel()
        return fine

    t, r, p = between(thresholds), between(recall), between(precision)
    f = f_measure(r, p)
    k = int(np.argmax(f))
    return Point(float(r[k]), float(p[k]), float(f[k]), float(t[k]))


def area_under_curve(recall: FloatArray, precision: FloatArray) -> float:
    """AP: precision at recall 0, 0.01, ..., 1; linear between the curve's points, 0 beyond."""
    known, first = np.unique(recall, return_index=True)
    if len(known) < 2:
        return 0.0
    at = np.arange(101) / 100
    return float(np.interp(at, known, precision[first], left=0, right=0).sum() * 0.01)


def recall_at_half_precision(recall: FloatArray, precision: FloatArray) -> float:
    """R50: recall at precision 0.5, or at the lowest precision if all are higher.

    0 where the curve never reaches precision 0.5 (the toolbox gives NaN there). As in the toolbox,
    points are taken by ascending precision, so on a curve that is not monotone R50 may jump.
    """
    known, first = np.unique(precision, return_index=True)
    at = max(known[0], 0.5)
    return 0.0 if at > known[-1] else float(np.interp(at, known, recall[first]))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> FloatArray:
    """part / whole; 0 where whole is 0."""
    p, w = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio: FloatArray = p / (w + (w == 0))
    return ratio
