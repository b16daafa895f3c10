"""HED: holistically-nested edge detection (Xie and Tu, ICCV 2015), for inference.

VGG16's five stages, each with a side output of one channel; the five are resized and fused by a
1 x 1 convolution. As in the repository of the public PyTorch checkpoint, which holds the official
Caffe weights (github.com/sniklaus/pytorch-hed), convolutions pad by one pixel. The original pads
the image and crops instead; that repository reports ODS .774 where the original gives .780.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_NUMBERS = ("One", "Two", "Thr", "Fou", "Fiv")


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The public checkpoint's parameters as those of `Hed`; unknown names are left as they are."""
    renamed = {}
    for name, tensor in state.items():
        for index, number in enumerate(_NUMBERS):
            name = name.replace(f"moduleVgg{number}.", f"stages.{index}.")
            name = name.replace(f"moduleScore{number}.", f"sides.{index}.")
        renamed[name.replace("moduleCombine.0.", "fuse.")] = tensor
    return renamed


class Hed(nn.Module):
    """(N, 3, H, W) BGR minus the mean, in 0..255 units, to (N, H, W) edge probability."""

    def __init__(self) -> None:
        super().__init__()
        stages = []
        channels = 3
        for index, widths in enumerate(_WIDTHS):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if index else []
            for out in widths:
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
                channels = out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.sides = nn.ModuleList(nn.Conv2d(widths[-1], 1, 1) for widths in _WIDTHS)
        self.fuse = nn.Conv2d(len(_WIDTHS), 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        x = image
        outputs = []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            outputs.append(F.interpolate(side(x), size, mode="bilinear", align_corners=False))
        return torch.sigmoid(self.fuse(torch.cat(outputs, 1)))[:, 0]
