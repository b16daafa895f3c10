"""Thinning equals scikit-image's, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.morphology import thin as reference

from litesam_bench.edges.thinning import thin


def test_a_bar_becomes_a_line() -> None:
    bar = np.zeros((5, 9), bool)
    bar[1:4, 1:8] = True
    expected = np.zeros((5, 9), bool)
    expected[2, 2:7] = True
    assert np.array_equal(thin(bar), expected)


def test_a_square_of_four_pixels_stays_or_shrinks_as_in_the_reference() -> None:
    square = np.zeros((4, 4), bool)
    square[1:3, 1:3] = True
    assert np.array_equal(thin(square), reference(square))


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (63, 64), (64, 65), (30, 129)])
def test_full_and_empty_maps_of_awkward_sizes(shape: tuple[int, int]) -> None:
    for mask in (np.ones(shape, bool), np.zeros(shape, bool)):
        assert np.array_equal(thin(mask), reference(mask))


def test_random_maps() -> None:
    rng = np.random.default_rng(0)
    for k in range(150):
        mask = rng.random(rng.integers(1, 140, 2)) < rng.random()
        if k % 2:  # blobs: many iterations, long-lived rows
            mask = cv2.blur(mask.astype(np.float32), (7, 7)) > rng.random()
        assert np.array_equal(thin(mask), reference(mask)), k


@pytest.mark.data
def test_real_maps_at_many_thresholds(data_root: Path) -> None:
    folder = data_root / "bsds500" / "bench"
    grey = cv2.imread(str(folder / "images" / "6046.jpg"), cv2.IMREAD_GRAYSCALE)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
    contours = cv2.imread(str(folder / "png" / "6046.png"), cv2.IMREAD_UNCHANGED)
    for strength in (gradient, contours):
        for level in (0.02, 0.1, 0.2, 0.4, 0.8):
            mask = strength >= level * strength.max()
            assert np.array_equal(thin(mask), reference(mask)), level


def test_input_is_left_alone_and_dimensions_are_checked() -> None:
    mask = np.ones((20, 20), bool)
    thin(mask)
    assert mask.all()
    with pytest.raises(ValueError, match="two dimensions"):
        thin(np.zeros((2, 2, 2)))
