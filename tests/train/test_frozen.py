"""AutoPPN learns on an encoder that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from litesam_bench.errors import UsageError
from litesam_bench.train.checkpoint import load_checkpoint, read_log
from litesam_bench.train.loop import build_step, train
from litesam_bench.train.recipes import Recipe, get_recipe, override
from litesam_bench.train.report import finish_run


def recipe(*more: str) -> Recipe:
    changed = replace(get_recipe("pack"), late=None)
    for setting in (
        *("encoder=lite-sam-640", "data.frame=640", "data.crop=640", "data.prompts=2"),
        *("data.min_area=4", "optim.batch=1", "optim.minutes=0", "workers=0", *more),
    ):
        changed = override(changed, setting)
    return changed


def test_only_autoppn_learns(pairs: Path, tmp_path: Path) -> None:
    trained, step = build_step(recipe(), torch.device("cpu"))
    before = {name: p.clone() for name, p in step.named_parameters()}
    learning = {name for name, p in step.named_parameters() if p.requires_grad}
    assert learning == {f"ppn.{name}" for name, _ in trained.named_parameters()}
    assert step.training and not step.get_submodule("sam").training  # type: ignore[truthy-function]

    out = tmp_path / "run"
    train(recipe("optim.steps=3", "optim.log_steps=1", "optim.warmup=1"), [pairs], out)
    state = load_checkpoint(out)
    assert state is not None
    assert set(state["ema"]) == {name.removeprefix("ppn.") for name in learning}
    moved = [name for name in learning if not torch.equal(state["model"][name[4:]], before[name])]
    assert len(moved) == len(learning)
    assert "box" not in read_log(out / "log.jsonl")[0]
    weights, figure = finish_run(out, [pairs], "cpu", "fp32")
    assert weights.stat().st_size < 1_000_000
    assert figure.exists()


def test_the_encoder_keeps_its_input_size() -> None:
    with pytest.raises(UsageError, match="inputs of 1024") as error:
        build_step(recipe("encoder=sam-vit-b", "data.crop=256"), torch.device("cpu"))
    assert "data.crop=1024" in error.value.fix
    with pytest.raises(UsageError, match="inputs of 640"):
        build_step(recipe("data.frame=1024", "data.crop=256"), torch.device("cpu"))


def test_lite_sams_encoder_takes_crops() -> None:
    _, step = build_step(recipe("data.crop=256"), torch.device("cpu"))
    assert step.training


def test_a_system_without_an_embedding_cannot_be_frozen() -> None:
    with pytest.raises(UsageError, match="no embedding"):
        build_step(
            recipe("encoder=ellipse", "data.frame=1024", "data.crop=1024"), torch.device("cpu")
        )
