"""Ground-truth boxes as prompts: the annotation's own box, not one drawn around its mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from litesam_bench.types import Instance, Prompts


def from_instances(instances: Sequence[Instance]) -> Prompts:
    """One box prompt per instance, in order; `ids` are annotation ids.

    COCO's xywh becomes XYXY as floats, neither rounded, clipped nor jittered (EfficientViT-SAM
    `eval_efficientvit_sam_model.py`, EdgeSAM `eval_mIoU.py`).

    Returns:
        Prompts with boxes (N, 4) float64; N may be 0.
    """
    xywh = np.array([instance.bbox_xywh for instance in instances], np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Prompts(ids=tuple(instance.id for instance in instances), boxes=boxes)
