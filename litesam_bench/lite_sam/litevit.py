"""LiteViT, the image encoder of Lite-SAM, and the backbones of its ablation (poster, Table 1).

PoolFormer's macro layout: four stages at strides 4, 8, 16 and 32, each a patch embedding followed
by blocks of (norm, token mixer, residual) and (norm, MLP, residual). Only the token mixer, the
patch embeddings and the width of the MLP differ between the rows of the table. Tensors are
(B, C, H, W), fastest in channels_last memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PoolMixerConfig:
    """PoolFormer's token mixer, Fig. 3 (1): the 3x3 mean of the neighbours minus the cell."""


@dataclass(frozen=True)
class MspmConfig:
    """The Multi-Scale Pooling Module and its ablations, Fig. 3 (2) to (5).

    local_group: channels per group of the 3x3 local convolution; 0 leaves the convolution out.
    kernels: kernel sizes of the context branches, finest first. Branch i is a depthwise
        convolution on the map pooled by `first_pool` * 2^i.
    """

    local_group: int = 16
    kernels: tuple[int, ...] = (3, 7, 7, 3)
    first_pool: int = 2


MixerConfig = PoolMixerConfig | MspmConfig


@dataclass(frozen=True)
class LiteViTConfig:
    """A backbone with PoolFormer's layout.

    dims, depths: width and number of blocks of each stage.
    embed_kernel: kernel of the patch embeddings of stages 2 to 4, which have stride 2.
    mlp_ratio: hidden width of the MLP over the width of the stage.
    layer_scale: initial value of the learned scale of each residual branch.
    """

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    mixer: MixerConfig = field(default_factory=MspmConfig)
    embed_kernel: int = 2
    mlp_ratio: float = 1.0
    layer_scale: float = 0.1

    def build(self) -> LiteViT:
        """The backbone with random weights."""
        return LiteViT(self)


STRIDE = 32
"""Height and width of the input must be divisible by the stride of the last stage."""


class PoolMixer(nn.Module):
    """PoolFormer's average pooling; the cell itself is subtracted because the block adds it."""

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        mean = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return (mean - x) * scale.view(-1, 1, 1)


class Mspm(nn.Module):
    """Multi-Scale Pooling Module: a local convolution plus context from a pyramid of means.

    Decision (ours): the poster names the module and shows that it pools at several scales; its
    drawing gives no sizes. Here the map is averaged down a pyramid (by 2, 4, 8, 16), each level
    goes through a depthwise convolution, and the levels are added on the way back up, by bilinear
    upsampling, onto a grouped 3x3 convolution at full resolution. Three reasons:

    * the parameters beyond the MLPs in the poster's 1.16, 2.19 and 3.63 M grow linearly with the
      widths, by about 265 a channel, as depthwise and fixed-group convolutions do
      (144 + 9 + 49 + 49 + 9) and dense ones do not;
    * the 7x7 kernel on the map pooled by 8 sees 56 cells, more than stage 3 has at 640, at 1/64
      of its cost, and every pooling is 2x2, where a large stride-1 window is bound by memory;
    * a pyramid crosses the full resolution once down and once up, whatever the number of scales,
      and its large kernels, slow to train on every device, only meet small maps.

    Any size works: levels are rounded up, and a window at the edge averages what it has.
    """

    def __init__(self, config: MspmConfig, dim: int) -> None:
        super().__init__()
        self.first_pool = config.first_pool
        self.local = (
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim // config.local_group)
            if config.local_group
            else None
        )
        self.context = nn.ModuleList(
            nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False) for k in config.kernels
        )

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        levels = [x]
        for i in range(len(self.context)):
            pool = self.first_pool if i == 0 else 2
            levels.append(F.avg_pool2d(levels[-1], pool, ceil_mode=True))

        out: Tensor | None = None
        for level, conv in zip(reversed(levels[1:]), reversed(self.context), strict=True):
            out = _upsample_add(out, _scaled(conv, scale, level))
        if self.local is not None:
            return _upsample_add(out, _scaled(self.local, scale, x))
        assert out is not None, "a mixer without a local convolution needs context"
        return _resize(out, x)


def _scaled(conv: nn.Module, scale: Tensor, x: Tensor) -> Tensor:
    """`scale * conv(x)` with the scale (channels,) in the weights: maps are larger than kernels."""
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = None if conv.bias is None else conv.bias * scale
    return F.conv2d(x, weight, bias, padding=conv.padding, groups=conv.groups)


def _resize(coarse: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(coarse, like.shape[-2:], mode="bilinear", align_corners=False)


def _upsample_add(coarse: Tensor | None, fine: Tensor) -> Tensor:
    return fine if coarse is None else fine + _resize(coarse, fine)


def _mixer(config: MixerConfig, dim: int) -> nn.Module:
    return Mspm(config, dim) if isinstance(config, MspmConfig) else PoolMixer()


class Block(nn.Module):
    """A token mixer and an MLP, each normalised before and scaled after, both residual.

    Decision (ours): the norm is PoolFormer's GroupNorm with one group. It does not depend on the
    batch, so that training with a few images a step and evaluating one image are the same
    computation, and in channels_last bfloat16 on a CPU it costs a quarter of a LayerNorm over
    channels. A BatchNorm could be folded away, but would tie the weights to the training sizes
    and to the share of padding in them.

    Decision (ours): the scales start at 0.1 and not at PoolFormer's 1e-5: twelve blocks need no
    identity start, and short trainings would spend their first part on growing the scales.
    """

    def __init__(self, dim: int, mixer: MixerConfig, mlp_ratio: float, layer_scale: float) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1 = nn.GroupNorm(1, dim)
        self.mixer = _mixer(mixer, dim)
        self.norm2 = nn.GroupNorm(1, dim)
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)
        self.scale1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.scale2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x), self.scale1)
        return x + _scaled(self.fc2, self.scale2, F.gelu(self.fc1(self.norm2(x))))


class LiteViT(nn.Module):
    """Images to one feature map per stage.

    Decision (ours): between stages, LiteViT halves the map by a 2x2 convolution without overlap,
    and its MLPs keep the width (ratio 1). With PoolFormer's 3x3 embeddings the printed parameters
    would leave a ratio of 1/2, a bottleneck in every block, or no room for the module that the
    paper is about. Neighbouring patches still overlap through the local convolutions.
    """

    def __init__(self, config: LiteViTConfig) -> None:
        super().__init__()
        kernel = config.embed_kernel
        self.config = config
        self.embeds = nn.ModuleList([nn.Conv2d(3, config.dims[0], 7, stride=4, padding=2)])
        for before, after in zip(config.dims[:-1], config.dims[1:], strict=True):
            conv = nn.Conv2d(before, after, kernel, stride=2, padding=(kernel - 1) // 2)
            self.embeds.append(conv)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Block(dim, config.mixer, config.mlp_ratio, config.layer_scale) for _ in range(n))
            )
            for dim, n in zip(config.dims, config.depths, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W), H and W divisible by 32, to maps at strides 4, 8, 16 and 32."""
        height, width = images.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"input of {height} x {width}: both must be divisible by {STRIDE}")
        x, maps = images, []
        for embed, stage in zip(self.embeds, self.stages, strict=True):
            x = stage(embed(x))
            maps.append(x)
        return maps[0], maps[1], maps[2], maps[3]
