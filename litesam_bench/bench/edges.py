"""The boundary benchmark's speed, against the official C++ matcher and scikit-image's thinning.

    python -m litesam_bench.bench.edges [--images 2] [--no-whole] [--json]

Three measurements and their bars:

* the whole BSDS500 test split, 99 thresholds, all annotators: 60 s or less of wall time on two
  cores, and less than 1.5 GiB per worker. Its maps are made before the clock starts; processes
  start inside it; compiled code is cached from an earlier image;
* matching: at least 100 times faster than the official matcher, which PyPI's pyEdgeEval carries and
  which runs in an environment of its own below the cache folder, on the very pairs of maps that
  ours matches: every threshold of the first images with every annotator;
* thinning: at least 10 times faster than scikit-image's, and the same pixels.

Both sides of a ratio run on one core and are measured in processor time, which other work on the
machine changes little. A peer that cannot be had is one line in the output, not an error.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from litesam_bench.edges.boundary_gt import BoundaryData, BoundaryImage

BAR_MATCHING, BAR_THINNING = 100.0, 10.0
BAR_SECONDS, BAR_WORKER_MIB = 60.0, 1536.0
WORKERS = 2
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
pairs, begin = [], time.process_time()
for m in maps:
    for t in truths:
        pairs.append(int((correspond_pixels(m, t, float(data["max_dist"]))[0] > 0).sum()))
print(json.dumps({"seconds": time.process_time() - begin, "pairs": pairs}))
"""


@dataclass(frozen=True)
class Case:
    """One image: its thresholded maps before and after thinning, and the annotators' maps."""

    thick: tuple[BoolMap, ...]
    thinned: tuple[BoolMap, ...]
    truths: tuple[BoolMap, ...]


class PeerError(Exception):
    """Why the official matcher cannot be run here, in one line."""


def open_data(data_root: str | None) -> BoundaryData:
    """BSDS500's test split, or the scenes where there is no BSDS500."""
    from litesam_bench import paths
    from litesam_bench.datasets.bsds500 import open_bsds500
    from litesam_bench.edges.scenes_gt import export_scenes
    from litesam_bench.errors import DataError

    try:
        return open_bsds500(paths.data_root(data_root) / "bsds500")
    except DataError:
        return export_scenes(paths.cache_root())


def whole_set(data: BoundaryData, maps: Path, workers: int) -> dict[str, Any]:
    """Wall time and memory of evaluating all maps under the official settings."""
    from litesam_bench.edges.benchmark import Settings, evaluate

    settings = Settings()
    first = replace(data, images=data.images[:1])
    with tempfile.TemporaryDirectory() as runs:
        evaluate(first, maps, settings, Path(runs) / "first")  # compile, or load the compiled code
        begin, begin_busy = time.perf_counter(), _processor_seconds()
        found = evaluate(data, maps, settings, Path(runs) / "all", workers=workers)
        seconds, busy = time.perf_counter() - begin, _processor_seconds() - begin_busy
    return {
        "data": data.name,
        "images": len(found.counts),
        "thresholds": settings.thresholds,
        "workers": workers,
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        # scenes are too few and too small for the bar to mean anything
        "bar_seconds": BAR_SECONDS if data.name == "bsds500-test" else None,
        "peak_worker_mib": peak_child_mib(),
        "bar_worker_mib": BAR_WORKER_MIB,
    }


