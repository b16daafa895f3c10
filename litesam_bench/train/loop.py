"""The training loop: one process or many, stopped and resumed at any step."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from litesam_bench.errors import ModelOutputError, UsageError
from litesam_bench.family.backbones import backbone_config
from litesam_bench.lite_sam.autoppn import AutoPpnConfig
from litesam_bench.lite_sam.model import LiteSam, LiteSamConfig, build
from litesam_bench.sam.checkpoint import load_strict
from litesam_bench.train.checkpoint import (
    append_log,
    initial_weights,
    load_checkpoint,
    save_checkpoint,
    truncate_log,
)
from litesam_bench.train.data import (
    Batch,
    Indices,
    PositionSampler,
    Stream,
    held_out,
    loader,
)
from litesam_bench.train.distill import load_teacher
from litesam_bench.train.examples import DataConfig
from litesam_bench.train.frozen import frozen_step
from litesam_bench.train.recipes import OptimConfig, Recipe, to_json
from litesam_bench.train.shards import ShardSet, open_shards
from litesam_bench.train.step import TrainStep

log = logging.getLogger(__name__)

MAX_POINTS = 10
CLOCK = ("minutes", "checkpoint_minutes", "log_steps")
"""Fields that a resumed run may change: they do not change what was trained so far."""


@dataclass(frozen=True)
class Split:
    """Pairs to train on, with their weights, and pairs that are held out."""

    train: Indices
    weights: npt.NDArray[np.float64]
    held_out: Indices


def read_sources(folders: Sequence[str | Path]) -> dict[str, str]:
    """The source of each pair, from `index.csv` files with the columns `file` and `source`."""
    sources: dict[str, str] = {}
    for folder in map(Path, folders):
        index = folder / "index.csv"
        if index.is_file():
            with index.open(newline="") as file:
                sources |= {row["file"]: row["source"] for row in csv.DictReader(file)}
    return sources


def split(shards: ShardSet, sources: dict[str, str], recipe: Recipe) -> Split:
    """Which pairs are trained on, decided by names and sources alone."""
    train, weights, out = [], [], []
    for index in range(len(shards)):
        name = shards.name(index)
        source = sources.get(name, "")
        one_in = recipe.hold_out.get(source, recipe.hold_out.get("", 0))
        if one_in and held_out(name, one_in):
            out.append(index)
        else:
            train.append(index)
            weights.append(recipe.source_weights.get(source, 1.0))
    return Split(np.array(train, np.int64), np.array(weights, np.float64), np.array(out, np.int64))


def build_model(recipe: Recipe) -> LiteSam:
    """Lite-SAM as the recipe wants it, with random weights that depend on its seed alone."""
    config = LiteSamConfig(vit=backbone_config(recipe.backbone), ppn=ppn_config(recipe))
    return build(config, recipe.seed)


def ppn_config(recipe: Recipe) -> AutoPpnConfig:
    """The variant of AutoPPN that the recipe trains."""
    return AutoPpnConfig(stem=recipe.ppn_stem, grouped=recipe.ppn_grouped)  # type: ignore[arg-type]


def build_step(recipe: Recipe, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """What is trained, and the module that computes its loss.

    These are Lite-SAM and `TrainStep`, or AutoPPN and `FrozenEncoderStep`.
    """
    trained: nn.Module
    step: nn.Module
    if recipe.encoder:
        data = recipe.data
        step = frozen_step(
            recipe.encoder, data.frame, data.crop, ppn_config(recipe), recipe.loss, recipe.seed
        )
        trained = step.ppn
    else:
        trained = build_model(recipe)
        step = TrainStep(trained, recipe.loss, recipe.data.frame, recipe.data.frame_stride)
    step.to(memory_format=torch.channels_last)
    step.to(device).train()
    return trained, step


def learning_rate(config: OptimConfig, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine to 0; `progress` is the share of the schedule that is over."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * min(1.0, (step + 1) / max(config.warmup, 1)) * cosine


def make_optimiser(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms and scales are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the model; faster in the first steps, which are soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def data_at(recipe: Recipe, progress: float) -> DataConfig:
    """The kind of examples at a share of the schedule."""
    late = recipe.late is not None and progress >= recipe.late_from
    return recipe.late if late and recipe.late is not None else recipe.data


def step_choices(recipe: Recipe, step: int, count: int, prompts: int) -> tuple[int, bool, Tensor]:
    """What a step draws for the whole global batch: points per prompt, a click round, and
    `count` x `prompts` uniform numbers for its clicks. The same in every process."""
    rng = np.random.default_rng([recipe.seed, 2, step])
    points = 1 if rng.random() < 0.6 else int(rng.integers(2, MAX_POINTS + 1))
    clicks = bool(rng.random() < recipe.optim.click_rounds)
    draws = rng.random((count, prompts), dtype=np.float32)
    return points, clicks, torch.from_numpy(draws)


@dataclass
class Run:
    """Where a process stands in a distributed run; alone it is rank 0 of 1."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def start(cls, device: str) -> Run:
        """Join the group that torchrun describes in the environment, if it did."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls(0, 1, torch.device(device))
        rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        if device == "cuda":
            torch.cuda.set_device(local)
            device = f"cuda:{local}"
        return cls(rank, world, torch.device(device))

    def shared(self, value: float) -> float:
        """The value of rank 0, in every process."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The means over all processes."""
        if self.world == 1:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world).tolist(), strict=True))


