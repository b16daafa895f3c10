"""What adapters share: a box's pixels, binary masks as a `MaskBatch`, and a filter on a batch.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam_bench.metrics.select import multimask as multimask_positions
from litesam_bench.types import FloatArray, MaskBatch, SelectedMasks

if TYPE_CHECKING:
    from torch import Tensor

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def touched_pixels(low: FloatArray, high: FloatArray, size: int) -> tuple[IntArray, IntArray]:
    """The pixels of one axis that the interval from `low` to `high` touches, as start and stop.

    Edges round outward, so that the box of an annotation keeps every pixel of its object.

    Args:
        low, high: (N,) edges in continuous pixels; pixel i reaches from i to i + 1.
        size: number of pixels of the axis; spans are clipped to 0..size.

    Returns:
        start and stop, each (N,); stop == start where nothing is touched.
    """
    start = np.clip(np.floor(low), 0, size).astype(np.int64)
    stop = np.clip(np.ceil(high), 0, size).astype(np.int64)
    return start, np.maximum(start, stop)


def binary_batch(masks: BoolArray) -> MaskBatch:
    """Binary masks at original-image size, one per prompt, as a system's answer.

    Args:
        masks: (N, H, W) bool.

    Returns:
        Logits of +1 and -1, (N, 1, H, W) float16 (the values are exact and the memory is half),
        predicted IoU 1, token 0, and a `to_image` that changes nothing but the dtype.
    """
    import torch

    logits = torch.from_numpy(masks).to(torch.float16).mul_(2).sub_(1)  # (N, H, W)
    return MaskBatch(
        logits=logits[:, None],
        iou=torch.ones(len(masks), 1),
        tokens=(0,),
        to_image=_as_float32,
    )


def _as_float32(logits: Tensor) -> Tensor:
    return logits.float()


def select_above(batch: MaskBatch, *, multimask: bool, iou_thresh: float) -> SelectedMasks:
    """Masks of a batch whose predicted IoU is above `iou_thresh` (0 keeps all).

    Args:
        multimask: the multimask tokens (all masks of a system without), else token 0 (the first
            mask of a system without).
    """
    import torch

    if multimask:
        wanted = multimask_positions(batch.tokens)
    else:
        wanted = [batch.tokens.index(0) if 0 in batch.tokens else 0]
    logits, iou = batch.logits[:, wanted], batch.iou[:, wanted].float()
    keep = iou > iou_thresh if iou_thresh > 0 else torch.ones_like(iou, dtype=torch.bool)
    rows, columns = keep.nonzero(as_tuple=True)
    return SelectedMasks(
        logits=logits[rows, columns],
        iou=iou[rows, columns],
        prompts=rows,
        tokens=torch.as_tensor(batch.tokens, device=rows.device)[wanted][columns],
        considered=keep.numel(),
        to_image=batch.to_image,
        threshold=batch.threshold,
    )
