"""The predicted IoU is fitted to what is reached; nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from litesam_bench.lite_sam.configs import LITE_SAM
from litesam_bench.lite_sam.model import build
from litesam_bench.train.calibrate import fit_iou_head, observe
from litesam_bench.train.shards import open_shards


def test_only_the_head_is_fitted(pairs: Path) -> None:
    model = build(LITE_SAM, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = observe(model, open_shards([pairs]), np.arange(4), 128, "fp32")
    assert seen.inputs.shape == (4 * 3 * 2, 256)  # three masks, a box and a point each
    assert seen.reached.shape == (24, 4)
    assert ((seen.reached >= 0) & (seen.reached <= 1)).all()

    head = model.mask_decoder.iou_prediction_head
    with torch.no_grad():
        error = float(F.mse_loss(head(seen.inputs), seen.reached))
    assert fit_iou_head(model, seen, steps=100) < 0.5 * error
    moved = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved
    assert all(name.startswith("mask_decoder.iou_prediction_head.") for name in moved)


def test_boxes_reach_what_their_ellipse_reaches(pairs: Path) -> None:
    """An untrained model draws the ellipse of its box, and the made-up objects are ellipses."""
    model = build(LITE_SAM, seed=0)
    for mlp in model.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(mlp.layers[-1].weight)  # type: ignore[union-attr, index]
        torch.nn.init.zeros_(mlp.layers[-1].bias)  # type: ignore[union-attr, index]
    seen = observe(model, open_shards([pairs]), np.arange(4), 640, "fp32")
    boxes = torch.unflatten(seen.reached, 0, (4, 2, 3))[:, 0]
    assert float(boxes.mean()) > 0.9
