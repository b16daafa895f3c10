"""The Lite-SAM poster's Tables 1 and 2, as a scaled-down replication: does the order hold?

The poster trains every row on SA-1B; here all rows share one short schedule on the training pack
(`litesam-bench ablate`), so that numbers cannot be compared across the two halves of a table, and
only ranks are set side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import kendalltau

from litesam_bench.records.schema import Record
from litesam_bench.tables.published import PublishedRow, PublishedTable
from litesam_bench.tables.render import Cell, Column, Table

_Describe = Callable[[PublishedRow], tuple[str, tuple[str, ...], str]]
"""A printed row to its recipe, its first cells, and the key of its number."""

_BLOCKS, _PPN = "lite-sam/litevit-blocks", "lite-sam/autoppn-ablation"


@dataclass(frozen=True)
class _Row:
    """One row of the paper and the seeds that were measured of it."""

    labels: tuple[str, ...]
    paper: float | None
    paper_text: str
    measured: tuple[float, ...]


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table for each study, data and schedule that has records."""
    return [
        *_tables(published[_BLOCKS], records, "table1", "box", _block_row),
        *_tables(published[_PPN], records, "table2", "ar", _ppn_row),
    ]


def _block_row(printed: PublishedRow) -> tuple[str, tuple[str, ...], str]:
    block = printed.cells["block"].text
    name = printed.display or printed.system
    return f"table1-{printed.system}", (name, block), "coco_box_ap"


def _ppn_row(printed: PublishedRow) -> tuple[str, tuple[str, ...], str]:
    marks = tuple(printed.cells[k].text for k in ("mspm_stem", "new_gt_loss", "object_grouping"))
    parts = [n for n, m in zip(("mspm", "labels", "groups"), marks, strict=True) if m == "✓"]
    return "table2-" + ("-".join(parts) or "baseline"), marks, "coco_mask_ar1000"


_HEADS = {
    "table1": ("Backbone", "Block"),
    "table2": ("MSPM stem", "New GT and loss", "Object grouping"),
}
_MEASURES = {
    "table1": ("1-box AP", "1-box mIoU, held out"),
    "table2": ("Mask AR@1000", "mask recall, 64 points, held out"),
}
_CAPTIONS = {
    "table1": "LiteViT attention blocks, scaled-down replication",
    "table2": "AutoPPN ablation, scaled-down replication",
}


def _tables(
    source: PublishedTable,
    records: Sequence[Record],
    study: str,
    metric: str,
    describe: _Describe,
) -> list[Table]:
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.kind == "ablation" and record.protocol["id"] == f"ablation/{study}@1":
            key = (
                str(record.data["digest"]),
                int(record.protocol["steps"]),
                int(record.protocol["batch"]),
                str(record.environment.get("device_name", "")),
            )
            groups.setdefault(key, []).append(record)
    return [
        _table(source, groups[key], study, metric, describe, single=len(groups) == 1)
        for key in sorted(groups, key=str)
    ]


def _table(
    source: PublishedTable,
    records: Sequence[Record],
    study: str,
    metric: str,
    describe: _Describe,
    *,
    single: bool,
) -> Table:
    rows = []
    for printed in source.rows:
        recipe, labels, key = describe(printed)
        paper = printed.cells[key]
        values = tuple(
            value
            for record in records
            if record.system["row"] == recipe
            and metric in record.metrics
            and (value := record.metrics[metric].value) is not None
        )
        rows.append(
            _Row(labels, None if paper.value is None else float(paper.value), paper.text, values)
        )
    paper_ranks = _ranks([row.paper for row in rows])
    ours_ranks = _ranks([fmean(row.measured) if row.measured else None for row in rows])
    cells = [
        (
            *(Cell(label) for label in row.labels),
            Cell(row.paper_text),
            Cell(rank or ""),
            Cell(f"{100 * fmean(row.measured):.1f}" if row.measured else ""),
            Cell(_spread(row.measured)),
            Cell(ours or ""),
        )
        for row, rank, ours in zip(rows, paper_ranks, ours_ranks, strict=True)
    ]
    first = records[0]
    paper_name, ours_name = _MEASURES[study]
    suffix = "" if single else f"-{str(first.data['digest'])[:8]}-{first.protocol['steps']}"
    return Table(
        name=f"ablation-{study}{suffix}",
        caption=_CAPTIONS[study],
        columns=(
            *(Column(head, align="left") for head in _HEADS[study]),
            Column(paper_name, "paper"),
            Column("rank", "paper"),
            Column(ours_name, "ours"),
            Column("seeds", "ours"),
            Column("rank", "ours"),
        ),
        rows=tuple(cells),
        context=(
            ("Published", f"{source.paper.title}, {source.where}"),
            ("Data", f"{first.data['n_images']} held-out images of the training pack"),
            ("Dataset digest", str(first.data["digest"])[:12]),
            ("Schedule", f"{first.protocol['steps']} steps of {first.protocol['batch']} images"),
            ("Device", str(first.environment.get("device_name", ""))),
        ),
        footnotes=(_verdict(rows), *first.footnotes, *_STUDY_NOTES[study]),
        commands=(f"litesam-bench ablate {study}",),
    )


_STUDY_NOTES = {
    "table1": ("Each backbone trained from scratch; the rated mask of one box prompt.",),
    "table2": (
        "AutoPPN alone, on the frozen encoder of the shipped Lite-SAM. Recall: over COCO's IoU "
        "thresholds, of the best mask that Lite-SAM's decoder makes of AutoPPN's 64 best points, "
        "at the decoder's resolution.",
    ),
}


def _ranks(values: Sequence[float | None]) -> list[str | None]:
    order = sorted((v for v in values if v is not None), reverse=True)
    return [None if v is None else str(order.index(v) + 1) for v in values]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return "1"
    return f"{len(values)}: {100 * min(values):.1f} to {100 * max(values):.1f}"


def _verdict(rows: Sequence[_Row]) -> str:
    """Whether the order holds, in words that the numbers justify."""
    pairs = [(row.paper, fmean(row.measured)) for row in rows if row.measured and row.paper]
    if len(pairs) < 3:
        return "Too few rows were measured to speak of their order."
    tau, p = kendalltau([a for a, _ in pairs], [b for _, b in pairs])
    verdict = (
        "the order is the paper's beyond chance"
        if p < 0.05 and tau > 0
        else ("the order of the rows is not reproduced beyond chance at this scale")
    )
    text = f"Kendall's tau of the two orders: {tau:.2f} (p = {p:.2f}): {verdict}."
    spreads = [max(r.measured) - min(r.measured) for r in rows if len(r.measured) > 1]
    if spreads:
        means = [fmean(r.measured) for r in rows if r.measured]
        text += (
            f" Rows differ by {100 * (max(means) - min(means)):.1f} points at most,"
            f" seeds of one row by {100 * max(spreads):.1f}."
        )
    return text
