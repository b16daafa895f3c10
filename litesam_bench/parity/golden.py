"""What upstream returned, and how far a system's answer is from it.

A golden is one JSON file per system: where and how it was recorded, and for each image samples of
the embedding, and for each prompt the predicted IoUs, samples of the low-resolution logits and
every final mask as its area and its pixels on a grid of 64 x 64. All tokens of a prompt are there,
in the order of `MaskBatch`.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from litesam_bench.errors import DataError
from litesam_bench.types import MaskBatch, SizeHW

EMBEDDING_BAR = 1e-4
"""Largest difference of embeddings, relative to the largest absolute value."""
LOGITS_BAR = 1e-3
"""Largest difference of logits, relative to their range."""
IOU_BAR = 1e-3
"""Largest difference of predicted IoU, relative where it is above 1."""
MASK_BAR = 0.999
"""Least IoU of masks. Two pixels may differ whatever the mask's size: where a logit is all but
zero, rounding decides."""

_GRID = 64
_SPARE_PIXELS = 2

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GoldenMask:
    """One final binary mask: pixels in all, and its values on the grid, (64, 64)."""

    area_px: int
    grid: BoolArray


@dataclass(frozen=True)
class GoldenAnswer:
    """One prompt's answer: iou (N, M), masks [n][m]; logits are None where upstream has none."""

    iou: npt.NDArray[np.float64]
    masks: tuple[tuple[GoldenMask, ...], ...]
    logits_shape: tuple[int, ...] | None
    logits_at: tuple[tuple[int, float], ...]
    logits_range: tuple[float, float]


@dataclass(frozen=True)
class GoldenEmbedding:
    """Statistics and samples (flat index, value) of an embedding without its batch axis."""

    shape: tuple[int, ...]
    mean: float
    std: float
    abs_max: float
    at: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class GoldenImage:
    """One image, made by `parity_image(*size_hw, seed)`, and upstream's answers by prompt name."""

    size_hw: SizeHW
    seed: int
    embedding: GoldenEmbedding | None
    answers: Mapping[str, GoldenAnswer]


@dataclass(frozen=True)
class Golden:
    """A recorded golden; `made_by` says in words how upstream was run."""

    system: str
    upstream: str
    commit: str
    gain: float
    made_by: str
    versions: Mapping[str, str]
    images: tuple[GoldenImage, ...]


@dataclass(frozen=True)
class Difference:
    """How far an answer is from upstream's, each in the unit of its bar."""

    logits: float
    iou: float
    mask_iou: float
    pixels: int  # most grid pixels that differ in one mask
    area: float  # largest relative difference of areas beyond the spare pixels

    @property
    def passed(self) -> bool:
        """Within all bars. NaN is not."""
        masks_agree = self.mask_iou >= MASK_BAR or self.pixels <= _SPARE_PIXELS
        return (
            self.logits <= LOGITS_BAR
            and self.iou <= IOU_BAR
            and masks_agree
            and self.area <= 1 - MASK_BAR
        )

    def __str__(self) -> str:
        return f"logits {self.logits:.0e}, IoU {self.iou:.0e}, masks {self.mask_iou:.4f}"


