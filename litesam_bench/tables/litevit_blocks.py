"""The Lite-SAM poster's Table 1, as far as it can be counted: parameters and MACs of backbones.

Accuracy and latency of the rows are ablations that have to be trained; see the recipes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import cell, difference, number
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Cell, Column, Table

SOURCE = "lite-sam/litevit-blocks"
_QUANTITIES = (("Params (M)", "params_m", 2), ("MACs (G)", "macs_g", 1))


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table: every row of the paper, counted or not."""
    source = published[SOURCE]
    counted = {
        str(r.system["published"]): r
        for r in records
        if r.kind == "complexity" and r.protocol["id"] == "complexity/backbone@1"
    }
    rows = []
    for printed in source.rows:
        record = counted.get(printed.system)
        notes = (f"Published: {printed.note}",) if printed.note else ()
        name = printed.display or str(record.system["display"] if record else printed.system)
        cells = [Cell(name, notes), Cell(printed.cells["block"].text)]
        for _, key, digits in _QUANTITIES:
            ours = number(record, key, percent=False, digits=digits)
            paper = printed.cells[key]
            cells += [
                Cell(paper.text),
                cell(record, key, percent=False, digits=digits),
                difference(record, ours, paper.value),
            ]
        rows.append((*cells, Cell(printed.cells["dims"].text)))
    heads = [Column(label, head) for head, _, _ in _QUANTITIES for label in ("paper", "ours", "Δ")]
    return [
        Table(
            name="litevit-blocks",
            caption="LiteViT's blocks and widths: parameters and MACs at 640 x 640",
            columns=(
                Column("Backbone", align="left"),
                Column("Block", align="left"),
                *heads,
                Column("Widths", align="left"),
            ),
            rows=tuple(rows),
            context=(("Published", f"{source.paper.title}, {source.where}"),),
            footnotes=(
                "Ours: convolutions and matrix products of the backbone alone, without a "
                "classification head; the paper does not say what it counts.",
                "The printed MACs cannot all follow from the printed widths and parameters; the "
                "model keeps to widths and parameters.",
            ),
            commands=("litesam-bench profile --backbones",),
        )
    ]
