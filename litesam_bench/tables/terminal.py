"""Tables on a terminal: as a grid where it fits, else one block per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from litesam_bench.records.schema import Metric, Record
from litesam_bench.tables import measured
from litesam_bench.tables.render import Cell, Column, Table, numbered_notes

_RUN_METRICS = {
    "miou": "mIoU",
    "miou_s": "mIoU^S",
    "miou_m": "mIoU^M",
    "miou_l": "mIoU^L",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "aps": "AP^S",
    "apm": "AP^M",
    "apl": "AP^L",
    "apr": "APr",
    "apc": "APc",
    "apf": "APf",
}


def show_run(records: Sequence[Record], console: Console | None = None) -> None:
    """Print what one command measured: one row per system, all its metrics in percent."""
    show(run_table(records), console)


def run_table(records: Sequence[Record]) -> Table:
    """The records of one command as a table; mIoU carries its 95 % interval.

    The records share data and protocol, as those of one command do.
    """
    present = [m for m in _RUN_METRICS if any(m in record.metrics for record in records)]
    protocols = dict.fromkeys(
        record.metrics[m].protocol for m in present for record in records if m in record.metrics
    )
    common = [n for n in records[0].footnotes if all(n in r.footnotes for r in records)]
    footnote = str(records[0].data.get("footnote", ""))
    return Table(
        name="run",
        caption="Zero-shot segmentation",
        columns=(
            Column("system", align="left"),
            *(Column(_RUN_METRICS[m]) for m in present),
            Column("images"),
            Column("seconds"),
        ),
        rows=tuple(_run_row(record, present, common) for record in records),
        context=(
            (
                "data",
                f"{records[0].data['name']}, {records[0].data['n_images']} images, "
                f"digest {str(records[0].data['digest'])[: measured.DIGEST_CHARS]}",
            ),
            ("protocol", ", ".join(protocols) or str(records[0].protocol["id"])),
            ("unit", "percent; mIoU with its 95 % bootstrap interval"),
        ),
        footnotes=tuple(f"{note}." for note in [*([footnote] if footnote else []), *common]),
    )


def _run_row(record: Record, present: Sequence[str], common: Sequence[str]) -> tuple[Cell, ...]:
    notes = tuple(note for note in record.footnotes if note not in common)
    cells = [Cell(str(record.system["display"]), notes)]
    for name in present:
        cell = measured.cell(record, name, percent=True, digits=1)
        interval = (
            _interval(record.metrics) if name == "miou" and record.status == "complete" else ""
        )
        cells.append(Cell(cell.text + interval, cell.notes))
    seconds = sum(record.timing_s.values())
    return (
        *cells,
        Cell(f"{record.coverage.done}/{record.coverage.expected}"),
        Cell(f"{seconds:.1f}" if record.timing_s else ""),
    )


def _interval(metrics: Mapping[str, Metric]) -> str:
    metric = metrics.get("miou")
    if metric is None or metric.low is None or metric.high is None:
        return ""
    return f" [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def show(table: Table, console: Console | None = None) -> None:
    """Print a table, with its context above and its footnotes below.

    A terminal too narrow for the grid gets one block per row, so that no number is ever cut.
    """
    console = console or Console()
    console.print(f"[bold]{escape(table.caption)}[/bold]", highlight=False)
    for name, value in table.context:
        console.print(escape(f"{name}: {value}"), style="dim", highlight=False)
    marks = numbered_notes(table)
    grid = _grid(table, marks)
    # a pipe has no width of its own: give the grid what it needs instead of blocks
    width = console.measure(grid).maximum
    if width <= console.width or not console.is_terminal:
        console.print(grid, width=width, crop=False, no_wrap=True, soft_wrap=False)
    else:
        _blocks(table, marks, console)
    for note, mark in marks.items():
        console.print(escape(f"{mark}: {note}"), style="dim", highlight=False)
    for note in table.footnotes:
        console.print(escape(note), style="dim", highlight=False)


def _grid(table: Table, marks: Mapping[str, str]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in table.columns:
        head = "\n".join(part for part in (column.group, _plain(column.label)) if part)
        grid.add_column(escape(_plain(head)), justify=column.align, no_wrap=True)
    for row in table.rows:
        grid.add_row(*(escape(_marked(cell, marks)) for cell in row))
    return grid


def _blocks(table: Table, marks: Mapping[str, str], console: Console) -> None:
    for row in table.rows:
        console.print(f"\n[bold]{escape(_marked(row[0], marks))}[/bold]", highlight=False)
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            if cell.text:
                head = " ".join(part for part in (column.group, column.label) if part)
                text = f"  {_plain(head)}: {_marked(cell, marks)}"
                console.print(escape(text), highlight=False)


def _marked(cell: Cell, marks: Mapping[str, str]) -> str:
    letters = ",".join(marks[note] for note in cell.notes)
    return f"{cell.text} ({letters})" if letters else cell.text


def _plain(label: str) -> str:
    return label.replace("^", "_")
