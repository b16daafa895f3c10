"""Mean IoU by hand, and EdgeSAM's round trip against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics.miou import (
    InstanceScore,
    Mean,
    bootstrap_interval,
    gt_roundtrip,
    mean_iou,
)


def scores(*rows: tuple[int, int, float, float]) -> list[InstanceScore]:
    return [InstanceScore(*row) for row in rows]


HAND = scores((1, 1, 100, 0.2), (1, 2, 1024, 0.4), (1, 3, 5000, 0.6), (2, 4, 9216, 0.8))


def test_by_hand() -> None:
    result = mean_iou(HAND)
    assert result.all == Mean(pytest.approx(0.5), 4)
    assert result.small == Mean(pytest.approx(0.3), 2)
    assert result.medium == Mean(pytest.approx(0.6), 3)  # 1024 and 9216 px are counted here too
    assert result.large == Mean(0.8, 1)
    assert result.per_image == Mean(pytest.approx((0.4 + 0.8) / 2), 2)
    assert result.dropped == 0


def test_area_bin_rules() -> None:
    half_open = mean_iou(HAND, area_bins="half-open")
    assert (half_open.small.n, half_open.medium.n, half_open.large.n) == (1, 2, 1)
    huge = scores((1, 1, 2e10, 0.5))
    assert mean_iou(huge).large.n == 1
    assert mean_iou(huge, area_bins="coco").large.n == 0
    assert mean_iou(HAND, area_bins="coco").medium == mean_iou(HAND).medium
    with pytest.raises(UsageError, match="no area bins 'fancy'"):
        mean_iou(HAND, area_bins="fancy")  # type: ignore[arg-type]


def test_empty_unions_are_dropped_or_zero() -> None:
    rows = [*HAND, InstanceScore(3, 5, 50, math.nan)]
    dropped = mean_iou(rows)
    assert dropped.dropped == 1
    assert dropped.all == mean_iou(HAND).all
    assert dropped.per_image.n == 2
    zero = mean_iou(rows, empty_union="zero")
    assert zero.dropped == 0
    assert zero.all == Mean(pytest.approx(2.0 / 5), 5)


def test_order_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    rows = [InstanceScore(int(rng.integers(40)), i, 10.0**i, float(rng.random())) for i in range(9)]
    rows += [
        InstanceScore(int(rng.integers(40)), i, 3000, float(rng.random())) for i in range(9, 500)
    ]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    assert mean_iou(rows) == mean_iou(shuffled)


def test_bad_scores_are_named() -> None:
    with pytest.raises(DataError, match="annotation 1 of image 1 is scored twice"):
        mean_iou([*HAND, HAND[0]])
    with pytest.raises(DataError, match=r"annotation 9 of image 2 has an IoU of 79\.9"):
        mean_iou(scores((2, 9, 10, 79.9)))


def test_nothing_is_nan() -> None:
    result = mean_iou([])
    assert result.all.n == 0
    assert math.isnan(result.all.value)
    assert math.isnan(result.low) and math.isnan(result.high)


def test_interval_by_hand_and_by_theory() -> None:
    assert bootstrap_interval(np.array([1.5]), np.array([3])) == (0.5, 0.5)
    # Many equal-sized images: the interval is close to mean +- 1.96 standard errors.
    rng = np.random.default_rng(1)
    values = rng.random(2000)
    low, high = bootstrap_interval(values, np.ones(2000, np.int64))
    error = 1.96 * values.std() / math.sqrt(2000)
    assert low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.15 * error)


def test_interval_draws_whole_images() -> None:
    # Two values, each repeated 50 times within one image: only the image is independent.
    rows = [InstanceScore(i % 2, i, 10, float(i % 2)) for i in range(100)]
    together = mean_iou(rows)
    assert (together.low, together.high) == (0.0, 1.0)
    apart = [InstanceScore(i, i, 10, float(i % 2)) for i in range(100)]
    result = mean_iou(apart)
    assert 0.35 < result.low < 0.45 < 0.55 < result.high < 0.65


def test_interval_is_the_same_twice_and_follows_the_seed() -> None:
    assert mean_iou(HAND) == mean_iou(HAND)
    values, counts = np.random.default_rng(2).random(30), np.ones(30, np.int64)
    assert bootstrap_interval(values, counts) == bootstrap_interval(values, counts)
    assert bootstrap_interval(values, counts) != bootstrap_interval(values, counts, seed=1)


def torch_roundtrip(mask: np.ndarray, long_side: int) -> np.ndarray:
    h, w = mask.shape
    scale = long_side / max(h, w)
    size = (int(h * scale + 0.5), int(w * scale + 0.5))
    x = torch.from_numpy(mask.astype(np.float32))[None, None]
    frame = F.interpolate(x, size, mode="nearest")
    back = F.interpolate(frame, (h, w), mode="bilinear", align_corners=False)
    return (back[0, 0] > 0).numpy()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(60, 140), st.integers(0, 99),
    st.sampled_from([0.02, 0.5]),
)  # fmt: skip
def test_roundtrip_equals_torch(h: int, w: int, long_side: int, seed: int, share: float) -> None:
    # A frame in which the shorter side would round to no pixel has no meaning.
    if min(h, w) * long_side / max(h, w) < 1:
        return
    mask = np.random.default_rng(seed).random((h, w)) < share
    assert np.array_equal(gt_roundtrip(mask, long_side), torch_roundtrip(mask, long_side))


@pytest.mark.parametrize(
    "hw", [(480, 640), (427, 640), (640, 427), (333, 500), (1024, 1024), (1500, 2250)]
)
def test_roundtrip_equals_torch_at_image_sizes(hw: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(hw) < 0.01
    out = gt_roundtrip(mask)
    assert np.array_equal(out, torch_roundtrip(mask, 1024))
    if max(hw) < 1024:
        assert (out & mask).sum() == mask.sum() < out.sum()  # dilated


def test_roundtrip_at_its_own_size_changes_nothing() -> None:
    mask = np.random.default_rng(0).random((1024, 700)) < 0.5
    assert np.array_equal(gt_roundtrip(mask), mask)
