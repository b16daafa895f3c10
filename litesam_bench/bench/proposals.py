"""AR@1000 of class-agnostic proposals: our evaluator against plain pycocotools.

    python -m litesam_bench.bench.proposals [--images 20] [--proposals 1000] [--stream 500] [--json]

Both start from the same masks in memory and end with COCOeval's recall array at 10, 100 and 1000
detections; they take turns. The bars: at least 5 times faster, every number identical.

Ours takes images as a stream: the peak memory of scoring does not depend on their number. That is
shown with `--stream` images (COCO's val2017 has 5,000), made as they are asked for from the ones
above: the peak of the whole process, and the growth from the first tenth of them to all.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click
import numpy as np

from litesam_bench.metrics import rle
from litesam_bench.metrics.proposal_recall import ImageProposals, proposal_recall
from litesam_bench.types import FloatArray, GroundTruth, Instance, Rle

HEIGHT, WIDTH = 480, 640
LIMITS = (10, 100, 1000)
BAR, BAR_GIB = 5.0, 4.0
Pairs = list[tuple[GroundTruth, ImageProposals]]


def make_pairs(images: int, proposals: int, seed: int = 0) -> Pairs:
    """Ellipses of COCO's sizes, seven objects an image, and proposals around and between them."""
    rng = np.random.default_rng(seed)
    pairs = []
    for image_id in range(1, images + 1):
        objects = _ellipses(rng, 7)
        instances = tuple(
            Instance(
                id=10 * image_id + k,
                category_id=1 + k % 3,
                rle=code,
                bbox_xywh=(0, 0, 1, 1),
                area_px=float(rle.area(code)),
            )
            for k, code in enumerate(objects)
        )
        found = ImageProposals(
            _ellipses(rng, proposals),
            rng.random(proposals).round(3).tolist(),
            rng.random(proposals).round(3).tolist(),
        )
        name = f"{image_id}.jpg"
        pairs.append((GroundTruth(image_id, name, f"/{name}", (HEIGHT, WIDTH), instances), found))
    return pairs


def _ellipses(rng: np.random.Generator, n: int) -> list[Rle]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    found: list[Rle] = []
    for _ in range(n):
        cx, cy = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        rx, ry = np.exp(rng.uniform(np.log(6), np.log(200), 2))
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1 + 0.1 * np.sin(x / 5)
        inside[int(cy) % HEIGHT, int(cx) % WIDTH] = True
        found.append(rle.encode(inside))
    return found


def reference(pairs: Pairs) -> FloatArray:
    """COCOeval's recall array, (T, A, M)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [
        {
            "id": i.id,
            "image_id": truth.image_id,
            "category_id": i.category_id,
            "segmentation": i.rle,
            "bbox": list(i.bbox_xywh),
            "area": i.area_px,
            "iscrowd": 0,
        }
        for truth, _ in pairs
        for i in truth.instances
    ]
    results = [
        {
            "image_id": truth.image_id,
            "category_id": 1,
            "segmentation": mask,
            "score": (iou + stable) / 2,
        }
        for truth, found in pairs
        for mask, iou, stable in zip(found.masks, found.predicted_iou, found.stability, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": t.image_id, "height": HEIGHT, "width": WIDTH} for t, _ in pairs],
            "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(LIMITS)
        evaluation.evaluate()
        evaluation.accumulate()
    recall: FloatArray = evaluation.eval["recall"][:, 0]
    return recall


def streamed(pairs: Pairs, images: int) -> Iterator[tuple[GroundTruth, ImageProposals]]:
    """As many images, each with masks of its own in memory, as a reader of a journal gives them."""
    for image_id in range(1, images + 1):
        truth, found = pairs[image_id % len(pairs)]
        instances = tuple(
            replace(instance, id=10 * image_id + k) for k, instance in enumerate(truth.instances)
        )
        masks = [Rle(size=m["size"], counts=bytes(bytearray(m["counts"]))) for m in found.masks]
        yield (
            replace(truth, image_id=image_id, instances=instances),
            replace(found, masks=masks),
        )


def run(images: int, proposals: int, repeats: int, stream: int) -> dict[str, Any]:
    """Time both and compare their numbers; then the memory of a long stream."""
    from litesam_bench.timing.latency import measure, peak_bytes, ratio, reset_peak

    pairs = make_pairs(images, proposals)
    found: dict[str, FloatArray] = {}

    def ours(item: int, timer: object) -> None:
        found["ours"] = proposal_recall(pairs, limits=LIMITS).recall

    def theirs(item: int, timer: object) -> None:
        found["pycocotools"] = reference(pairs)

    times = measure({"pycocotools": theirs, "ours": ours}, [0], repeats=repeats, warm_up_limit=2)
    reset_peak("cpu")
    proposal_recall(streamed(pairs, max(1, stream // 10)), limits=LIMITS)
    part = peak_bytes("cpu") or 0
    reset_peak("cpu")
    proposal_recall(streamed(pairs, stream), limits=LIMITS)
    peak = peak_bytes("cpu") or 0
    against = ratio(times["pycocotools"], times["ours"])
    return {
        "images": images,
        "proposals": proposals,
        "seconds": {name: round(t.median_s, 3) for name, t in times.items()},
        "ratio": {k: round(getattr(against, k), 2) for k in ("value", "low", "high")},
        "bar": BAR,
        "identical": bool(np.array_equal(found["ours"], found["pycocotools"])),
        "stream_images": stream,
        "peak_gib": round(peak / 2**30, 2),
        "bar_gib": BAR_GIB,
        "growth_mib": round((peak - part) / 2**20, 1),
    }


@click.command()
@click.option("--images", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--proposals", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--stream",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Images of the memory test.",
)
@click.option("--json", "json_output", is_flag=True)
def main(images: int, proposals: int, repeats: int, stream: int, json_output: bool) -> None:
    """Print how many times faster AR@1000 is computed, and the memory it takes."""
    result = run(images, proposals, repeats, stream)
    if json_output:
        click.echo(json.dumps(result, indent=1))
        return
    same = "every number identical" if result["identical"] else "NUMBERS DIFFER"
    click.echo(
        f"{images} images x {proposals} proposals: {result['ratio']['value']}x faster than "
        f"pycocotools (bar {BAR}), {same}"
    )
    click.echo(
        f"  {stream} images x {proposals} in a stream: peak {result['peak_gib']} GiB "
        f"(bar {BAR_GIB}; the whole process), {result['growth_mib']} MiB more than for a tenth"
    )


if __name__ == "__main__":
    main()
