"""EfficientViT-SAM (Zhang et al., 2024): SAM's decoder behind EfficientViT (Cai et al., 2022).

Upstream: `backbone.py` and `sam.py` in `efficientvit/models/efficientvit` of
github.com/mit-han-lab/efficientvit. The blocks are timm's; their arrangement in stages and the neck
are written here, as timm's `EfficientVitLarge` has neither the XL layout nor upstream's epsilons.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from timm.layers import GELUTanh
from timm.models.efficientvit_mit import (
    ConvNormAct,
    FusedMBConv,
    LiteMLA,
    MBConv,
    ResidualBlock,
    build_local_block,
)
from torch import Tensor, nn

from litesam_bench.sam.common import LayerNorm2d
from litesam_bench.sam.geometry import Frame
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.segmenter import SamSegmenter
from litesam_bench.spec import InputSpec
from litesam_bench.types import ImageU8

GRID = 64
"""Side of the embedding, whatever the input's size."""

PROMPT_FRAME = InputSpec(size=1024)
"""Prompts and masks live in SAM's frame of 1024 pixels, also where the image is encoded at 512."""

NORM_EPS = 1e-6
"""Of every normalisation, the mask decoder's included, where SAM's transformer has 1e-5."""

_HEAD_DIM = 32
_local_block: Callable[..., nn.Module] = build_local_block  # timm calls its layers' classes str


@dataclass(frozen=True)
class StageConfig:
    """A stage: one block that halves the map, then `depth` blocks of `kind`.

    `expand` is the expansion of those blocks; the halving block's is four times as large.
    """

    kind: Literal["fused", "mb", "attention"]
    width: int
    depth: int
    expand: int = 4


@dataclass(frozen=True)
class EncoderConfig:
    """`stem_depth` residual blocks follow the first convolution. Attention aggregates its keys by
    depthwise convolutions of `attention_kernel`. The neck has `neck_depth` fused blocks."""

    stages: tuple[StageConfig, ...]
    attention_kernel: int
    neck_depth: int
    neck_expand: int
    stem_depth: int = 1
    stem_width: int = 32
    neck_width: int = 256


def _large(depths: tuple[int, int, int, int], neck_depth: int) -> EncoderConfig:
    return EncoderConfig(
        stages=(
            StageConfig("fused", 64, depths[0]),
            StageConfig("fused", 128, depths[1]),
            StageConfig("mb", 256, depths[2]),
            StageConfig("attention", 512, depths[3], expand=6),
        ),
        attention_kernel=5,
        neck_depth=neck_depth,
        neck_expand=1,
    )


def _extra_large(
    stem_depth: int, depths: tuple[int, int, int, int, int], neck_depth: int
) -> EncoderConfig:
    return EncoderConfig(
        stages=(
            StageConfig("fused", 64, depths[0]),
            StageConfig("fused", 128, depths[1]),
            StageConfig("fused", 256, depths[2]),
            StageConfig("attention", 512, depths[3]),
            StageConfig("attention", 1024, depths[4], expand=6),
        ),
        attention_kernel=3,
        neck_depth=neck_depth,
        neck_expand=4,
        stem_depth=stem_depth,
    )


CONFIGS: Mapping[str, EncoderConfig] = {
    "l0": _large((1, 1, 4, 4), neck_depth=4),
    "l1": _large((1, 1, 6, 6), neck_depth=8),
    "l2": _large((2, 2, 8, 8), neck_depth=12),
    "xl0": _extra_large(0, (1, 1, 2, 3, 3), neck_depth=6),
    "xl1": _extra_large(1, (2, 2, 4, 6, 6), neck_depth=12),
}


