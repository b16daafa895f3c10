"""Masks at image size from low-resolution logits, without the image-sized logits in between.

The way back to the image is linear and separable: every pixel is a weighted sum of a few
low-resolution rows and columns (`Taps`). Weights are not negative and add up to 1, so where all
logits of a window are low its pixels are low too: only the part of the image around a mask is
computed. Stability is counted on the way. For CPUs; on a GPU the plain way is faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam_bench.metrics._jit import kernel

if TYPE_CHECKING:
    from litesam_bench.sam.geometry import Taps

FloatMap = npt.NDArray[np.float32]
MaskU8 = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]


def threshold_masks(
    low: FloatMap, rows: Taps, columns: Taps, threshold: float, offset: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Foreground and stability of K masks.

    Args:
        low: (K, h, w) logits.
        rows, columns: for H and W pixels.
        threshold: foreground is above it.
        offset: stability is the area above threshold + offset over that above threshold - offset.

    Returns:
        masks (K, H, W), stability (K,), 0 where the mask is empty at both offsets.
    """
    masks = np.zeros((len(low), len(rows), len(columns)), np.uint8)
    inner, outer = np.zeros(len(low), np.int64), np.zeros(len(low), np.int64)
    first, last = columns.reach(low.shape[2])
    _threshold(
        np.ascontiguousarray(low), rows.start, rows.weights, columns.start, columns.weights,
        first, last, np.float32(threshold), np.float32(offset), masks, inner, outer,
    )  # fmt: skip
    return masks.view(np.bool_), inner / np.maximum(outer, 1)


@kernel
def _threshold(
    low: FloatMap, row_start: IntArray, row_weights: FloatMap, column_start: IntArray,
    column_weights: FloatMap, first: IntArray, last: IntArray, threshold: np.float32,
    offset: np.float32, masks: MaskU8, inner: IntArray, outer: IntArray,
) -> None:  # fmt: skip
    n, h, w = low.shape
    height = masks.shape[1]
    depth, breadth = row_weights.shape[1], column_weights.shape[1]
    lowest = threshold - offset
    highest = threshold + offset
    row_max = np.empty(h, np.float32)
    line = np.empty(w, np.float32)
    for k in range(n):
        for r in range(h):
            row_max[r] = low[k, r].max()
        for y in range(height):
            r = row_start[y]
            top = row_max[r]
            for d in range(1, depth):
                top = max(top, row_max[r + d])
            if top <= lowest:
                continue
            for c in range(w):
                line[c] = row_weights[y, 0] * low[k, r, c]
            for d in range(1, depth):
                for c in range(w):
                    line[c] += row_weights[y, d] * low[k, r + d, c]
            left = 0
            while left < w and line[left] <= lowest:
                left += 1
            if left == w:
                continue
            right = w - 1
            while line[right] <= lowest:
                right -= 1
            for x in range(first[left], last[right] + 1):
                c = column_start[x]
                value = np.float32(0)
                for d in range(breadth):
                    value += column_weights[x, d] * line[c + d]
                if value > lowest:
                    outer[k] += 1
                    if value > threshold:
                        masks[k, y, x] = 1
                        if value > highest:
                            inner[k] += 1
