"""AutoPPN's labels against cases worked by hand."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litesam_bench.train.examples import tight_box
from litesam_bench.train.labels import PpnLabels, group_of, ppn_labels


def labels(masks: npt.NDArray[np.uint8], kind: str = "distance") -> PpnLabels:
    boxes = np.stack([tight_box(mask) for mask in masks])
    distances = []
    for mask, box in zip(masks, boxes.astype(int), strict=True):
        part = np.pad(mask[box[1] : box[3], box[0] : box[2]], 1)
        distances.append(cv2.distanceTransform(part, cv2.DIST_L2, 5)[1:-1, 1:-1])
    return ppn_labels(masks, boxes, distances, 64.0 * 64, 64, kind)


def test_groups_are_the_posters() -> None:
    assert [group_of(a, 100) for a in (4.9, 5, 24.9, 25)] == [0, 1, 1, 2]


def test_a_square_peaks_in_its_middle() -> None:
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 8:40, 16:48] = 1  # 32 x 32, a quarter of the frame: large
    out = labels(mask)
    assert not out.heat[:2].any()
    heat = out.heat[2]
    assert heat.max() == 1
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (y, x) in {(2, 3), (2, 4), (3, 3), (3, 4)}  # the cells around (24, 32) / 8
    assert heat[0].max() == 0 and heat[:, :2].max() == 0
    # cell (2, 3) has its centre at x 28, y 20
    expected = np.array([28 - 16, 20 - 8, 48 - 28, 40 - 20]) / 64
    assert out.ltrb[2, :, 2, 3] == pytest.approx(expected)
    assert np.array_equal(out.weight > 0, out.heat > 0)


def test_a_ring_is_prompted_on_the_ring_or_in_its_hole() -> None:
    """Fig. 4: the distance transform finds the visible part, the box centre may miss it."""
    y, x = np.mgrid[:64, :64] + 0.5
    radius = np.hypot(x - 32, y - 32)
    mask = ((radius < 28) & (radius > 14)).astype(np.uint8)[None]
    middle = (slice(3, 5), slice(3, 5))
    assert labels(mask).heat[2][middle].max() == 0
    assert labels(mask, "center").heat[2][middle].max() == 1


def test_small_objects_always_have_a_peak_and_keep_their_cells() -> None:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 17:20, 17:20] = 1  # between the cell centres
    masks[1, 14:28, 14:28] = 1  # also small; the tiny one lies in it
    out = labels(masks)
    assert out.heat[0, 2, 2] == 1
    assert out.ltrb[0, :, 2, 2] == pytest.approx(np.array([3, 3, 0, 0]) / 64)


def test_parts_and_wholes_do_not_disturb_each_other() -> None:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 4:60, 4:60] = 1
    masks[1, 24:32, 24:32] = 1
    both, whole, part = labels(masks), labels(masks[:1]), labels(masks[1:])
    assert np.array_equal(both.heat[2], whole.heat[2])
    assert np.array_equal(both.heat[0], part.heat[0])
    assert np.array_equal(both.ltrb[2], whole.ltrb[2])
