"""Scoring a COCO-val2017-sized set of predictions: our evaluator against plain pycocotools.

    python -m litesam_bench.bench.scoring [--images 5000] [--masks 36000] [--repeats 3] [--json]

Both start from the same list of result dicts and end with all statistics. They alternate in one
process and the medians are compared, so that a slow spell of the machine meets both. Before that,
each scores once in a process of its own for its peak memory. The bars: at least 4 times faster,
every number identical, under 4 GiB.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from pycocotools import mask as coco_mask

from litesam_bench.metrics import coco_ap
from litesam_bench.timing.latency import peak_bytes
from litesam_bench.types import FloatArray, GroundTruth, Instance, Rle

HEIGHT, WIDTH = 480, 640
N_CATEGORIES = 80
BAR_RATIO, BAR_GIB = 4.0, 4.0
OURS, REFERENCE, FASTER = "litesam-bench", "pycocotools", "faster-coco-eval"


@dataclass(frozen=True)
class Problem:
    """Ground truth in the forms that the scorers take, and one list of results for all."""

    truths: list[GroundTruth]
    dataset: dict[str, Any]  # COCO's JSON layout, masks as RLE
    results: list[dict[str, Any]]


@dataclass(frozen=True)
class Numbers:
    """What must be identical: COCOeval's arrays and its twelve statistics."""

    precision: FloatArray  # (T, R, K, A, M)
    recall: FloatArray  # (T, K, A, M)
    scores: FloatArray  # (T, R, K, A, M)
    stats: FloatArray  # (12,)


def make_problem(images: int, masks: int, seed: int = 0) -> Problem:
    """Blobs of COCO's sizes at 640 x 480, and for each a prediction with a displaced outline.

    A third of the objects has one category, as `person` has in COCO; the others fall off as 1/rank.
    One prediction in ten has a wrong category, and scores are rounded, so that ties occur.
    """
    rng = np.random.default_rng(seed)
    weights = np.concatenate([[2.5], 1 / np.arange(1, N_CATEGORIES)])
    category = 1 + rng.choice(N_CATEGORIES, masks, p=weights / weights.sum())
    image = np.sort(rng.integers(0, images, masks))
    wrong = rng.random(masks) < 0.1
    predicted = np.where(wrong, rng.integers(1, N_CATEGORIES + 1, masks), category)
    score = np.round(rng.random(masks), 3)

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, (truth, guess) in enumerate(_blobs(rng, masks)):
        annotations.append(
            {
                "id": i + 1,
                "image_id": int(image[i]),
                "category_id": int(category[i]),
                "segmentation": truth,
                "area": float(coco_mask.area(truth)),
                "bbox": coco_mask.toBbox(truth).tolist(),
                "iscrowd": int(i % 100 == 99),
            }
        )
        results.append(
            {
                "image_id": int(image[i]),
                "category_id": int(predicted[i]),
                "segmentation": guess,
                "score": float(score[i]),
            }
        )
    instances: list[list[Instance]] = [[] for _ in range(images)]
    for a in annotations:
        instances[a["image_id"]].append(
            Instance(
                id=a["id"],
                category_id=a["category_id"],
                rle=a["segmentation"],
                bbox_xywh=tuple(a["bbox"]),
                area_px=a["area"],
                iscrowd=bool(a["iscrowd"]),
            )
        )
    return Problem(
        truths=[
            GroundTruth(i, "", "", (HEIGHT, WIDTH), tuple(instances[i])) for i in range(images)
        ],
        dataset={
            "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(images)],
            "categories": [{"id": i + 1, "name": str(i + 1)} for i in range(N_CATEGORIES)],
            "annotations": annotations,
        },
        results=results,
    )


def _blobs(rng: np.random.Generator, n: int) -> list[tuple[Rle, Rle]]:
    """(truth, guess) pairs: polygons of 40 corners around an ellipse, the guess's slightly moved.

    Radii are log-uniform between 4 and 200 px, which gives about COCO's shares of small, medium and
    large objects.
    """
    corners = 40
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = np.exp(rng.uniform(np.log(4), np.log(200), n))[:, None]
    aspect = np.exp(rng.normal(0, 0.3, n))[:, None]
    ragged = 1 + 0.12 * rng.normal(size=(n, corners))
    x = rng.uniform(0, WIDTH, n)[:, None] + radius * aspect * ragged * np.cos(angle)
    y = rng.uniform(0, HEIGHT, n)[:, None] + radius / aspect * ragged * np.sin(angle)
    truth = np.stack([x, y], 2)
    guess = truth + radius[:, :, None] * (
        0.1 * rng.normal(size=(n, 1, 2)) + 0.05 * rng.normal(size=(n, corners, 2))
    )
    outlines = np.stack([truth, guess], 1).reshape(n, 2, 2 * corners)
    return [
        (a, b)
        for a, b in (coco_mask.frPyObjects(pair.tolist(), HEIGHT, WIDTH) for pair in outlines)
    ]


# -------------------------------------------------------------------------------------- scorers


Scorer = Callable[[Any, list[dict[str, Any]]], Numbers]


def _score_ours(truths: Any, results: list[dict[str, Any]]) -> Numbers:
    result = coco_ap.evaluate(truths, results, category_ids=range(1, N_CATEGORIES + 1))
    names = ["ap", "ap50", "ap75", "aps", "apm", "apl", "ar1", "ar10", "ar100", "ars", "arm", "arl"]
    stats = np.array([result.stats[name] for name in names])
    return Numbers(result.precision, result.recall, result.scores, stats)


def _score_reference(truth: Any, results: list[dict[str, Any]]) -> Numbers:
    from pycocotools.cocoeval import COCOeval

    return _score_like_pycocotools(COCOeval, truth, results)


