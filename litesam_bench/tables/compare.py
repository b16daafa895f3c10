"""The shape all comparison tables share: published, ours and the difference, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from litesam_bench.tables import measured
from litesam_bench.tables.measured import Run, View
from litesam_bench.tables.published import PublishedRow, PublishedTable
from litesam_bench.tables.render import Cell, Column, Table

UNVERIFIED = "published number reported by others, not verified against the paper"
REPAIRED = "published number read in a second copy of the paper: the first was damaged"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One metric of one prompt. `column` is the published column's key, "" without one."""

    head: str
    prompt: str
    metric: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table shows.

    name: begin of the file name.
    family: `coco` or `lvis`, or a dataset's name where no paper has measured it.
    source: the printed table, or None where no paper has measured this data.
    printed_only: columns of the paper that records do not hold, shown after the quantities.
    filled_by: published key of the systems that fill a row, where it is not the row's own.
    preset: the protocol to measure with while nothing is measured.
    boxes: a file of detector boxes to name in the commands.
    """

    name: str
    family: str
    caption: str
    quantities: tuple[Quantity, ...]
    source: PublishedTable | None
    printed_only: tuple[str, ...] = ()
    filled_by: Mapping[str, str] | None = None
    preset: str = "miou-strict"
    boxes: str = ""


def compare(layout: Layout, view: View | None) -> Table:
    """One table: every printed row, measured or not, then the systems that no paper prints."""
    runs = view.runs if view else ()
    common = _common_notes(runs)
    rows = []
    shown: set[int] = set()
    for printed in layout.source.rows if layout.source else ():
        key = (layout.filled_by or {}).get(printed.system, printed.system)
        matching: list[Run | None] = [run for run in runs if run.system.get("published") == key]
        shown |= {id(run) for run in matching}
        rows += [_row(layout, view, printed, run, common) for run in matching or [None]]
    rows += [_row(layout, view, None, run, common) for run in runs if id(run) not in shown]
    return Table(
        name=f"{layout.name}-{view.suffix if view else layout.family}",
        caption=layout.caption,
        columns=_columns(layout),
        rows=tuple(rows),
        context=_context(layout, view),
        footnotes=_footnotes(layout, view, common),
        commands=_commands(layout, view),
    )


def _columns(layout: Layout) -> tuple[Column, ...]:
    columns = [Column("Model", align="left")]
    for quantity in layout.quantities:
        if layout.source is None:
            columns.append(Column(quantity.head))
        else:
            columns += [Column(label, quantity.head) for label in ("paper", "ours", "Δ")]
    for key in layout.printed_only:
        assert layout.source is not None
        column = layout.source.column(key)
        head = column.label if column.unit == "text" else f"{column.label} ({column.unit})"
        columns.append(Column("paper", head))
    return (*columns, Column("instances / images", "n"))


def _row(
    layout: Layout,
    view: View | None,
    printed: PublishedRow | None,
    run: Run | None,
    common: Sequence[str],
) -> tuple[Cell, ...]:
    cells = [_name(view, printed, run, common)]
    for quantity in layout.quantities:
        record = run.records.get(quantity.prompt) if run else None
        percent, digits = _percent(layout, quantity), _digits(layout, quantity)
        ours = measured.cell(record, quantity.metric, percent=percent, digits=digits)
        if layout.source is None:
            cells.append(ours)
            continue
        value = measured.number(record, quantity.metric, percent=percent, digits=digits)
        paper = printed.cells[quantity.column] if printed else None
        cells += [
            _printed_cell(printed, quantity.column),
            ours,
            measured.difference(record, value, paper.value if paper else None),
        ]
    cells += [_printed_cell(printed, key) for key in layout.printed_only]
    return (*cells, measured.sample_size(run) if run else Cell())


def _name(
    view: View | None, printed: PublishedRow | None, run: Run | None, common: Sequence[str]
) -> Cell:
    if printed is not None:
        text = f"{printed.name}, {printed.variant}" if printed.variant else printed.name
    else:
        assert run is not None
        text = str(run.system["display"])
    notes = [printed.note] if printed is not None and printed.note else []
    if run is not None and view is not None:
        if len(view.devices) > 1:
            text = f"{text} ({run.where})"
        notes += [note for note in run.notes if note not in common]
    return Cell(text, tuple(notes))


def _printed_cell(row: PublishedRow | None, key: str) -> Cell:
    if row is None:
        return Cell()
    notes = [] if row.verified else [UNVERIFIED]
    if row.cells[key].repaired:
        notes.append(REPAIRED)
    return Cell(row.cells[key].text, tuple(notes))


def _percent(layout: Layout, quantity: Quantity) -> bool:
    return layout.source is None or layout.source.column(quantity.column).unit == "percent"


def _digits(layout: Layout, quantity: Quantity) -> int:
    """Decimals that the paper prints in this column; one where no paper does."""
    if layout.source is None:
        return 1
    values = (row.cells[quantity.column].value for row in layout.source.rows)
    return max((_decimals(value) for value in values if value is not None), default=1)


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _common_notes(runs: Sequence[Run]) -> list[str]:
    """Notes that hold for every run, so that the table says them once."""
    if not runs:
        return []
    return [note for note in runs[0].notes if all(note in run.notes for run in runs)]


def _context(layout: Layout, view: View | None) -> tuple[tuple[str, str], ...]:
    context: list[tuple[str, str]] = []
    if layout.source is not None:
        paper = layout.source.paper
        link = f"arXiv:{paper.arxiv}" if paper.arxiv else paper.url
        context.append(("Published", f"{paper.title}, {layout.source.where} ({link})"))
    percent = all(_percent(layout, quantity) for quantity in layout.quantities)
    context.append(("Unit", "percent" if percent else "fraction"))
    if view is None:
        return (*context, ("Measured", "nothing yet"))
    context += [
        ("Data", f"{view.name}, {view.data['n_images']} images"),
        ("Dataset digest", view.digest),
        ("Protocol", ", ".join(_protocol_ids(layout, view)) or view.preset),
        ("Device", "; ".join(view.devices)),
    ]
    if view.boxes:
        context.append(("Boxes", _describe_boxes(view)))
    return tuple(context)


def _protocol_ids(layout: Layout, view: View) -> list[str]:
    """The protocols that define the numbers in this table, in the order of its columns."""
    found: dict[str, None] = {}
    for quantity in layout.quantities:
        for run in view.runs:
            record = run.records.get(quantity.prompt)
            if record is not None and quantity.metric in record.metrics:
                found[record.metrics[quantity.metric].protocol] = None
    return list(found)


def _describe_boxes(view: View) -> str:
    boxes = view.boxes
    described = f"{boxes['file']}, sha256 {boxes['sha256'][: measured.DIGEST_CHARS]}"
    box_ap = boxes["box_ap"]["ap"]
    return f"{described}, box AP {100 * box_ap:.1f}" if box_ap is not None else described


def _footnotes(layout: Layout, view: View | None, common: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if layout.source is not None and view is not None:
        notes.append("Δ: ours minus the paper's number, both as printed here.")
    if view is not None and view.data.get("footnote"):
        notes.append(f"Data: {view.data['footnote']}.")
    notes += [f"All measured rows: {note}." for note in common]
    for where in (layout.source.note, layout.source.paper.note) if layout.source else ():
        if where:
            notes.append(f"Published: {where}")
    return tuple(notes)


def _commands(layout: Layout, view: View | None) -> tuple[str, ...]:
    """What to type to fill the table's columns, one line per way of prompting."""
    preset = view.preset.partition("@")[0] if view else layout.preset
    prompts = dict.fromkeys(quantity.prompt for quantity in layout.quantities)
    boxes = f" --boxes {layout.boxes}" if layout.boxes else ""
    return tuple(
        f"litesam-bench zeroshot --model all --dataset {layout.family} --prompt {prompt}{boxes}"
        f" --protocol {preset}"
        for prompt in prompts
    )
