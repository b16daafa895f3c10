"""The Lite-SAM poster's "Zero-Shot Image Segmentation Results on COCO and LVIS".

One table per dataset digest and protocol preset: the poster's COCO half beside COCO runs, its LVIS
half beside LVIS runs, and no published column beside data that no paper has measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.compare import Layout, Quantity, compare
from litesam_bench.tables.measured import View, views
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

SOURCE = "lite-sam/zeroshot"
PRINTED_FAMILIES = ("coco", "lvis")


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table per view; a half without a run shows the published numbers alone."""
    found = views(records, ("box", "point"))
    tables = []
    for family in PRINTED_FAMILIES:
        mine: list[View | None] = [view for view in found if view.family == family]
        layout = _layout(family, published[SOURCE])
        tables += [compare(layout, view) for view in mine or [None]]
    other = [view for view in found if not view.family]
    return tables + [compare(_layout(view.name, None), view) for view in other]


def _layout(family: str, source: PublishedTable | None) -> Layout:
    where = family.upper() if source else family
    return Layout(
        name="zeroshot",
        family=family,
        caption=f"Zero-Shot Image Segmentation Results on {where}",
        quantities=(
            Quantity("1-box mIoU", "box", "miou", f"{family}_box_miou"),
            Quantity("1-point mIoU", "point", "miou", f"{family}_point_miou"),
            Quantity("AP", "box", "ap", f"{family}_ap"),
            Quantity("AP^S", "box", "aps", f"{family}_ap_s"),
            Quantity("AP^M", "box", "apm", f"{family}_ap_m"),
            Quantity("AP^L", "box", "apl", f"{family}_ap_l"),
        ),
        source=source,
    )
