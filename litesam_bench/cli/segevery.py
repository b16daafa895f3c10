"""`litesam-bench segevery`: segment everything, and AR@K of the proposals."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import (
    as_json,
    data_root_option,
    dataset_options,
    device_options,
    results_option,
    runs_option,
)

DEFAULT_MODELS = "oracle,felz-hutt,slic,lite-sam"


@click.command(
    epilog="""\b
Examples:
  litesam-bench segevery --limit 4
  litesam-bench segevery --model oracle,felz-hutt,slic --dataset coco
  litesam-bench segevery --model lite-sam --sampler autoppn:256 --dataset coco
  litesam-bench segevery --model sam-vit-b --sampler grid:64 --dataset lvis --device cuda
  litesam-bench segevery --model mobile-sam --sampler object-aware --boxes yolo.json"""
)
@click.option(
    "--model",
    "models",
    default=DEFAULT_MODELS,
    show_default=True,
    help="Systems, comma separated: names, families, FILE.py, or 'all'.",
)
@click.option(
    "--sampler",
    "sampler_name",
    default=None,
    help="grid[:N], hierarchical[:N], autoppn[:K][-points|-boxes|-both] or object-aware. "
    "Default: autoppn:256-points for systems that propose their own prompts, else grid:32.",
)
@dataset_options
@click.option(
    "--protocol",
    "protocol_name",
    default=None,
    help="ar-sam (default), ar-sam-iou, ar-default-amg, ar-object-aware; ar-bsds for "
    "--dataset bsds.",
)
@click.option(
    "--boxes",
    "boxes_file",
    type=click.Path(path_type=Path),
    help="Boxes for the object-aware sampler, COCO-results JSON.",
)
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
def segevery(
    models: str,
    sampler_name: str | None,
    dataset: str,
    split: str | None,
    ann_file: Path | None,
    image_dir: Path | None,
    protocol_name: str | None,
    boxes_file: Path | None,
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
    """Segment everything: mask AR@10/100/1000 of class-agnostic proposals.

    Prompts come from a sampler, masks from the steps of SAM's automatic mask generator; systems
    with a way of their own (oracle, felz-hutt, slic) use that. Proposals are journaled image by
    image: stop the command at any time and run it again to go on. This command measures no speed:
    litesam-bench segevery-time does.
    """
    from litesam_bench import paths, pipeline, registry, weights
    from litesam_bench.cli.show import progress_bar, show_records
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.distributed import world
    from litesam_bench.errors import CapabilityError, UsageError
    from litesam_bench.everything import protocol as protocols
    from litesam_bench.everything import run as everything
    from litesam_bench.everything.object_aware import ObjectAware
    from litesam_bench.everything.presets import default_sampler, parse_sampler
    from litesam_bench.everything.proposals import Sampler
    from litesam_bench.prompts.detector import DetectorBoxes
    from litesam_bench.records.journal import RunFolder
    from litesam_bench.records.store import write_record
    from litesam_bench.timing.device import describe_device, pick_device

    object_aware = sampler_name == "object-aware"
    if object_aware != (boxes_file is not None):
        raise UsageError(
            "the object-aware sampler and --boxes FILE go together",
            fix="litesam-bench segevery --sampler object-aware --boxes detections.json",
        )
    preset = protocols.get(protocol_name or _default_protocol(dataset, object_aware))
    if (preset.ground_truth == "annotators") != (dataset == "bsds"):
        raise UsageError(
            f"{preset.name} does not fit --dataset {dataset}: only BSDS500 has several annotators",
            fix="leave --protocol out, or use --protocol ar-bsds with --dataset bsds",
        )
    systems = registry.resolve(models)
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch, limit=limit
    )
    data = open_dataset(
        dataset,
        data_root=paths.data_root(data_root),
        split=split,
        ann_file=ann_file,
        image_dir=image_dir,
    )
    samplers: dict[str, Sampler] = {}
    if boxes_file is not None:
        boxes = DetectorBoxes.load(boxes_file, data)
        detected = ObjectAware(boxes.prompts, boxes.sha256)
        samplers = {system.spec.name: detected for system in systems}
    else:
        for system in systems:
            wanted = sampler_name or default_sampler(system.spec.capabilities)
            samplers[system.spec.name] = parse_sampler(wanted)
    able: dict[str, CapabilityError | None] = {}
    for system in systems:
        try:
            everything.check_capabilities(system.spec, samplers[system.spec.name])
            able[system.spec.name] = None
        except CapabilityError as error:
            able[system.spec.name] = error
    checkpoints = {
        s.spec.name: weights.require(s.spec, allow_unverified=allow_unverified_weights)
        for s in systems
        if s.spec.weights is not None and able[s.spec.name] is None
    }
    records = []
    with world() as here:
        device_name = describe_device(here.device(settings.device))
        for system in systems:
            name = system.spec.name
            task = everything.SegEveryTask(
                system=system,
                dataset=data,
                protocol=preset,
                sampler=samplers[name],
                settings=settings,
                weights=checkpoints.get(name),
            )
            unable = able[name]
            if unable is not None:
                records.append(everything.not_available(task, device_name, unable))
                continue
            run = RunFolder(paths.runs_root(runs_dir), task.identity())
            with progress_bar(name, task, run, here) as advance:
                everything.predict(
                    task, run, here, advance, lambda message: click.echo(message, err=True)
                )
            here.barrier()
            if here.is_main:
                records.append(everything.make_record(task, run, device_name))
        if here.is_main:
            kept_in = None
            if limit is None:
                kept_in = paths.results_root(results)
                for record in records:
                    write_record(kept_in, record)
            show_records(records, json_output=json_output, kept_in=kept_in)


def _default_protocol(dataset: str, object_aware: bool) -> str:
    if dataset == "bsds":
        return "ar-bsds"
    return "ar-object-aware" if object_aware else "ar-sam"
