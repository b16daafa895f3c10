"""Ground-truth boxes: the annotation's numbers, not rounded."""

from __future__ import annotations

import numpy as np

from litesam_bench.prompts.gt_boxes import from_instances
from litesam_bench.types import Instance, Rle


def _instance(identity: int, box: tuple[float, float, float, float]) -> Instance:
    return Instance(identity, 1, Rle(size=[4, 4], counts=b"@0"), box, 1.0)


def test_xywh_becomes_xyxy_unrounded() -> None:
    prompts = from_instances([_instance(7, (1.25, 2.5, 3.1, 4.7)), _instance(3, (0, 0, 640, 480))])
    assert prompts.ids == (7, 3)
    assert prompts.boxes is not None
    assert prompts.boxes.dtype == np.float64
    assert prompts.boxes.tolist() == [[1.25, 2.5, 1.25 + 3.1, 2.5 + 4.7], [0, 0, 640, 480]]
    assert prompts.points is None
    assert prompts.labels is None


def test_no_instances() -> None:
    prompts = from_instances([])
    assert len(prompts) == 0
    assert prompts.boxes is not None
    assert prompts.boxes.shape == (0, 4)
