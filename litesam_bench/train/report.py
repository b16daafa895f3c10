"""What a finished run leaves: weights in half precision and the figure of its losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from litesam_bench.errors import WeightsError
from litesam_bench.train.calibrate import fit_iou_head, observe
from litesam_bench.train.checkpoint import load_checkpoint, read_log
from litesam_bench.train.data import epoch_order
from litesam_bench.train.loop import build_model, read_sources, split
from litesam_bench.train.recipes import from_json
from litesam_bench.train.shards import open_shards

SMOOTHING = 0.9

KEPT_EXACT = "positional_encoding_gaussian_matrix"
"""Frequencies of positions: rounding them would move every point a little, for 1 KB saved."""


def export_weights(state: dict[str, Tensor], path: Path) -> Path:
    """Write a state dict as float16 safetensors; the frequencies of positions stay float32.

    Raises:
        WeightsError: a value is not finite, or too large for float16.
    """
    halves = {}
    for name, tensor in state.items():
        dtype = torch.float32 if name.endswith(KEPT_EXACT) else torch.float16
        half = tensor.detach().to(dtype).contiguous()
        if not torch.isfinite(half).all():
            raise WeightsError(
                f"{name} cannot be written in float16", fix="export an earlier checkpoint"
            )
        halves[name] = half
    safetensors.torch.save_file(halves, path)
    path.chmod(0o644)  # safetensors writes for its owner alone; weights are for all
    return path


def draw_losses(entries: Sequence[dict[str, Any]], path: Path) -> Path:
    """The figure of a run: mask losses, IoU reached on the training crops, AutoPPN's losses."""
    from matplotlib.figure import Figure

    panels = (
        ("mask loss", ("box", "point")),
        ("IoU on training crops", ("box_iou", "box_best", "point_iou", "point_best")),
        ("AutoPPN loss", ("ppn_point", "ppn_box")),
    )
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, 3), panels, strict=True):
        for name in names:
            kept = [e for e in entries if name in e]
            if not kept:
                continue
            values = smooth([e[name] for e in kept])
            axes.plot([e["step"] for e in kept], values, label=name.replace("_", " "))
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=100)
    return path


def smooth(values: Sequence[float]) -> list[float]:
    """An exponential moving average without a bias towards its start."""
    total = weight = 0.0
    out = []
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        out.append(total / weight)
    return out


def finish_run(out: Path, folders: Sequence[str | Path], device: str, precision: str) -> list[Path]:
    """Export a run's averaged weights and draw its losses; returns what was written."""
    state = load_checkpoint(out)
    if state is None:
        raise WeightsError(f"{out} has no checkpoint", fix="train first: litesam-bench train")
    recipe = from_json(state["recipe"])
    weights: dict[str, Tensor] = state["ema"]
    if recipe.calibrate and not recipe.encoder:
        shards = open_shards(folders)
        images = split(shards, read_sources(folders), recipe)
        order = epoch_order(images.weights, recipe.seed, 0)[: recipe.calibrate]
        model = build_model(recipe)
        model.load_state_dict(weights)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        frame = recipe.data.frame
        fit_iou_head(model, observe(model, shards, images.train[order], frame, precision))
        weights = model.cpu().state_dict()
    return [
        export_weights(weights, out / "weights.safetensors"),
        draw_losses(read_log(out / "log.jsonl"), out / "losses.png"),
    ]
