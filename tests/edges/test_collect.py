"""Collection equals the official definitions, given the same counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litesam_bench.edges.collect import (
    ImageCounts,
    area_under_curve,
    best_point,
    collect,
    f_measure,
    recall_at_half_precision,
    thresholds_of,
)


def random_counts(rng: np.random.Generator, n_images: int, n: int) -> list[ImageCounts]:
    counts = []
    for i in range(n_images):
        truth = np.full(n, rng.integers(1, 5000))
        detected = np.sort(rng.integers(0, 6000, n))[::-1]
        counts.append(
            ImageCounts(
                f"{i}", truth, rng.integers(0, truth + 1), detected, rng.integers(0, detected + 1)
            )
        )
    return counts


def f_of(r: float, p: float) -> float:
    return 2 * p * r / (p + r) if p + r else 0.0


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def test_against_a_plain_transcription_of_the_definitions() -> None:
    """Loops and scalars only, pixel sums over images first."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 99):
        counts, thresholds = random_counts(rng, 4, n), thresholds_of(n)
        recall, precision = [], []
        for t in range(n):
            recall.append(
                ratio(sum(c.truth_matched[t] for c in counts), sum(c.truth[t] for c in counts))
            )
            precision.append(
                ratio(
                    sum(c.detected_matched[t] for c in counts), sum(c.detected[t] for c in counts)
                )
            )
        best = (f_of(recall[0], precision[0]), thresholds[0])
        for t in range(1, n):
            for k in range(100):
                d = k / 99
                r = recall[t] * d + recall[t - 1] * (1 - d)
                p = precision[t] * d + precision[t - 1] * (1 - d)
                if f_of(r, p) > best[0] + 1e-15:
                    best = (f_of(r, p), thresholds[t] * d + thresholds[t - 1] * (1 - d))
        sums = [0, 0, 0, 0]
        for c in counts:
            own = [
                f_of(
                    ratio(c.truth_matched[t], c.truth[t]),
                    ratio(c.detected_matched[t], c.detected[t]),
                )
                for t in range(n)
            ]
            k = own.index(max(own))
            for s, values in enumerate((c.truth_matched, c.truth, c.detected_matched, c.detected)):
                sums[s] += int(values[k])
        scores = collect(counts, thresholds)
        assert scores.ods.f == pytest.approx(best[0], abs=1e-12)
        assert scores.ods.threshold == pytest.approx(best[1], abs=1e-9)
        assert scores.ois.recall == pytest.approx(ratio(sums[0], sums[1]), abs=1e-12)
        assert scores.ois.precision == pytest.approx(ratio(sums[2], sums[3]), abs=1e-12)
        assert scores.curve[:, 1] == pytest.approx(recall, abs=1e-12)
        assert set(scores.per_image) == {"0", "1", "2", "3"}


@pytest.mark.data
def test_the_official_curve_gives_the_official_summary(data_root: Path) -> None:
    """The benchmark's own per-threshold file to its own summary, to the six digits printed."""
    folder = data_root / "bsds500" / "bench" / "test_2"
    threshold, recall, precision, f = np.loadtxt(folder / "eval_bdry_thr.txt").T
    summary = np.loadtxt(folder / "eval_bdry.txt")
    best = best_point(threshold, recall, precision)
    assert (best.threshold, best.recall, best.precision, best.f) == pytest.approx(
        summary[:4], abs=1e-6
    )
    assert area_under_curve(recall, precision) == pytest.approx(summary[7], abs=1e-6)
    assert f_measure(recall, precision) == pytest.approx(f, abs=1e-6)


def test_interpolation_between_thresholds_by_hand() -> None:
    """(R, P) from (1, 0.2) to (0.2, 1): the best F is in the middle, where both are 0.6."""
    best = best_point(np.array([0.1, 0.3]), np.array([1, 0.2]), np.array([0.2, 1]))
    assert best.f == pytest.approx(0.6, abs=1e-4)
    assert best.threshold == pytest.approx(0.2, abs=2e-3)


def test_area_by_hand() -> None:
    """P = 0.8 from R = 0.25 to 0.75: 51 of the 101 recalls."""
    recall, precision = np.array([0.75, 0.25]), np.array([0.8, 0.8])
    assert area_under_curve(recall, precision) == pytest.approx(0.8 * 51 * 0.01, abs=1e-12)
    assert area_under_curve(np.array([0.5, 0.5]), np.array([0.1, 0.9])) == 0


def test_r50_by_hand() -> None:
    assert recall_at_half_precision(np.array([0.9, 0.5]), np.array([0.4, 0.6])) == pytest.approx(
        0.7
    )
    # never below 0.5: the recall at the lowest precision
    assert recall_at_half_precision(np.array([0.9, 0.5]), np.array([0.7, 0.8])) == pytest.approx(
        0.9
    )
    # never above
    assert recall_at_half_precision(np.array([0.9, 0.5]), np.array([0.1, 0.2])) == 0


def test_nothing_detected_and_nothing_to_find() -> None:
    zero = np.zeros(3, np.int64)
    scores = collect([ImageCounts("a", zero, zero, zero, zero)], thresholds_of(3))
    assert (scores.ods.f, scores.ois.f, scores.ap, scores.r50) == (0, 0, 0, 0)
    assert not np.isnan(scores.curve).any()


def test_thresholds() -> None:
    assert thresholds_of(99) == pytest.approx(np.arange(1, 100) / 100, abs=1e-15)
    assert thresholds_of(5) == pytest.approx(np.arange(1, 6) / 6, abs=1e-15)
    assert thresholds_of(1) == pytest.approx([0.5])
