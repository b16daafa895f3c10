"""What runs show: a progress bar on stderr while they go, a table or JSON on stdout at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from litesam_bench import pipeline
from litesam_bench.distributed import World
from litesam_bench.errors import BenchError
from litesam_bench.records.journal import Entry, RunFolder
from litesam_bench.records.schema import Record
from litesam_bench.registry import System

if TYPE_CHECKING:
    from rich.progress import Progress


class Work(Protocol):
    """What a progress bar must know of a task: which system, which images."""

    @property
    def system(self) -> System: ...
    @property
    def image_ids(self) -> list[int]: ...


@contextmanager
def progress_bar(
    name: str, task: Work, run: RunFolder, here: World
) -> Iterator[Callable[[Entry], None]]:
    """A bar on stderr that counts this rank's images; other ranks than 0 stay silent."""
    from rich.console import Console

    wanted = set(task.image_ids)
    done = sum(not place.failed for i, place in run.index().items() if i in wanted)
    if task.system.spec.training == "untrained":
        click.echo(f"{name}: untrained: random weights, its numbers are not a result", err=True)
    if not here.is_main:
        yield lambda entry: None
        return
    if done:
        click.echo(f"{name}: {done} of {len(wanted)} images are already in {run.path}", err=True)
    total = len(here.shard(range(len(wanted) - done)))
    with _bar(Console(stderr=True)) as bar:
        row = bar.add_task(name, total=total)

        def advance(entry: Entry) -> None:
            if entry.error:
                bar.console.print(f"{name}: image {entry.image_id} failed: {entry.error}")
            bar.advance(row)

        yield advance


def run_with_bar(
    task: pipeline.Task, context: dict[str, Any], runs_root: Path, here: World
) -> RunFolder:
    """Journal what a task's run does not have yet, with a bar; returns when every rank is done."""
    run = RunFolder(runs_root, task.identity())
    if here.is_main:
        run.keep_context(context)
    with progress_bar(task.system.spec.name, task, run, here) as advance:
        pipeline.predict(task, run, here, advance)
    here.barrier()
    return run


def _bar(console: Any) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def show_records(records: Sequence[Record], *, json_output: bool, kept_in: Path | None) -> None:
    """Print records; raise BenchError when some images failed, after everything was shown."""
    show_groups([records], json_output=json_output, kept_in=kept_in)


def show_groups(
    groups: Sequence[Sequence[Record]], *, json_output: bool, kept_in: Path | None
) -> None:
    """`show_records` for several tables, one per dataset; JSON of several is
    `{"datasets": [one document each]}`."""
    if json_output:
        documents = [json_document(records) for records in groups]
        whole = documents[0] if len(documents) == 1 else {"datasets": documents}
        click.echo(json.dumps(whole, indent=1))
    else:
        from litesam_bench.tables.terminal import show_run

        for records in groups:
            show_run(records)
    where = f"records in {kept_in / 'records'}" if kept_in else "limited run: no record is kept"
    click.echo(where, err=True)
    partial = [record for records in groups for record in records if record.status == "partial"]
    if partial:
        first = partial[0]
        detail = next((f"; image {i}: {why}" for i, why in first.coverage.failures.items()), "")
        raise BenchError(
            f"{first.system['name']}: {first.reason}{detail}",
            fix="mend what failed and run the same command again; finished images are kept",
        )


def json_document(records: Sequence[Record]) -> dict[str, Any]:
    """`{"protocol", "data", "systems": {name: record without what it shares with the first}}`."""
    raw = [json.loads(record.to_json()) for record in records]
    return {
        "protocol": raw[0]["protocol"] if raw else {},
        "data": raw[0]["data"] if raw else {},
        "systems": {
            record["system"]["name"]: {
                k: v for k, v in record.items() if k not in ("protocol", "data") or v != raw[0][k]
            }
            for record in raw
        },
    }
