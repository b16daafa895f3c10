"""Matching finds the optimum: cardinality first, then total distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from litesam_bench.edges.matching import match, match_sequence


def optimum(
    a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], max_dist: float
) -> tuple[int, float]:
    """Number of pairs and total distance by a dense assignment solver."""
    delta = np.argwhere(a)[:, None] - np.argwhere(b)[None]
    distance = np.sqrt((delta**2).sum(-1))
    cost = np.where(distance <= max_dist, distance, 1e4)
    rows, columns = linear_sum_assignment(cost)
    paired = cost[rows, columns] < 1e4
    return int(paired.sum()), float(cost[rows, columns][paired].sum())


def map_of(*rows: str) -> npt.NDArray[np.bool_]:
    return np.array([[c == "x" for c in row] for row in rows])


def test_cardinality_comes_before_distance() -> None:
    """The overlap at distance 0 is given up: 2 + 2 pairs two pixels each, 0 leaves two alone."""
    a = map_of("x.x..")
    b = map_of("..x.x")
    found = match(a, b, 2)
    assert found.matched_a.sum() == found.matched_b.sum() == 2
    assert found.cost_px == pytest.approx(4, abs=1e-6)
    assert match(a, b, 1.9).cost_px == pytest.approx(0, abs=1e-6)


def test_distance_decides_between_equal_cardinalities() -> None:
    found = match(map_of("x...", "...."), map_of("..x.", "x..."), 3)
    assert np.argwhere(found.matched_b).tolist() == [[1, 0]]
    assert found.cost_px == pytest.approx(1, abs=1e-6)


def test_the_limit_is_inclusive_and_euclidean() -> None:
    a, b = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    a[0, 0] = b[3, 4] = True
    assert match(a, b, 5).matched_a.sum() == 1
    assert match(a, b, 4.999).matched_a.sum() == 0


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    density=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    max_dist=st.sampled_from([0, 1, 1.5, 2.9, 4.337]),
    seed=st.integers(0, 2**32 - 1),
)
def test_optimal_on_random_maps(
    height: int, width: int, density: tuple[float, float], max_dist: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((height, width)) < d for d in density)
    pairs, distance = optimum(a, b, max_dist)
    found = match(a, b, max_dist)
    assert found.matched_a.sum() == found.matched_b.sum() == pairs
    # the tie-breaking surcharges, below 2**-22 pixel a pair, are part of the cost
    assert found.cost_px == pytest.approx(distance, abs=1e-6 + pairs * 2.0**-22)
    assert not (found.matched_a & ~a).any()
    assert not (found.matched_b & ~b).any()


def test_optimal_on_lines() -> None:
    """Thin lines beside each other: long chains of exchanges and strong contention."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        maps = []
        for n_lines in (3, 2):
            drawn = np.zeros((60, 60), bool)
            for _ in range(n_lines):
                x = np.clip(np.cumsum(rng.integers(-1, 2, 60)) + rng.integers(20, 40), 0, 59)
                drawn[np.arange(60), x] = True
            maps.append(drawn)
        pairs, distance = optimum(maps[0], maps[1], 4.337)
        found = match(maps[0], maps[1], 4.337)
        assert found.matched_a.sum() == pairs
        assert found.cost_px == pytest.approx(distance, abs=1e-4)


def test_the_same_pixels_whichever_map_comes_first() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 40, 50)) < 0.3
    one, other = match(a, b, 3), match(b, a, 3)
    assert np.array_equal(one.matched_a, other.matched_b)
    assert np.array_equal(one.matched_b, other.matched_a)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.0])
def test_a_sequence_equals_separate_matches(keep: float) -> None:
    """Whatever appears and vanishes from one map to the next, and in whichever order."""
    rng = np.random.default_rng(3)
    truth = rng.random((50, 70)) < 0.15
    maps = [rng.random((50, 70)) < 0.2]
    for _ in range(12):
        stays = rng.random((50, 70)) < keep
        maps.append(np.where(stays, maps[-1], rng.random((50, 70)) < rng.choice([0, 0.1, 0.4])))
    sets = [np.flatnonzero(m).astype(np.int32) for m in maps]
    pixels = np.flatnonzero(truth).astype(np.int32)
    forward = match_sequence(sets, pixels, (50, 70), 4.337)
    backward = match_sequence(sets[::-1], pixels, (50, 70), 4.337)
    for t, one in enumerate(maps):
        alone = match(one, truth, 4.337)
        assert np.array_equal(alone.matched_a.ravel()[sets[t]], forward.matched[t])
        assert np.array_equal(forward.matched[t], backward.matched[-1 - t])
        assert alone.matched_b.sum() == forward.truth_matched[t]
        assert alone.cost_px == pytest.approx(forward.cost_px[t], abs=1e-9)


def test_empty_and_full_maps() -> None:
    empty, full = np.zeros((30, 40), bool), np.ones((30, 40), bool)
    for a, b, pairs in ((empty, full, 0), (full, empty, 0), (empty, empty, 0), (full, full, 1200)):
        found = match(a, b, 4)
        assert found.matched_a.sum() == found.matched_b.sum() == pairs
        assert found.cost_px == pytest.approx(0, abs=1e-3)


def test_more_pixels_than_partners() -> None:
    """Everything may claim one pixel; exactly one does, the nearest."""
    truth = np.zeros((9, 9), bool)
    truth[4, 4] = True
    found = match(np.ones((9, 9), bool), truth, 4.3)
    assert np.argwhere(found.matched_a).tolist() == [[4, 4]]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="different size"):
        match(np.zeros((2, 3)), np.zeros((3, 2)), 1)
    for distance in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="max_dist_px"):
            match(np.zeros((2, 3)), np.zeros((2, 3)), distance)
