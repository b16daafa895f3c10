"""What a run of the boundary benchmark leaves: a record of the scores and a file of all counts."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from litesam_bench.edges.benchmark import Evaluation, Settings
from litesam_bench.edges.boundary_gt import BoundaryData
from litesam_bench.edges.collect import FloatArray, ImageCounts, Point, Scores, collect
from litesam_bench.errors import DataError
from litesam_bench.records.files import canonical_json, write_atomic
from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.records.store import record_path
from litesam_bench.tables.measured import split_id

OFFICIAL = Settings()


def protocol_id(settings: Settings, variant: str = "") -> str:
    """`bsds@1` for the official settings; others are named, so that no two share a table.

    How maps are made of masks, or thinned to ridges before the benchmark, is part of the id:
    `bsds/grid:16-dollar-r1@1`, `bsds/dollar-r1@1`.
    """
    name = "bsds"
    if settings.thresholds != OFFICIAL.thresholds:
        name += f"-t{settings.thresholds}"
    if settings.max_dist != OFFICIAL.max_dist:
        name += f"-d{settings.max_dist:g}"
    if not settings.thin:
        name += "-nothin"
    if settings.nms != OFFICIAL.nms:
        variant = f"{variant}-{settings.nms}".removeprefix("-")
    return f"{name}/{variant}@1" if variant else f"{name}@1"


def make_record(
    found: Evaluation,
    scores: Scores,
    data: BoundaryData,
    settings: Settings,
    *,
    system: dict[str, Any],
    environment: dict[str, Any],
    variant: str,
    map_knobs: dict[str, Any],
    passed: dict[str, Any],
    timing_s: dict[str, float],
    footnotes: list[str],
) -> Record:
    """The record; of status `partial`, which no table shows as a score, where maps are missing."""
    protocol = protocol_id(settings, variant)
    numbers = {
        "ods": scores.ods.f,
        "ods_threshold": scores.ods.threshold,
        "ods_recall": scores.ods.recall,
        "ods_precision": scores.ods.precision,
        "ois": scores.ois.f,
        "ois_recall": scores.ois.recall,
        "ois_precision": scores.ois.precision,
        "ap": scores.ap,
        "r50": scores.r50,
    }
    complete = not found.missing
    return Record(
        kind="edges",
        status="complete" if complete else "partial",
        reason="" if complete else f"{len(found.counts)} of {found.expected} images have a map",
        system=system,
        protocol={
            "id": protocol,
            "knobs": {
                **asdict(settings),
                "matching": "exact: maximum cardinality, then minimum total distance",
                "ods": "100 interpolation steps between thresholds",
                "ois": "best threshold of each image, not interpolated",
                "ap": "101 recalls",
                "r50": "recall at precision max(0.5, lowest)",
                **({"maps": map_knobs} if map_knobs else {}),
            },
            "passed": passed,
        },
        data={
            "name": data.name,
            "digest": found.digest,
            "n_images": found.expected,
            "n_instances": found.expected,
            "licence": data.licence,
            "footnote": data.footnote,
        },
        coverage=Coverage(
            expected=found.expected,
            done=len(found.counts),
            failed=len(found.missing),
            failures=dict.fromkeys(found.missing, "no map"),
        ),
        metrics={
            name: Metric(
                value=value,
                unit="fraction",
                higher_is_better=True,
                n=len(found.counts),
                protocol=protocol,
            )
            for name, value in numbers.items()
        },
        timing_s=timing_s,
        environment=environment,
        footnotes=footnotes,
    )


def document(record: Record, scores: Scores) -> dict[str, Any]:
    """What `--json` prints; scores of an incomplete set are under `partial`, the headline null."""
    headline = {
        "ods": _point(scores.ods),
        "ois": _point(scores.ois),
        "ap": scores.ap,
        "r50": scores.r50,
    }
    coverage = asdict(record.coverage)
    del coverage["failures"]
    shown: dict[str, Any] = (
        headline
        if record.status == "complete"
        else {**dict.fromkeys(headline), "partial": headline}
    )
    return {
        "system": record.system["name"],
        "data": record.data["name"],
        "protocol": record.protocol["id"],
        **shown,
        "coverage": {**coverage, "missing": sorted(record.coverage.failures)},
    }


def _point(point: Point) -> dict[str, float]:
    known = {"recall": point.recall, "precision": point.precision, "f": point.f}
    return known if point.threshold is None else {"threshold": point.threshold, **known}


def counts_path(root: Path, record: Record) -> Path:
    """Beside the records, under `counts/`."""
    below = record_path(root, record).relative_to(root / "records")
    return (root / "counts" / below).with_suffix(".json.gz")


def write_counts(path: Path, found: Evaluation, scores: Scores, record: Record) -> None:
    """Store the curve, and each image's counts and best point; the same counts, the same bytes."""
    content = {
        "display": record.system["display"],
        "protocol": record.protocol["id"],
        "status": record.status,
        "thresholds": found.thresholds.tolist(),
        "curve": scores.curve.tolist(),
        "images": {
            c.image_id: {
                "best": asdict(scores.per_image[c.image_id]),
                "truth": c.truth.tolist(),
                "truth_matched": c.truth_matched.tolist(),
                "detected": c.detected.tolist(),
                "detected_matched": c.detected_matched.tolist(),
            }
            for c in found.counts
        },
    }
    write_atomic(path, gzip.compress(canonical_json(content).encode(), mtime=0))


def read_counts(path: Path) -> tuple[tuple[ImageCounts, ...], FloatArray]:
    """Counts and thresholds as `collect` takes them. Raises DataError naming a damaged file."""
    content = _read(path)
    counts = tuple(
        ImageCounts(image_id, *(np.array(image[name], np.int64) for name in _COUNTS))
        for image_id, image in content["images"].items()
    )
    return counts, np.array(content["thresholds"], np.float64)


def read_curves(root: Path, beside: Record) -> dict[str, Scores]:
    """The scores of all complete runs on a record's data under its benchmark settings, by name.

    Names are the systems' display names, with the way their maps were made where there is one.
    """
    preset, _ = split_id(beside.protocol["id"])
    folder = counts_path(root, beside).parent.name
    found = {}
    for path in sorted((root / "counts" / "edges").glob(f"*/*/{folder}/*.json.gz")):
        content = _read(path)
        own_preset, variant = split_id(content["protocol"])
        if content["status"] == "complete" and own_preset == preset:
            name = content["display"] + (f" ({variant})" if variant else "")
            found[name] = collect(*read_counts(path))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        missing = {"display", "protocol", "status", "images", "thresholds"} - set(content)
    except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
        raise DataError(f"{path} is not a file of counts: {error}", fix=_FIX) from error
    if missing:
        raise DataError(f"{path} is not a file of counts: it lacks {min(missing)}", fix=_FIX)
    return content


_COUNTS = ("truth", "truth_matched", "detected", "detected_matched")
_FIX = "delete the file and run its `edges` command again"
