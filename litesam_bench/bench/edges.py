"""Boundary matching against the official C++ matcher, and thinning against scikit-image.

    python -m litesam_bench.bench.edges [--images 2] [--json]

The official matcher is run as PyPI's pyEdgeEval carries it, in an environment of its own below the
cache folder, on the very pairs of maps that ours matches: every threshold of every image with every
annotator. Both sides run in one process on one core; maps are thresholded and thinned before the
clock starts. The bars: matching at least 100 times faster, thinning at least 10 times and equal.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

BAR_MATCHING, BAR_THINNING = 100.0, 10.0
PEER = "pyEdgeEval==0.2.8"

BoolMap = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# Runs in the peer's environment: match all pairs of an .npz file, print seconds and pair counts.
_PEER_SCRIPT = """
import json, sys, time
import numpy as np
from pyEdgeEval._lib import correspond_pixels
data = np.load(sys.argv[1])
maps, truths = data["maps"].astype(float), data["truths"].astype(float)
pairs, begin = [], time.perf_counter()
for m in maps:
    for t in truths:
        pairs.append(int((correspond_pixels(m, t, float(data["max_dist"]))[0] > 0).sum()))
print(json.dumps({"seconds": time.perf_counter() - begin, "pairs": pairs}))
"""


@dataclass(frozen=True)
class Case:
    """One image: its thresholded maps before and after thinning, and the annotators' maps."""

    thick: tuple[BoolMap, ...]
    thinned: tuple[BoolMap, ...]
    truths: tuple[BoolMap, ...]


def cases(n_images: int, data_root: str | None, n_thresholds: int) -> tuple[str, list[Case]]:
    """Canny maps of BSDS500's first test images, or of the scenes where there is no BSDS500.

    These maps are the harder kind: between thresholds many pixels of a gradient's map change.
    """
    from litesam_bench import paths
    from litesam_bench.datasets.bsds500 import open_bsds500
    from litesam_bench.edges.boundary_gt import read_boundaries
    from litesam_bench.edges.classical import Canny
    from litesam_bench.edges.collect import thresholds_of
    from litesam_bench.edges.detectors import read_image
    from litesam_bench.edges.scenes_gt import export_scenes
    from litesam_bench.edges.thinning import thin
    from litesam_bench.errors import DataError

    try:
        data = open_bsds500(paths.data_root(data_root) / "bsds500")
    except DataError:
        data = export_scenes(paths.cache_root())
    found = []
    for image in data.images[:n_images]:
        strength = Canny(sigma=2.0, ratio=0.4, gain=2.0).edge_map(read_image(image))
        thick = tuple(strength >= t for t in thresholds_of(n_thresholds))
        found.append(Case(thick, tuple(thin(m) for m in thick), read_boundaries(image.truth_path)))
    return data.name, found


def match_ours(case: Case, max_dist: float) -> IntArray:
    """Pair counts, (thresholds, annotators)."""
    from litesam_bench.edges.matching import match_sequence

    size = case.thinned[0].shape
    sets = [np.flatnonzero(m).astype(np.int32) for m in reversed(case.thinned)]
    reach = max_dist * float(np.hypot(*size))
    columns = [
        match_sequence(sets, np.flatnonzero(t).astype(np.int32), (size[0], size[1]), reach)
        for t in case.truths
    ]
    return np.stack([c.truth_matched[::-1] for c in columns], axis=1)


def match_official(case: Case, max_dist: float, python: Path) -> tuple[float, IntArray]:
    """Seconds, and pair counts as `match_ours`, of the peer in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.npz"
        np.savez(pairs, maps=case.thinned, truths=case.truths, max_dist=max_dist)
        done = subprocess.run(
            [python, "-c", _PEER_SCRIPT, pairs], capture_output=True, text=True, check=True
        )
    answer = json.loads(done.stdout)
    return answer["seconds"], np.reshape(answer["pairs"], (len(case.thinned), -1))


def peer_python() -> Path:
    """The interpreter of the peer's environment, made on first use."""
    from litesam_bench import paths

    folder = paths.cache_root() / "bench" / PEER.replace("==", "-")
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = folder / "ready"
    if not ready.is_file():
        click.echo(f"making an environment for {PEER} in {folder}", err=True)
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEER]
        subprocess.run([str(part) for part in command], check=True)
        ready.touch()
    return python


