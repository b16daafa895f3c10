"""`litesam-bench agreement`: masks of systems against those of a reference system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import (
    as_json,
    data_root_option,
    dataset_options,
    device_options,
    results_option,
    runs_option,
)

if TYPE_CHECKING:
    from litesam_bench.records.schema import Record


@click.command(
    epilog="""\b
Examples:
  litesam-bench agreement --reference sam-vit-h --model mobile-sam,edge-sam --dataset coco
  litesam-bench agreement --reference ellipse --model box-fill,grabcut --prompt box"""
)
@click.option("--reference", required=True, help="The system whose masks are taken for the truth.")
@click.option("--model", "models", required=True, help="Systems to compare with it.")
@dataset_options
@click.option("--prompt", default="box", show_default=True, help="box or point.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images.")
@device_options
@click.option(
    "--allow-unverified-weights",
    is_flag=True,
    help="Load weights whose sha256 differs from the SPEC; the record says so.",
)
@data_root_option
@results_option
@runs_option
@as_json
def agreement(
    reference: str,
    models: str,
    dataset: str,
    split: str | None,
    ann_file: Path | None,
    image_dir: Path | None,
    prompt: str,
    limit: int | None,
    device: str,
    dtype: str,
    batch: int,
    allow_unverified_weights: bool,
    data_root: Path | None,
    results: Path | None,
    runs_dir: Path | None,
    json_output: bool,
) -> None:
    """Mean IoU of each system's masks with the reference's, for the same prompts.

    It measures imitation, not accuracy. Annotations give boxes or points only. Masks are journaled
    as `zeroshot` does: both commands share their runs, and a stopped one goes on.
    """
    from litesam_bench import agreement as agreeing
    from litesam_bench import paths, pipeline, registry, weights
    from litesam_bench.cli.show import run_with_bar, show_records
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.distributed import world
    from litesam_bench.errors import CapabilityError, UsageError
    from litesam_bench.records.store import write_record
    from litesam_bench.timing.device import describe_device, pick_device

    asked = agreeing.prompting(prompt)
    chosen = registry.resolve(reference)
    if len(chosen) != 1:
        raise UsageError(
            f"--reference {reference} means {len(chosen)} systems", fix="name one system"
        )
    (truth_giver,) = chosen
    pipeline.check_capabilities(truth_giver.spec, asked)
    systems = [s for s in registry.resolve(models) if s.spec.name != truth_giver.spec.name]
    if not systems:
        raise UsageError(
            f"--model {models} leaves nothing to compare with {truth_giver.spec.name}",
            fix="name other systems",
        )
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch, limit=limit
    )
    unable: dict[str, CapabilityError] = {}
    for system in systems:
        try:
            pipeline.check_capabilities(system.spec, asked)
        except CapabilityError as error:
            unable[system.spec.name] = error
    # every missing checkpoint is found before the first model runs
    checkpoints = {
        s.spec.name: weights.require(s.spec, allow_unverified=allow_unverified_weights)
        for s in (truth_giver, *systems)
        if s.spec.weights is not None and s.spec.name not in unable
    }
    opened: dict[str, Any] = {
        "name": dataset,
        "split": split,
        "ann_file": ann_file and str(ann_file),
        "image_dir": image_dir and str(image_dir),
        "boxes": None,
    }
    data = open_dataset(
        dataset,
        data_root=paths.data_root(data_root),
        split=split,
        ann_file=ann_file,
        image_dir=image_dir,
    )
    runs_root = paths.runs_root(runs_dir)
    protocol = agreeing.scoring_protocol(asked, truth_giver.spec.name)

    records: list[Record] = []
    with world() as here:
        device_name = describe_device(here.device(settings.device))

        def prepared(system: registry.System) -> tuple[pipeline.Task, dict[str, Any]]:
            task = pipeline.Task(
                system=system,
                dataset=data,
                protocol=asked,
                settings=settings,
                weights=checkpoints.get(system.spec.name),
            )
            return task, pipeline.context_of(task, device_name, opened)

        task, context = prepared(truth_giver)
        run = run_with_bar(task, context, runs_root, here)
        told = {"system": context["system"], "fingerprint": run.fingerprint}
        truth = agreeing.reference_dataset(data, run, asked, truth_giver.spec.name, limit)
        for system in systems:
            task, context = prepared(system)
            reason = unable.get(system.spec.name)
            if reason is not None:
                records.append(agreeing.not_available(context, data, protocol, told, reason))
                continue
            run = run_with_bar(task, context, runs_root, here)
            if here.is_main:
                records.append(agreeing.make_record(run, context, truth, protocol, told))
        if here.is_main:
            kept_in = None
            if limit is None:
                kept_in = paths.results_root(results)
                for record in records:
                    write_record(kept_in, record)
            show_records(records, json_output=json_output, kept_in=kept_in)
