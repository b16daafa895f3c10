"""`litesam-bench segment`: masks of your own images, to look at and to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import device_options

if TYPE_CHECKING:
    from litesam_bench.everything.proposals import GeneratorConfig, Proposal, Sampler
    from litesam_bench.types import ImageU8, Prompts, Segmenter


MOST_TRUSTED = 40
"""Masks that are shown where none passes SAM's thresholds."""


@click.command(
    epilog="""\b
Examples:
  litesam-bench segment dog.jpg
  litesam-bench segment *.jpg --model sam-vit-b --sampler grid:16 --out masks
  litesam-bench segment dog.jpg --points 320,240 --points 100,80
  litesam-bench segment dog.jpg --boxes 10,20,300,400"""
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="lite-sam", show_default=True, help="One system.")
@click.option(
    "--sampler",
    "sampler_name",
    default=None,
    help="Segment everything: grid[:N], hierarchical[:N] or autoppn[:K]. "
    "Default, without --points and --boxes: the system's own way, else autoppn, else grid:32.",
)
@click.option("--points", multiple=True, metavar="X,Y", help="Segment what is here; repeatable.")
@click.option(
    "--boxes", multiple=True, metavar="X0,Y0,X1,Y1", help="Segment what is in here; repeatable."
)
@click.option(
    "--pred-iou-thresh",
    type=click.FloatRange(0, 1),
    default=None,
    help="Drop masks with a lower predicted IoU; 0 keeps all. Default: 0.88, as SAM; but where "
    "nothing passes, the best masks of all.",
)
@click.option(
    "--stability-thresh",
    type=click.FloatRange(0, 1),
    default=None,
    help="Drop masks with a lower stability; 0 keeps all. Default: 0.95, likewise.",
)
@click.option(
    "--crop-layers",
    type=click.IntRange(0, 4),
    default=0,
    show_default=True,
    help="Segment crops as well, 2^i x 2^i of them in layer i.",
)
@click.option(
    "--min-area",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Fill holes and remove islands of fewer pixels.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("masks"),
    show_default=True,
    help="Folder for NAME.json and NAME.png, with NAME the image's file name.",
)
@device_options
@click.option("--allow-unverified-weights", is_flag=True, help="As in zeroshot.")
def segment(
    images: tuple[Path, ...],
    model: str,
    sampler_name: str | None,
    points: tuple[str, ...],
    boxes: tuple[str, ...],
    pred_iou_thresh: float | None,
    stability_thresh: float | None,
    crop_layers: int,
    min_area: int,
    out: Path,
    device: str,
    dtype: str,
    batch: int,
    allow_unverified_weights: bool,
) -> None:
    """Segment IMAGES: everything in them, or what --points and --boxes say.

    Writes the masks as JSON (COCO RLE, in the fields of SAM's generator) and an overlay as PNG.
    Every point and every box is a prompt of its own and gives one mask, the best by predicted IoU.
    Coordinates are pixels of the stored image; an EXIF rotation is not applied.
    """
    from dataclasses import replace

    from litesam_bench import pipeline, registry, weights
    from litesam_bench.datasets.images import read_rgb
    from litesam_bench.distributed import World
    from litesam_bench.errors import UsageError
    from litesam_bench.everything.presets import default_sampler, parse_sampler
    from litesam_bench.everything.proposals import GeneratorConfig
    from litesam_bench.timing.device import pick_device

    if sampler_name and (points or boxes):
        raise UsageError(
            "--sampler segments everything; --points and --boxes segment what they name",
            fix="leave one of them out",
        )
    names = [path.name for path in images]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(
            f"two images are called {sorted(twice)[0]}: their results would be one file",
            fix="segment them one by one, with different --out",
        )
    asked = _prompts(points, boxes)
    systems = registry.resolve(model)
    if len(systems) != 1:
        raise UsageError(f"--model {model} names {len(systems)} systems", fix="name one")
    system = systems[0]
    sampler = parse_sampler(sampler_name or default_sampler(system.spec.capabilities))
    config = GeneratorConfig(
        points_per_batch=batch, crop_n_layers=crop_layers, min_mask_region_area_px=min_area
    )
    if pred_iou_thresh is not None:
        config = replace(config, pred_iou_thresh=pred_iou_thresh)
    if stability_thresh is not None:
        config = replace(config, stability_thresh=stability_thresh)
    fall_back = pred_iou_thresh is None and stability_thresh is None
    _check(system, sampler, asked)
    settings = pipeline.RunSettings(
        device=pick_device(device), dtype=pipeline.parse_dtype(dtype), batch=batch
    )
    checkpoint = None
    if system.spec.weights is not None:
        checkpoint = weights.require(system.spec, allow_unverified=allow_unverified_weights)
    if system.spec.training == "untrained":
        click.echo(f"{system.spec.name} is untrained: its masks mean nothing", err=True)
    segmenter = pipeline.load_system(system, settings, checkpoint, World())
    for path in images:
        image = read_rgb(path)
        if asked:
            found = _answers(segmenter, image, asked, batch)
            remark = f"{len(found)} masks"
        else:
            found, remark = _everything(segmenter, image, sampler, config, fall_back=fall_back)
        _write(out, path, image, found)
        click.echo(f"{path}: {remark}; {out / path.name}.json and .png", err=True)


def _check(system: Any, sampler: Sampler, asked: list[Prompts]) -> None:
    """Raise before weights load when the system cannot do what is asked."""
    from litesam_bench.errors import CapabilityError
    from litesam_bench.everything.run import check_capabilities

    can, name = system.spec.capabilities, system.spec.name
    if can.needs_ground_truth:
        raise CapabilityError(f"{name} answers with ground truth, which your image does not have")
    if not asked:
        check_capabilities(system.spec, sampler)
    for prompts in asked:
        kind, able = ("points", can.points) if prompts.boxes is None else ("boxes", can.boxes)
        if not able:
            raise CapabilityError(
                f"{name} takes no {kind}", fix=f"litesam-bench models show {name}"
            )


