"""Choose the classical detectors' settings on BSDS500's train and val splits; never on test.

    python -m litesam_bench.edges.tune [sobel] [canny] [felz-hutt] [--every 6] [--workers N]
    python -m litesam_bench.edges.tune --distance

Every setting of a small grid runs on every sixth image of the two splits. The best has the highest
mean of ODS, OIS and AP; the table goes to `results/tuning/edges-<name>.md`, and
`baselines/edges_classical.py` holds the winners.

`--distance` measures, on the same images, what lifts Felz-Hutt above its published numbers: its
settings and the way a map is made of segmentations, one after the other.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np

from litesam_bench.edges.boundary_gt import BoundaryImage
from litesam_bench.edges.classical import (
    Canny,
    ClassicalDetector,
    FelzHutt,
    Sobel,
    felzenszwalb_segmentations,
)
from litesam_bench.edges.collect import ImageCounts, Scores
from litesam_bench.edges.pool import worker_pool

GRIDS: dict[str, tuple[ClassicalDetector, ...]] = {
    "sobel": tuple(Sobel(*choice) for choice in itertools.product((False, True), repeat=3)),
    "canny": tuple(
        Canny(sigma=s, ratio=r, gain=2.0)
        for s, r in itertools.product((1.0, 1.5, 2.0, 2.5, 3.0), (0.2, 0.4, 0.6))
    ),
    "felz-hutt": tuple(
        FelzHutt(sigma=s, min_size_px=m)
        for s, m in itertools.product((0.5, 0.8, 1.2, 1.6), (200, 400, 800))
    ),
}


def tuning_images(data_root: Path, every: int) -> list[BoundaryImage]:
    """Every n-th image of train, then val."""
    from litesam_bench.datasets.bsds500 import open_bsds500

    splits = (open_bsds500(data_root, split).images for split in ("train", "val"))
    return list(itertools.chain(*splits))[::every]


def count(detector: ClassicalDetector | SegmentationSweep, image: BoundaryImage) -> ImageCounts:
    """The counts of one image under the official settings."""
    from litesam_bench.edges.benchmark import Settings, count_image
    from litesam_bench.edges.boundary_gt import read_boundaries
    from litesam_bench.edges.detectors import read_image
    from litesam_bench.edges.maps import EdgeMap, Segmentations, StrengthMap, label_boundaries

    pixels = read_image(image)
    if isinstance(detector, SegmentationSweep):
        how = detector.of
        levels = felzenszwalb_segmentations(
            pixels, how.scales, sigma=how.sigma, min_size_px=how.min_size_px
        )
        edge_map: EdgeMap = Segmentations(tuple(label_boundaries(labels) for labels in levels))
    else:
        edge_map = StrengthMap(detector.edge_map(pixels))
    return count_image(image.image_id, edge_map, read_boundaries(image.truth_path), Settings())


@dataclass(frozen=True)
class SegmentationSweep:
    """Felz-Hutt as the literature evaluates segmentations: each scale is an operating point.

    `count` gives it one threshold per scale, coarse scales last, where `FelzHutt` gives one map in
    which an edge is as strong as the largest scale that has it.
    """

    of: FelzHutt


PUBLISHED_FELZ_HUTT = "Arbelaez et al., TPAMI 2011: ODS .61, OIS .64, AP .56 on the test split"
_AS_SHIPPED = FelzHutt(sigma=0.5, min_size_px=20)  # the authors' program, as its README calls it
DISTANCE: dict[str, FelzHutt | SegmentationSweep] = {
    "the authors' example settings, each scale a point": SegmentationSweep(_AS_SHIPPED),
    "the authors' example settings, strength is the largest scale": _AS_SHIPPED,
    "segments of at least 50 pixels": FelzHutt(sigma=0.5, min_size_px=50),
    "segments of at least 400 pixels": FelzHutt(sigma=0.5, min_size_px=400),
    "and more smoothing: as chosen": FelzHutt(sigma=1.2, min_size_px=400),
    "as chosen, each scale a point": SegmentationSweep(FelzHutt(sigma=1.2, min_size_px=400)),
}


def rank(
    grid: Sequence[ClassicalDetector], images: Sequence[BoundaryImage], pool: Executor
) -> list[tuple[ClassicalDetector, Scores]]:
    """All settings of a grid, best first."""
    from litesam_bench.edges.collect import collect, thresholds_of

    found = []
    for detector in grid:
        counts = list(pool.map(partial(count, detector), images))
        found.append((detector, collect(counts, thresholds_of(99))))
        click.echo(_row(*found[-1]), err=True)
    return sorted(found, key=lambda pair: -merit(pair[1]))


def merit(scores: Scores) -> float:
    """Mean of ODS, OIS and AP."""
    return (scores.ods.f + scores.ois.f + scores.ap) / 3


def describe(detector: ClassicalDetector) -> str:
    """The settings that are tuned, in a few words."""
    fixed = ("scales", "levels")
    return ", ".join(f"{k}={v:g}" for k, v in asdict(detector).items() if k not in fixed)


def distance(images: Sequence[BoundaryImage], pool: Executor) -> Iterator[str]:
    """The lines of the table of `--distance`."""
    from litesam_bench.edges.collect import collect, thresholds_of

    yield "# Felz-Hutt: from the published numbers to ours\n"
    yield "<!-- written by python -m litesam_bench.edges.tune --distance -->\n"
    yield (
        f"Published: {PUBLISHED_FELZ_HUTT}. The settings behind them are not stated. Here:\n"
        f"{len(images)} images of BSDS500's train and val, official protocol. The test split was\n"
        "not used.\n"
    )
    yield "| what | settings | ODS | OIS | AP | R50 |\n|---|---|---:|---:|---:|---:|"
    for what, how in DISTANCE.items():
        of = how.of if isinstance(how, SegmentationSweep) else how
        counts = list(pool.map(partial(count, how), images))
        n = len(counts[0].truth)
        points = thresholds_of(n) if of is how else np.arange(1, n + 1, dtype=np.float64)
        scores = collect(counts, points)
        numbers = (scores.ods.f, scores.ois.f, scores.ap, scores.r50)
        row = " | ".join([what, describe(of), *(f"{x:.4f}" for x in numbers)])
        click.echo(row, err=True)
        yield f"| {row} |"


def _row(detector: ClassicalDetector, scores: Scores) -> str:
    numbers = (scores.ods.f, scores.ois.f, scores.ap, scores.r50, merit(scores))
    return f"| {describe(detector)} | " + " | ".join(f"{n:.4f}" for n in numbers) + " |"


def _report(
    name: str, rows: Sequence[tuple[ClassicalDetector, Scores]], n_images: int, every: int
) -> Iterator[str]:
    yield f"# Settings of {name}\n"
    yield f"<!-- written by python -m litesam_bench.edges.tune {name} --every {every} -->\n"
    yield (
        f"BSDS500 train and val, every {every}th image, {n_images} images; official protocol, 99\n"
        "thresholds. Best first, by the mean of ODS, OIS and AP. The test split was not used.\n"
    )
    yield "| settings | ODS | OIS | AP | R50 | mean |\n|---|---:|---:|---:|---:|---:|"
    yield from (_row(*row) for row in rows)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(GRIDS)))
@click.option("--every", default=6, show_default=True)
@click.option("--workers", default=os.cpu_count() or 1)
@click.option("--data-root", default=None)
@click.option("--results", default=None)
@click.option("--distance", "only_distance", is_flag=True, help="Explain Felz-Hutt's distance.")
def main(
    names: tuple[str, ...],
    every: int,
    workers: int,
    data_root: str | None,
    results: str | None,
    only_distance: bool,
) -> None:
    """Rank all settings of the systems NAMES (default: all) and write their tables."""
    from litesam_bench import paths
    from litesam_bench.records.files import write_atomic

    images = tuning_images(paths.data_root(data_root) / "bsds500", every)
    tables = paths.results_root(results) / "tuning"
    with worker_pool(workers) as pool:
        if only_distance:
            path = tables / "felz-hutt-distance.md"
            write_atomic(path, "\n".join(distance(images, pool)) + "\n")
            click.echo(path)
            return
        for name in names or GRIDS:
            rows = rank(GRIDS[name], images, pool)
            path = tables / f"edges-{name}.md"
            write_atomic(path, "\n".join(_report(name, rows, len(images), every)) + "\n")
            click.echo(path)


if __name__ == "__main__":
    main()
