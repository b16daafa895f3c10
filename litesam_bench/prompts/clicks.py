"""Where simulated users click: first points on a mask, and corrections of a prediction.

Each rule is the one of a published evaluation script, at original image resolution unless said.
Masks are (H, W) bool or 0/1; points are (x, y) in pixels. An instance whose mask is empty has no
first point; datasets leave such instances out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from litesam_bench.types import SizeHW

BoolMask = npt.NDArray[np.bool_]
AnyMask = npt.NDArray[Any]


class Click(NamedTuple):
    """A point with SAM's label: 1 foreground, 0 background."""

    x: float
    y: float
    label: int


# --------------------------------------------------------------------------------------------
# RITM's rule, as EfficientViT-SAM uses it


def first_click(mask: AnyMask) -> tuple[int, int]:
    """The pixel farthest from the mask's boundary; image borders count as boundary.

    The exact Euclidean distance to the nearest pixel outside; of several equal ones the first
    in row-major order. It is `next_click` on an empty prediction.
    """
    truth = np.asarray(mask, bool)
    click = next_click(truth, np.zeros_like(truth), np.zeros_like(truth))
    return int(click.x), int(click.y)


def next_click(truth: AnyMask, prediction: AnyMask, clicked: AnyMask) -> Click:
    """The next correction: the innermost pixel of the thicker kind of error.

    Missed object (truth without prediction) and false object (prediction without truth) each get
    their exact Euclidean distance transform, with the image border as boundary. The click is
    positive if the largest distance in the missed object is strictly greater than that in the
    false one, else negative. Pixels already clicked are never chosen: their distance is zero, that
    of their neighbours unchanged.

    A perfect prediction leaves both distances at zero. As upstream, that tie gives a negative click
    at (0, 0), wrong if the object covers that pixel: protocols that reproduce published numbers
    keep it.

    Args:
        truth, prediction, clicked: (H, W); `clicked` is true at the pixels of earlier clicks.

    Source: RITM `isegm/inference/clicker.py`, EfficientViT-SAM `sam_eval_utils.py`.
    """
    truth, prediction = np.asarray(truth, bool), np.asarray(prediction, bool)
    free = ~np.asarray(clicked, bool)
    missed, missed_at = _innermost(truth & ~prediction, free)
    wrong, wrong_at = _innermost(prediction & ~truth, free)
    if missed > wrong:
        return Click(*missed_at, 1)
    return Click(*wrong_at, 0)


