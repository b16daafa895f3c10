"""`litesam-bench train`: train Lite-SAM, or a variant of it, by a named recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from litesam_bench.cli.options import data_root_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench train --list
  litesam-bench train pack --limit 20 --steps 30
  litesam-bench train pack --data ../data/train-pack --out runs/pack
  litesam-bench train pack --data ../data/train-pack --out runs/pack --resume
  litesam-bench train pack --data ../data/train-pack --out runs/pack --evaluate 40
  litesam-bench train pack-more --data ../data/train-pack --from runs/pack
  litesam-bench train pack --set data.crop=320 --set optim.lr=5e-4
  litesam-bench train pack --data ../data/train-pack --teacher sam-vit-b
  litesam-bench train ppn-sam-b --freeze encoder --model sam-vit-b --data /data/sa-1b
  torchrun --nproc-per-node 8 -m litesam_bench train paper --data /data/sa1b --device cuda"""
)
@click.argument("recipe_name", metavar="[RECIPE]", required=False)
@click.option(
    "--data",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="SA-1B-format folder or tar file; may be repeated.  [default: the recipe's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the run.  [default: train-RECIPE in the runs folder]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path, exists=True),
    help="Begin with the weights of this run's folder or weights file, not with random ones.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="bf16",
    show_default=True,
    help="Of the forward pass; the weights and the optimiser stay fp32.",
)
@click.option("--steps", type=click.IntRange(min=1), help="A short run of this many steps.")
@click.option(
    "--freeze",
    type=click.Choice(["encoder"]),
    help="Train AutoPPN alone, on the frozen encoder of --model.",
)
@click.option("--model", metavar="SYSTEM", help="The system whose encoder --freeze keeps.")
@click.option(
    "--teacher", metavar="SYSTEM", help="Learn this system's masks instead of the data's."
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Only the first N pairs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field.")
@click.option(
    "--evaluate",
    "evaluating",
    type=click.IntRange(min=1),
    metavar="N",
    help="Do not train: evaluate the run in --out on N held-out images.",
)
@click.option("--list", "listing", is_flag=True, help="Print the recipes and what they are for.")
@data_root_option
def train(
    recipe_name: str | None,
    folders: tuple[Path, ...],
    out: Path | None,
    resume: bool,
    start: Path | None,
    device: str,
    precision: str,
    steps: int | None,
    freeze: str | None,
    model: str | None,
    teacher: str | None,
    limit: int | None,
    settings: tuple[str, ...],
    evaluating: int | None,
    listing: bool,
    data_root: Path | None,
) -> None:
    """Train Lite-SAM by a named recipe; every field of it can be changed with --set.

    The run's folder takes the checkpoints (written every few minutes, also on Ctrl-C), the log
    (`log.jsonl`, one line of losses and images per second each few steps), the loss figure and, at
    the end, the averaged weights in half precision.
    """
    from litesam_bench import paths
    from litesam_bench.train.recipes import RECIPES, get_recipe, override

    if listing or recipe_name is None:
        for name, entry in RECIPES.items():
            click.echo(f"{name}: {entry.about}\n")
        return
    recipe = get_recipe(recipe_name)
    for setting in settings:
        recipe = override(recipe, setting)
    if (freeze is None) != (model is None):
        raise click.UsageError("--freeze encoder and --model belong together")
    if model is not None:
        recipe = replace(recipe, encoder=model)
    if teacher is not None:
        recipe = replace(recipe, teacher=teacher)
    if steps is not None:
        few = max(steps // 10, 1)
        optim = replace(
            recipe.optim,
            steps=steps,
            minutes=0.0,
            epochs=0.0,
            warmup=min(recipe.optim.warmup, few),
            log_steps=min(recipe.optim.log_steps, few),
        )
        recipe = replace(recipe, optim=optim, late=None, calibrate=0)

    from litesam_bench.train.evaluate import evaluate_run
    from litesam_bench.train.loop import train as run_training
    from litesam_bench.train.report import finish_run

    data = list(folders) or [paths.data_root(data_root) / recipe.folder]
    out = out or paths.runs_root() / f"train-{recipe.name}"
    if evaluating is not None:
        measured = evaluate_run(out, data, _device(device), precision, evaluating)
        click.echo(json.dumps(asdict(measured), indent=2))
        return
    run_training(
        recipe,
        data,
        out,
        device=_device(device),
        precision=precision,
        resume=resume,
        limit=limit or 0,
        start=start,
        on_step=lambda entry: click.echo(_line(entry), err=True),
    )
    for path in finish_run(out, data, _device(device), precision):
        click.echo(str(path))


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _line(entry: dict[str, Any]) -> str:
    """One log entry for a person."""
    shown = {"box IoU": "box_iou", "point IoU": "point_iou", "AutoPPN": "ppn_point"}
    parts = [f"{text} {entry[key]:.3f}" for text, key in shown.items() if key in entry]
    return (
        f"step {entry['step']}  loss {entry['loss']:.3f}  {'  '.join(parts)}"
        f"  {entry['images_per_s']:.1f} images/s  waiting {entry['wait']:.0%}"
        f"  {entry['minutes_left']:.0f} min left"
    )
