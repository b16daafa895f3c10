"""`litesam-bench train` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result

from litesam_bench.cli.train import train
from litesam_bench.errors import DataError, UsageError, WeightsError
from litesam_bench.lite_sam.configs import LITE_SAM
from litesam_bench.lite_sam.model import LiteSam
from litesam_bench.sam.checkpoint import load_strict
from litesam_bench.train.checkpoint import read_log
from litesam_bench.train.loop import train as train_recipe
from litesam_bench.train.recipes import get_recipe, override
from litesam_bench.train.report import export_weights, finish_run

SMALL = [
    part
    for setting in (
        *("data.frame=128", "data.crop=64", "data.prompts=4", "data.min_area=4"),
        *("optim.batch=2", "workers=0"),
    )
    for part in ("--set", setting)
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(train, arguments)


def test_the_list_names_every_recipe() -> None:
    result = run("--list")
    assert result.exit_code == 0
    for name in ("pack:", "paper:", "table1-litevit:", "table2-baseline:"):
        assert name in result.stdout


def test_a_run_leaves_weights_log_and_figure(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["pack", "--data", str(pairs), "--out", str(out), "--steps", "2", *SMALL]
    result = run(*arguments, "--set", "hold_out={}")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(out / "weights.safetensors"), str(out / "losses.png")]
    assert "images/s" in result.stderr
    assert [entry["step"] for entry in read_log(out / "log.jsonl")] == [1, 2]
    weights = out / "weights.safetensors"
    assert weights.stat().st_size < 9_000_000
    state = {k: v.float() for k, v in safetensors.torch.load_file(weights).items()}
    load_strict(LiteSam(LITE_SAM), state, source="export")
    assert (out / "losses.png").stat().st_size > 10_000


def test_a_run_is_evaluated_on_what_it_held_out(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["pack", "--data", str(pairs), "--out", str(out), *SMALL]
    held = ["--set", 'hold_out={"": 2}']
    assert run(*arguments, "--steps", "1", *held).exit_code == 0
    result = run(*arguments, "--evaluate", "2", *held)
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert measured["images"] == 2
    assert measured["masks"] == 6
    assert measured["ellipse"] > 0.9  # the made-up objects are ellipses
    for name in ("box", "box_oracle", "point", "point_recall", "box_recall"):
        assert 0 <= measured[name] <= 1
    assert measured["box"] <= measured["box_oracle"]


def test_mistakes_are_explained(pairs: Path, tmp_path: Path) -> None:
    assert isinstance(run("pak").exception, UsageError)
    assert isinstance(run("pack", "--set", "lr=1").exception, UsageError)
    assert isinstance(run("pack", "--data", str(tmp_path / "no")).exception, DataError)
    half = run("pack", "--freeze", "encoder")
    assert half.exit_code == 2
    assert "belong together" in half.output
    nothing = run("pack", "--data", str(pairs), "--out", str(tmp_path), "--evaluate", "1")
    assert isinstance(nothing.exception, UsageError)


def test_a_calibrated_run_exports_another_head(pairs: Path, tmp_path: Path) -> None:
    recipe = get_recipe("pack")
    for setting in (
        *("late=null", "data.frame=128", "data.crop=64", "data.prompts=4", "data.min_area=4"),
        *("optim.batch=2", "optim.steps=1", "optim.minutes=0", "workers=0", "calibrate=2"),
    ):
        recipe = override(recipe, setting)
    last = train_recipe(recipe, [pairs], tmp_path / "run")
    weights, _ = finish_run(tmp_path / "run", [pairs], "cpu", "fp32")
    averaged = torch.load(last, weights_only=True)["ema"]
    exported = safetensors.torch.load_file(weights)
    changed = {
        name
        for name, value in exported.items()
        if not torch.allclose(value.float(), averaged[name], atol=1e-3, rtol=1e-3)
    }
    assert changed
    assert all("iou_prediction_head" in name for name in changed)


def test_weights_that_do_not_fit_half_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="first"):
        export_weights({"first": torch.tensor([1e6])}, tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.data
@pytest.mark.slow
def test_a_short_run_on_the_pack_learns(data_root: Path, tmp_path: Path) -> None:
    if not (data_root / "train-pack").is_dir():
        pytest.skip(f"no training pack in {data_root}")
    out = tmp_path / "run"
    arguments = ["pack", "--data-root", str(data_root), "--out", str(out)]
    result = run(*arguments, "--limit", "20", "--steps", "30")
    assert result.exit_code == 0, result.output
    losses = [entry["loss"] for entry in read_log(out / "log.jsonl")]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
