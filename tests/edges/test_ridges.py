"""Edge NMS presets."""

from __future__ import annotations

import numpy as np
import pytest

from litesam_bench.edges.ridges import PRESETS, suppress, triangle_filter
from litesam_bench.errors import UsageError


def ridge(angle: float, size: int = 61) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A straight Gaussian ridge through the middle, its normal, and the distance to its crest."""
    y, x = np.mgrid[:size, :size] - size // 2
    distance = x * np.cos(angle) + y * np.sin(angle)
    return np.exp(-((distance / 3) ** 2)), np.full((size, size), angle), distance


@pytest.mark.parametrize("preset", ["dollar-r1", "dollar-r2", "canny"])
@pytest.mark.parametrize("angle", [0, np.pi / 4, np.pi / 2 - 0.01, 3 * np.pi / 4, 0.4])
def test_only_the_crest_remains(preset: str, angle: float) -> None:
    strength, normal, distance = ridge(angle)
    kept = suppress(strength, preset, normal)
    inside = np.s_[15:-15, 15:-15]
    # the toolbox favours a pixel by 1 %, so a pixel beside a flat crest may stay
    limit = 1.0 if preset == "canny" else 1.7
    assert (np.abs(distance[inside][kept[inside] > 0]) <= limit).all()
    assert (kept[inside][np.abs(distance[inside]) < 0.3] > 0).all()


def test_the_toolbox_does_not_thin_an_exactly_horizontal_ridge() -> None:
    """Its formula multiplies by the sign of the mixed derivative, which is 0 there. Kept as it is:
    these presets are what other tools compute."""
    strength, _, _ = ridge(np.pi / 2)
    level = np.repeat(strength[:, 30:31], 61, axis=1)
    kept = suppress(level, "dollar-r1", np.zeros((61, 61)))
    assert (kept[25:36, 30] > 0).all()
    assert (suppress(level, "canny", np.full((61, 61), np.pi / 2))[:, 30] > 0).sum() == 1


def test_none_leaves_the_map_alone() -> None:
    strength, normal, _ = ridge(0.3)
    assert suppress(strength, "none", normal) is strength


def test_the_toolbox_fades_the_border() -> None:
    strength, normal, _ = ridge(0)
    kept = suppress(strength, "dollar-r1", normal)
    column = kept[:, 30]
    assert column[0] == 0
    assert column[2] == pytest.approx(column[30] * 2 / 5, rel=0.02)
    assert suppress(strength, "canny", normal)[0, 30] == 1


def test_triangle_filter() -> None:
    impulse = np.zeros((9, 9))
    impulse[4, 4] = 1
    assert triangle_filter(impulse, 1)[4].tolist() == [0, 0, 0, 1 / 8, 1 / 4, 1 / 8, 0, 0, 0]
    assert triangle_filter(impulse, 4).sum() == pytest.approx(1)
    assert triangle_filter(np.ones((5, 7)), 4) == pytest.approx(np.ones((5, 7)))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(2, 2), (3, 40), (12, 9)])
def test_small_and_empty_maps(preset: str, shape: tuple[int, int]) -> None:
    for strength in (np.zeros(shape), np.ones(shape)):
        kept = suppress(strength, preset, np.zeros(shape))
        assert kept.shape == shape
        assert (kept <= strength + 1e-12).all()


def test_unknown_preset() -> None:
    with pytest.raises(UsageError, match="unknown edge NMS 'hed'"):
        suppress(np.zeros((3, 3)), "hed", np.zeros((3, 3)))