def read_golden(path: Path) -> Golden:
    """Read a golden. Raises DataError when it is missing or does not follow the form."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Golden(
            system=raw["system"],
            upstream=raw["upstream"],
            commit=raw["commit"],
            gain=float(raw["gain"]),
            made_by=raw["made_by"],
            versions=raw["versions"],
            images=tuple(_image(image) for image in raw["images"]),
        )
    except (OSError, ValueError, KeyError, TypeError, zlib.error, binascii.Error) as error:
        raise DataError(
            f"{path} is not a golden: {type(error).__name__}: {error}",
            fix="restore the file; goldens are recorded from upstream and never edited",
        ) from error


def _image(raw: Mapping[str, Any]) -> GoldenImage:
    size, embedding = raw["size"], raw.get("embedding")
    return GoldenImage(
        size_hw=(int(size[0]), int(size[1])),
        seed=int(raw["seed"]),
        embedding=None if embedding is None else _embedding(embedding),
        answers={name: _answer(answer) for name, answer in raw["prompts"].items()},
    )


def _embedding(raw: Mapping[str, Any]) -> GoldenEmbedding:
    shape = tuple(raw["shape"])
    return GoldenEmbedding(
        shape=shape,
        mean=raw["mean"],
        std=raw["std"],
        abs_max=raw["abs_max"],
        at=tuple((int(np.ravel_multi_index(place, shape)), value) for *place, value in raw["at"]),
    )


def _answer(raw: Mapping[str, Any]) -> GoldenAnswer:
    shape = raw.get("logits_shape")
    low, high = raw.get("logits_range", (0.0, 1.0))
    return GoldenAnswer(
        iou=np.array(raw["iou"], np.float64),
        masks=tuple(tuple(_mask(mask) for mask in row) for row in raw["masks"]),
        logits_shape=None if shape is None else tuple(shape),
        logits_at=tuple((int(place), value) for place, value in raw.get("logits_at", ())),
        logits_range=(low, high),
    )


def _mask(raw: Mapping[str, Any]) -> GoldenMask:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(raw["grid"], validate=True)), np.uint8)
    grid = np.unpackbits(bits, count=_GRID * _GRID).reshape(_GRID, _GRID).astype(np.bool_)
    return GoldenMask(int(raw["area"]), grid)


def embedding_difference(found: Tensor, golden: GoldenEmbedding) -> float:
    """Largest difference of samples, mean and deviation, relative to the largest absolute value;
    infinite where shapes differ."""
    values = found.detach().double().cpu()
    values = values[0] if values.ndim == len(golden.shape) + 1 else values
    if tuple(values.shape) != golden.shape:
        return float("inf")
    flat = values.flatten()
    pairs = [(float(flat[place]), value) for place, value in golden.at]
    pairs += [
        (float(values.mean()), golden.mean),
        (float(values.std(correction=0)), golden.std),
        (float(values.abs().max()), golden.abs_max),
    ]
    return _largest(pairs) / golden.abs_max


def answer_difference(found: MaskBatch, golden: GoldenAnswer, size_hw: SizeHW) -> Difference:
    """Compare one prompt's answer with upstream's; infinite where shapes differ."""
    iou = found.iou.detach().double().cpu().numpy()
    wrong_shape = iou.shape != golden.iou.shape or (
        golden.logits_shape is not None and tuple(found.logits.shape) != golden.logits_shape
    )
    if wrong_shape:
        infinite = float("inf")
        return Difference(infinite, infinite, 0.0, _GRID * _GRID, infinite)
    flat = found.logits.detach().flatten().cpu()
    low, high = golden.logits_range
    logits = _largest([(float(flat[place]), value) for place, value in golden.logits_at])
    expected = [mask for row in golden.masks for mask in row]
    grids, areas = final_masks(found, size_hw)
    return Difference(
        logits=logits / (high - low),
        iou=float(np.max(np.abs(iou - golden.iou) / np.maximum(1, np.abs(golden.iou)))),
        mask_iou=min(_grid_iou(a, b.grid) for a, b in zip(grids, expected, strict=True)),
        pixels=max(int((a ^ b.grid).sum()) for a, b in zip(grids, expected, strict=True)),
        area=max(
            max(0, abs(int(a) - b.area_px) - _SPARE_PIXELS) / max(b.area_px, 1)
            for a, b in zip(areas, expected, strict=True)
        ),
    )


def final_masks(batch: MaskBatch, size_hw: SizeHW) -> tuple[list[BoolArray], npt.NDArray[np.int64]]:
    """All N x M masks of a batch on the grid, and their areas in pixels; one restored at a time."""
    height, width = size_hw
    ys = np.linspace(0, height - 1, _GRID).round().astype(int)
    xs = np.linspace(0, width - 1, _GRID).round().astype(int)
    grids, areas = [], []
    with torch.inference_mode():
        for logits in batch.logits.flatten(0, 1):
            mask = (batch.to_image(logits[None])[0] > batch.threshold).cpu().numpy()
            assert mask.shape == size_hw, (mask.shape, size_hw)
            grids.append(mask[ys][:, xs])
            areas.append(mask.sum())
    return grids, np.array(areas, np.int64)


def _grid_iou(a: BoolArray, b: BoolArray) -> float:
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0


def _largest(pairs: Sequence[tuple[float, float]]) -> float:
    """Largest absolute difference; NaN counts as infinite. 0 without pairs."""
    worst = max((abs(a - b) for a, b in pairs), default=0.0, key=lambda d: np.inf if d != d else d)
    return float("inf") if worst != worst else worst
