"""SLIC superpixels and their merges: against SciPy's Ward, scikit-image, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.cluster import hierarchy
from skimage import segmentation

from litesam_bench.everything.slic import (
    SlicMerges,
    lab,
    merged_masks,
    merges,
    superpixels,
    ward,
)
from litesam_bench.metrics import rle


def picture(seed: int = 0, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Two flat halves, a disc, and noise."""
    rng = np.random.default_rng(seed)
    image = np.full((*size_hw, 3), (40, 60, 160), np.uint8)
    image[:, size_hw[1] // 2 :] = (200, 180, 40)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    image[(y - 30) ** 2 + (x - 20) ** 2 < 100] = (30, 160, 60)
    return np.clip(image + rng.integers(-6, 7, image.shape), 0, 255).astype(np.uint8)


def test_superpixels_are_connected_and_keep_to_edges() -> None:
    image = picture()
    labels = superpixels(image, 48, 10.0)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert 24 <= labels.max() + 1 <= 96
    for label in range(labels.max() + 1):
        assert ndimage.label(labels == label)[1] == 1
    assert not set(labels[:, :40].ravel()) & set(labels[:, 40:].ravel())


def test_superpixels_follow_edges_as_scikit_image_s_do() -> None:
    image = picture(1)
    truth = segmentation.find_boundaries(
        (picture(1)[..., 0] > 120).astype(int) + 2 * (picture(1)[..., 1] > 120), mode="thick"
    )
    reference = segmentation.slic(image, 48, compactness=10, channel_axis=-1)
    hit = [
        float(segmentation.find_boundaries(labels, mode="thick")[truth].mean())
        for labels in (superpixels(image, 48, 10.0), reference)
    ]
    assert hit[0] >= hit[1] - 0.02


def test_a_flat_image_gives_the_grid() -> None:
    labels = superpixels(np.full((40, 60, 3), 90, np.uint8), 24, 10.0)
    sizes = np.bincount(labels.ravel())
    assert sizes.tolist() == [100] * 24


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (3, 2)])
def test_tiny_images(size_hw: tuple[int, int]) -> None:
    image = np.zeros((*size_hw, 3), np.uint8)
    found = SlicMerges().everything(image, None)
    assert found[0].area_px == size_hw[0] * size_hw[1]


@pytest.mark.parametrize("seed", range(5))
def test_ward_without_neighbourhoods_is_scipy_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 3))
    pairs = ward(np.ones(30), points, ~np.eye(30, dtype=bool))
    theirs = hierarchy.linkage(points, "ward")
    assert [sorted(p) for p in pairs.tolist()] == [sorted(p) for p in theirs[:, :2].tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_merges_of_neighbours_are_those_of_a_plain_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(np.arange(20).reshape(4, 5), np.ones((3, 2))).astype(np.int32)
    colours = rng.normal(size=(*labels.shape, 3))
    regions = {k: labels == k for k in range(20)}
    expected = []
    while len(regions) > 1:
        best = None
        for a in sorted(regions):
            for b in sorted(regions):
                if a >= b or not (ndimage.binary_dilation(regions[a]) & regions[b]).any():
                    continue
                both = regions[a] | regions[b]
                grows = sum(
                    sign * ((colours[m] - colours[m].mean(0)) ** 2).sum()
                    for sign, m in ((1, both), (-1, regions[a]), (-1, regions[b]))
                )
                if best is None or grows < best[0]:
                    best = (grows, a, b)
        assert best is not None
        _, a, b = best
        expected.append([a, b])
        regions[20 + len(expected) - 1] = regions.pop(a) | regions.pop(b)
    assert [sorted(p) for p in merges(labels, colours).tolist()] == expected


def test_masks_are_the_regions_coarse_to_fine() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    masks = [rle.decode(code) for code in merged_masks(labels, np.array([[2, 0], [1, 3]]))]
    assert [m.astype(int).tolist() for m in masks] == [
        [[1, 1, 1], [1, 1, 1]],
        [[1, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [1, 1, 0]],
        [[0, 0, 1], [0, 0, 1]],
        [[1, 1, 0], [0, 0, 0]],
    ]


def test_the_objects_of_a_picture_are_proposals() -> None:
    image = picture(2)
    y, x = np.mgrid[:60, :80]
    disc = (y - 30) ** 2 + (x - 20) ** 2 < 100
    right = x >= 40
    found = SlicMerges(count=48).everything(image, None)
    masks = [rle.decode(p.rle) for p in found]
    labels = superpixels(image, 48, 10.0)
    assert len(found) == 2 * labels.max() + 1
    for truth in (disc, right):
        assert max((m & truth).sum() / (m | truth).sum() for m in masks) > 0.9
    scores = [p.predicted_iou for p in found]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores)


def test_lab_is_scikit_image_s() -> None:
    from skimage.color import rgb2lab

    np.testing.assert_allclose(lab(picture(3)), rgb2lab(picture(3)), atol=0.3)
