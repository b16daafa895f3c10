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

_ENDLESS = 10_000  # characters; wider than any table

# metric -> (group, head, shown in compact tables)
_RUN_METRICS = {
    "miou": ("mIoU", "all", True),
    "miou_s": ("mIoU", "S", True),
    "miou_m": ("mIoU", "M", True),
    "miou_l": ("mIoU", "L", True),
    "ap": ("AP", "all", True),
    "ap50": ("AP", "50", False),
    "ap75": ("AP", "75", False),
    "aps": ("AP", "S", True),
    "apm": ("AP", "M", True),
    "apl": ("AP", "L", True),
    "apr": ("AP", "r", False),
    "apc": ("AP", "c", False),
    "apf": ("AP", "f", False),
    "ar10": ("AR@", "10", True),
    "ar100": ("AR@", "100", True),
    "ar1000": ("AR@", "1000", True),
    "ar1000_s": ("AR@1000", "S", True),
    "ar1000_m": ("AR@1000", "M", True),
    "ar1000_l": ("AR@1000", "L", True),
}
_CAPTIONS = {
    "zeroshot": "Zero-shot segmentation, in percent",
    "zeroshot-mean": "Mean over datasets, in percent",
    "segevery": "Segment everything, in percent",
    "agreement": "Agreement with a reference system's masks, in percent",
}


def show_run(records: Sequence[Record], console: Console | None = None) -> None:
    """Print what one command measured, one row per system, in as much detail as fits."""
    console = console or Console()
    full, compact = run_table(records), run_table(records, compact=True)
    show(full if _padding(full, console) is not None else compact, console)


def run_table(records: Sequence[Record], *, compact: bool = False) -> Table:
    """The records of one command as a table in percent.

    The records share data and protocol, as those of one command do. The full table has all AP
    metrics and the 95 % interval of the mIoU; the compact one fits 80 characters.
    """
    present = [
        name
        for name, (_, _, always) in _RUN_METRICS.items()
        if (always or not compact) and any(name in record.metrics for record in records)
    ]
    protocols = dict.fromkeys(
        record.metrics[name].protocol
        for name in present
        for record in records
        if name in record.metrics
    )
    data = records[0].data
    common = [n for n in records[0].footnotes if all(n in r.footnotes for r in records)]
    footnotes = [str(data["footnote"])] if data.get("footnote") else []
    columns = [Column("system", align="left")]
    for name in present:
        group, head, _ = _RUN_METRICS[name]
        columns.append(Column(f"{head} [95 %]" if name == "miou" and not compact else head, group))
    return Table(
        name="run",
        caption=_CAPTIONS[records[0].kind],
        columns=(*columns, Column("images"), *([] if compact else [Column("seconds")])),
        rows=tuple(_run_row(record, present, common, compact) for record in records),
        context=(
            (
                "data",
                f"{data['name']}, {data['n_images']} images, "
                f"digest {str(data['digest'])[: measured.DIGEST_CHARS]}",
            ),
            ("protocol", ", ".join(protocols) or str(records[0].protocol["id"])),
        ),
        footnotes=(*footnotes, *common),
    )


def _run_row(
    record: Record, present: Sequence[str], common: Sequence[str], compact: bool
) -> tuple[Cell, ...]:
    notes = tuple(note for note in record.footnotes if note not in common)
    if record.status != "complete":
        notes = (*notes, record.reason or record.status)
    cells = [Cell(str(record.system["display"]), notes)]
    for name in present:
        text = measured.cell(record, name, percent=True, digits=1).text
        if name == "miou" and not compact and record.status == "complete":
            text += _interval(record.metrics)
        cells.append(Cell(text))
    cells.append(Cell(f"{record.coverage.done}/{record.coverage.expected}"))
    if not compact:
        seconds = sum(record.timing_s.values())
        cells.append(Cell(f"{seconds:.1f}" if record.timing_s else ""))
    return tuple(cells)


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
    if not console.is_terminal:  # a pipe has no width of its own: nothing is wrapped
        console = Console(file=console.file, width=_ENDLESS, color_system=None)
    console.print(f"[bold]{escape(table.caption)}[/bold]", highlight=False)
    for name, value in table.context:
        console.print(escape(f"{name}: {value}"), style="dim", highlight=False)
    marks = numbered_notes(table)
    padding = _padding(table, console)
    if padding is None:
        _blocks(table, marks, console)
    else:
        console.print(_grid(table, marks, padding))
    for note, mark in marks.items():
        console.print(escape(f"{mark}: {note}"), style="dim", highlight=False)
    for note in table.footnotes:
        console.print(escape(note), style="dim", highlight=False)


def _padding(table: Table, console: Console) -> int | None:
    """The roomiest grid that fits, as spaces around cells; None when none does."""
    if not console.is_terminal:
        return 1
    marks = numbered_notes(table)
    fits = (p for p in (1, 0) if _width(_grid(table, marks, p), console) <= console.width)
    return next(fits, None)


def _width(grid: Grid, console: Console) -> int:
    return console.measure(grid, options=console.options.update(width=_ENDLESS)).maximum


def _grid(table: Table, marks: Mapping[str, str], padding: int) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, padding, 0, 0))
    for column in table.columns:
        head = "\n".join(part for part in (column.group, column.label) if part)
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
