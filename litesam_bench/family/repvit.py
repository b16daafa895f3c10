"""RepViT encoders (Wang et al., 2023) with timm's blocks: RepViT-SAM's, and what EdgeSAM shares.

Upstream: THU-MIG/RepViT, `sam/repvit_sam/modeling/repvit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from litesam_bench.family import require
from litesam_bench.sam.common import LayerNorm2d
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig

DEPTHS = (6, 6, 34, 2)
"""RepViT-M2.3's blocks per stage, without those that timm counts to a downsampling."""


def repvit_trunk(dims: tuple[int, ...], depths: tuple[int, ...], *, legacy: bool = False) -> Any:
    """timm's RepViT without its classifier: `stem`, then `stages`, at strides 4, 8, 16 and 32.

    Args:
        legacy: the blocks of RepViT's first release (M1, M2, M3), whose 1x1 branch has a batch norm
            of its own.

    Raises:
        UsageError: timm is not installed.
    """
    return require("timm.models.repvit").RepVit(
        embed_dim=dims, depth=depths, legacy=legacy, num_classes=0, distillation=False
    )


def sam_neck(channels: int) -> nn.Sequential:
    """SAM's neck from (B, channels, h, w) to (B, 256, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, 256, kernel_size=1, bias=False),
        LayerNorm2d(256),
        nn.Conv2d(256, 256, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(256),
    )


class RepVitSamEncoder(nn.Module):
    """RepViT-M2.3 that stays at stride 16: (B, 3, S, S) to (B, 256, S / 16, S / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = repvit_trunk((80, 160, 320, 640), DEPTHS)
        self.trunk.stages[-1].downsample.spatial_downsample.c.stride = (1, 1)
        self.neck = sam_neck(640)

    def forward(self, images: Tensor) -> Features:
        return Features(self.neck(self.trunk.forward_features(images)))


def build_repvit_sam() -> Sam:
    """RepViT-SAM with randomly initialised weights, in evaluation mode."""
    return Sam(
        RepVitSamEncoder(), PromptEncoder(PromptEncoderConfig()), MaskDecoder(MaskDecoderConfig())
    ).eval()


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RepViT-SAM's official parameter names to ours."""
    return rename(state, trunk_names(DEPTHS))


_STEM = {"0": "conv1", "2": "conv2"}
_DOWNSAMPLE = {
    "token_mixer.0": "spatial_downsample",
    "token_mixer.2": "channel_downsample",
    "channel_mixer.m.0": "ffn.conv1",
    "channel_mixer.m.2": "ffn.conv2",
}
_BLOCK = {
    "token_mixer.0": "token_mixer",
    "token_mixer.1": "se",
    "channel_mixer.m.0": "channel_mixer.conv1",
    "channel_mixer.m.2": "channel_mixer.conv2",
}


def trunk_names(depths: tuple[int, ...]) -> dict[str, str]:
    """Prefixes of the official names of a RepViT's layers to timm's.

    Upstream numbers all layers through: the stem, then per stage its downsampling (none in the
    first) and its blocks. A stage but the last ends with one block more than `depths` says, which
    timm counts to the next downsampling.
    """
    layers = [("stem", _STEM)]
    for stage, depth in enumerate(depths):
        ours = f"stages.{stage}"
        if stage > 0:
            layers.append((f"{ours}.downsample", _DOWNSAMPLE))
        layers += [(f"{ours}.blocks.{i}", _BLOCK) for i in range(depth)]
        if stage + 1 < len(depths):
            layers.append((f"stages.{stage + 1}.downsample.pre_block", _BLOCK))
    return {
        f"image_encoder.features.{number}.{theirs}.": f"image_encoder.trunk.{layer}.{ours}."
        for number, (layer, parts) in enumerate(layers)
        for theirs, ours in parts.items()
    }


def rename(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` with the first matching prefix of each name replaced; other names stay."""

    def renamed(name: str) -> str:
        for theirs, ours in prefixes.items():
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return name

    return {renamed(name): tensor for name, tensor in state.items()}
