"""What `segevery-time` and `latency` share: loading systems, reading images, showing rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from litesam_bench.pipeline import RunSettings
    from litesam_bench.records.schema import Record
    from litesam_bench.registry import System
    from litesam_bench.timing.runs import Row
    from litesam_bench.types import Dataset, Segmenter
    from litesam_bench.weights import Verified


@dataclass(frozen=True)
class Loaded:
    """A system in memory, ready to be timed."""

    system: System
    segmenter: Segmenter
    weights: Verified | None


def load_systems(
    models: str,
    settings: RunSettings,
    allow_unverified: bool,
    check: Callable[[System], None],
) -> list[Loaded]:
    """Load the systems that pass `check`; the others are named on stderr with the reason.

    Raises UsageError when none is left.
    """
    from litesam_bench import pipeline, registry, weights
    from litesam_bench.distributed import World
    from litesam_bench.errors import CapabilityError, UsageError

    able = []
    for system in registry.resolve(models):
        try:
            check(system)
            able.append(system)
        except CapabilityError as error:
            click.echo(f"{system.spec.name}: n/a: {error.message}", err=True)
    if not able:
        raise UsageError(f"none of {models} can be timed this way", fix="litesam-bench models list")
    checkpoints = [
        weights.require(s.spec, allow_unverified=allow_unverified) if s.spec.weights else None
        for s in able
    ]
    return [
        Loaded(system, pipeline.load_system(system, settings, checkpoint, World()), checkpoint)
        for system, checkpoint in zip(able, checkpoints, strict=True)
    ]


def time_rows(
    kind: str,
    rows: Sequence[Row],
    dataset: Dataset,
    settings: RunSettings,
    repeats: int,
    results: Path | None,
    *,
    json_output: bool,
) -> None:
    """Time the rows against each other on the first images of a dataset; keep and show records."""
    from litesam_bench import paths
    from litesam_bench.cli.output import print_json
    from litesam_bench.records.store import write_record
    from litesam_bench.timing.device import describe_device
    from litesam_bench.timing.latency import measure
    from litesam_bench.timing.runs import document, records_of

    image_ids = list(dataset.image_ids)[: settings.limit]
    images = [dataset.sample(image_id).image for image_id in image_ids]
    timings = measure(
        {row.name: row.call for row in rows}, images, device=settings.device, repeats=repeats
    )
    records = records_of(
        kind, rows, timings, dataset, image_ids, settings, describe_device(settings.device)
    )
    root = paths.results_root(results)
    for record in records:
        write_record(root, record)
    if json_output:
        print_json(document(records))
    else:
        _show(records)
    click.echo(f"records in {root / 'records'}", err=True)


def _show(records: Sequence[Record]) -> None:
    """A table with the device in its header, then the footnotes."""
    from litesam_bench.cli.output import print_table

    shared = records[0].environment
    click.echo(f"{shared['device_name']}, {shared['dtype']}, {records[0].coverage.done} images")
    phases = list(dict.fromkeys(p for r in records for p in r.timing_s))
    rows = []
    for record in records:
        metrics = record.metrics
        against = metrics["ratio"]
        facts = record.environment["facts"]
        memory = metrics["peak_memory"].value
        rows.append(
            [
                str(record.system["display"]),
                str(record.protocol["id"]).partition("/")[2].partition("@")[0],
                f"{metrics['median'].value:.1f}",
                f"{metrics['p90'].value:.1f}",
                f"{against.value:.2f} [{against.low:.2f}, {against.high:.2f}]",
                *(f"{1000 * record.timing_s.get(p, 0):.1f}" for p in phases),
                f"{facts.get('prompts', 0):.0f}",
                f"{facts['masks']:.0f}" if "masks" in facts else "",
                "" if memory is None else f"{memory:.0f}",
            ]
        )
    print_table(
        ("system", "what", "median ms", "p90", "ratio [95 %]", *phases, "prompts", "masks", "MiB"),
        rows,
    )
    for record in records:
        what = str(record.protocol["id"]).partition("/")[2].partition("@")[0]
        limited_by = record.environment.get("limited_by")
        if limited_by:
            click.echo(f"{record.system['display']} {what}: {limited_by}")
    for note in dict.fromkeys(n for r in records for n in r.footnotes):
        click.echo(note)
