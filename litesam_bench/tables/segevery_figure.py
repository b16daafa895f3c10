"""AR@1000 against the number of prompts, and against time: is AutoPPN worth it?

One row of panels per system that proposes its own prompts, data set and protocol; the left one has
the number of prompts, the right one the median time of an image with as many, from timing records
of one device, if there are any. A pure function of records.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam_bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "segevery-prompts.png"
_SAMPLER = re.compile(r"(grid|autoppn):(\d+)(?:-(points|boxes|both))?")
# Okabe and Ito's palette: told apart by the colour-blind.
_STYLES = {
    "grid": ("#000000", "s", "grid"),
    "points": ("#0072B2", "o", "AutoPPN, points"),
    "boxes": ("#D55E00", "^", "AutoPPN, boxes"),
    "both": ("#009E73", "D", "AutoPPN, both"),
}
_REFERENCE_STYLES = ("--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """AR@1000 (fraction) of one sampler; ms of the same sampler and system, where measured."""

    prompts: int
    ar: float
    ms: float | None


@dataclass(frozen=True)
class Panel:
    """What one row of the figure shows.

    lines: by way of sampling, ascending by prompts. references: AR@1000 of systems without prompts.
    device: of the times; "" where there are none.
    """

    title: str
    lines: Mapping[str, Sequence[Point]]
    references: Mapping[str, float]
    device: str


def sampling(text: str) -> tuple[str, int] | None:
    """`grid:16` is ("grid", 256) and `autoppn:64-boxes` ("boxes", 64); others are no line."""
    match = _SAMPLER.fullmatch(text)
    if match is None or (match[1] == "grid") != (match[3] is None):
        return None
    number = int(match[2])
    return ("grid", number**2) if match[1] == "grid" else (match[3], number)


def panels(records: Sequence[Record]) -> list[Panel]:
    """The rows of the figure: each has lines of a grid and of AutoPPN."""
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    references: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for record in records:
        if record.kind != "segevery" or record.status != "complete":
            continue
        preset, sampler, version = _parts(record)
        where = (str(record.data["name"]), str(record.data["digest"]), preset, version)
        value = record.metrics["ar1000"].value
        if sampler == "own" and value is not None:
            references[where][str(record.system["display"])] = value
        elif sampling(sampler) and value is not None:
            environment = record.environment
            kind = (str(environment["dtype"]), str(record.system.get("weights", "")))
            groups[(*where, str(record.system["name"]), *kind)].append(record)
    found = []
    for key, group in sorted(groups.items()):
        times, device = _times(records, group[0])
        lines: dict[str, list[Point]] = defaultdict(list)
        for record in group:
            sampler = _parts(record)[1]
            parsed, value = sampling(sampler), record.metrics["ar1000"].value
            assert parsed is not None and value is not None, "checked above"
            lines[parsed[0]].append(Point(parsed[1], value, times.get(sampler)))
        if "grid" not in lines or len(lines) < 2:
            continue
        data, _, preset, version = key[:4]
        found.append(
            Panel(
                title=f"{group[0].system['display']}, {data}, {preset}@{version}",
                lines={
                    way: sorted(lines[way], key=lambda p: p.prompts)
                    for way in _STYLES
                    if way in lines
                },
                references=references[key[:4]],
                device=device,
            )
        )
    return found


def _times(records: Sequence[Record], like: Record) -> tuple[dict[str, float], str]:
    """Median ms by sampler of a system, all from one device, and its name: the one with the most
    samplers. Images may be others than those of the recall: times hardly depend on them."""
    by_device: dict[str, dict[str, float]] = defaultdict(dict)
    for record in records:
        preset, sampler, _ = _parts(record)
        same = (
            record.kind == "timing"
            and preset == "segevery-time"
            and record.system["name"] == like.system["name"]
            and record.environment["dtype"] == like.environment["dtype"]
        )
        median = record.metrics["median"].value if same else None
        if median is not None:
            name = f"{record.environment['device_name']}, {record.environment['dtype']}"
            by_device[name][sampler] = median
    if not by_device:
        return {}, ""
    device = max(sorted(by_device), key=lambda name: len(by_device[name]))
    return by_device[device], device


def _parts(record: Record) -> tuple[str, str, str]:
    """Preset, sampler and version of `ar-sam/grid:32@1`."""
    head, _, version = str(record.protocol["id"]).partition("@")
    preset, _, sampler = head.partition("/")
    return preset, sampler, version


def figure(rows: Sequence[Panel]) -> bytes:
    """The PNG of some rows."""
    from matplotlib.figure import Figure

    columns = 2 if any(row.device for row in rows) else 1
    drawn = Figure(figsize=(5 * columns, 0.4 + 3.9 * len(rows)), layout="constrained")
    grid = drawn.subplots(len(rows), columns, squeeze=False)
    for row, (left, *others) in zip(rows, grid, strict=True):
        for way, points in row.lines.items():
            left.plot([p.prompts for p in points], [100 * p.ar for p in points], **_style(way))
        counts = _apart([p.prompts for points in row.lines.values() for p in points])
        left.set_xscale("log", base=2)
        left.set_xticks(counts, [str(n) for n in counts], fontsize=8)
        left.minorticks_off()
        left.set(xlabel="prompts", title=row.title)
        _dress(left, row.references)
        left.legend(fontsize=8)
        for right in others:
            _draw_times(right, row)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _draw_times(axes: Axes, row: Panel) -> None:
    """AR against time; a panel without times is left out, and says nothing."""
    if not row.device:
        axes.set_visible(False)
        return
    for way, points in row.lines.items():
        timed = [(p.ms, 100 * p.ar) for p in points if p.ms is not None]
        axes.plot([ms for ms, _ in timed], [ar for _, ar in timed], **_style(way))
    axes.set(xlabel=f"median ms per image: {row.device}")
    _dress(axes, row.references)


def _style(way: str) -> dict[str, Any]:
    colour, marker, label = _STYLES[way]
    return {"color": colour, "marker": marker, "label": label, "lw": 1.8, "ms": 5}


def _apart(counts: Sequence[int]) -> list[int]:
    """The counts whose labels have room on a doubling axis: 121 and 128 share one."""
    kept: list[int] = []
    for count in sorted(counts, reverse=True):
        if not kept or count < 0.8 * kept[-1]:
            kept.append(count)
    return kept[::-1]


def _dress(axes: Axes, references: Mapping[str, float]) -> None:
    """Levels of systems without prompts (the oracle is off the chart), and the frame."""
    shown = sorted((value, name) for name, value in references.items() if value < 1)
    for i, (value, name) in enumerate(shown):
        style = _REFERENCE_STYLES[i % len(_REFERENCE_STYLES)]
        axes.axhline(100 * value, color="#808080", lw=1.2, ls=style, label=name)
    axes.set_ylabel("mask AR@1000, %")
    axes.set_ylim(bottom=0)
    axes.grid(color="#e6e6e6")


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the figure if the records have one; `[path]` where that changed it, else `[]`."""
    from litesam_bench.records.files import write_atomic

    rows = panels(records)
    if not rows:
        return []
    path, content = folder / NAME, figure(rows)
    if path.is_file() and path.read_bytes() == content:
        return []
    write_atomic(path, content)
    return [path]
