"""Losses: the quadrature integrates, perfect masks cost nothing, the best of three is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from litesam_bench.train.losses import (
    LossConfig,
    Quadrature,
    ltrb_iou,
    mask_loss,
    ppn_loss,
    quadrature,
    sample_logits,
)

SIZE = 64
CONFIG = LossConfig()


def square(x0: int, y0: int, x1: int, y1: int) -> Tensor:
    """Logits (16, 16) of stride 4: 10 in the square, -10 outside."""
    logits = torch.full((SIZE // 4, SIZE // 4), -10.0)
    logits[y0 // 4 : y1 // 4, x0 // 4 : x1 // 4] = 10.0
    return logits


def truth(x0: int, y0: int, x1: int, y1: int, grid: int = 64) -> Quadrature:
    """The points of a square mask whose region is twice as large."""
    pad_x, pad_y = (x1 - x0) / 2, (y1 - y0) / 2
    region = torch.tensor([[x0 - pad_x, y0 - pad_y, x1 + pad_x, y1 + pad_y]])
    steps = (torch.arange(grid) + 0.5) / grid
    x = region[0, 0] + steps * (region[0, 2] - region[0, 0])
    y = region[0, 1] + steps * (region[0, 3] - region[0, 1])
    near = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    centers = torch.arange(SIZE // 8) * 8 + 4
    far = ((centers >= y0) & (centers < y1))[:, None] & ((centers >= x0) & (centers < x1))
    return quadrature(region, near[None].byte(), far[None].byte(), torch.tensor([[SIZE, SIZE]]), 8)


def test_weights_are_areas() -> None:
    points = truth(16, 16, 32, 32)
    assert float((points.weights * points.targets).sum()) == pytest.approx(16 * 16)
    assert float(points.weights.sum()) == pytest.approx(SIZE * SIZE, rel=0.03)


def test_nothing_counts_outside_of_the_image() -> None:
    region = torch.tensor([[-16.0, -16.0, 16.0, 16.0]])
    ones, far = torch.ones(1, 32, 32, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    points = quadrature(region, ones, far, torch.tensor([[40, 8]]), 8)
    assert float((points.weights * points.targets).sum()) == pytest.approx(16 * 8)
    assert float(points.weights.sum()) == pytest.approx(40 * 8)


def test_sampling_is_bilinear_upsampling() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 8, 8)
    up = torch.nn.functional.interpolate(logits, 32, mode="bilinear", align_corners=False)
    grid = torch.arange(32) + 0.5
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    xy = torch.stack([x, y], -1).view(1, -1, 2)
    torch.testing.assert_close(sample_logits(logits, xy, 32), up.flatten(2), atol=1e-5, rtol=1e-4)


def test_reached_iou_is_the_iou_of_the_masks() -> None:
    points = truth(16, 16, 32, 32)
    same, half, none = square(16, 16, 32, 32), square(16, 16, 32, 24), square(48, 48, 60, 60)
    logits = torch.stack([same, half, none, same])[None]
    out = mask_loss(logits, torch.zeros(1, 4), points, SIZE, CONFIG)
    # bilinear interpolation rounds the corners of a square of four cells
    assert out.reached[0].tolist() == pytest.approx([1, 0.5, 0, 1], abs=0.07)


def test_the_best_of_three_is_trained_and_token_0_always() -> None:
    points = truth(16, 16, 32, 32)
    good, bad = square(16, 16, 32, 32), square(40, 40, 60, 60)
    logits = torch.stack([bad, bad, good, bad])[None].requires_grad_()
    out = mask_loss(logits, torch.zeros(1, 4), points, SIZE, replace(CONFIG, iou=0.0))
    out.total.backward()
    assert logits.grad is not None
    moved = logits.grad[0].abs().amax((1, 2)) > 0
    assert moved.tolist() == [True, False, True, False]


def test_a_perfect_mask_costs_next_to_nothing() -> None:
    points = truth(16, 16, 32, 32)
    good, bad = square(16, 16, 32, 32), square(0, 0, 64, 64)
    iou = torch.ones(1, 4)
    perfect = mask_loss(torch.stack([good] * 4)[None], iou, points, SIZE, CONFIG).total
    awful = mask_loss(torch.stack([bad] * 4)[None], iou, points, SIZE, CONFIG).total
    assert float(perfect) < 0.1 * float(awful)


@pytest.mark.parametrize("kind", ["quality", "focal-l1"])
@pytest.mark.parametrize("groups", [1, 3])
def test_ppn_loss_is_least_at_the_labels(kind: str, groups: int) -> None:
    config = replace(CONFIG, ppn_loss=kind)
    heat = torch.zeros(2, 3, 8, 8)
    heat[:, 1, 3:6, 3:6] = 0.5
    heat[:, 1, 4, 4] = 1.0
    sides = torch.rand(2, 3, 4, 8, 8) * 0.2 + 0.1
    weight = heat.clone()
    logits = (
        torch.logit(heat[:, 1:2].clamp(1e-3, 1 - 1e-3))
        if groups == 1
        else torch.logit(heat.clamp(1e-3, 1 - 1e-3))
    )
    ltrb = sides[:, 1:2] if groups == 1 else sides
    point, box = ppn_loss(logits, ltrb, heat, sides, weight, config)
    assert float(box) == pytest.approx(0, abs=1e-4)
    worse_point, worse_box = ppn_loss(-logits, ltrb * 2, heat, sides, weight, config)
    assert float(worse_point) > float(point) + 0.1
    assert float(worse_box) > 0.1


def test_the_loss_of_a_batch_is_the_mean_of_its_halves() -> None:
    """What makes two processes the same as one."""
    torch.manual_seed(0)
    logits, ltrb = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 4, 8, 8)
    heat, target = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 4, 8, 8)
    weight = heat * (torch.rand(4, 3, 8, 8) > 0.5)

    def loss(part: slice) -> Tensor:
        args = (logits[part], ltrb[part], heat[part], target[part], weight[part])
        return torch.stack(ppn_loss(*args, CONFIG))

    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    torch.testing.assert_close(loss(slice(None)), halves)


def test_ltrb_iou_by_hand() -> None:
    a = torch.tensor([1.0, 1.0, 1.0, 1.0]).view(1, 1, 4, 1, 1)  # 2 x 2 around the point
    b = torch.tensor([1.0, 1.0, 3.0, 1.0]).view(1, 1, 4, 1, 1)  # 4 x 2
    assert float(ltrb_iou(a, b)) == pytest.approx(0.5)