def train(
    recipe: Recipe,
    folders: Sequence[str | Path],
    out: Path,
    *,
    device: str = "cpu",
    precision: str = "bf16",
    resume: bool = False,
    limit: int = 0,
    start: Path | None = None,
    on_step: Any = None,
) -> Path:
    """Train a recipe on some folders of SA-1B-format data.

    Args:
        out: takes `last.pt`, `log.jsonl` and, should it come to that, the batch that gave NaN.
        precision: of the forward pass, `bf16`, `fp16` (CUDA only) or `fp32`.
        resume: continue from `out`; the recipe must be the one it was started with.
        limit: train on this many pairs only, 0 for all.
        start: initial weights, see `checkpoint.initial_weights`; random without. A run that is
            resumed has weights of its own.
        on_step: called with every log entry; for progress bars and tests.

    Returns:
        The last checkpoint.

    Raises:
        DataError: no usable training data.
        UsageError: `out` holds another run.
        ModelOutputError: the loss became NaN or infinite; the batch is saved beside the log.
        WeightsError: `start` does not fit the recipe's model.
        StorageError: a checkpoint could not be written.
    """
    run = Run.start(device)
    optim = recipe.optim
    if optim.batch % (run.world * optim.accumulate):
        raise UsageError(
            f"a batch of {optim.batch} cannot be shared by {run.world} processes with"
            f" {optim.accumulate} accumulations",
            fix=f"--set optim.batch={run.world * optim.accumulate}",
        )
    out.mkdir(parents=True, exist_ok=True)
    state = load_checkpoint(out)
    if state is not None and not resume:
        raise UsageError(f"{out} holds a run already", fix="add --resume, or choose another --out")
    if state is not None and _identity(state["recipe"]) != _identity(to_json(recipe)):
        raise UsageError(
            f"{out} was started with another recipe",
            fix="give the same recipe and --set options, or choose another --out",
        )

    shards = open_shards(folders)
    parts = split(shards, read_sources(folders), recipe)
    indices, weights = parts.train, parts.weights
    if recipe.share < 1:
        count = max(1, round(recipe.share * len(indices)))
        kept = np.sort(np.random.default_rng([recipe.seed, 3]).permutation(len(indices))[:count])
        indices, weights = indices[kept], weights[kept]
    if limit:
        indices, weights = indices[:limit], weights[:limit]
    if optim.epochs:
        optim = replace(optim, steps=math.ceil(optim.epochs * len(indices) / optim.batch))

    model, module = build_step(recipe, run.device)
    if start is not None and state is None:
        load_strict(model, initial_weights(start), source=str(start))
    average = copy.deepcopy(model).eval()
    optimiser = make_optimiser(model, optim)
    step, seconds = 0, 0.0
    if state is not None:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, seconds = int(state["step"]), float(state["seconds"])
        truncate_log(out / "log.jsonl", step) if run.rank == 0 else None
    if run.world > 1:
        module = DistributedDataParallel(module, find_unused_parameters=True)

    def save() -> Path:
        return save_checkpoint(
            out,
            {
                "recipe": to_json(recipe),
                "step": step,
                "seconds": seconds,
                "model": model.state_dict(),
                "ema": average.state_dict(),
                "optimiser": optimiser.state_dict(),
            },
        )

    # one small batch per forward pass: an accumulation is a step of the loader
    small = optim.batch // optim.accumulate
    steps = 10**9 if optim.minutes else optim.steps

    def batches_from(first: int, data: DataConfig) -> Iterator[Batch]:
        stream = Stream(shards, indices, weights, data, recipe.seed)
        sampler = PositionSampler(
            small, run.rank, run.world, first * optim.accumulate, steps * optim.accumulate
        )
        return iter(loader(stream, sampler, recipe.workers))

    batches: Iterator[Batch] | None = None
    data = recipe.data
    teacher = load_teacher(recipe.teacher, str(run.device)) if recipe.teacher else None
    stop = StopRequest()
    meter = Meter()
    mark = saved = time.monotonic()
    last = out / "last.pt"
    while step < steps:
        progress = seconds / (optim.minutes * 60) if optim.minutes else step / optim.steps
        progress = run.shared(2.0 if stop.asked else progress)
        if progress >= 1:
            break
        if batches is None or data_at(recipe, progress) != data:
            data = data_at(recipe, progress)
            batches = batches_from(step, data)
        rate = learning_rate(optim, step, progress)
        for group in optimiser.param_groups:
            group["lr"] = rate
        points, clicks, draws = step_choices(recipe, step, optim.batch, data.prompts)
        draws = torch.unflatten(draws, 0, (optim.accumulate, run.world, -1))[:, run.rank]

        optimiser.zero_grad(set_to_none=True)
        for part in range(optim.accumulate):
            waiting = time.monotonic()
            batch = {k: v.to(run.device, non_blocking=True) for k, v in next(batches).items()}
            meter.waited += time.monotonic() - waiting
            if teacher is not None:
                batch = teacher.relabel(batch)
            final = part == optim.accumulate - 1
            quiet = contextlib.nullcontext() if final else _no_sync(module)
            with quiet:
                with autocast(run.device, precision), attention(run.device):
                    loss, losses = module(batch, points, clicks, draws[part].to(run.device))
                (loss / optim.accumulate).backward()
            meter.add(losses)
        norm = nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
        if not torch.isfinite(norm):  # synchronised, so that every process stops here
            path = out / f"nan-step{step}-rank{run.rank}.pt"
            torch.save({"step": step, "batch": batch, "points": points}, path)
            raise ModelOutputError(
                f"the loss was not finite at step {step}; the batch is in {path}",
                fix="resume with a lower learning rate: --resume --set optim.lr=...",
            )
        optimiser.step()
        update_ema(average, model, optim.ema, step)
        step += 1

        now = time.monotonic()
        seconds, mark = seconds + now - mark, now
        finished = step == steps or bool(optim.minutes and seconds >= optim.minutes * 60)
        if step % optim.log_steps == 0 or finished:
            means = run.mean(meter.means(now))
            images = small / max(means.pop("step_seconds"), 1e-9)
            over = max(seconds / (optim.minutes * 60) if optim.minutes else step / steps, 1e-9)
            entry = {
                "step": step,
                "seconds": round(seconds, 1),
                "lr": rate,
                "grad": float(norm),
                "images_per_s": round(images, 2),
                "minutes_left": round(max(1 / over - 1, 0) * seconds / 60, 1),
                **{k: round(v, 5) for k, v in means.items()},
            }
            if run.rank == 0:
                append_log(out / "log.jsonl", entry)
            if on_step is not None:
                on_step(entry)
            meter = Meter()
        if run.rank == 0 and (finished or now - saved > optim.checkpoint_minutes * 60):
            last, saved = save(), now
    if run.rank == 0 and stop.asked:
        last = save()
    stop.restore()
    if run.world > 1:
        dist.barrier()
    if stop.asked:
        raise KeyboardInterrupt
    return last


