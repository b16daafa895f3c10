"""AutoPPN's labels: where to prompt, and the box seen from there (poster, Fig. 4, Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

PPN_STRIDE = 8
GROUP_LIMITS = (0.05, 0.25)
"""Small objects cover less than 5 % of the image, large ones more than 25 % (poster)."""

PEAK = 0.999


class PpnLabels(NamedTuple):
    """Labels of G = 3 groups (small, medium, large) on a grid of stride 8, h x w cells.

    heat: (G, h, w) in [0, 1]: 1 at the best place to prompt an object, 0 outside of all.
    ltrb: (G, 4, h, w) from the cell's centre to the sides of the object's box, as a share of the
        frame; where objects of one group overlap, that of the smallest.
    weight: (G, h, w) weight of the box loss: the cell's heat for its own object.
    """

    heat: F32
    ltrb: F32
    weight: F32


def group_of(area_px: float, frame_area_px: float) -> int:
    """0 small, 1 medium, 2 large."""
    share = area_px / frame_area_px
    return int(share >= GROUP_LIMITS[0]) + int(share >= GROUP_LIMITS[1])


def ppn_labels(
    masks: npt.NDArray[np.uint8],
    boxes: F32,
    distances: Sequence[F32],
    frame_area: float,
    frame: int,
    kind: str,
) -> PpnLabels:
    """Labels of a crop.

    Args:
        masks: (K, S, S) 0/1, none empty. boxes: (K, 4) XYXY around them.
        distances: per mask, (h, w) L2 distance to its outside, within its box.
        frame_area: the area of the whole image in the frame, in pixels.
        kind: `distance`: a mask's distance transform over its maximum, so that the label is high
            in the middle of the visible part, whatever the shape; `center`: CenterNet's Gaussian at
            the middle of the box, which may lie outside of the mask (the ablation's baseline).
    """
    size = masks.shape[1]
    cells = size // PPN_STRIDE
    heat = np.zeros((3, cells, cells), np.float32)
    ltrb = np.zeros((3, 4, cells, cells), np.float32)
    weight = np.zeros((3, cells, cells), np.float32)
    centers = (np.arange(cells, dtype=np.float32) + 0.5) * PPN_STRIDE
    areas = masks.sum(axis=(1, 2), dtype=np.int64)
    for i in np.argsort(-areas, kind="stable"):  # the smallest last: it keeps its cells
        left, top, right, bottom = (int(v) for v in boxes[i])
        group = group_of(float(areas[i]), frame_area)
        own = np.zeros((cells, cells), np.float32)
        if kind == "distance":
            distance = distances[i]
            full = np.zeros((size, size), np.float32)
            full[top:bottom, left:right] = distance / distance.max()
            half = PPN_STRIDE // 2
            own = full[half::PPN_STRIDE, half::PPN_STRIDE].copy()
            y, x = np.divmod(int(distance.argmax()), distance.shape[1])
            peak_y, peak_x = (y + top) // PPN_STRIDE, (x + left) // PPN_STRIDE
        else:
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            sigma = max(right - left, bottom - top, PPN_STRIDE) / 6
            dx, dy = centers - middle_x, centers - middle_y
            own = np.exp(-(dy[:, None] ** 2 + dx[None] ** 2) / (2 * sigma**2)).astype(np.float32)
            own[own < 0.01] = 0
            peak_y, peak_x = int(middle_y) // PPN_STRIDE, int(middle_x) // PPN_STRIDE
        own[min(peak_y, cells - 1), min(peak_x, cells - 1)] = 1.0

        taken = own > 0
        heat[group] = np.maximum(heat[group], own)
        weight[group][taken] = own[taken]
        sides = (
            centers[None] - left,
            centers[:, None] - top,
            right - centers[None],
            bottom - centers[:, None],
        )
        for channel, side in enumerate(sides):
            values = np.broadcast_to(np.maximum(side, 0) / frame, own.shape)
            ltrb[group, channel][taken] = values[taken]
    return PpnLabels(heat, ltrb, weight)
