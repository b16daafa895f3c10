"""Choose the classical detectors' settings on BSDS500's train and val splits; never on test.

    python -m litesam_bench.edges.tune [sobel] [canny] [felz-hutt] [--every 6] [--workers N]

Every setting of a small grid runs on every sixth image of the two splits. The best has the highest
mean of ODS, OIS and AP; the table goes to `results/tuning/edges-<name>.md`, and
`baselines/edges_classical.py` holds the winners.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from litesam_bench.edges.boundary_gt import BoundaryImage
from litesam_bench.edges.classical import Canny, ClassicalDetector, FelzHutt, Sobel
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


def count(detector: ClassicalDetector, image: BoundaryImage) -> ImageCounts:
    """The counts of one image under the official settings."""
    from litesam_bench.edges.benchmark import Settings, count_image
    from litesam_bench.edges.boundary_gt import read_boundaries
    from litesam_bench.edges.detectors import read_image
    from litesam_bench.edges.maps import StrengthMap

    strength = StrengthMap(detector.edge_map(read_image(image)))
    return count_image(image.image_id, strength, read_boundaries(image.truth_path), Settings())


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
def main(
    names: tuple[str, ...], every: int, workers: int, data_root: str | None, results: str | None
) -> None:
    """Rank all settings of the systems NAMES (default: all) and write their tables."""
    from litesam_bench import paths
    from litesam_bench.records.files import write_atomic

    images = tuning_images(paths.data_root(data_root) / "bsds500", every)
    with worker_pool(workers) as pool:
        for name in names or GRIDS:
            rows = rank(GRIDS[name], images, pool)
            path = paths.results_root(results) / "tuning" / f"edges-{name}.md"
            write_atomic(path, "\n".join(_report(name, rows, len(images), every)) + "\n")
            click.echo(path)


if __name__ == "__main__":
    main()
