"""`litesam-bench zeroshot`: prompt systems with boxes, points or detections; score the masks."""

from __future__ import annotations

import itertools
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

DEFAULT_MODELS = "oracle,box-fill,ellipse,grabcut,lite-sam"


@click.command(
    epilog="""\b
Examples:
  litesam-bench zeroshot
  litesam-bench zeroshot --model ellipse,lite-sam --dataset coco --prompt box
  litesam-bench zeroshot --model lite-sam --dataset wild/one,wild/two --protocol ap-gtbox
  litesam-bench zeroshot --model sam-vit-b --dataset lvis --prompt clicks:3 --device cuda
  litesam-bench zeroshot --model sam-vit-h --dataset coco --prompt detector --boxes vitdet.json
  torchrun --nproc-per-node 8 -m litesam_bench zeroshot --model sam:all --dataset coco"""
)
@click.option(
    "--model",
    "models",
    default=DEFAULT_MODELS,
    show_default=True,
    help="Systems, comma separated: names, families, FILE.py, or 'all'.",
)
@dataset_options
@click.option("--prompt", default=None, help="box (default), point, clicks:N or detector.")
@click.option("--protocol", "protocol_id", default=None, help="Default: miou-strict, or ap-det.")
@click.option(
    "--boxes",
    "boxes_file",
    type=click.Path(path_type=Path),
    help="Detector boxes, COCO-results JSON.",
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
def zeroshot(
    models: str,
    dataset: str,
    split: str | None,
    ann_file: Path | None,
    image_dir: Path | None,
    prompt: str | None,
    protocol_id: str | None,
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
    """Zero-shot segmentation: mIoU and AP of promptable systems on a dataset.

    Several datasets or folders, separated by commas, are measured one by one; their mean, in which
    each counts once, follows.

    Masks are journaled image by image: stop the command at any time and run it again to go on.
    Without arguments it runs every weightless system and Lite-SAM on the embedded scenes.
    """
    from litesam_bench import paths, pipeline, protocols, registry, weights
    from litesam_bench.cli.show import run_with_bar, show_groups
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.distributed import world
    from litesam_bench.errors import CapabilityError, UsageError
    from litesam_bench.means import mean_record
    from litesam_bench.prompts.detector import DetectorBoxes
    from litesam_bench.records.store import write_record
    from litesam_bench.timing.device import describe_device, pick_device

    request = protocols.parse_prompt(prompt) if prompt else None
    kind = request.kind if request else ("detector" if boxes_file else "box")
    protocol = protocols.get(protocol_id or protocols.DEFAULT_FOR_PROMPT[kind], prompt or None)
    if (protocol.prompt == "detector") != (boxes_file is not None):
        raise UsageError(
            f"{protocol.id} prompts with {protocol.prompt}"
            + (", but --boxes is given" if boxes_file else ", but --boxes FILE is missing"),
            fix="--boxes goes with --prompt detector: a COCO-results JSON with image_id, "
            "category_id, bbox [x, y, w, h] and score",
        )
    systems = registry.resolve(models)
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch, limit=limit
    )
    able: dict[str, CapabilityError | None] = {}
    for system in systems:
        try:
            pipeline.check_capabilities(system.spec, protocol)
            able[system.spec.name] = None
        except CapabilityError as error:
            able[system.spec.name] = error
    # every missing checkpoint is found before the first model runs
    checkpoints = {
        s.spec.name: weights.require(s.spec, allow_unverified=allow_unverified_weights)
        for s in systems
        if s.spec.weights is not None and able[s.spec.name] is None
    }
    # a folder's name may have a comma
    several = [dataset] if Path(dataset).is_dir() else dataset.split(",")
    names = [name.strip() for name in several if name.strip()]
    if len(set(names)) != len(names) or not names:
        raise UsageError(
            f"--dataset {dataset} names no dataset, or one twice", fix="name each once"
        )
    if len(names) > 1 and (ann_file or image_dir or boxes_file):
        raise UsageError(
            "--ann-file, --image-dir and --boxes belong to one dataset, but --dataset names "
            f"{len(names)}",
            fix="run the command once per dataset, or lay the files out so that folders suffice",
        )
    # every dataset is opened before the first model runs
    opened = [
        open_dataset(
            name,
            data_root=paths.data_root(data_root),
            split=split,
            ann_file=ann_file,
            image_dir=image_dir,
        )
        for name in names
    ]
    boxes = DetectorBoxes.load(boxes_file, opened[0]) if boxes_file else None

    groups: list[list[Record]] = [[] for _ in names]
    with world() as here:
        device_name = describe_device(here.device(settings.device))
        for system in systems:
            for name, data, records in zip(names, opened, groups, strict=True):
                task = pipeline.Task(
                    system=system,
                    dataset=data,
                    protocol=protocol,
                    settings=settings,
                    weights=checkpoints.get(system.spec.name),
                    boxes=boxes,
                )
                how: dict[str, Any] = {
                    "name": name,
                    "split": split,
                    "ann_file": ann_file and str(ann_file),
                    "image_dir": image_dir and str(image_dir),
                    "boxes": boxes_file and str(boxes_file),
                }
                context = pipeline.context_of(task, device_name, how)
                unable = able[system.spec.name]
                if unable is not None:
                    records.append(pipeline.not_available(context, data, protocol, unable))
                    continue
                run = run_with_bar(task, context, paths.runs_root(runs_dir), here)
                if here.is_main:
                    records.append(pipeline.make_record(run, context, data, protocol, boxes))
        if here.is_main:
            if len(groups) > 1:
                groups.append([mean_record(records) for records in zip(*groups, strict=True)])
            kept_in = None
            if limit is None:
                kept_in = paths.results_root(results)
                for record in itertools.chain.from_iterable(groups):
                    write_record(kept_in, record)
            show_groups(groups, json_output=json_output, kept_in=kept_in)
