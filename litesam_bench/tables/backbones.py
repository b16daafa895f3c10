"""The Lite-SAM poster's "Comparison with SOTA lightweight backbone models on COCO"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.compare import Layout, Quantity, compare
from litesam_bench.tables.measured import View, views
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

SOURCE = "lite-sam/backbones"
# The poster's row of its own backbone is Lite-SAM at 640.
_FILLED_BY = {"litevit": "lite-sam-r640"}


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table per COCO view, or the published numbers alone."""
    found = views(records, ("box", "point"))
    mine: list[View | None] = [view for view in found if view.family == "coco"]
    layout = Layout(
        name="backbones",
        family="coco",
        caption=published[SOURCE].title,
        quantities=(
            Quantity("1-box mAP", "box", "ap", "coco_box_ap"),
            Quantity("1-box mIoU", "box", "miou", "coco_box_miou"),
            Quantity("1-point mAP", "point", "ap", "coco_point_ap"),
            Quantity("1-point mIoU", "point", "miou", "coco_point_miou"),
        ),
        source=published[SOURCE],
        printed_only=("segany_ms", "params_m", "macs_g", "input_px"),
        filled_by=_FILLED_BY,
    )
    return [compare(layout, view) for view in mine or [None]]
