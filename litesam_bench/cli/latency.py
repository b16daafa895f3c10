"""`litesam-bench latency`: encoder time, and the time for 1, 10, 100 prompts."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import as_json, data_root_option, device_options, results_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench latency --limit 2
  litesam-bench latency --model sam-vit-b,lite-sam --points 1,10,100 --device cuda --json"""
)
@click.option("--model", "models", default="lite-sam", show_default=True, help="Systems.")
@click.option(
    "--points",
    default="1,10,100",
    show_default=True,
    help="Numbers of point prompts, comma separated.",
)
@click.option("--dataset", default="scenes", show_default=True, help="Where the images come from.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=5, show_default=True, help="Images to time."
)
@click.option(
    "--repeats", type=click.IntRange(min=1), default=2, show_default=True, help="Rounds over them."
)
@device_options
@click.option("--allow-unverified-weights", is_flag=True, help="As in zeroshot.")
@data_root_option
@results_option
@as_json
def latency(
    models: str,
    points: str,
    dataset: str,
    limit: int,
    repeats: int,
    device: str,
    dtype: str,
    batch: int,
    allow_unverified_weights: bool,
    data_root: Path | None,
    results: Path | None,
    json_output: bool,
) -> None:
    """Time the encoder alone, and an image with 1, 10, 100 points from pixels to masks.

    This is "segment anything" speed: a user's prompts. Segment-everything has other costs and a
    command of its own (segevery-time); the two never share a table.
    """
    from litesam_bench import paths, pipeline
    from litesam_bench.cli.timing import load_systems, time_rows
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.errors import CapabilityError, UsageError
    from litesam_bench.registry import System
    from litesam_bench.timing.device import pick_device
    from litesam_bench.timing.runs import Row, encoder_call, points_call

    try:
        counts = [int(word) for word in points.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UsageError(f"--points {points} is not a list of numbers", fix="--points 1,10,100")
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch, limit=limit
    )

    def check(system: System) -> None:
        can = system.spec.capabilities
        if not can.points or can.needs_ground_truth:
            raise CapabilityError(f"{system.spec.name} takes no points")

    rows = []
    for loaded in load_systems(models, settings, allow_unverified_weights, check):
        calls = {"encoder": encoder_call(loaded.segmenter)}
        calls |= {f"{n}-points": points_call(loaded.segmenter, n, batch) for n in counts}
        rows += [
            Row(
                system=loaded.system,
                weights=loaded.weights,
                variant=variant,
                knobs={"what": variant, "mask": "best of the multimask tokens by predicted IoU"},
                call=call,
            )
            for variant, call in calls.items()
        ]
    data = open_dataset(dataset, data_root=paths.data_root(data_root))
    time_rows("latency", rows, data, settings, repeats, results, json_output=json_output)