class EfficientVit(nn.Module):
    """Images (B, 3, H, W) to one map per stage, at strides 2, 4, 8, 16, 32 (and 64)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.stem_width
        stem: list[nn.Module] = [ConvNormAct(3, width, stride=2, act_layer=GELUTanh)]
        stem += [_residual(width, "res", expand=1) for _ in range(config.stem_depth)]
        stages = [nn.Sequential(*stem)]
        for stage in config.stages:
            stages.append(_stage(width, stage, config.attention_kernel))
            width = stage.width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def _stage(before: int, stage: StageConfig, attention_kernel: int) -> nn.Sequential:
    first = "mb" if stage.kind == "attention" else stage.kind
    halving = _local(before, stage.width, first, stage.expand * 4, stride=2)
    blocks: list[nn.Module] = [ResidualBlock(halving, None)]
    for _ in range(stage.depth):
        if stage.kind == "attention":
            blocks.append(_attention_block(stage.width, stage.expand, attention_kernel))
        else:
            blocks.append(_residual(stage.width, stage.kind, stage.expand))
    return nn.Sequential(*blocks)


def _local(before: int, after: int, kind: str, expand: int, stride: int = 1) -> nn.Module:
    """Two 3x3 convolutions (`res`), or a MobileNet block, fused or not."""
    return _local_block(
        before,
        after,
        stride,
        expand,
        norm_layer=nn.BatchNorm2d,
        act_layer=GELUTanh,
        fewer_norm=kind == "mb",
        block_type="default" if kind == "mb" else "fused",
    )


def _residual(width: int, kind: str, expand: int) -> nn.Module:
    block: nn.Module = ResidualBlock(_local(width, width, kind, expand), nn.Identity())
    return block


def _attention_block(width: int, expand: int, kernel: int) -> nn.Module:
    """ReLU linear attention at two scales, then a MobileNet block."""
    attention = LiteMLA(
        width, width, dim=_HEAD_DIM, norm_layer=(None, nn.BatchNorm2d), scales=(kernel,), eps=1e-15
    )
    local = MBConv(
        width,
        width,
        expand_ratio=expand,
        use_bias=(True, True, False),
        norm_layer=(None, None, nn.BatchNorm2d),
        act_layer=(GELUTanh, GELUTanh, None),
    )
    return nn.Sequential(
        OrderedDict(
            context_module=ResidualBlock(attention, nn.Identity()),
            local_module=ResidualBlock(local, nn.Identity()),
        )
    )


class Encoder(nn.Module):
    """EfficientViT and the SAM neck: the last three maps, each brought to 64 x 64, are added, go
    through fused MobileNet blocks and become the embedding (B, 256, 64, 64)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.neck_width
        self.backbone = EfficientVit(config)
        self.laterals = nn.ModuleList(
            ConvNormAct(stage.width, width, 1, norm_layer=nn.BatchNorm2d, act_layer=None)
            for stage in reversed(config.stages[-3:])
        )
        self.middle = nn.Sequential(
            *(
                ResidualBlock(
                    FusedMBConv(
                        width,
                        width,
                        expand_ratio=config.neck_expand,
                        norm_layer=nn.BatchNorm2d,
                        act_layer=(GELUTanh, None),
                    ),
                    nn.Identity(),
                )
                for _ in range(config.neck_depth)
            )
        )
        self.output = nn.Conv2d(width, 256, 1)
        self.norm = LayerNorm2d(256)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, S, S), S = 512 for the L variants, 1024 for XL."""
        coarsest_first = self.backbone(images)[:-4:-1]
        raised = [
            _to_grid(lateral(x)) for lateral, x in zip(self.laterals, coarsest_first, strict=True)
        ]
        coarse, middle, fine = raised
        return Features(self.norm(self.output(self.middle(coarse + (middle + fine)))))


def _to_grid(x: Tensor) -> Tensor:
    """Bicubic to 64 x 64, in float32 in every precision, as upstream."""
    if x.shape[-2:] == (GRID, GRID):
        return x
    return F.interpolate(x.float(), (GRID, GRID), mode="bicubic", align_corners=False).to(x.dtype)


def build(variant: str) -> Sam:
    """A variant with random weights, in evaluation mode."""
    model = Sam(
        Encoder(CONFIGS[variant]),
        PromptEncoder(PromptEncoderConfig()),
        MaskDecoder(MaskDecoderConfig()),
    )
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.eps = NORM_EPS
    return model.eval()


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official parameter names to ours: the wrappers `op_list` go, the neck's parts get names."""
    renames = (
        (".op_list.", "."),
        ("image_encoder.neck.input_ops.", "image_encoder.laterals."),
        ("image_encoder.neck.middle.", "image_encoder.middle."),
        ("image_encoder.neck.output_ops.0.0.conv.", "image_encoder.output."),
    )
    renamed = {}
    for name, value in state.items():
        for official, ours in renames:
            name = name.replace(official, ours)
        if name.startswith("image_encoder.laterals."):
            name = name.replace(".0.conv.", ".conv.").replace(".0.norm.", ".norm.")
        renamed[name] = value
    return renamed


class EfficientVitSamSegmenter(SamSegmenter):
    """A `SamSegmenter` whose prompts and masks are in another frame than its pixels."""

    def preprocess(self, image: ImageU8) -> tuple[Tensor, Frame]:
        """The encoder's input, (1, 3, S, S), and the frame of prompts and masks."""
        pixels, _ = super().preprocess(image)
        return pixels, Frame.of((image.shape[0], image.shape[1]), PROMPT_FRAME)
