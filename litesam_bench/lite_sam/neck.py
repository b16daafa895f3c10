"""From LiteViT's four stages to what the mask decoder takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.lite_sam.litevit import Block, MspmConfig
from litesam_bench.sam.common import LayerNorm2d
from litesam_bench.sam.mask_decoder import Features


@dataclass(frozen=True)
class NeckConfig:
    """`dim`: width of the embedding, that of the prompts and of the decoder's transformer."""

    dim: int = 256


class Neck(nn.Module):
    """Four stages to an embedding at stride 16 and prompt-independent maps at strides 8 and 4.

    Decision (ours): the neck counts with Lite-SAM's 4.2 M parameters, not with LiteViT's 1.16 M,
    which the poster compares with PoolFormer's bare backbone.

    Decision (ours): all stages meet at stride 16, the finer ones averaged and the coarsest
    upsampled, and one more MSPM block mixes the sum. The finer maps take the same information on a
    second path that never leaves their resolution: the decoder adds them while it upscales, as in
    SAM 2. They are computed once per image, so that sharp masks cost a prompt nothing.
    """

    def __init__(self, stage_dims: tuple[int, int, int, int], config: NeckConfig) -> None:
        super().__init__()
        dim, mid, fine = config.dim, config.dim // 4, config.dim // 8
        self.norms = nn.ModuleList(nn.GroupNorm(1, d) for d in stage_dims)
        self.laterals = nn.ModuleList(nn.Conv2d(d, dim, 1, bias=False) for d in stage_dims)
        self.fuse = Block(dim, MspmConfig(), mlp_ratio=1.0, layer_scale=0.1)
        self.norm = LayerNorm2d(dim)
        self.stride8 = TopDown(stage_dims[1], dim, mid)
        self.stride4 = TopDown(stage_dims[0], mid, fine)

    def forward(self, stages: tuple[Tensor, Tensor, Tensor, Tensor]) -> Features:
        """Maps at strides 4, 8, 16, 32 to (B, dim, h, w), (B, dim / 4, 2h, 2w), (…, 4h, 4w)."""
        s4, s8, s16, s32 = (norm(x) for norm, x in zip(self.norms, stages, strict=True))
        l4, l8, l16, l32 = self.laterals
        coarse = F.interpolate(l32(s32), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = l16(s16) + coarse + l8(F.avg_pool2d(s8, 2)) + l4(F.avg_pool2d(s4, 4))
        embedding = self.norm(self.fuse(x))
        stride8 = self.stride8(s8, embedding)
        return Features(embedding, stride8, self.stride4(s4, stride8))


class TopDown(nn.Module):
    """A stage and the coarser map above it, added and mixed by a 3x3 convolution."""

    def __init__(self, stage_dim: int, coarse_dim: int, dim: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(stage_dim, dim, 1)
        self.top = nn.Conv2d(coarse_dim, dim, 1, bias=False)
        self.norm = nn.GroupNorm(1, dim)
        self.mix = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, stage: Tensor, coarse: Tensor) -> Tensor:
        """(B, stage_dim, h, w) and (B, coarse_dim, h / 2, w / 2) to (B, dim, h, w)."""
        top = F.interpolate(
            self.top(coarse), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        mixed: Tensor = self.mix(F.gelu(self.norm(self.lateral(stage) + top)))
        return mixed


class BackboneConfig(Protocol):
    """What the neck needs of a backbone; LiteViT's own is `LiteViTConfig`.

    dims: width of the four maps.
    """

    @property
    def dims(self) -> tuple[int, int, int, int]: ...
    def build(self) -> nn.Module:
        """A module from images (B, 3, H, W) to four maps at strides 4, 8, 16 and 32."""
        ...


class LiteSamEncoder(nn.Module):
    """LiteViT and the neck: images (B, 3, H, W), both divisible by 32, to `Features`."""

    def __init__(self, backbone: BackboneConfig, config: NeckConfig) -> None:
        super().__init__()
        self.vit = backbone.build()
        self.neck = Neck(backbone.dims, config)

    def forward(self, images: Tensor) -> Features:
        features: Features = self.neck(self.vit(images))
        return features
