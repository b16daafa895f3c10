"""Losses of the promptable masks and of AutoPPN.

Masks are compared at points instead of on a raster: a fine grid over the surroundings of the mask
and a coarse one over the whole crop, each point weighted by the area it stands for (a quadrature
of the integrals in focal and dice loss). A small object is then seen as sharply as a large one,
at a quarter of the cost of upsampling every mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses.

    focal, dice: 20 : 1 in SAM, EfficientViT-SAM and here.
    focal_gamma: the focusing exponent; 0 is cross entropy.
    focal_area: the area whose mean the focal loss is: the whole crop, as in SAM, or the mask's
        region, which gives small objects the same say.
    iou: of the regression of the predicted IoU.
    single: of the single-mask token, beside the best of the others.
    ppn: of AutoPPN's point and box losses together.
    ppn_loss: `quality`: cross entropy with the soft label, focused on where it is wrong, and IoU
        loss for the boxes; `focal-l1`: CenterNet's focal loss and smooth L1.
    ppn_grouped: the losses of small, medium and large objects apart, each with its own mean.
    """

    focal: float = 20.0
    dice: float = 1.0
    focal_gamma: float = 2.0
    focal_area: str = "region"
    iou: float = 1.0
    single: float = 1.0
    ppn: float = 1.0
    ppn_loss: str = "quality"
    ppn_grouped: bool = True


class Quadrature(NamedTuple):
    """Where N masks are compared: K points each.

    xy: (N, K, 2) pixels of the crop. weights: (N, K) area in pixels, 0 outside of the image.
    targets: (N, K) 0 or 1. region_area: (N,) pixels.
    """

    xy: Tensor
    weights: Tensor
    targets: Tensor
    region_area: Tensor


def quadrature(
    regions: Tensor,
    region_targets: Tensor,
    frame_targets: Tensor,
    valid_hw: Tensor,
    frame_stride: int,
) -> Quadrature:
    """The points of N masks.

    Args:
        regions: (N, 4) XYXY. region_targets: (N, R, R). frame_targets: (N, G, G).
        valid_hw: (N, 2) the part of the crop that is image.
    """
    count, grid = len(regions), region_targets.shape[1]
    steps = (torch.arange(grid, device=regions.device) + 0.5) / grid
    size = regions[:, 2:] - regions[:, :2]
    x = regions[:, 0:1] + steps * size[:, 0:1]
    y = regions[:, 1:2] + steps * size[:, 1:2]
    near = torch.stack(
        [x[:, None].expand(-1, grid, -1), y[:, :, None].expand(-1, -1, grid)], -1
    ).flatten(1, 2)
    area = size.prod(1)

    cells = frame_targets.shape[1]
    centers = (torch.arange(cells, device=regions.device) + 0.5) * frame_stride
    grid_y, grid_x = torch.meshgrid(centers, centers, indexing="ij")
    far = torch.stack([grid_x, grid_y], -1).flatten(0, 1).expand(count, -1, -1)
    outside = ((far < regions[:, None, :2]) | (far >= regions[:, None, 2:])).any(-1)

    xy = torch.cat([near, far], 1)
    weights = torch.cat(
        [(area / grid**2)[:, None].expand(-1, grid**2), outside * float(frame_stride**2)], 1
    )
    limit = valid_hw.flip(1)[:, None]
    weights = weights * ((xy >= 0) & (xy < limit)).all(-1)
    targets = torch.cat([region_targets.flatten(1), frame_targets.flatten(1)], 1).float()
    return Quadrature(xy, weights, targets, area)


