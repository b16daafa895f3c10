"""Greedy non-maximum suppression of boxes, by the rules of torchvision's, in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from litesam_bench.metrics._jit import kernel
from litesam_bench.types import FloatArray

IntArray = npt.NDArray[np.int64]


@kernel
def _suppress(boxes: FloatArray, order: IntArray, threshold: float) -> npt.NDArray[np.bool_]:
    n = len(order)
    kept = np.ones(n, np.bool_)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(n):
        if not kept[i]:
            continue
        a = order[i]
        for j in range(i + 1, n):
            if not kept[j]:
                continue
            b = order[j]
            w = min(boxes[a, 2], boxes[b, 2]) - max(boxes[a, 0], boxes[b, 0])
            h = min(boxes[a, 3], boxes[b, 3]) - max(boxes[a, 1], boxes[b, 1])
            if w > 0 and h > 0:  # then the union has an area too
                inter = w * h
                if inter / (area[a] + area[b] - inter) > threshold:
                    kept[j] = False
    return kept


def box_nms(boxes: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> IntArray:
    """Rows that stay, best score first.

    Boxes without area overlap nothing and stay. Equal scores keep their order.

    Args:
        boxes: (N, 4) XYXY. scores: (N,), NaN-free.
        threshold: a box goes if its IoU with a better one that stays is above this.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    order: IntArray = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept: IntArray = order[_suppress(boxes, order, threshold)]
    return kept
