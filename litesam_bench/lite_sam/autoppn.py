"""AutoPPN: where to prompt, from one embedding and one forward pass (poster, Fig. 2 (c), Table 2).

It needs nothing but an embedding of stride 16 with any number of channels, so that it attaches to
Lite-SAM and to SAM alike (Table 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.lite_sam.litevit import Block, MspmConfig

GROUP_REACH = (0.05, 0.15, 0.35)
"""Typical distance from a point to the sides of its box, for small, medium and large objects, as
a share of the frame's side (a square of 1 %, 9 % and 49 % of the area)."""


@dataclass(frozen=True)
class AutoPpnConfig:
    """stem: MSPM, or the plain convolution of Table 2's baseline.
    grouped: one map each for small, medium and large objects, or one map for all (Table 2).
    dim, head_dim: widths at the embedding's resolution, and at twice that resolution.
    """

    stem: Literal["mspm", "conv"] = "mspm"
    grouped: bool = True
    dim: int = 96
    head_dim: int = 64


class ProposalMaps(NamedTuple):
    """Raw predictions for G object groups on a grid of twice the embedding's resolution.

    logits: (B, G, h, w) confidence that a point here prompts an object, before the sigmoid.
    ltrb: (B, G, 4, h, w) distances to the left, top, right and bottom side of its box, positive,
        as a share of the frame's width (left, right) or height (top, bottom).
    """

    logits: Tensor
    ltrb: Tensor


class Proposals(NamedTuple):
    """The K best prompts of each of B images, by falling score; network pixels.

    points: (B, K, 2) xy. boxes: (B, K, 4) XYXY, clipped to the frame. scores: (B, K) in [0, 1];
    0 marks a filler, where an image has fewer than K peaks. groups: (B, K) 0 small, 1 medium,
    2 large; always 0 without grouping.
    """

    points: Tensor
    boxes: Tensor
    scores: Tensor
    groups: Tensor


class ConvStem(nn.Module):
    """The baseline of Table 2: a 3x3 convolution, normalised."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.conv(x)))


class AutoPpn(nn.Module):
    """Point confidence and box regression at every location.

    Decision (ours): predictions are made at twice the embedding's resolution (stride 8), where
    neighbouring small objects still have a cell each; a transposed convolution takes the map
    there, because the module must work on SAM's embedding, which has no finer map beside it.

    Decision (ours): with grouping, small, medium and large objects (below 5 %, to 25 %, above, of
    the image's area) have maps of their own: a pixel lies in a part and in the whole at once,
    and one map could hold one distance transform and one box only.

    Decision (ours): distances are the softplus of the prediction times a typical reach of the
    group, so that an untrained network proposes boxes of plausible size and gradients do not
    vanish at small ones.
    """

    reach: Tensor

    def __init__(self, embedding_dim: int, config: AutoPpnConfig) -> None:
        super().__init__()
        self.config = config
        self.group_count = 3 if config.grouped else 1
        self.project = nn.Conv2d(embedding_dim, config.dim, 1)
        self.stem: nn.Module = (
            Block(config.dim, MspmConfig(), mlp_ratio=1.0, layer_scale=0.1)
            if config.stem == "mspm"
            else ConvStem(config.dim)
        )
        self.upscale = nn.ConvTranspose2d(config.dim, config.head_dim, kernel_size=2, stride=2)
        self.norm = nn.GroupNorm(1, config.head_dim)
        self.head = nn.Conv2d(config.head_dim, config.head_dim, 3, padding=1)
        self.confidence = nn.Conv2d(config.head_dim, self.group_count, 1)
        self.box = nn.Conv2d(config.head_dim, 4 * self.group_count, 1)

        rare = 0.01  # start by expecting few peaks, as focal losses want
        nn.init.constant_(self.confidence.bias, -math.log((1 - rare) / rare))  # type: ignore[arg-type]
        reach = GROUP_REACH if config.grouped else GROUP_REACH[1:2]
        self.register_buffer("reach", torch.tensor(reach).view(-1, 1, 1, 1), persistent=False)

    def forward(self, embedding: Tensor) -> ProposalMaps:
        """(B, C, h, w) to maps of (2h, 2w)."""
        x = self.stem(self.project(embedding))
        x = F.gelu(self.norm(self.upscale(x)))
        x = F.gelu(self.head(x))
        raw = torch.unflatten(self.box(x).float(), 1, (self.group_count, 4))
        # softplus(0) = log 2; a raw 0 then means exactly the typical reach
        ltrb = F.softplus(raw) / math.log(2) * self.reach
        return ProposalMaps(self.confidence(x).float(), ltrb)

    def propose(
        self,
        embedding: Tensor,
        frame_hw: tuple[int, int],
        *,
        valid_hw: tuple[int, int] | None = None,
        k: int = 256,
    ) -> Proposals:
        """The k best prompts of each image of a batch: `select_proposals` of `forward`."""
        return select_proposals(self(embedding), frame_hw, valid_hw=valid_hw, k=k)


def select_proposals(
    maps: ProposalMaps,
    frame_hw: tuple[int, int],
    *,
    valid_hw: tuple[int, int] | None = None,
    k: int = 256,
) -> Proposals:
    """The k highest local maxima over all groups.

    A location counts if no neighbour of its 3x3 window in the same group is higher. Equal scores
    keep their order (group, row, column), so that the result depends on nothing but the maps.

    Args:
        maps: predictions for frames of `frame_hw` (H, W) pixels.
        valid_hw: the part of the frame that holds the image; the rest is padding, where nothing is
            proposed and where no box reaches.
        k: number of proposals; fewer only if the maps have fewer cells.
    """
    rows, columns = maps.logits.shape[-2:]
    device = maps.logits.device
    height, width = frame_hw
    limit_y, limit_x = valid_hw or frame_hw
    y = (torch.arange(rows, device=device) + 0.5) * (height / rows)
    x = (torch.arange(columns, device=device) + 0.5) * (width / columns)

    scores = maps.logits.sigmoid()
    scores = scores * (y < limit_y).unsqueeze(1) * (x < limit_x)
    peaks = scores * (scores == F.max_pool2d(scores, 3, stride=1, padding=1))
    ranked, order = peaks.flatten(1).sort(dim=1, descending=True, stable=True)
    ranked, order = ranked[:, :k], order[:, :k]

    group, cell = order // (rows * columns), order % (rows * columns)
    point_x, point_y = x[cell % columns], y[cell // columns]
    sides = maps.ltrb.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, G * rows * columns, 4)
    sides = sides.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
    left, top, right, bottom = sides.unbind(2)
    boxes = torch.stack(
        [
            (point_x - left * width).clamp(0, limit_x),
            (point_y - top * height).clamp(0, limit_y),
            (point_x + right * width).clamp(0, limit_x),
            (point_y + bottom * height).clamp(0, limit_y),
        ],
        dim=2,
    )
    return Proposals(torch.stack([point_x, point_y], dim=2), boxes, ranked, group)
