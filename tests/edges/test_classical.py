"""Sobel, Canny and graph segmentation do what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.segmentation import felzenszwalb

from litesam_bench.edges.classical import Canny, FelzHutt, Sobel, felzenszwalb_segmentations


def step(contrast: int) -> np.ndarray:
    """A vertical step in the middle of 20 x 20."""
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = contrast
    return image


def photograph() -> np.ndarray:
    rng = np.random.default_rng(0)
    rough = cv2.resize(
        rng.integers(0, 256, (12, 16, 3)).astype(np.uint8),
        (80, 60),
        interpolation=cv2.INTER_NEAREST,
    )
    noise = rng.normal(0, 6, rough.shape)
    return np.clip(rough + noise, 0, 255).astype(np.uint8)


def test_sobel_measures_contrast() -> None:
    plain = Sobel(colour=False, nms=False, per_image=False)
    full = plain.edge_map(step(255))
    assert full[10, 9:11] == pytest.approx([1, 1])
    assert full[:, :9].max() == 0
    assert plain.edge_map(step(51))[5, 9] == pytest.approx(0.2)
    assert Sobel(False, False, per_image=True).edge_map(step(51))[5, 9] == 1


def test_sobel_sees_a_step_of_colour() -> None:
    """Red beside a green of the same luminance."""
    image = step(0)
    image[:, :10] = 187, 0, 0
    image[:, 10:] = 0, 95, 0
    assert Sobel(False, False, False).edge_map(image)[5, 9] < 0.01
    assert Sobel(True, False, False).edge_map(image)[5, 9] == pytest.approx(187 / 255)


def test_sobel_keeps_ridges_only() -> None:
    ramp = np.zeros((20, 20, 3), np.uint8)
    ramp[:, 10:] = 255
    ramp[:, 9] = 100
    thick = Sobel(False, False, False).edge_map(ramp)[10]
    thin = Sobel(False, True, False).edge_map(ramp)[10]
    assert (thick > 0).sum() == 3
    assert np.flatnonzero(thin).tolist() == [9]


def test_canny_at_a_threshold_is_canny_with_that_threshold() -> None:
    image = photograph()
    detector = Canny(sigma=1, ratio=0.4, gain=1)
    strength = detector.edge_map(image)
    grey = cv2.GaussianBlur(image.astype(float) @ (0.299, 0.587, 0.114), (9, 9), 1)
    scale = 32767 / 2 / (4 * 255)
    dx, dy = (
        np.rint(cv2.Sobel(grey, cv2.CV_64F, *axis, borderType=cv2.BORDER_REPLICATE) * scale)
        for axis in ((1, 0), (0, 1))
    )
    for level in (0.05, 0.1, 0.2, 0.3):
        high = level * 32767 / 2
        expected = cv2.Canny(
            dx.astype(np.int16), dy.astype(np.int16), 0.4 * high, high, L2gradient=True
        )
        assert expected.any()
        # borders are blurred alike only inside
        inside = np.s_[6:-6, 6:-6]
        differ = (strength >= level - 1e-9)[inside] != (expected > 0)[inside]
        assert differ.mean() < 0.002


def test_canny_marks_a_step_once() -> None:
    strength = Canny(sigma=1, ratio=0.4, gain=1).edge_map(step(255))
    assert ((strength > 0).sum(axis=1)[2:-2] == 1).all()


def partition(labels: np.ndarray) -> np.ndarray:
    """Labels by order of appearance, so that equal partitions are equal arrays."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape)


@pytest.mark.parametrize(("scale", "min_size"), [(20, 1), (100, 5), (300, 40), (2000, 20)])
def test_segmentation_equals_scikit_image(scale: float, min_size: int) -> None:
    """Without smoothing, whose kernels end at different widths, and without ties."""
    rng = np.random.default_rng(1)
    image = photograph() / 255 + rng.uniform(-1e-4, 1e-4, (60, 80, 3))
    reference = felzenszwalb(image, scale=scale, sigma=0, min_size=min_size)
    (ours,) = felzenszwalb_segmentations(image * 255, [scale], sigma=0, min_size_px=min_size)
    assert len(np.unique(reference)) > 1
    assert np.array_equal(partition(ours), partition(reference))


def test_felz_hutt_strength_is_the_largest_scale_with_a_boundary() -> None:
    from litesam_bench.edges.maps import label_boundaries

    image = photograph()
    detector = FelzHutt(sigma=0.8, min_size_px=5, scales=(10.0, 100.0, 1000.0))
    strength = detector.edge_map(image)
    labels = felzenszwalb_segmentations(image, detector.scales, sigma=0.8, min_size_px=5)
    for y, x in np.ndindex(60, 80):
        ranks = (
            [k + 1 for k, one in enumerate(labels) if label_boundaries(one)[y, x]]
            if (x % 16 == 0 and y % 12 == 0)
            else None
        )
        if ranks is not None:
            assert strength[y, x] == pytest.approx(max(ranks, default=0) / 4)


@pytest.mark.parametrize(
    "detector", [Sobel(True, True, True), Canny(sigma=2, ratio=0.4, gain=2), FelzHutt(0.8, 20)]
)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 30, 3), (40, 3, 3), (33, 47, 3)])
def test_any_size_and_flat_images(detector: Sobel, shape: tuple[int, int, int]) -> None:
    for image in (np.full(shape, 90, np.uint8), np.random.default_rng(0).integers(0, 256, shape)):
        strength = detector.edge_map(image.astype(np.uint8))
        assert strength.shape == shape[:2]
        assert strength.dtype == np.float64
        assert 0 <= strength.min() <= strength.max() <= 1
    assert detector.edge_map(np.full(shape, 90, np.uint8)).max() == 0
