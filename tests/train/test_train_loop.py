"""The loop: it learns, stops and goes on exactly, alone or with others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from litesam_bench.errors import ModelOutputError, UsageError, WeightsError
from litesam_bench.train import loop
from litesam_bench.train.checkpoint import load_checkpoint, read_log
from litesam_bench.train.loop import learning_rate, train
from litesam_bench.train.recipes import OptimConfig, Recipe, get_recipe, override

SETTINGS = (
    "late=null",
    "calibrate=0",
    "data.frame=128",
    "data.crop=64",
    "data.prompts=4",
    "data.min_area=4",
    "optim.batch=2",
    "optim.minutes=0",
    "optim.steps=6",
    "optim.warmup=1",
    "optim.log_steps=1",
    "optim.click_rounds=0.5",
    "optim.checkpoint_minutes=0",
    "workers=0",
    "hold_out={}",
)


def tiny(*more: str) -> Recipe:
    recipe = get_recipe("pack")
    for setting in (*SETTINGS, *more):
        recipe = override(recipe, setting)
    return recipe


def command(pairs: Path, out: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        *("-m", "litesam_bench", "train", "pack", "--data", str(pairs), "--out", str(out)),
        *("--device", "cpu", "--precision", "fp32", *settings, *more),
    ]


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(out)
    assert state is not None
    ema: dict[str, torch.Tensor] = state["ema"]
    return ema


def losses(out: Path) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in read_log(out / "log.jsonl")}


def test_the_loss_falls(pairs: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    recipe = tiny("optim.steps=24", "optim.lr=0.002", "optim.click_rounds=0.0")
    train(recipe, [pairs], tmp_path / "run", on_step=seen.append)
    history = [entry["loss"] for entry in seen]
    assert sum(history[-6:]) < 0.85 * sum(history[:6])
    assert {"box_iou", "point_best", "ppn_box", "images_per_s", "wait"} <= set(seen[0])
    assert seen[-1]["lr"] < seen[1]["lr"]


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(pairs: Path, tmp_path: Path, repository: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(tiny(), [pairs], whole, precision="fp32")

    process = subprocess.Popen(
        [sys.executable, *command(pairs, broken)],
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (broken / "previous.pt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    state = load_checkpoint(broken)
    assert state is not None and 1 <= state["step"] < 6
    train(tiny(), [pairs], broken, precision="fp32", resume=True)
    assert losses(broken) == losses(whole)
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(broken).items())


@pytest.mark.slow
def test_two_processes_train_as_one(pairs: Path, tmp_path: Path, repository: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(tiny("optim.steps=3"), [pairs], alone, precision="fp32")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2"),
            *command(pairs, together, "--set", "optim.steps=3"),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    # Adam divides by the root of tiny second moments, so that the last bits grow from step to step
    assert losses(together)[1] == pytest.approx(losses(alone)[1], rel=1e-5)
    assert losses(together) == pytest.approx(losses(alone), rel=1e-2)


def test_accumulation_is_a_larger_batch(pairs: Path, tmp_path: Path) -> None:
    settings = ("optim.steps=2", "optim.click_rounds=1.0")
    train(tiny(*settings), [pairs], tmp_path / "one", precision="fp32")
    train(tiny(*settings, "optim.accumulate=2"), [pairs], tmp_path / "two", precision="fp32")
    assert losses(tmp_path / "two")[1] == pytest.approx(losses(tmp_path / "one")[1], rel=1e-5)
    assert losses(tmp_path / "two")[2] == pytest.approx(losses(tmp_path / "one")[2], rel=1e-2)


def test_ctrl_c_leaves_a_checkpoint(pairs: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)

    def interrupt(entry: dict[str, Any]) -> None:
        if entry["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny("optim.checkpoint_minutes=60.0"), [pairs], out, on_step=interrupt)
    state = load_checkpoint(out)
    assert state is not None and state["step"] == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_to_the_whole_group_leaves_a_checkpoint(
    pairs: Path, tmp_path: Path, repository: Path
) -> None:
    """As a terminal's Ctrl-C and torchrun send it: the loader's workers get it as well."""
    out = tmp_path / "run"
    more = ("--set", "workers=1", "--set", "optim.steps=10000")
    more = (*more, "--set", "optim.checkpoint_minutes=60.0")
    process = subprocess.Popen(
        [sys.executable, *command(pairs, out, *more)],
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # until the third step is reported
        if line.startswith("step 3 "):
            break
    os.killpg(process.pid, signal.SIGTERM)
    rest = process.communicate(timeout=60)[1]
    state = load_checkpoint(out)
    assert state is not None and state["step"] >= 3, rest


def test_the_clock_ends_a_run(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny("optim.minutes=0.02"), [pairs], out)
    entries = read_log(out / "log.jsonl")
    assert entries[-1]["seconds"] >= 1.2
    assert entries[-1]["lr"] <= entries[0]["lr"]
    state = load_checkpoint(out)
    assert state is not None and state["step"] == entries[-1]["step"]


def test_nan_stops_the_run_and_keeps_the_batch(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    class Broken(loop.TrainStep):
        def forward(self, *args: Any) -> Any:
            total, parts = super().forward(*args)
            return total * float("nan"), parts

    monkeypatch.setattr(loop, "TrainStep", Broken)
    with pytest.raises(ModelOutputError, match="step 0"):
        train(tiny(), [pairs], out)
    (saved,) = out.glob("nan-*.pt")
    batch = torch.load(saved, weights_only=True)["batch"]
    assert batch["image"].shape == (2, 3, 64, 64)


def test_another_recipe_cannot_continue_a_run(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny("optim.steps=1"), [pairs], out)
    with pytest.raises(UsageError, match="holds a run already"):
        train(tiny("optim.steps=1"), [pairs], out)
    with pytest.raises(UsageError, match="another recipe"):
        train(tiny("optim.steps=1", "data.crop=96"), [pairs], out, resume=True)


def test_late_examples_come_late_and_after_a_resume(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    class Watching(loop.TrainStep):
        def forward(self, batch: Any, *args: Any) -> Any:
            seen.append((batch["image"].shape[-1], batch["boxes"].shape[1]))
            return super().forward(batch, *args)

    monkeypatch.setattr(loop, "TrainStep", Watching)
    recipe = tiny("optim.steps=4")
    recipe = replace(recipe, late=replace(recipe.data, crop=96, prompts=2), late_from=0.5)
    train(recipe, [pairs], tmp_path / "run")
    assert seen == [(64, 4), (64, 4), (96, 2), (96, 2)]

    def interrupt(entry: dict[str, Any]) -> None:
        if entry["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, [pairs], tmp_path / "broken", on_step=interrupt)
    train(recipe, [pairs], tmp_path / "broken", resume=True)
    assert seen == [(64, 4), (64, 4), (96, 2), (96, 2)]
    assert losses(tmp_path / "broken") == losses(tmp_path / "run")


def test_a_batch_must_be_shared_evenly(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="accumulations"):
        train(tiny("optim.accumulate=3"), [pairs], tmp_path / "run")


def test_learning_rate_by_hand() -> None:
    config = OptimConfig(lr=1.0, warmup=4)
    rates = [learning_rate(config, step, step / 8) for step in (0, 1, 4)]
    assert rates[0] == pytest.approx(0.25)
    assert rates[1] == pytest.approx(0.5 * 0.5 * (1 + 0.92388), rel=1e-4)
    assert rates[2] == pytest.approx(0.5)
    assert learning_rate(config, 9, 1.2) == pytest.approx(0)


def test_a_recipe_survives_its_json(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny("optim.steps=1"), [pairs], out)
    state = load_checkpoint(out)
    assert state is not None
    assert json.loads(state["recipe"])["data"]["crop"] == 64


def test_a_run_begins_with_another_ones_weights(pairs: Path, tmp_path: Path) -> None:
    train(tiny("optim.steps=2"), [pairs], tmp_path / "first", precision="fp32")
    start = load_checkpoint(tmp_path / "first")
    assert start is not None
    still = tiny("optim.steps=1", "optim.lr=0.0", "seed=5")
    train(still, [pairs], tmp_path / "second", precision="fp32", start=tmp_path / "first")
    end = load_checkpoint(tmp_path / "second")
    assert end is not None
    assert end["step"] == 1  # its own schedule
    for name, value in start["model"].items():  # without a learning rate nothing moves
        assert torch.equal(end["model"][name], value), name


def test_weights_of_another_model_are_no_beginning(pairs: Path, tmp_path: Path) -> None:
    train(tiny("optim.steps=1"), [pairs], tmp_path / "first", precision="fp32")
    with pytest.raises(WeightsError, match="another architecture"):
        train(tiny("ppn_stem=conv"), [pairs], tmp_path / "second", start=tmp_path / "first")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no run"):
        train(tiny(), [pairs], tmp_path / "third", start=tmp_path / "empty")
