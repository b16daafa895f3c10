"""`litesam-bench detect`: a detector's boxes on one dataset, as a file for `zeroshot --boxes`."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import as_json, data_root_option, dataset_options


@click.command(
    epilog="""\b
Examples:
  litesam-bench detect --detector yolov8-x --weights yolov8x.pt --dataset coco --out boxes.json
  litesam-bench detect --detector grounding-dino --weights grounding-dino-tiny/ --out boxes.json
  litesam-bench zeroshot --model sam-vit-b --dataset coco --prompt detector --boxes boxes.json"""
)
@click.option("--detector", required=True, help="yolov8-n, -s, -m, -l, -x, or grounding-dino.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    required=True,
    help="YOLOv8's .pt file, or Grounding DINO's folder as transformers saves it.",
)
@dataset_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The box file to write; an existing one is not replaced.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images.")
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    help="Boxes below are left out.",
)
@click.option(
    "--nms-iou",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="YOLOv8: of two boxes of a class that overlap more, one stays.",
)
@click.option(
    "--max-boxes",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Most boxes per image.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@data_root_option
@as_json
def detect(
    detector: str,
    weights: Path,
    dataset: str,
    split: str | None,
    ann_file: Path | None,
    image_dir: Path | None,
    out: Path,
    limit: int | None,
    score: float,
    nms_iou: float,
    max_boxes: int,
    device: str,
    data_root: Path | None,
    json_output: bool,
) -> None:
    """Write a detector's boxes once, in COCO's results format.

    YOLOv8 needs the extra `ultralytics` (AGPL-3.0), Grounding DINO the extra `family`. ViTDet's
    boxes are published as a file and need no detector.
    """
    import json
    import sys

    from litesam_bench import paths
    from litesam_bench.cli.output import print_fields, print_json
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.errors import UsageError
    from litesam_bench.prompts.detect import DetectorSettings, open_detector, results
    from litesam_bench.records.files import sha256_file, write_atomic
    from litesam_bench.timing.device import pick_device

    if out.exists():
        raise UsageError(f"{out} exists", fix="choose another --out, or delete the file")
    data = open_dataset(
        dataset,
        data_root=paths.data_root(data_root),
        limit=limit,
        split=split,
        ann_file=ann_file,
        image_dir=image_dir,
    )
    settings = DetectorSettings(score, nms_iou, max_boxes, pick_device(device))
    found = open_detector(detector, weights, data.categories, settings)
    with click.progressbar(data.image_ids, label=detector, file=sys.stderr) as image_ids:
        entries = results(found, data, image_ids)
    write_atomic(out, json.dumps(entries, separators=(",", ":")))
    summary = {
        "file": str(out),
        "sha256": sha256_file(out),
        "detector": detector,
        "weights_sha256": sha256_file(weights) if weights.is_file() else "",
        "dataset": data.info.name,
        "images": len(data.image_ids),
        "boxes": len(entries),
    }
    if json_output:
        print_json(summary)
    else:
        print_fields(summary)