class StopRequest:
    """Ctrl-C and SIGTERM end the run after the step in progress, with a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Meter:
    """Sums of what is logged since the last entry."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.start = time.monotonic()
        self.waited = 0.0
        self.passes = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        self.passes += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self, now: float) -> dict[str, float]:
        """Means of the losses, the seconds per step, and the share of them spent waiting for
        data."""
        spent = max(now - self.start, 1e-9)
        values = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        return values | {"step_seconds": spent / max(self.passes, 1), "wait": self.waited / spent}


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Mixed precision of the forward pass; `fp32` is none."""
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype)


def attention(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Plain attention on CPUs, whose fused kernel has a backward pass 4 times slower when one
    side is a handful of tokens."""
    if device.type == "cpu":
        context: contextlib.AbstractContextManager[object] = sdpa_kernel([SDPBackend.MATH])
        return context
    return contextlib.nullcontext()


def _no_sync(module: nn.Module) -> contextlib.AbstractContextManager[object]:
    if isinstance(module, DistributedDataParallel):
        context: contextlib.AbstractContextManager[object] = module.no_sync()
        return context
    return contextlib.nullcontext()


def _identity(recipe_json: str) -> str:
    """A recipe without the fields that may change on resume."""
    values = json.loads(recipe_json)
    for name in CLOCK:
        values["optim"].pop(name, None)
    return json.dumps(values, sort_keys=True)