def _processor_seconds() -> float:
    """Processor time of this process and its finished children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def peak_child_mib() -> float | None:
    """The largest resident memory that any finished child process of this one had.

    An upper bound for a worker: a child counts what its parent had when it was started. None where
    the system does not say (Windows).
    """
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def cases(images: Sequence[BoundaryImage], maps: Path, n_thresholds: int) -> list[Case]:
    """The thresholded maps of some images and the annotators' maps."""
    from litesam_bench.edges.benchmark import Settings, binary_maps
    from litesam_bench.edges.boundary_gt import read_boundaries
    from litesam_bench.edges.maps import read_map
    from litesam_bench.edges.thinning import thin

    found = []
    for image in images:
        edge_map = read_map(maps / f"{image.image_id}.png")
        thick = tuple(binary_maps(edge_map, Settings(thresholds=n_thresholds, thin=False)))
        found.append(Case(thick, tuple(map(thin, thick)), read_boundaries(image.truth_path)))
    return found


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
    """Processor seconds, and pair counts as `match_ours`, of the peer in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.npz"
        np.savez(pairs, maps=case.thinned, truths=case.truths, max_dist=max_dist)
        answer = json.loads(_call([str(python), "-c", _PEER_SCRIPT, str(pairs)]))
    return answer["seconds"], np.reshape(answer["pairs"], (len(case.thinned), -1))


def peer_python() -> Path:
    """The interpreter of the peer's environment, made on first use. Raises PeerError."""
    from litesam_bench import paths

    folder = paths.cache_root() / "bench" / PEER.replace("==", "-")
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = folder / "ready"
    if not ready.is_file():
        click.echo(f"making an environment for {PEER} in {folder}", err=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _call([*pip, "install", PEER])
        ready.touch()
    return python


def _call(command: list[str]) -> str:
    """What a command prints. Raises PeerError with the last line of its complaint."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise PeerError(f"{PEER} cannot be run: {complaint.strip()}")
    return done.stdout


def median_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Median processor time of some runs."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def _each(work: Callable[[BoolMap], BoolMap], maps: Sequence[BoolMap]) -> None:
    for one in maps:
        work(one)


def matching(problems: Sequence[Case]) -> dict[str, Any]:
    """Our matcher against the official one; without a ratio where that cannot be run."""
    max_dist = 0.0075
    match_ours(problems[0], max_dist)  # compile, or load the compiled code
    ours_s, n_pairs = 0.0, 0
    for case in problems:
        ours_s += median_seconds(partial(match_ours, case, max_dist))
        n_pairs += len(case.thinned) * len(case.truths)
    found: dict[str, Any] = {
        "pairs_of_maps": n_pairs,
        "ours_ms_per_pair": round(1000 * ours_s / n_pairs, 4),
        "ratio": None,
        "bar": BAR_MATCHING,
    }
    official_s, more, fewer = 0.0, 0, 0
    try:
        python = peer_python()
        for case in problems:
            seconds, official = match_official(case, max_dist, python)
            official_s += seconds
            difference = np.subtract(match_ours(case, max_dist), official)
            more += int(difference[difference > 0].sum())
            fewer += int(-difference[difference < 0].sum())
    except PeerError as error:
        return {**found, "why_no_ratio": str(error)}
    return {
        **found,
        "official_ms_per_pair": round(1000 * official_s / n_pairs, 3),
        "ratio": round(official_s / ours_s, 1),
        "matches_more_than_official": more,
        "matches_fewer_than_official": fewer,
    }


def thinning(problems: Sequence[Case]) -> dict[str, Any]:
    """Our thinning against scikit-image's; without a ratio where that is not installed."""
    from litesam_bench.edges.thinning import thin

    n_maps = sum(len(case.thick) for case in problems)
    ours_s = sum(median_seconds(partial(_each, thin, case.thick)) for case in problems)
    found: dict[str, Any] = {
        "maps": n_maps,
        "ours_ms_per_map": round(1000 * ours_s / n_maps, 4),
        "ratio": None,
        "bar": BAR_THINNING,
    }
    try:
        from skimage import morphology
    except ImportError as error:
        return {**found, "why_no_ratio": f"scikit-image cannot be imported: {error}"}
    reference: Callable[[BoolMap], BoolMap] = morphology.thin
    reference_s = sum(median_seconds(partial(_each, reference, c.thick), 1) for c in problems)
    return {
        **found,
        "scikit_image_ms_per_map": round(1000 * reference_s / n_maps, 3),
        "ratio": round(reference_s / ours_s, 1),
        "identical": all(
            np.array_equal(reference(m), t)
            for case in problems
            for m, t in zip(case.thick, case.thinned, strict=True)
        ),
    }


def run(
    n_images: int = 2,
    data_root: str | None = None,
    n_thresholds: int = 99,
    *,
    whole: bool = True,
    workers: int = WORKERS,
) -> dict[str, Any]:
    """Measure everything on Canny's maps. See the module's docstring.

    They are the harder kind: from one threshold to the next, more pixels change than in the map of
    a learned detector.
    """
    from litesam_bench import paths
    from litesam_bench.edges.pool import worker_pool
    from litesam_bench.edges.run import ModelOptions, from_system

    data = open_data(data_root)
    images = data.images[:n_images]
    made = data if whole else replace(data, images=images)
    maps = from_system("canny", made, None, paths.runs_root(), ModelOptions(threads=workers)).folder
    result: dict[str, Any] = {"data": data.name, "images": len(images), "thresholds": n_thresholds}
    if whole:  # in a process of its own: what this one has would count as a worker's
        with worker_pool(1) as pool:
            result["whole"] = pool.submit(whole_set, data, maps, workers).result()
    problems = cases(images, maps, n_thresholds)
    return {**result, "matching": matching(problems), "thinning": thinning(problems)}


def report(result: dict[str, Any]) -> Iterator[str]:
    """The lines that a reader gets."""
    if "whole" in result:
        whole = result["whole"]
        yield (
            f"{whole['data']}, {whole['images']} images, {whole['thresholds']} thresholds, all "
            f"annotators, {whole['workers']} workers: {whole['seconds']} s of wall time "
            + _against("<=", whole["bar_seconds"], "s")
        )
        yield (
            f"processor time, start of the workers included: {whole['processor_seconds']} s; wall "
            f"time far above {whole['processor_seconds'] / whole['workers']:.0f} s is other work "
            "on this machine"
        )
        peak = whole["peak_worker_mib"]
        yield (
            "peak memory of a worker: this system does not say"
            if peak is None
            else f"peak memory of a worker: {peak:g} MiB {_against('<', BAR_WORKER_MIB, 'MiB')}"
        )
    yield f"{result['data']}, {result['images']} images, {result['thresholds']} thresholds:"
    match, thin = result["matching"], result["thinning"]
    ours = f"matching: {match['ours_ms_per_pair']} ms a pair of maps"
    if match["ratio"] is None:
        yield f"{ours}; no ratio: {match['why_no_ratio']}"
    else:
        yield (
            f"{ours}, official {match['official_ms_per_pair']} ms: {match['ratio']} times faster "
            f"{_against('>=', match['bar'])}; over {match['pairs_of_maps']} pairs of maps "
            f"{match['matches_more_than_official']} pixels matched more than by the official "
            f"matcher, {match['matches_fewer_than_official']} fewer"
        )
    ours = f"thinning: {thin['ours_ms_per_map']} ms a map"
    if thin["ratio"] is None:
        yield f"{ours}; no ratio: {thin['why_no_ratio']}"
    else:
        yield (
            f"{ours}, scikit-image {thin['scikit_image_ms_per_map']} ms: {thin['ratio']} times "
            f"faster {_against('>=', thin['bar'])}; identical: {thin['identical']}"
        )


def _against(relation: str, bar: float | None, unit: str = "") -> str:
    return (
        "(no bar for this data)"
        if bar is None
        else f"(bar: {relation} {bar:g} {unit}".rstrip() + ")"
    )


@click.command()
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Images for the ratios; about a minute each for the official matcher.",
)
@click.option(
    "--whole/--no-whole", default=True, show_default=True, help="Also evaluate the whole data set."
)
@click.option("--workers", type=click.IntRange(min=1), default=WORKERS, show_default=True)
@click.option("--data-root", default=None)
@click.option("--json", "json_output", is_flag=True)
def main(images: int, whole: bool, workers: int, data_root: str | None, json_output: bool) -> None:
    """Print the benchmark's time and memory, and how much faster its parts are than their peers."""
    result = run(images, data_root, whole=whole, workers=workers)
    if json_output:
        click.echo(json.dumps(result, indent=1))
        return
    for line in report(result):
        click.echo(line)


if __name__ == "__main__":
    main()
