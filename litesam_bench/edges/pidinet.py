"""PiDiNet: pixel difference networks (Su et al., ICCV 2021), for inference.

A pixel difference convolution applies its kernel to differences of pixels instead of pixels. Since
a difference is linear, each equals an ordinary convolution with another kernel; `as_convolution`
makes that kernel, once, when a checkpoint is loaded. Parameter names are those of the official
checkpoints (github.com/hellozhuo/pidinet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Operator = Literal["central", "angular", "radial", "plain"]

# "carv4" of the paper: the four kinds in turn, in each of the four stages
OPERATORS: tuple[Operator, ...] = ("central", "angular", "radial", "plain") * 4

_KERNEL_SIDE: dict[Operator, int] = {"central": 3, "angular": 3, "radial": 5, "plain": 3}

# The eight neighbours of a 3 x 3 kernel's centre in row-major order, and the same turned by one
# step counter-clockwise: what each weight's pixel is compared with.
_TURNED = (3, 0, 1, 6, 4, 2, 7, 8, 5)
# Weights 1 to 8 of a radial kernel on the outer and the inner ring of 5 x 5.
_OUTER = (0, 2, 4, 10, 14, 20, 22, 24)
_INNER = (6, 7, 8, 11, 13, 16, 17, 18)


def as_convolution(operator: Operator, weight: Tensor) -> Tensor:
    """The kernel of the ordinary convolution that equals a pixel difference convolution.

    Args:
        weight: (out, in, 3, 3).

    Returns:
        (out, in, 3, 3), or (out, in, 5, 5) for "radial".
    """
    flat = weight.flatten(2)  # (out, in, 9)
    if operator == "central":  # neighbours minus the centre
        kernel = flat.clone()
        kernel[..., 4] -= flat.sum(-1)
    elif operator == "angular":  # neighbours minus the next neighbour clockwise
        kernel = flat - flat[..., _TURNED]
    elif operator == "radial":  # outer ring minus inner ring
        kernel = flat.new_zeros(*flat.shape[:2], 25)
        kernel[..., _OUTER] = flat[..., 1:]
        kernel[..., _INNER] = -flat[..., 1:]
    else:
        kernel = flat
    side = _KERNEL_SIDE[operator]
    return kernel.reshape(*weight.shape[:2], side, side)


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official checkpoint's parameters as those of `PiDiNet`."""
    converted = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    for layer, operator in zip(_difference_layers(), OPERATORS, strict=True):
        name = f"{layer}.weight"
        if name in converted:
            converted[name] = as_convolution(operator, converted[name])
    return converted


def _difference_layers() -> list[str]:
    """The sixteen layers with pixel differences, in the order of OPERATORS."""
    blocks = [f"block{stage}_{k}" for stage in range(1, 5) for k in range(1, 5)]
    return ["init_block", *(f"{b}.conv1" for b in blocks if b != "block1_4")]


class PiDiNet(nn.Module):
    """(N, 3, H, W) normalised RGB to (N, H, W) edge probability.

    Args:
        width: channels of the first stage: 60, 30 (small) or 20 (tiny).
        refined: with dilation and attention modules; without them it is the light "-l" variant.
    """

    def __init__(self, width: int = 60, *, refined: bool = True) -> None:
        super().__init__()
        layers = dict(zip(_difference_layers(), OPERATORS, strict=True))
        side = _KERNEL_SIDE[OPERATORS[0]]
        self.init_block = nn.Conv2d(3, width, side, padding=side // 2, bias=False)
        stages = (width, 2 * width, 4 * width, 4 * width)
        channels = width
        self._blocks: list[list[str]] = []
        for stage, out in enumerate(stages, start=1):
            names = [f"block{stage}_{k}" for k in range(1, 4 if stage == 1 else 5)]
            for k, name in enumerate(names):
                operator = layers[f"{name}.conv1"]
                halve = stage > 1 and k == 0
                self.add_module(name, Block(operator, channels, out, halve=halve))
                channels = out
            self._blocks.append(names)
        middle = width * 2 // 5  # 24, 12, 8
        self.conv_reduces = nn.ModuleList(Reduce(middle if refined else c) for c in stages)
        self.refined = refined
        if refined:
            self.dilations = nn.ModuleList(Dilations(c, middle) for c in stages)
            self.attentions = nn.ModuleList(Attention(middle) for _ in stages)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        x = self.init_block(image)
        sides = []
        for stage, names in enumerate(self._blocks):
            for name in names:
                x = self.get_submodule(name)(x)
            side = x
            if self.refined:
                side = self.attentions[stage](self.dilations[stage](side))
            side = self.conv_reduces[stage](side)
            sides.append(F.interpolate(side, size, mode="bilinear", align_corners=False))
        fused: Tensor = self.classifier(torch.cat(sides, 1))
        return torch.sigmoid(fused)[:, 0]


class Block(nn.Module):
    """Depth-wise difference convolution and a 1 x 1 convolution beside a shortcut."""

    def __init__(self, operator: Operator, channels: int, out: int, *, halve: bool) -> None:
        super().__init__()
        side = _KERNEL_SIDE[operator]
        self.shortcut = nn.Conv2d(channels, out, 1) if halve else None
        self.conv1 = nn.Conv2d(
            channels, channels, side, padding=side // 2, groups=channels, bias=False
        )
        self.conv2 = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            mixed: Tensor = self.conv2(F.relu(self.conv1(x)))
            return x + mixed
        x = F.max_pool2d(x, 2)
        added: Tensor = self.shortcut(x) + self.conv2(F.relu(self.conv1(x)))
        return added


class Dilations(nn.Module):
    """Compact dilation convolution module: four rates, summed."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 1)
        for k, rate in enumerate((5, 7, 9, 11), start=1):
            layer = nn.Conv2d(out, out, 3, padding=rate, dilation=rate, bias=False)
            self.add_module(f"conv2_{k}", layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(x))
        return torch.stack([self.get_submodule(f"conv2_{k}")(x) for k in range(1, 5)]).sum(0)


class Attention(nn.Module):
    """Compact spatial attention module: one weight per pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv2(self.conv1(F.relu(x))))


class Reduce(nn.Module):
    """Features to one map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced: Tensor = self.conv(x)
        return reduced
