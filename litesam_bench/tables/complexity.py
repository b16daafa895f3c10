"""Parameters and MACs beside the printed ones, from the records of `litesam-bench profile --all`.

Three printed tables: the Lite-SAM poster's model complexity, the parameters and MACs of its
backbone comparison, and EfficientViT-SAM's Table 1, where the throughput of a device is shown once
it has been measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import cell, difference, number
from litesam_bench.tables.published import PublishedRow, PublishedTable
from litesam_bench.tables.render import Cell, Column, Table, slug

SYSTEM_PROTOCOL, BACKBONE_PROTOCOL = "complexity/system@1", "complexity/backbone@1"
_ENCODER_LATENCY = "network-latency/encoder@1"

_LITE = (
    "the printed MACs do not follow from the printed widths and parameters, which this "
    "reimplementation keeps to"
)
_ENCODER_MACS = "the paper's MACs are the encoder's alone"
NOTES: Mapping[tuple[str, str], str] = {
    ("lite-sam", "sam-b"): "the poster's 90 M are the encoder alone; 371 G are encoder and decoder "
    "without the two products of attention, which counters that hook modules do not see; with them "
    "488 G, as TinySAM prints (487 G)",
    ("lite-sam", "sam-l"): "the poster's 308 M are the encoder alone; 1.3 T are without "
    "attention's products",
    ("lite-sam", "sam-h"): "the poster's 635 M are the encoder alone; 2.7 T are without "
    "attention's products; 2976 G are printed with them (TinySAM)",
    ("lite-sam", "lite-sam-r640"): _LITE,
    ("lite-sam", "lite-sam-r1024"): _LITE,
    ("lite-sam", "efficientvit-sam-l0"): "the poster's 31 M are the encoder alone, and its 109 G "
    "come near an input of 1024 (106 G and 2 G of decoding); the published model takes 512",
    (
        "lite-sam",
        "mobile-sam-v2",
    ): "ours is without the object-aware detector, which is a source of boxes here",
    (
        "lite-sam",
        "semantic-sam-l",
    ): "ours at the 640 pixels of upstream's demo; the poster does not say its input",
    ("lite-sam", "efficientvit"): "the poster's 30.73 M and 106.5 G are those of "
    "EfficientViT-SAM-L0's image encoder, its neck included, at 1024; here the backbone alone at "
    "640, which Lite-SAM's neck follows",
    ("lite-sam", "tinyvit"): "the poster's 6.07 M are those of MobileSAM's image encoder, its neck "
    "and unused classifier included, whose input is 1024; here the backbone alone at 640",
    ("lite-sam", "mobilevit"): "the poster's 5.57 M contain a classifier of 0.64 M; its 13.7 G "
    "lie between 11.4 G without attention's products and 18.3 G with them",
    **{
        ("efficientvit-sam", f"efficientvit-sam-{variant}"): _ENCODER_MACS
        for variant in ("l0", "l1", "l2", "xl0", "xl1")
    },
    ("efficientvit-sam", "edge-sam"): _ENCODER_MACS,
    ("efficientvit-sam", "mobile-sam"): _ENCODER_MACS,
    ("efficientvit-sam", "sam-h"): "the paper's 2973 G are near the encoder's alone",
}
"""Why a paper's figure differs from ours, by paper and system."""


@dataclass(frozen=True)
class Printed:
    """What one table prints of a system's complexity, "" where nothing."""

    ref: str
    params_m: str
    macs_g: str


# FLOPs that are MACs by their size (TinySAM prints 487 G for SAM-B, EdgeSAM 22.1 for 21.9)
_MACS_KEYS = ("macs_g", "flops_g", "gflops")


def printed_of(system: str, family: str, tables: Iterable[PublishedTable]) -> list[Printed]:
    """What the papers print for a published key: tables with both figures first, and among them
    the family's own paper, then Lite-SAM's."""
    found = []
    for table in tables:
        row = table.row(system) if system else None
        if row is None:
            continue
        params = _text(row, ("params_m",))
        macs = _text(row, _MACS_KEYS)
        if params or macs:
            found.append(Printed(table.ref, params, macs))

    def rank(printed: Printed) -> tuple[bool, int]:
        paper = printed.ref.partition("/")[0]
        one_is_missing = not (printed.params_m and printed.macs_g)
        return one_is_missing, {family: 0, "lite-sam": 1}.get(paper, 2)

    return sorted(found, key=rank)


def _text(row: PublishedRow, keys: Sequence[str]) -> str:
    return next((row.cells[key].text for key in keys if key in row.cells), "")


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """The three tables; Table 1 of EfficientViT-SAM once per device whose latency is known."""
    systems = _by_protocol(records, SYSTEM_PROTOCOL)
    backbones = _by_protocol(records, BACKBONE_PROTOCOL)
    latencies: dict[str, list[Record]] = {}
    for record in _by_protocol(records, _ENCODER_LATENCY):
        environment = record.environment
        where = f"{environment['device_name']}, {environment['dtype']}"
        latencies.setdefault(where, []).append(record)
    runtime = published["efficientvit-sam/runtime"]
    return [
        _table(
            _Layout(
                "complexity",
                published["lite-sam/complexity"],
                ("segevery_s", "coco_mask_ar1000", "sampling", "training"),
                parts=True,
                others=True,
            ),
            systems,
        ),
        _table(
            _Layout(
                "backbones-complexity",
                published["lite-sam/backbones"],
                ("segany_ms", "input_px"),
                caption="Lightweight backbones: parameters and MACs at 640 x 640",
            ),
            backbones,
        ),
        *(
            _table(
                _Layout(
                    slug("efficientvit-sam-table1", where),
                    runtime,
                    ("throughput", "coco_ap"),
                    parts=True,
                    where=where,
                ),
                systems,
                latencies.get(where, []),
            )
            for where in sorted(latencies) or [""]
        ),
    ]