def _score_faster(truth: Any, results: list[dict[str, Any]]) -> Numbers:
    from faster_coco_eval import COCOeval_faster

    return _score_like_pycocotools(COCOeval_faster, truth, results)


def _score_like_pycocotools(kind: Any, truth: Any, results: list[dict[str, Any]]) -> Numbers:
    evaluator = kind(truth, truth.loadRes(results), "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    found = evaluator.eval
    return Numbers(
        np.asarray(found["precision"]),
        np.asarray(found["recall"]),
        np.asarray(found["scores"]),
        np.asarray(evaluator.stats)[:12],
    )


def _scorers() -> dict[str, tuple[Scorer, Callable[[Problem], Any]]]:
    """Name -> (scorer, how its ground truth is made from a Problem; that is not timed)."""

    def indexed(module: str) -> Callable[[Problem], Any]:
        def make(problem: Problem) -> Any:
            api = importlib.import_module(module).COCO()
            # The evaluators write into annotations, so each round gets its own.
            annotations = [dict(a) for a in problem.dataset["annotations"]]
            api.dataset = problem.dataset | {"annotations": annotations}
            api.createIndex()
            return api

        return make

    scorers: dict[str, tuple[Scorer, Callable[[Problem], Any]]] = {
        OURS: (_score_ours, lambda problem: problem.truths),
        REFERENCE: (_score_reference, indexed("pycocotools.coco")),
    }
    if importlib.util.find_spec("faster_coco_eval"):
        scorers[FASTER] = (_score_faster, indexed("faster_coco_eval"))
    return scorers


def _score_once(name: str, problem: Problem) -> tuple[float, Numbers]:
    """Seconds from the list of result dicts to the statistics, and the numbers."""
    scorer, prepare = _scorers()[name]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = prepare(problem)
        results = [dict(result) for result in problem.results]
        start = time.perf_counter()
        numbers = scorer(truth, results)
        return time.perf_counter() - start, numbers


# ------------------------------------------------------------------------------------ measuring


def _peak_gib(name: str, images: int, masks: int) -> float:
    """Peak memory of a fresh process that makes the problem and scores it once."""
    code = (
        f"from litesam_bench.bench import scoring; scoring._print_peak({name!r}, {images}, {masks})"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return float(output)


def _print_peak(name: str, images: int, masks: int) -> None:
    _score_once(name, make_problem(images, masks))
    peak = peak_bytes("cpu")
    assert peak is not None
    print(peak / 2**30)


def run(images: int = 5000, masks: int = 36000, repeats: int = 3) -> dict[str, Any]:
    """Measure all scorers on one problem.

    Returns:
        images, masks, repeats; `scorers`: per name the median seconds, seconds of every round,
        peak GiB, our speed-up over it, and `max_difference` from pycocotools over every entry of
        precision, recall, scores and statistics; `identical`: ours differs nowhere;
        `first_call_s`: our first call, which loads or compiles the kernels and is not timed above.
    """
    names = list(_scorers())
    # First, while this process is small: on macOS a child's peak includes its parent's at the fork.
    peaks = {name: _peak_gib(name, images, masks) for name in names}
    problem = make_problem(images, masks)
    first_call_s, _ = _score_once(OURS, problem)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    numbers: dict[str, Numbers] = {}
    for _ in range(repeats):
        for name in names:
            elapsed, numbers[name] = _score_once(name, problem)
            seconds[name].append(elapsed)
    medians = {name: statistics.median(seconds[name]) for name in names}
    differences = {name: _max_difference(numbers[name], numbers[REFERENCE]) for name in names}
    return {
        "images": images,
        "masks": masks,
        "repeats": repeats,
        "first_call_s": first_call_s,
        "identical": differences[OURS] == 0.0,
        "scorers": {
            name: {
                "median_s": medians[name],
                "seconds": seconds[name],
                "peak_gib": peaks[name],
                "speed_up": medians[name] / medians[OURS],
                "max_difference": differences[name],
            }
            for name in names
        },
    }


def _max_difference(a: Numbers, b: Numbers) -> float:
    pairs = [
        (a.precision, b.precision),
        (a.recall, b.recall),
        (a.scores, b.scores),
        (a.stats, b.stats),
    ]
    return max(float(np.abs(x - y).max()) for x, y in pairs)


@click.command()
@click.option("--images", default=5000, show_default=True, help="Images of the problem.")
@click.option("--masks", default=36000, show_default=True, help="Objects, and predictions.")
@click.option("--repeats", default=3, show_default=True, help="Rounds; medians are compared.")
@click.option("--json", "as_json", is_flag=True, help="Print the measurement as JSON.")
def main(images: int, masks: int, repeats: int, as_json: bool) -> None:
    """Time our COCO AP against pycocotools on made predictions, and compare every number.

    Example: python -m litesam_bench.bench.scoring --images 500 --masks 3600
    """
    report = run(images, masks, repeats)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        click.echo(f"{images} images, {masks} masks, median of {repeats} alternating rounds")
        click.echo(
            f"{'scorer':<18}{'seconds':>9}{'ours is':>9}{'peak GiB':>10}  largest difference"
        )
        for name, row in report["scorers"].items():
            click.echo(
                f"{name:<18}{row['median_s']:>9.2f}{row['speed_up']:>8.1f}x"
                f"{row['peak_gib']:>10.2f}  {row['max_difference']:.1e}"
            )
        click.echo(
            f"bar: {BAR_RATIO:.0f}x pycocotools, identical numbers, under {BAR_GIB:.0f} GiB; "
            f"our first call took {report['first_call_s']:.2f} s"
        )
    if not report["identical"]:
        raise click.ClickException("our numbers differ from pycocotools'")


if __name__ == "__main__":
    main()
