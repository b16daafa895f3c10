"""Whole images, pixels to RLE: the fast way against the plain one, AutoPPN against the grid.

    python -m litesam_bench.bench.segevery [--grid 32] [--device cuda] [--dtype bf16] [--json]

Two ratios, each within one run. SAM ViT-B with the weights of the parity tests: fast decoder and
generator against the plain decoder with masks finished one by one (bar 2). Lite-SAM with its own on
an embedded scene: 256 AutoPPN prompts against the grid, unfiltered as in SAM's proposal experiment
(bar 16.5 on a GPU, the paper's ratio); with what limits it, since a quarter of the prompts cannot
make the rest of the work faster than four times.
"""

from __future__ import annotations

import json
from typing import Any

import click

from litesam_bench.bench.decoder import run_segevery, segevery_text

BAR_AUTOPPN = 16.5
COUNT = 256


def run_autoppn(per_side: int, device: str, dtype: str, repeats: int = 1) -> dict[str, Any]:
    """Lite-SAM on one scene, 256 AutoPPN points against a grid."""
    from litesam_bench import pipeline, registry
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.distributed import World
    from litesam_bench.everything.autoppn import AutoPpnSampler
    from litesam_bench.everything.grid import Grid
    from litesam_bench.everything.presets import UNFILTERED
    from litesam_bench.paths import data_root
    from litesam_bench.timing.device import describe_device
    from litesam_bench.timing.latency import machine_state, measure, ratio
    from litesam_bench.timing.runs import limit, segevery_call
    from litesam_bench.weights import require

    (system,) = registry.resolve("lite-sam")
    settings = pipeline.RunSettings(
        device=device, dtype=pipeline.parse_dtype(dtype), batch=UNFILTERED.points_per_batch
    )
    segmenter = pipeline.load_system(system, settings, require(system.spec), World())
    scenes = open_dataset("scenes", data_root=data_root(None))
    image = scenes.sample(scenes.image_ids[0]).image
    calls = {
        "grid": segevery_call(segmenter, Grid(per_side), UNFILTERED),
        "autoppn": segevery_call(segmenter, AutoPpnSampler(COUNT), UNFILTERED),
    }
    # minutes on a CPU: one call of each is enough to compile and allocate
    warm_up = 1 if device == "cpu" else 10
    times = measure(calls, [image], device=device, repeats=repeats, warm_up_limit=warm_up)
    found = ratio(times["grid"], times["autoppn"])
    return {
        "device": describe_device(device),
        "dtype": dtype,
        "system": system.spec.name,
        "grid": per_side,
        "bar": BAR_AUTOPPN,
        "ratio": {"value": found.value, "low": found.low, "high": found.high},
        "limited_by": limit(times["autoppn"].summary()),
        "systems": {name: t.summary() for name, t in times.items()},
        **machine_state(device),
    }


@click.command()
@click.option("--grid", "per_side", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--dtype", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True
)
@click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "json_output", is_flag=True)
def main(per_side: int, device: str, dtype: str, repeats: int, json_output: bool) -> None:
    """Print how many times faster the fast way and AutoPPN are, on whole images."""
    from litesam_bench.timing.device import pick_device

    device = pick_device(device)
    autoppn = run_autoppn(per_side, device, dtype, repeats)
    sam = run_segevery(per_side, device, dtype, repeats)
    if json_output:
        click.echo(json.dumps({"autoppn": autoppn, "sam": sam}, indent=1))
        return
    click.echo(f"{autoppn['device']}, {dtype}, {per_side} x {per_side} grid, pixels to RLE")
    click.echo(
        f"  Lite-SAM, {COUNT} AutoPPN prompts: {autoppn['ratio']['value']:.2f}x faster than the "
        f"grid (bar {BAR_AUTOPPN} on a GPU); {autoppn['limited_by']}"
    )
    click.echo(f"  {segevery_text(sam)}")


if __name__ == "__main__":
    main()