def sample_logits(logits: Tensor, xy: Tensor, size: int) -> Tensor:
    """Logits (N, T, h, w) of a crop of side `size` at points (N, K, 2), bilinearly: (N, T, K)."""
    grid = (xy / size * 2 - 1).unsqueeze(1)
    sampled = F.grid_sample(
        logits.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.squeeze(2)


class MaskLoss(NamedTuple):
    """Means over N prompts, and per prompt the IoU (N, T) that each token reached."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    reached: Tensor


def mask_loss(
    logits: Tensor, iou: Tensor, points: Quadrature, size: int, config: LossConfig
) -> MaskLoss:
    """Token 0 against the mask, and the best of the other tokens.

    Args:
        logits: (N, T, h, w). iou: (N, T) as the model predicts it.
    """
    sampled = sample_logits(logits, points.xy, size)  # (N, T, K)
    target, weight = points.targets.unsqueeze(1), points.weights.unsqueeze(1)
    probability = sampled.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(
        sampled, target.expand_as(sampled), reduction="none"
    )
    if config.focal_gamma:
        entropy = entropy * (probability - target).abs().pow(config.focal_gamma)
    predicted = (probability * weight).sum(-1)
    if config.focal_area == "region":
        # with what is predicted, or a small object's first wild guess would drown all else
        area = points.region_area[:, None] + predicted.detach()
    else:
        area = points.weights.sum(1, keepdim=True)
    focal = (entropy * weight).sum(-1) / area
    overlap = (probability * target * weight).sum(-1)
    total = predicted + (target * weight).sum(-1)
    dice = 1 - (2 * overlap + 1) / (total + 1)

    with torch.no_grad():
        mask = (sampled > 0).float()
        both = (mask * target * weight).sum(-1)
        either = (torch.maximum(mask, target) * weight).sum(-1)
        reached = both / either.clamp(min=1e-6)
    each = config.focal * focal + config.dice * dice  # (N, T)
    best = each[:, 1:].argmin(1, keepdim=True) + 1
    loss = each.gather(1, best).squeeze(1) + config.single * each[:, 0]
    iou_loss = (iou.float() - reached).square().mean()
    return MaskLoss(
        loss.mean() + config.iou * iou_loss,
        focal.gather(1, best).mean(),
        dice.gather(1, best).mean(),
        iou_loss,
        reached,
    )


def ppn_loss(
    logits: Tensor,
    ltrb: Tensor,
    heat: Tensor,
    ltrb_target: Tensor,
    weight: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Tensor]:
    """AutoPPN's point and box loss; each image has its own mean, so that the loss of a batch is
    the mean of the losses of its parts.

    Args:
        logits: (B, G, h, w). ltrb: (B, G, 4, h, w). heat, weight: (B, 3, h, w). ltrb_target:
            (B, 3, 4, h, w). With G = 1 the groups' labels are merged, small objects first.
    """
    if logits.shape[1] == 1:
        heat, ltrb_target, weight = _merge_groups(heat, ltrb_target, weight)
    if config.ppn_loss == "quality":
        probability = logits.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, heat, reduction="none")
        point = entropy * (probability - heat).abs().square()
    else:
        positive = heat >= 0.999
        log_p, log_n = F.logsigmoid(logits), F.logsigmoid(-logits)
        p = logits.sigmoid()
        point = torch.where(
            positive, -log_p * (1 - p).square(), -log_n * p.square() * (1 - heat).pow(4)
        )
    dims = (2, 3) if config.ppn_grouped else (1, 2, 3)
    point_loss = (point.sum(dims) / heat.sum(dims).clamp(min=1)).mean()

    if config.ppn_loss == "quality":
        box = 1 - ltrb_iou(ltrb, ltrb_target)
    else:
        box = 10 * F.smooth_l1_loss(ltrb, ltrb_target, beta=0.1, reduction="none").sum(2)
    box_loss = ((box * weight).sum(dims) / weight.sum(dims).clamp(min=1)).mean()
    return point_loss, box_loss


def ltrb_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes around the same point, given by distances to their sides (..., 4, h, w)."""
    size_a = (a[:, :, 0] + a[:, :, 2]) * (a[:, :, 1] + a[:, :, 3])
    size_b = (b[:, :, 0] + b[:, :, 2]) * (b[:, :, 1] + b[:, :, 3])
    low = torch.minimum(a, b)
    both = (low[:, :, 0] + low[:, :, 2]) * (low[:, :, 1] + low[:, :, 3])
    return both / (size_a + size_b - both).clamp(min=1e-8)


def _merge_groups(heat: Tensor, ltrb: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of three groups to labels of one map; the box is that of the smallest object."""
    out_ltrb, out_weight = ltrb[:, 2:], weight[:, 2:]
    for group in (1, 0):
        here = weight[:, group : group + 1] > 0
        out_ltrb = torch.where(here.unsqueeze(2), ltrb[:, group : group + 1], out_ltrb)
        out_weight = torch.where(here, weight[:, group : group + 1], out_weight)
    return heat.amax(1, keepdim=True), out_ltrb, out_weight
