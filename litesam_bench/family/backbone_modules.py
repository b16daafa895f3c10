"""The modules behind `backbones.py`: each from images (B, 3, H, W) to maps at strides 4 to 32."""

from __future__ import annotations

from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from litesam_bench.family.efficientvit_sam import CONFIGS, EfficientVit

STRIDES = (4, 8, 16, 32)


class TimmBackbone(nn.Module):
    """A timm model as a pyramid; a map at stride 2 is left out."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.pyramid = timm.create_model(model, pretrained=False, features_only=True)
        info: Any = self.pyramid.feature_info
        self.kept = [info.reduction().index(stride) for stride in STRIDES]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.pyramid(images)
        return tuple(maps[i] for i in self.kept)


class ShuffleNet(nn.Module):
    """torchvision's ShuffleNetV2 without its classifier; the first map is the pooled stem's."""

    def __init__(self, model: str) -> None:
        super().__init__()
        net = getattr(torchvision.models, model)(weights=None)
        stem = nn.Sequential(net.conv1, net.maxpool)
        last = nn.Sequential(net.stage4, net.conv5)
        self.stages = nn.ModuleList([stem, net.stage2, net.stage3, last])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return _pyramid(self.stages, images)


class EfficientVitBackbone(nn.Module):
    """EfficientViT of an EfficientViT-SAM variant, without the SAM neck."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.backbone = EfficientVit(CONFIGS[variant])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(images)[1:])


def _pyramid(stages: nn.ModuleList, x: Tensor) -> tuple[Tensor, ...]:
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return tuple(maps)
