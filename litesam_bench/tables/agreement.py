"""MobileSAM's "mIoU comparison", with another system's masks in place of annotations.

One table per dataset digest and reference. The printed numbers stand below it, not beside it: the
paper's columns 100 to 500 are explained nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from litesam_bench.records.schema import Record
from litesam_bench.tables.compare import Layout, Quantity, compare
from litesam_bench.tables.measured import Run, View, split_id
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

SOURCE = "mobile-sam/agreement"


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table per view; none without records."""
    return [_table(view, published[SOURCE]) for view in _views(records)]


def _views(records: Sequence[Record]) -> list[View]:
    """Records of agreement by data and reference; a system's prompts are one row."""
    groups: dict[tuple[str, str, str], dict[tuple[str, str, str], dict[str, Record]]] = {}
    for record in records:
        if record.kind == "agreement":
            preset, prompt = split_id(str(record.protocol["id"]))
            group = (str(record.data["name"]), str(record.data["digest"]), preset)
            environment = record.environment
            row = (
                str(record.system["display"]),
                str(environment.get("device_name") or environment.get("device", "cpu")),
                str(environment.get("dtype", "fp32")),
            )
            groups.setdefault(group, {}).setdefault(row, {})[prompt] = record
    found = []
    for group, rows in sorted(groups.items()):
        runs = tuple(
            Run(next(iter(prompts.values())).system, device, dtype, prompts)
            for (_, device, dtype), prompts in sorted(rows.items())
        )
        data = next(iter(runs[0].records.values())).data
        found.append(View(data=data, preset=group[2], runs=runs))
    return found


def _table(view: View, source: PublishedTable) -> Table:
    first = next(iter(view.runs[0].records.values()))
    reference = first.protocol["reference"]["system"]
    layout = Layout(
        name="agreement",
        family=view.name,
        caption=f"mIoU with the masks of {reference['display']} for the same prompts",
        quantities=tuple(
            Quantity(f"1-{prompt} {head}", prompt, metric)
            for prompt in ("box", "point")
            for head, metric in (("all", "miou"), ("S", "miou_s"), ("M", "miou_m"), ("L", "miou_l"))
        ),
        source=None,
    )
    table = compare(layout, view)
    printed = "; ".join(
        f"{row.name} {', '.join(cell.text for cell in row.cells.values())}" for row in source.rows
    )
    columns = ", ".join(column.label for column in source.columns)
    return replace(
        table,
        footnotes=(
            *table.footnotes,
            "Agreement with a system, not accuracy.",
            f"Published ({source.paper.title}, {source.where}), columns {columns}, which it does "
            f"not explain: {printed}.",
        ),
        commands=tuple(
            f"litesam-bench agreement --reference {reference['name']} --model all"
            f" --dataset {view.name} --prompt {prompt}"
            for prompt in ("box", "point")
        ),
    )
