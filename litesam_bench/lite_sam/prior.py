"""What a prompt alone says about its mask, drawn as a map: the start that the decoder refines.

Decision (ours): SAM tells the decoder where a prompt is by positional encodings of its corners or
points only, and learns from a billion masks what place they mean. With a few thousand images that
does not work (a prototype needed 10,000 of them for a box mIoU of 0.36), while the ellipse inside
a box, which needs no training, reaches 0.64 on COCO. So the prompt is also drawn:

* as a soft map at the decoder's resolution, which takes SAM's own path for mask prompts where no
  mask is given, and which is added to the predicted logits with a learned weight per token;
* as one more sparse token, the mean of the image's features under the map and around it, which
  says what is inside and what is outside.

The prompt encoder, the two-way decoder and their parameters stay SAM's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.sam.mask_decoder import Features
from litesam_bench.types import SizeHW

POINT_REACH = (8.0, 32.0, 128.0)
"""Radii, in pixels of the frame, at which a point's bump has fallen to half its height."""


def draw_boxes(boxes: Tensor, grid_hw: SizeHW, stride: int) -> Tensor:
    """(N, 4) XYXY in pixels of a grid of `stride` to soft maps (N, h, w), float32.

    2 - 2 r, with the radius r from 0 in the middle to 1 on the inscribed ellipse: positive inside
    of it, at most 1, at least -2, so that far away looks alike for every size. It is linear around
    the ellipse, so that bilinear upsampling keeps its outline where boxes are a few cells wide.
    Sides count as at least one cell, or tiny boxes would fall between the cells.
    """
    y, x = _centers(grid_hw, stride, boxes)
    left, top, right, bottom = boxes.float().unbind(1)
    half_w = ((right - left) / 2).clamp(min=stride / 2)
    half_h = ((bottom - top) / 2).clamp(min=stride / 2)
    u = (x - ((left + right) / 2)[:, None]) / half_w[:, None]  # (N, w)
    v = (y - ((top + bottom) / 2)[:, None]) / half_h[:, None]  # (N, h)
    radius = (u.square()[:, None] + v.square()[:, :, None]).sqrt()
    return (2 - 2 * radius).clamp(min=-2, max=1)


def bound_boxes(boxes: Tensor, grid_hw: SizeHW, stride: int) -> Tensor:
    """(N, 4) XYXY to upper bounds of the logits (N, h, w): 4 per cell of distance to the nearest
    side, positive inside and negative outside.

    Decision (ours): a box bounds its mask, as in detectors' mask heads. Linear in the distance, so
    that bilinear upsampling puts the end exactly on the sides; boxes of less than two cells bound
    as if they had two.
    """
    y, x = _centers(grid_hw, stride, boxes)
    left, top, right, bottom = boxes.float().unbind(1)
    half_w = ((right - left) / 2).clamp(min=stride)
    half_h = ((bottom - top) / 2).clamp(min=stride)
    inside_x = half_w[:, None] - (x - ((left + right) / 2)[:, None]).abs()  # (N, w)
    inside_y = half_h[:, None] - (y - ((top + bottom) / 2)[:, None]).abs()  # (N, h)
    return torch.minimum(inside_x[:, None], inside_y[:, :, None]) * (4 / stride)


def draw_points(points: Tensor, labels: Tensor, grid_hw: SizeHW, stride: int) -> Tensor:
    """(N, P, 2) xy and (N, P) labels to soft maps (N, h, w), float32.

    The sum of bumps r² / (r² + d²) of three radii r, scaled to -2 far away and 1 at a point.
    Foreground points raise, background points lower, padding does nothing.
    """
    y, x = _centers(grid_hw, stride, points)
    points = points.float()
    squared = (x - points[..., 0:1]).square()[:, :, None] + (y - points[..., 1:2]).square()[
        ..., None
    ]
    bump = torch.stack([r * r / (r * r + squared) for r in POINT_REACH]).mean(0)  # (N, P, h, w)
    raised = (bump * (labels == 1)[..., None, None]).amax(1)
    lowered = (bump * (labels == 0)[..., None, None]).amax(1)
    return 3 * (raised - lowered).clamp(min=0) - 2


def _centers(grid_hw: SizeHW, stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    height, width = grid_hw
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) * stride
    return y, x


class PromptPrior(nn.Module):
    """The learned parts around the drawn map: the token of its region, and its weight."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        fine, mid = dim // 8, dim // 4
        self.region = nn.Linear(2 * (fine + mid), dim)
        self.weight = nn.Parameter(torch.ones(tokens))
        self.bias = nn.Parameter(torch.zeros(tokens))

    def region_token(self, features: Features, drawn: Tensor) -> Tensor:
        """Features of B images and maps (B * M, h, w) of their prompts to (B * M, 1, dim)."""
        assert features.stride4 is not None and features.stride8 is not None
        weight = torch.sigmoid(4 * drawn)
        around = torch.sigmoid(4 * (drawn + 1)) - weight + 1e-4
        pair = torch.stack([weight + 1e-4, around], 1)  # (B * M, 2, h, w)
        means = [
            _weighted_mean(features.stride4, pair),
            _weighted_mean(features.stride8, F.avg_pool2d(pair, 2)),
        ]
        token: Tensor = self.region(torch.cat(means, 1).to(self.region.weight.dtype))
        return token.unsqueeze(1)

    def add(self, logits: Tensor, drawn: Tensor) -> Tensor:
        """Logits (N, T, h, w) plus each token's share of the map (N, h, w)."""
        share = self.weight.view(-1, 1, 1) * drawn.unsqueeze(1) + self.bias.view(-1, 1, 1)
        return logits + share.to(logits.dtype)

    def add_each(self, logits: Tensor, drawn: Tensor, tokens: Tensor) -> Tensor:
        """As `add` for single masks: logits and maps (K, h, w), and the token of each (K,)."""
        weight, bias = self.weight[tokens].view(-1, 1, 1), self.bias[tokens].view(-1, 1, 1)
        return logits + (weight * drawn + bias).to(logits.dtype)


def _weighted_mean(features: Tensor, weights: Tensor) -> Tensor:
    """(B, C, h, w) and (B * M, 2, h, w) to (B * M, 2 * C)."""
    batch = len(features)
    cells = features.flatten(2).transpose(1, 2)  # (B, L, C)
    flat = torch.unflatten(weights.flatten(2), 0, (batch, -1)).flatten(1, 2)  # (B, 2M, L)
    flat = flat / flat.sum(-1, keepdim=True)
    means = flat.to(cells.dtype) @ cells
    return torch.unflatten(means, 1, (-1, 2)).flatten(2).flatten(0, 1)
