"""FastSAM without its network: which masks a prompt chooses. Worked by hand."""

from __future__ import annotations

import numpy as np
import torch

from litesam_bench.family.fast_sam import (
    FastSamSegmenter,
    FoundMasks,
    mask_of_box,
    mask_of_points,
    snap_to_border,
)
from litesam_bench.types import Prompts


def _rectangles(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Masks (N, 20, 30) of x1, y1, x2, y2."""
    masks = np.zeros((len(boxes), 20, 30), dtype=bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


_LARGE, _SMALL, _OTHER = (0, 0, 20, 20), (5, 5, 10, 10), (22, 2, 28, 12)


def test_box_takes_the_mask_with_the_highest_iou() -> None:
    masks = _rectangles(_LARGE, _SMALL, _OTHER)
    assert (mask_of_box(masks, np.array([4.0, 4.0, 11.0, 11.0])) == masks[1]).all()
    assert (mask_of_box(masks, np.array([1.0, 0.0, 21.0, 20.0])) == masks[0]).all()


def test_box_is_rounded_and_clipped() -> None:
    masks = _rectangles(_LARGE, _OTHER)
    assert (mask_of_box(masks, np.array([21.6, 1.7, 99.0, 12.4])) == masks[1]).all()


def test_box_that_meets_nothing_takes_the_first_mask() -> None:
    masks = _rectangles(_SMALL, _OTHER)
    assert (mask_of_box(masks, np.array([12.0, 14.0, 18.0, 18.0])) == masks[0]).all()


def test_foreground_points_unite_their_masks() -> None:
    masks = _rectangles(_SMALL, _LARGE, _OTHER)
    points = np.array([[2.0, 2.0], [24.0, 5.0], [29.0, 19.0]])
    found = mask_of_points(masks, points, np.array([1, 1, 1]))
    assert (found == masks[1] | masks[2]).all()


def test_background_point_erases_smaller_masks_painted_later() -> None:
    masks = _rectangles(_SMALL, _LARGE)
    # both points lie in the large mask, the second one in the small mask too
    points, labels = np.array([[2.0, 2.0], [6.0, 6.0]]), np.array([1, 0])
    found = mask_of_points(masks, points, labels)
    # the large mask is painted by the first point and erased by the second
    assert not found.any()
    # in the other order of labels the small mask is cut out of nothing: large is erased first
    found = mask_of_points(masks, points[::-1], np.array([1, 0]))
    assert (found == masks[0]).all()


def test_padding_points_and_points_outside_do_nothing_strange() -> None:
    masks = _rectangles(_OTHER)
    points = np.array([[24.0, 5.0], [24.0, 5.0]])
    assert (mask_of_points(masks, points, np.array([1, -1])) == masks[0]).all()
    assert not mask_of_points(masks, np.array([[300.0, 200.0]]), np.array([1])).any()


def test_no_masks_give_an_empty_answer() -> None:
    none = _rectangles()
    assert not mask_of_box(none, np.array([0.0, 0.0, 9.0, 9.0])).any()
    assert not mask_of_points(none, np.array([[1.0, 1.0]]), np.array([1])).any()


def test_prompts_are_answered_one_by_one_and_a_box_wins_over_points() -> None:
    masks = _rectangles(_LARGE, _SMALL, _OTHER)
    found = FoundMasks(masks, np.array([0.9, 0.8, 0.7]))
    prompts = Prompts(
        ids=(0, 1),
        points=np.array([[[2.0, 2.0]], [[2.0, 2.0]]]),
        labels=np.array([[1], [1]]),
        boxes=np.array([[5.0, 5.0, 10.0, 10.0], [22.0, 2.0, 28.0, 12.0]]),
    )
    batch = FastSamSegmenter.segment(object.__new__(FastSamSegmenter), found, prompts)
    answers = (batch.to_image(batch.logits[:, 0]) > batch.threshold).numpy()
    assert (answers == masks[[1, 2]]).all()
    assert batch.tokens == (0,)


def test_boxes_near_the_border_are_moved_to_it() -> None:
    boxes = torch.tensor(
        [
            [19.0, 21.0, 600.0, 625.0],
            [5.0, 5.0, 1010.0, 636.0],  # the whole frame, nearly
            [100.0, 100.0, 200.0, 200.0],
        ]
    )
    moved = snap_to_border(boxes, (640, 1024))
    assert moved.tolist() == [
        [0.0, 21.0, 600.0, 640.0],
        [0.0, 0.0, 1024.0, 640.0],
        [100.0, 100.0, 200.0, 200.0],
    ]