def _prompts(points: tuple[str, ...], boxes: tuple[str, ...]) -> list[Prompts]:
    """The points and the boxes, one prompt each. Raises UsageError for what is not a number."""
    import numpy as np

    from litesam_bench.errors import UsageError
    from litesam_bench.everything.grid import point_prompts
    from litesam_bench.types import Prompts

    def numbers(text: str, count: int) -> list[float]:
        try:
            values = [float(word) for word in text.split(",")]
        except ValueError:
            values = []
        if len(values) != count or not np.isfinite(values).all():
            raise UsageError(
                f"{text!r} is not {count} numbers", fix="--points 320,240 or --boxes 10,20,300,400"
            )
        return values

    found = []
    if points:
        found.append(point_prompts(np.array([numbers(text, 2) for text in points])))
    if boxes:
        corners = np.array([numbers(text, 4) for text in boxes])
        if (corners[:, 2:] <= corners[:, :2]).any():
            raise UsageError(
                "a box must have x0 < x1 and y0 < y1", fix="--boxes LEFT,TOP,RIGHT,BOTTOM"
            )
        found.append(Prompts(ids=tuple(range(len(corners))), boxes=corners))
    return found


def _answers(
    segmenter: Segmenter, image: ImageU8, asked: list[Prompts], batch: int
) -> tuple[Proposal, ...]:
    """The best mask of every prompt, in the order of the prompts."""
    from dataclasses import replace

    from litesam_bench.errors import UsageError
    from litesam_bench.everything.generator import generate
    from litesam_bench.everything.given import Given
    from litesam_bench.everything.proposals import GeneratorConfig

    height, width = image.shape[:2]
    config = GeneratorConfig(
        points_per_batch=batch, pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1
    )
    answers: list[Proposal] = []
    for prompts in asked:
        where = prompts.boxes if prompts.points is None else prompts.points[:, 0]
        assert where is not None
        corner = where[:, -2:] if prompts.points is None else where
        if (where[:, :2] < 0).any() or (corner > [width, height]).any():
            raise UsageError(
                f"a prompt lies outside the image of {width} x {height} pixels",
                fix="give pixels of the stored image, x to the right and y down",
            )
        best: dict[int, Proposal] = {}
        for proposal in generate(segmenter, image, Given(prompts), config).proposals:
            best.setdefault(proposal.prompt_id, proposal)  # they come best first
        answers += [
            replace(best[i], prompt_id=len(answers) + n) for n, i in enumerate(sorted(best))
        ]
    return tuple(answers)


def _everything(
    segmenter: Segmenter,
    image: ImageU8,
    sampler: Sampler,
    config: GeneratorConfig,
    *,
    fall_back: bool,
) -> tuple[tuple[Proposal, ...], str]:
    """All masks, and what to tell about them.

    SAM's thresholds suit SAM's predicted IoU, and a model trained on little promises less. With
    `fall_back`, where nothing passes, the masks that the model trusts most are shown instead.
    """
    from dataclasses import replace

    from litesam_bench.everything.generator import generate
    from litesam_bench.everything.own import OwnEverything

    if isinstance(segmenter, OwnEverything):
        proposals = segmenter.everything(image, None)
        return proposals, f"{len(proposals)} masks"

    def notify(message: str) -> None:
        click.echo(message, err=True)

    found = generate(segmenter, image, sampler, config, notify=notify)
    remark = f"{len(found.proposals)} masks of {found.funnel.describe()}"
    if found.proposals or not found.funnel.prompts:
        return found.proposals, remark
    if not fall_back:
        return (), f"{remark}; --pred-iou-thresh 0 --stability-thresh 0 keeps all"
    unfiltered = replace(config, pred_iou_thresh=0, stability_thresh=0)
    every = generate(segmenter, image, sampler, unfiltered, notify=notify).proposals
    best = sorted(every, key=lambda p: p.predicted_iou + p.stability, reverse=True)[:MOST_TRUSTED]
    return tuple(best), (
        f"the {len(best)} masks with the highest mean of predicted IoU and stability, as no mask "
        f"passed SAM's thresholds ({found.funnel.describe()})"
    )


def _write(out: Path, path: Path, image: ImageU8, found: tuple[Proposal, ...]) -> None:
    """NAME.json and NAME.png, each whole or not at all."""
    import io

    from PIL import Image

    from litesam_bench.everything.overlay import overlay
    from litesam_bench.metrics import rle
    from litesam_bench.records.files import write_atomic

    masks = [
        {
            "segmentation": rle.to_json(p.rle),
            "area": p.area_px,
            "bbox": [p.box[0], p.box[1], p.box[2] - p.box[0], p.box[3] - p.box[1]],
            "predicted_iou": round(p.predicted_iou, 6),
            "stability_score": round(p.stability, 6),
            "point_coords": None if p.point is None else [list(p.point)],
            "crop_box": [p.crop[0], p.crop[1], p.crop[2] - p.crop[0], p.crop[3] - p.crop[1]],
        }
        for p in found
    ]
    height, width = image.shape[:2]
    document = {"image": path.name, "height": height, "width": width, "masks": masks}
    write_atomic(out / f"{path.name}.json", json.dumps(document, indent=1) + "\n")
    picture = io.BytesIO()
    Image.fromarray(overlay(image, [p.rle for p in found])).save(picture, format="png")
    write_atomic(out / f"{path.name}.png", picture.getvalue())