def _by_protocol(records: Sequence[Record], protocol: str) -> list[Record]:
    return [record for record in records if record.protocol["id"] == protocol]


@dataclass(frozen=True)
class _Layout:
    """What a table shows. parts: ours of encoder and decoder apart. others: systems that the paper
    does not print, too. where: the device of our throughput, "" for none."""

    name: str
    source: PublishedTable
    printed_only: tuple[str, ...]
    caption: str = ""
    parts: bool = False
    others: bool = False
    where: str = ""


_TOTALS = (("Params (M)", "params_m"), ("MACs (G)", "macs_g"))
_PARTS = (
    ("encoder M", "encoder_params_m", 1),
    ("decoder M", "decoder_params_m", 1),
    ("encoder G", "encoder_macs_g", 1),
    ("decoder G", "decoder_macs_g", 1),
)


def _table(layout: _Layout, counted: Sequence[Record], timed: Sequence[Record] = ()) -> Table:
    rows = []
    shown: set[int] = set()
    for printed in layout.source.rows:
        own: list[Record | None] = [r for r in counted if r.system["published"] == printed.system]
        shown |= {id(record) for record in own}
        rows += [_row(layout, printed, record, timed) for record in own or [None]]
    if layout.others:
        others = [record for record in counted if id(record) not in shown]
        others.sort(key=lambda record: str(record.system["display"]))
        rows += [_row(layout, None, record, timed) for record in others]
    columns = [Column("Model", align="left")]
    columns += [Column(label, head) for head, _ in _TOTALS for label in ("paper", "ours", "Δ")]
    if layout.parts:
        columns += [Column(head, "ours") for head, _, _ in _PARTS]
    for key in layout.printed_only:
        column = layout.source.column(key)
        head = column.label if column.unit == "text" else f"{column.label} ({column.unit})"
        columns.append(Column("paper", head))
        if key == "throughput" and layout.where:
            columns.append(Column("ours", head))
    columns.append(Column("Input of ours"))
    paper = layout.source.paper
    context = [("Published", f"{paper.title}, {layout.source.where} (arXiv:{paper.arxiv})")]
    if layout.where:
        context.append(("Device", layout.where))
    notes = [
        "Ours: convolutions and matrix products, attention's included, of one image and one point "
        "prompt; counted on shapes alone, from random weights."
    ]
    if layout.where:
        notes.append(
            "Our throughput: the encoder alone, one image a call, in PyTorch, on the device above; "
            "the paper's is TensorRT's in fp16, on another."
        )
    notes += [f"Published: {text}" for text in (layout.source.note, paper.note) if text]
    return Table(
        name=layout.name,
        caption=layout.caption or layout.source.title,
        columns=tuple(columns),
        rows=tuple(rows),
        context=tuple(context),
        footnotes=tuple(notes),
        commands=("litesam-bench profile --all",),
    )


def _row(
    layout: _Layout, printed: PublishedRow | None, record: Record | None, timed: Sequence[Record]
) -> tuple[Cell, ...]:
    if printed is not None:
        name = printed.name
        note = NOTES.get((layout.source.paper.key, printed.system), "")
        notes = [text for text in (printed.note, note if record else "") if text]
    else:
        assert record is not None
        name, notes = str(record.system["display"]), []
    cells = [Cell(name, tuple(notes))]
    for _, key in _TOTALS:
        paper = printed.cells[key] if printed is not None else None
        digits = _digits(paper.value) if paper is not None else 1
        ours = number(record, key, percent=False, digits=digits)
        cells += [
            Cell(paper.text if paper is not None else ""),
            cell(record, key, percent=False, digits=digits),
            difference(record, ours, paper.value if paper is not None else None),
        ]
    if layout.parts:
        cells += [cell(record, key, percent=False, digits=digits) for _, key, digits in _PARTS]
    for key in layout.printed_only:
        cells.append(Cell(printed.cells[key].text if printed is not None else ""))
        if key == "throughput" and layout.where:
            cells.append(_throughput(record, timed))
    size = str(record.data["name"]).removeprefix("input-") if record is not None else ""
    return (*cells, Cell(size))


def _digits(value: Decimal | None) -> int:
    """Decimals of a printed number, one where there is none."""
    exponent = value.as_tuple().exponent if value is not None else -1
    return max(0, -exponent) if isinstance(exponent, int) else 1


def _throughput(record: Record | None, timed: Sequence[Record]) -> Cell:
    """Images a second of the encoder of the same system."""
    name = record.system["name"] if record is not None else None
    found = next((r for r in timed if r.system["name"] == name), None)
    median = found.metrics["median"].value if found is not None else None
    return Cell(f"{1000 / median:.3g}" if median else "")
