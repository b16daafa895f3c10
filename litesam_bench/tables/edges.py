"""The Lite-SAM poster's "Zero-shot transfer to edge detection on BSDS500".

Published numbers stand beside runs on the whole test split under the official protocol; every other
data set or setting has a table of its own, without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from litesam_bench.records.schema import Record
from litesam_bench.tables.compare import Layout, Quantity, compare
from litesam_bench.tables.measured import Run, View, split_id
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

SOURCE = "lite-sam/edges"
OFFICIAL = ("bsds500-test", "bsds@1")
_SPLIT_SIZE = 200
_QUANTITIES = (("ODS", "ods"), ("OIS", "ois"), ("AP", "ap"), ("R50", "r50"))


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table per data digest and benchmark settings; the poster's, measured or not."""
    found = _views(records)
    official: list[View | None] = [view for view in found if _is_official(view)]
    return [
        *(_table(view, published[SOURCE]) for view in official or [None]),
        *(_table(view, None) for view in found if not _is_official(view)),
    ]


def _is_official(view: View) -> bool:
    return (view.name, view.preset) == OFFICIAL and view.data["n_images"] == _SPLIT_SIZE


def _views(records: Sequence[Record]) -> list[View]:
    """Records of edges by data and settings. Each is a row: a system may have maps of two kinds."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if record.kind == "edges":
            preset, _ = split_id(str(record.protocol["id"]))
            key = (str(record.data["name"]), str(record.data["digest"]), preset)
            groups.setdefault(key, []).append(record)
    return [
        View(
            data=groups[key][0].data,
            preset=key[2],
            runs=tuple(sorted(map(_run, groups[key]), key=_order)),
        )
        for key in sorted(groups)
    ]


def _run(record: Record) -> Run:
    environment = record.environment
    device = str(environment.get("device_name") or environment.get("device", "cpu"))
    return Run(record.system, device, str(environment.get("dtype", "fp32")), {"": record})


def _order(run: Run) -> tuple[str, str, str, str]:
    return str(run.system["display"]), str(run.records[""].protocol["id"]), run.device, run.dtype


def _table(view: View | None, source: PublishedTable | None) -> Table:
    name = view.name if view else OFFICIAL[0]
    layout = Layout(
        name="edges",
        family=name,
        caption=f"Zero-shot transfer to edge detection on {'BSDS500' if source else name}",
        quantities=tuple(Quantity(head, "", key, key) for head, key in _QUANTITIES),
        source=source,
        printed_only=("year",) if source else (),
        # the poster does not state the input size; the default one fills its row
        filled_by={"lite-sam": "lite-sam-r640"},
    )
    data = "--bsds" if name.startswith("bsds500") else "--ground-truth DIR"
    if name.startswith("scenes"):
        data = ""
    commands = (
        f"litesam-bench edges {data} --model NAME",
        f"litesam-bench edges {data} --from-maps DIR --name NAME",
    )
    return replace(
        compare(layout, view), commands=tuple(" ".join(line.split()) for line in commands)
    )
