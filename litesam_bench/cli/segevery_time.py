"""`litesam-bench segevery-time`: how long segment-everything takes, by phase, as ratios."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import as_json, data_root_option, device_options, results_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench segevery-time --limit 2
  litesam-bench segevery-time --sampler grid:32,autoppn:256 --model lite-sam --device cuda
  litesam-bench segevery-time --model sam-vit-b,mobile-sam --sampler grid:32 --dtype bf16"""
)
@click.option("--model", "models", default="lite-sam", show_default=True, help="Systems.")
@click.option(
    "--sampler",
    "samplers",
    default="grid:32,autoppn:256",
    show_default=True,
    help="Samplers, comma separated; ratios are against the first system and sampler.",
)
@click.option(
    "--protocol",
    "protocol_name",
    default="ar-sam",
    show_default=True,
    help="Whose generator choices: ar-sam filters nothing, ar-default-amg as SAM ships it.",
)
@click.option("--dataset", default="scenes", show_default=True, help="Where the images come from.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=5, show_default=True, help="Images to time."
)
@click.option(
    "--repeats", type=click.IntRange(min=1), default=1, show_default=True, help="Rounds over them."
)
@device_options
@click.option("--allow-unverified-weights", is_flag=True, help="As in zeroshot.")
@data_root_option
@results_option
@as_json
def segevery_time(
    models: str,
    samplers: str,
    protocol_name: str,
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
    """Time segment-everything from pixels to RLE: preprocess, encode, prompts, decode, filter, RLE,
    NMS.

    Systems and samplers take turns on the same images, after a warm-up until their times are
    stable; the device is synchronised around every phase. Every sample is kept in the record.
    """
    from dataclasses import replace

    from litesam_bench import paths, pipeline
    from litesam_bench.cli.timing import load_systems, time_rows
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.errors import CapabilityError
    from litesam_bench.everything import protocol as protocols
    from litesam_bench.everything.presets import parse_sampler
    from litesam_bench.everything.run import check_capabilities
    from litesam_bench.registry import System
    from litesam_bench.timing.device import pick_device
    from litesam_bench.timing.runs import Row, segevery_call

    preset = protocols.get(protocol_name)
    asked = [parse_sampler(word.strip()) for word in samplers.split(",")]
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch, limit=limit
    )
    config = replace(preset.config, points_per_batch=batch)

    def usable(system: System) -> list[int]:
        found = []
        for i, sampler in enumerate(asked):
            try:
                check_capabilities(system.spec, sampler)
                found.append(i)
            except CapabilityError as error:
                if len(asked) == 1:
                    raise
                click.echo(f"{sampler.name}: n/a: {error.message}", err=True)
        return found

    def check(system: System) -> None:
        if system.spec.capabilities.everything:
            raise CapabilityError(f"{system.spec.name} takes no prompts: there are no phases")
        if not usable(system):
            raise CapabilityError(f"{system.spec.name} can follow none of {samplers}")

    rows = [
        Row(
            system=loaded.system,
            weights=loaded.weights,
            variant=asked[i].name,
            knobs={"sampler": asked[i].name, "generator": config.knobs()},
            call=segevery_call(loaded.segmenter, asked[i], config),
        )
        for loaded in load_systems(models, settings, allow_unverified_weights, check)
        for i in usable(loaded.system)
    ]
    data = open_dataset(dataset, data_root=paths.data_root(data_root))
    time_rows("segevery-time", rows, data, settings, repeats, results, json_output=json_output)
