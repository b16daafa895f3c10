"""The PR figures: all systems measured alike on the same data share one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from litesam_bench.edges import outcome
from litesam_bench.edges.pictures import curve_figure
from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import split_id


def figure_path(results_root: Path, record: Record) -> Path:
    """`figures/edges/bsds@1-bsds500-test-26b9e633.png`, whatever way the maps were made."""
    data = outcome.counts_path(results_root, record).parent.name
    preset, _ = split_id(str(record.protocol["id"]))
    return results_root / "figures" / "edges" / f"{preset}-{data}.png"


def write_figure(results_root: Path, record: Record) -> list[Path]:
    """Draw the figure that a record belongs to, as PNG and SVG, from the counts beside the records.

    Returns:
        the files that this changed.
    """
    curves = outcome.read_curves(results_root, record)
    if not curves:
        return []
    preset, _ = split_id(str(record.protocol["id"]))
    footnote = str(record.data["footnote"])
    title = ", ".join(filter(None, (str(record.data["name"]), footnote, preset)))
    path = figure_path(results_root, record)
    return curve_figure(curves, path.with_suffix(""), title=title)


def write_figures(results_root: Path, records: Sequence[Record]) -> list[Path]:
    """All PR figures of a results folder; the files that changed."""
    one_each = {
        figure_path(results_root, record): record
        for record in records
        if record.kind == "edges" and record.status == "complete"
    }
    return [path for key in sorted(one_each) for path in write_figure(results_root, one_each[key])]
