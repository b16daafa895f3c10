"""Segment-everything: AR@K per data set, and times per device, the poster's figures beside them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import DIGEST_CHARS, cell
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Cell, Column, Table, slug

SPEED, COMPLEXITY = "lite-sam/autoppn-speed", "lite-sam/complexity"
_AR = ("ar10", "ar100", "ar1000", "ar1000_s", "ar1000_m", "ar1000_l")
_PUBLISHED_SET = "coco-val2017"
_TIMES = {
    "segevery-time": (
        "Segment everything, pixels to RLE: milliseconds per image",
        "litesam-bench segevery-time",
    ),
    "latency": (
        "A user's prompts, pixels to masks: milliseconds per image",
        "litesam-bench latency",
    ),
    "network-latency": (
        "Networks alone, random weights: milliseconds per image",
        "litesam-bench profile --latency",
    ),
}
_PHASES = ("preprocess", "encode", "prompts", "decode", "filter", "rle", "nms", "restore")
_DEFAULT_COUNTS = {"grid:32": "grid-search", "autoppn:256-points": "autoppn"}


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """One table of AR per data set and preset, one of times per device, precision and images.

    Measurements of different devices never share a table.
    """
    recalls: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    times: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        data = (str(record.data["name"]), str(record.data["digest"])[:DIGEST_CHARS])
        preset, _, version = str(record.protocol["id"]).partition("@")
        name = f"{preset.partition('/')[0]}@{version}"
        if record.kind == "segevery":
            recalls[(*data, name)].append(record)
        elif record.kind == "timing":
            environment = record.environment
            device = (str(environment["device_name"]), str(environment["dtype"]))
            times[(name, *device, *data)].append(record)
    return [
        *(_recall(published, key, recalls[key]) for key in sorted(recalls)),
        *(_time(published, key, times[key]) for key in sorted(times)),
    ]


def _sampler(record: Record) -> str:
    """`grid:32` of `ar-sam/grid:32@1`."""
    return str(record.protocol["id"]).partition("/")[2].partition("@")[0]


def _sorted(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda r: (str(r.system["display"]), _in_order(_sampler(r))))


def _in_order(sampler: str) -> tuple[tuple[str, int], ...]:
    """Sorts `encoder` first and `autoppn:64-points` before `autoppn:128-points`."""
    if sampler == "encoder":
        return ()
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", sampler))


def _recall(
    published: Mapping[str, PublishedTable], key: tuple[str, ...], records: Sequence[Record]
) -> Table:
    data, digest, preset = key
    comparable = data == _PUBLISHED_SET and not records[0].data.get("footnote")
    rows = []
    for record in _sorted(records):
        printed = _printed(published, record, "coco_mask_ar1000") if comparable else ""
        rows.append(
            (
                Cell(str(record.system["display"]), tuple(record.footnotes)),
                Cell(_sampler(record)),
                *([Cell(printed)] if comparable else []),
                *(cell(record, name, percent=True, digits=1) for name in _AR),
                cell(record, "masks_per_image", percent=False, digits=0),
            )
        )
    heads = [Column(name.removeprefix("ar"), "AR@") for name in _AR[:3]]
    heads += [Column(name[-1].upper(), "AR@1000") for name in _AR[3:]]
    return Table(
        name=slug("segevery", *key),
        caption="Segment everything: mask AR in percent",
        columns=(
            Column("System", align="left"),
            Column("Sampler", align="left"),
            *([Column("AR@1000, paper")] if comparable else []),
            *heads,
            Column("masks"),
        ),
        rows=tuple(rows),
        context=(("Data", data), ("Dataset digest", digest), ("Protocol", preset)),
        footnotes=tuple(filter(None, (str(records[0].data.get("footnote", "")),))),
        commands=("litesam-bench segevery",),
    )


def _time(
    published: Mapping[str, PublishedTable], key: tuple[str, ...], records: Sequence[Record]
) -> Table:
    name, device, dtype, data, digest = key
    preset = name.partition("@")[0]
    caption, command = _TIMES[preset]
    masks = preset == "segevery-time"
    measured = {phase for r in records for phase in r.timing_s}
    phases = [*(p for p in _PHASES if p in measured), *sorted(measured - {*_PHASES})]
    printed = [_printed(published, record, "segevery_ms") for record in _sorted(records)]
    rows = []
    for record, paper in zip(_sorted(records), printed, strict=True):
        facts = record.environment["facts"]
        rows.append(
            (
                # what a model was trained on says nothing about its time
                Cell(str(record.system["display"]), tuple(_without_domain(record.footnotes))),
                Cell(_sampler(record)),
                *([Cell(paper)] if any(printed) else []),
                cell(record, "median", percent=False, digits=1),
                cell(record, "p90", percent=False, digits=1),
                *(
                    Cell(f"{1000 * record.timing_s[p]:.1f}" if p in record.timing_s else "")
                    for p in phases
                ),
                Cell(f"{facts['prompts']:.0f}" if "prompts" in facts else ""),
                *([Cell(f"{facts['masks']:.0f}")] if masks else []),
                _ratio(record),
            )
        )
    return Table(
        name=slug(*key),
        caption=f"{caption} on {device}, {dtype}",
        columns=(
            Column("System", align="left"),
            Column("Prompts from" if masks else "What", align="left"),
            *([Column("ms, paper")] if any(printed) else []),
            Column("median"),
            Column("p90"),
            *(Column(phase, "median of the phase") for phase in phases),
            Column("prompts"),
            *([Column("masks")] if masks else []),
            Column("ratio [95 %]"),
        ),
        rows=tuple(rows),
        context=(
            ("Device", f"{device}, {dtype}"),
            ("Data", data),
            ("Dataset digest", digest),
            ("Protocol", name),
        ),
        footnotes=(
            ("The paper's times are of a device that it does not name.",) if any(printed) else ()
        ),
        commands=(command,),
    )


def _without_domain(footnotes: Sequence[str]) -> list[str]:
    return [note for note in footnotes if not note.startswith("not zero-shot")]


def _ratio(record: Record) -> Cell:
    """Time over that of the run's first row, with its interval."""
    found = record.metrics["ratio"]
    if found.value is None or found.low is None or found.high is None:
        return Cell()
    against = f"times the median of {record.environment['ratio_against']}, same run"
    return Cell(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]", (against,))


def _printed(published: Mapping[str, PublishedTable], record: Record, key: str) -> str:
    """What the poster prints for this system and sampler: Table 3, else the complexity table."""
    system, sampler = str(record.system["published"]), _sampler(record)
    variant = _DEFAULT_COUNTS.get(sampler)
    if not system or variant is None:
        return ""
    row = published[SPEED].row(system, variant)
    if row is not None:
        return row.cells[key].text
    row = published[COMPLEXITY].row(system)
    wanted = {"grid-search": "GS", "autoppn": "APPN"}[variant]
    if row is None or row.cells["sampling"].text != wanted or key not in row.cells:
        return ""
    return row.cells[key].text
