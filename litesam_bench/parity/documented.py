"""Weights, images and prompts that follow from a written rule, so that anybody can make them.

The rule of a floating tensor, with n = float32 of `numpy.random.default_rng(crc32(name))`'s
standard normal numbers in the tensor's shape:

| tensor | value |
|---|---|
| name ends in running_var | 0.5 + abs(n) |
| name ends in running_mean | 0.1 n |
| at most one axis, name ends in weight or gamma | 1 + 0.1 n |
| at most one axis | 0.1 n |
| name ends in dfl.conv.weight | 0, 1, 2, … (YOLO's bins, a constant that no training changes) |
| positions and tokens (see `_TABLES`; token_mixer is no token) | 0.2 n |
| any other | n sqrt(gain / product of all axes but the first) |

`gain` is 2, or smaller where activations would explode; the golden states it. Integers and flags
are 0: a counter is one, and an index table is not learned, so an adapter must not take it from the
file.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from litesam_bench.parity.manifest import Manifest
from litesam_bench.types import Capabilities, ImageU8, Prompts, SizeHW

DEFAULT_GAIN = 2.0
SMALL_WIDE = (333, 517, 1)
"""Height, width and seed of the image that every system sees."""

_TABLES = ("pos_embed", "token", "positional", "no_mask", "not_a_point", "point_embeddings")
_DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f64": torch.float64,
    "i64": torch.int64,
    "i32": torch.int32,
    "u8": torch.uint8,
    "bool": torch.bool,
}


def documented_value(
    name: str, shape: tuple[int, ...], gain: float = DEFAULT_GAIN
) -> npt.NDArray[np.float32]:
    """One floating tensor by the rule above."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    n = np.asarray(rng.standard_normal(shape)).astype(np.float32)
    if name.endswith("running_var"):
        return np.float32(0.5) + np.abs(n)
    if name.endswith("running_mean"):
        return np.float32(0.1) * n
    if len(shape) <= 1:
        scale = name.endswith(("weight", "gamma"))
        return np.float32(1 if scale else 0) + np.float32(0.1) * n
    if name.endswith("dfl.conv.weight"):
        return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    if any(word in name.replace("token_mixer", "") for word in _TABLES):
        return np.float32(0.2) * n
    return n * np.float32(math.sqrt(gain / math.prod(shape[1:])))


def documented_weights(manifest: Manifest, gain: float = DEFAULT_GAIN) -> dict[str, Tensor]:
    """Every tensor of a manifest by the rule above."""
    return {
        name: torch.as_tensor(documented_value(name, info.shape, gain)).to(_DTYPES[info.dtype])
        if info.is_floating
        else torch.zeros(info.shape, dtype=_DTYPES[info.dtype])
        for name, info in manifest.tensors.items()
    }


def hollow_weights(manifest: Manifest) -> dict[str, Tensor]:
    """Zeros of the right names, shapes and dtypes that need no memory: for loading only."""
    return {
        name: torch.zeros((), dtype=_DTYPES[info.dtype]).expand(info.shape)
        for name, info in manifest.tensors.items()
    }


def write_checkpoint(
    folder: Path, file_name: str, state: dict[str, Tensor], wrapper: str = ""
) -> Path:
    """Write tensors in the form of the official file: safetensors, or torch's with its wrapper."""
    path = folder / file_name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save({wrapper: state} if wrapper else state, path)
    return path


def parity_image(height: int, width: int, seed: int) -> ImageU8:
    """Smooth noise, (height, width, 3) RGB uint8: random numbers on a grid of 16 pixels, enlarged
    by Pillow's bicubic filter."""
    grid = (math.ceil(height / 16) + 1, math.ceil(width / 16) + 1, 3)
    coarse = np.random.default_rng(seed).integers(0, 256, grid).astype(np.uint8)
    enlarged = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def parity_prompts(size_hw: SizeHW, can: Capabilities) -> dict[str, Prompts]:
    """The prompts that a system can be asked, by name, in pixels of an image of `size_hw`.

    point: one; points: two foreground and one background; box; box+point: both in one prompt;
    boxes: three prompts at once, one of them the whole image.
    """
    box = (0.2, 0.15, 0.7, 0.8)
    made: dict[str, Callable[[], Prompts]] = {
        "point": lambda: _prompts(size_hw, points=[(0.5, 0.4)], labels=[1]),
        "points": lambda: _prompts(
            size_hw, points=[(0.3, 0.3), (0.6, 0.5), (0.2, 0.8)], labels=[1, 1, 0]
        ),
        "box": lambda: _prompts(size_hw, boxes=[box]),
        "box+point": lambda: _prompts(size_hw, points=[(0.5, 0.5)], labels=[1], boxes=[box]),
        "boxes": lambda: _prompts(
            size_hw, boxes=[box, (0.0, 0.0, 1.0, 1.0), (0.4, 0.4, 0.55, 0.6)]
        ),
    }
    able = {
        "point": can.points,
        "points": can.points and can.negative_points,
        "box": can.boxes,
        "box+point": can.points and can.boxes,
        "boxes": can.boxes,
    }
    return {name: make() for name, make in made.items() if able[name]}


def _prompts(
    size_hw: SizeHW,
    *,
    points: list[tuple[float, float]] | None = None,
    labels: list[int] | None = None,
    boxes: list[tuple[float, float, float, float]] | None = None,
) -> Prompts:
    """Prompts from fractions of width and height: all points in one prompt, one box each."""
    height, width = size_hw
    return Prompts(
        ids=tuple(range(len(boxes) if boxes else 1)),
        points=None if points is None else np.array([points]) * [width, height],
        labels=None if labels is None else np.array([labels], np.int64),
        boxes=None if boxes is None else np.array(boxes) * [width, height, width, height],
    )
