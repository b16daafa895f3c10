"""How listings print: a table for people, tab-separated lines for pipes, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from litesam_bench.download import Progress


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=1))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; otherwise tab-separated lines under a header, never cut to a width."""
    if not sys.stdout.isatty():
        for line in (headers, *rows):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, header in enumerate(headers):
        # the first column is the name that one types: it is never cut
        table.add_column(header, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def print_fields(fields: dict[str, Any]) -> None:
    """`name: value` lines, nested values indented below their name; empty values are left out."""
    for line in _field_lines(fields, indent=""):
        click.echo(line)


def _field_lines(fields: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _field_lines(value, indent + "  ")
        elif value is not None and value != "" and value != ():
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            yield f"{indent}{name}: {text}"


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """A progress bar on stderr, in bytes. It appears with the first byte that arrives."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    row = bar.add_task(name, total=None)

    def advance(done: int, total: int | None) -> None:
        bar.start()  # does nothing once started
        bar.update(row, completed=done, total=total)

    try:
        yield advance
    finally:
        if bar.live.is_started:  # stopping what never started would print an empty line
            bar.stop()
