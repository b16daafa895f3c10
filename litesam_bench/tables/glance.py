"""What was measured, at a glance: one row per system, no published columns. README shows these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import Run, View, cell, sample_size, views
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Cell, Column, Table

# (head, prompt, metric)
_QUANTITIES = (
    ("1-box mIoU", "box", "miou"),
    ("1-box AP", "box", "ap"),
    ("1-point mIoU", "point", "miou"),
    ("3-click mIoU", "clicks:3", "miou"),
    ("5-click mIoU", "clicks:5", "miou"),
)


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table per dataset digest and protocol preset, of the prompts that were measured."""
    prompts = {prompt for _, prompt, _ in _QUANTITIES}
    return [_table(view) for view in views(records, prompts) if not view.boxes]


def _table(view: View) -> Table:
    shown = [q for q in _QUANTITIES if any(q[1] in run.records for run in view.runs)]
    common = [n for n in view.runs[0].notes if all(n in run.notes for run in view.runs)]
    footnote = str(view.data.get("footnote", ""))
    devices = view.devices
    where = (("Device", devices[0]),) if len(devices) == 1 else ()
    return Table(
        name=f"glance-{view.suffix}",
        caption=f"Measured on {view.name}",
        columns=(
            Column("System", align="left"),
            *(Column(head) for head, _, _ in shown),
            Column("n"),
        ),
        rows=tuple(
            _row(run, shown, common, several_devices=len(devices) > 1) for run in _ranked(view.runs)
        ),
        context=(
            ("Unit", "percent; n is instances / images"),
            ("Data", f"{view.name}, {view.data['n_images']} images"),
            ("Dataset digest", view.digest),
            ("Protocol", view.preset),
            *where,
        ),
        footnotes=(*([f"Data: {footnote}."] if footnote else []), *(f"{n}." for n in common)),
        commands=tuple(
            f"litesam-bench zeroshot --dataset {view.family or view.name} --prompt {prompt}"
            for prompt in dict.fromkeys(prompt for _, prompt, _ in shown)
        ),
    )


def _ranked(runs: Sequence[Run]) -> list[Run]:
    """By box mIoU, best first; untrained systems last, whatever their numbers."""

    def key(run: Run) -> tuple[bool, float, str]:
        record = run.records.get("box")
        metric = record.metrics.get("miou") if record else None
        value = metric.value if metric and metric.value is not None else -1.0
        return run.system.get("training") == "untrained", -value, str(run.system["display"])

    return sorted(runs, key=key)


def _row(
    run: Run,
    shown: Sequence[tuple[str, str, str]],
    common: Sequence[str],
    *,
    several_devices: bool,
) -> tuple[Cell, ...]:
    notes = tuple(note for note in run.notes if note not in common)
    if several_devices:
        notes = (run.where, *notes)
    cells = [cell(run.records.get(p), metric, percent=True, digits=1) for _, p, metric in shown]
    return (Cell(str(run.system["display"]), notes), *cells, sample_size(run))