def median_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall time of some runs."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _each(work: Callable[[BoolMap], BoolMap], maps: Sequence[BoolMap]) -> None:
    for one in maps:
        work(one)


def run(n_images: int = 2, data_root: str | None = None, n_thresholds: int = 99) -> dict[str, Any]:
    """Measure both ratios. See the module's docstring."""
    from skimage import morphology

    from litesam_bench.edges.thinning import thin

    thin_reference: Callable[[BoolMap], BoolMap] = morphology.thin

    python = peer_python()
    name, problems = cases(n_images, data_root, n_thresholds)
    max_dist = 0.0075
    match_ours(problems[0], max_dist)  # compile, or load the compiled code

    ours_s = official_s = 0.0
    more = fewer = n_pairs = 0
    thin_s = reference_s = 0.0
    n_maps, identical = 0, True
    for case in problems:
        ours_s += median_seconds(partial(match_ours, case, max_dist))
        seconds, official = match_official(case, max_dist, python)
        official_s += seconds
        difference = np.subtract(match_ours(case, max_dist), official)
        more += int(difference[difference > 0].sum())
        fewer += int(-difference[difference < 0].sum())
        n_pairs += difference.size
        thin_s += median_seconds(partial(_each, thin, case.thick))
        reference_s += median_seconds(partial(_each, thin_reference, case.thick), repeats=1)
        n_maps += len(case.thick)
        identical &= all(
            np.array_equal(thin_reference(m), t)
            for m, t in zip(case.thick, case.thinned, strict=True)
        )
    return {
        "data": name,
        "images": len(problems),
        "thresholds": n_thresholds,
        "matching": {
            "pairs_of_maps": n_pairs,
            "ours_ms_per_pair": round(1000 * ours_s / n_pairs, 4),
            "official_ms_per_pair": round(1000 * official_s / n_pairs, 3),
            "ratio": round(official_s / ours_s, 1),
            "bar": BAR_MATCHING,
            "matches_more_than_official": more,
            "matches_fewer_than_official": fewer,
        },
        "thinning": {
            "maps": n_maps,
            "ours_ms_per_map": round(1000 * thin_s / n_maps, 4),
            "scikit_image_ms_per_map": round(1000 * reference_s / n_maps, 3),
            "ratio": round(reference_s / thin_s, 1),
            "bar": BAR_THINNING,
            "identical": identical,
        },
    }


@click.command()
@click.option(
    "--images", default=2, show_default=True, help="About a minute each for the official matcher."
)
@click.option("--data-root", default=None)
@click.option("--json", "json_output", is_flag=True)
def main(images: int, data_root: str | None, json_output: bool) -> None:
    """Print how much faster matching and thinning are than the official tools."""
    result = run(images, data_root)
    if json_output:
        click.echo(json.dumps(result, indent=1))
        return
    matching, thinning = result["matching"], result["thinning"]
    click.echo(
        f"{result['data']}, {result['images']} images, {result['thresholds']} thresholds\n"
        f"matching: {matching['ours_ms_per_pair']} ms a pair of maps, official "
        f"{matching['official_ms_per_pair']} ms: {matching['ratio']} times faster "
        f"(bar: {BAR_MATCHING:g}); over {matching['pairs_of_maps']} pairs "
        f"{matching['matches_more_than_official']} matches more than the official matcher, "
        f"{matching['matches_fewer_than_official']} fewer\n"
        f"thinning: {thinning['ours_ms_per_map']} ms a map, scikit-image "
        f"{thinning['scikit_image_ms_per_map']} ms: {thinning['ratio']} times faster "
        f"(bar: {BAR_THINNING:g}); identical: {thinning['identical']}"
    )


if __name__ == "__main__":
    main()