def _innermost(region: BoolMask, free: BoolMask) -> tuple[float, tuple[int, int]]:
    """The largest distance to the outside of the region over free pixels, and its first (x, y)."""
    box = _extent(region)
    if box is None:
        return 0.0, (0, 0)
    rows, columns = box
    # Nothing outside the extent changes a distance inside, since all of it is outside the region.
    padded = np.pad(region[rows, columns].view(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    distance = distance * free[rows, columns]
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    largest = float(distance[y, x])
    if largest == 0:  # every pixel of the region has been clicked
        return 0.0, (0, 0)
    return largest, (int(x) + columns.start, int(y) + rows.start)


def _extent(region: BoolMask) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if rows.size == 0:
        return None
    return (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


# --------------------------------------------------------------------------------------------
# segment-anything-fast's rule

_GOOD_ENOUGH_PX = 20


def samfast_center(mask: AnyMask) -> tuple[int, int]:
    """The rounded centre of mass if it lies on the mask, else a pixel with room on four sides.

    Room is the smallest number of further mask pixels in a straight line up, right, down and left.
    The first pixel in row-major order with the most room is taken, but the search ends at the
    first one with at least 20. Halves round to even, as Python rounds.

    Source: segment-anything-fast `experiments/data.py`.
    """
    region = np.asarray(mask, bool)
    rows, columns = np.nonzero(region)
    x, y = round(float(columns.mean())), round(float(rows.mean()))
    if region[y, x]:
        return x, y
    room = np.minimum.reduce(
        [
            _run(region),
            _run(region[::-1])[::-1],
            _run(region.T).T,
            _run(region.T[::-1])[::-1].T,
        ]
    )
    enough = np.flatnonzero(room >= _GOOD_ENOUGH_PX)
    best = int(enough[0]) if enough.size else int(np.argmax(room))
    row, column = divmod(best, region.shape[1])
    return column, row


def _run(region: BoolMask) -> npt.NDArray[np.int64]:
    """For each mask pixel the number of mask pixels directly above it in one run; -1 outside."""
    position = np.arange(region.shape[0])[:, None]
    last_outside = np.maximum.accumulate(np.where(region, -1, position), axis=0)
    return np.where(region, position - last_outside - 1, -1)


# --------------------------------------------------------------------------------------------
# EdgeSAM's rules

EDGESAM_FRAME = 1024
EDGESAM_LOW_RES = 256
EDGESAM_MIN_ERROR_PX = 10
NULL_LABEL = -2
"""EdgeSAM's null point: a token of zeros, where padding (-1) is a token that was learned."""
_DT_H = 0.35  # kornia's smoothing of the minimum


def edgesam_center(mask: AnyMask) -> tuple[float, float]:
    """The maximum of kornia's approximate distance transform of the mask in the 1024 frame.

    The mask is resized (nearest) so that its long side is 1024, the maximum is taken there (first
    in row-major order) and brought back to original pixels as floats, so that the system's own
    resizing lands on the same pixel of its frame.

    Upstream sums its convolutions in an order that depends on the device, which breaks ties of
    symmetric masks at random; here equal distances are equal.

    Source: EdgeSAM `get_centroid_from_mask`, `ResizeLongestSide.apply_masks_torch`.
    """
    region = np.asarray(mask, bool)
    framed = _to_frame(region)
    box = _extent(framed)
    if box is None:
        return 0.0, 0.0
    rows, columns = box
    distance = approximate_distance(framed[rows, columns])
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return (
        (int(x) + columns.start) * region.shape[1] / framed.shape[1],
        (int(y) + rows.start) * region.shape[0] / framed.shape[0],
    )


def approximate_distance(region: BoolMask) -> npt.NDArray[np.float64]:
    """kornia's convolutional distance transform of a region (H, W) with a border of outside.

    kornia lets the outside grow by one pixel a round, in eight directions. A pixel that is reached
    in round i (from 0) gets floor(3 i / 2) - h ln(s), where s sums exp(-|step| / h) over its
    neighbours that were reached before: a smooth minimum over the 3x3 window with h = 0.35. The
    round is therefore the chessboard distance minus one, and s follows from how many of the four
    straight and of the four diagonal neighbours are nearer to the outside; so no convolution is
    needed. The factor 3 / 2 (where 1 would be a distance) is kornia's operator precedence.
    """
    padded = np.pad(np.asarray(region, np.uint8), 2)
    ring = cv2.distanceTransform(padded, cv2.DIST_C, 3).astype(np.int32)
    middle = ring[1:-1, 1:-1]
    straight = np.zeros(middle.shape, np.int32)
    diagonal = np.zeros(middle.shape, np.int32)
    height, width = ring.shape
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx == dy == 0:
                continue
            shifted = ring[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
            (diagonal if dx and dy else straight)[...] += shifted < middle
    weight = straight * np.exp(-1 / _DT_H) + diagonal * np.exp(-np.sqrt(2) / _DT_H)
    inside = middle > 0
    offset = (middle - 1) * 3 // 2
    distance = np.zeros(middle.shape)
    distance[inside] = offset[inside] - _DT_H * np.log(weight[inside])
    return distance[1:-1, 1:-1]


def random_error_pixel(
    truth: AnyMask, prediction: AnyMask, annotation_id: int, round_number: int
) -> Click | None:
    """EdgeSAM's refinement click: a wrong pixel drawn uniformly, labelled by its kind of error.

    Both masks are compared on a 256x256 grid over the 1024 frame; the drawn cell's top left corner
    is the click, in original pixels. None if fewer than 10 cells are wrong (EdgeSAM then sends a
    null point, see `NULL_LABEL`).

    Upstream seeds one generator for the whole run, so its clicks depend on the number of GPUs and
    of earlier instances. Here each draw has its own seed, (annotation id, round), and is
    reproducible. Upstream also thresholds the prediction's low-resolution logits; here the grid is
    filled from the mask at image size, so that systems without such logits can be asked too.

    Args:
        truth, prediction: (H, W).
        annotation_id, round_number: non-negative integers that identify the draw.

    Source: EdgeSAM `evaluation/eval_mIoU.py`, `sample_point_in_mask`.
    """
    truth_low = low_resolution(truth)
    prediction_low = low_resolution(prediction)
    rows, columns = np.nonzero(truth_low != prediction_low)
    if rows.size < EDGESAM_MIN_ERROR_PX:
        return None
    generator = np.random.Generator(np.random.PCG64([annotation_id, round_number]))
    # A raw double instead of `integers`, whose stream numpy may change.
    chosen = int(generator.random() * rows.size)
    y, x = int(rows[chosen]), int(columns[chosen])
    height, width = np.shape(truth)
    framed_height, framed_width = _frame_size((height, width))
    cell = EDGESAM_FRAME // EDGESAM_LOW_RES
    return Click(
        min(x * cell * width / framed_width, width - 1.0),
        min(y * cell * height / framed_height, height - 1.0),
        int(truth_low[y, x]),
    )


def low_resolution(mask: AnyMask) -> BoolMask:
    """The mask on EdgeSAM's 256x256 comparison grid over the padded 1024 frame.

    Bilinear reduction by four without antialiasing averages the middle 2x2 pixels of each cell, and
    the result is binarised at > 0: a cell is set when any of these four is.
    """
    framed = _to_frame(np.asarray(mask, bool))
    square = np.zeros((EDGESAM_FRAME, EDGESAM_FRAME), bool)
    square[: framed.shape[0], : framed.shape[1]] = framed
    return square[1::4, 1::4] | square[1::4, 2::4] | square[2::4, 1::4] | square[2::4, 2::4]


def _frame_size(size_hw: SizeHW) -> SizeHW:
    scale = EDGESAM_FRAME / max(size_hw)
    return int(size_hw[0] * scale + 0.5), int(size_hw[1] * scale + 0.5)


def _to_frame(mask: BoolMask) -> BoolMask:
    """Nearest-neighbour resize to a long side of 1024, by torch's rule: floor(i * in / out)."""
    indices = []
    for before, after in zip(mask.shape, _frame_size(mask.shape), strict=True):
        step = np.float32(before) / np.float32(after)  # torch works in float32 here
        source = np.floor(np.arange(after, dtype=np.float32) * step).astype(np.int64)
        indices.append(np.minimum(source, before - 1))
    return mask[np.ix_(*indices)]
