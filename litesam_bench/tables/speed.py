"""Times that papers print by way of sampling or number of prompts, ours of one device beside them.

The Lite-SAM poster's Table 3 and FastSAM's table of running speeds. Their devices are others than
ours, so that no difference is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litesam_bench.records.schema import Record
from litesam_bench.tables.measured import cell
from litesam_bench.tables.published import PublishedRow, PublishedTable
from litesam_bench.tables.render import Cell, Column, Table, slug

_SAMPLING, _PROMPTS = "lite-sam/autoppn-speed", "fast-sam/speed"
_SAMPLERS = {"grid-search": "grid:32", "autoppn": "autoppn:256-points"}
_COUNTS = {
    "prompts_1_ms": "latency/1-points",
    "prompts_10_ms": "latency/10-points",
    "prompts_100_ms": "latency/100-points",
    "grid_16_ms": "segevery-time/grid:16",
    "grid_32_ms": "segevery-time/grid:32",
    "grid_64_ms": "segevery-time/grid:64",
}

_Times = Mapping[tuple[str, str], Record]
"""Timing records of one device by published key of the system and protocol without version."""


@dataclass(frozen=True)
class _Device:
    """Where a table's times are from; empty where nothing was timed."""

    name: str
    times: _Times

    @property
    def context(self) -> tuple[tuple[str, str], ...]:
        return (("Device of ours", self.name),) if self.name else ()


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """Both tables once per device and precision that has times, else once with none."""
    devices = _devices(records) or [_Device("", {})]
    return [
        *(_sampling_table(published[_SAMPLING], device) for device in devices),
        *(_prompts_table(published[_PROMPTS], device) for device in devices),
    ]


def _devices(records: Sequence[Record]) -> list[_Device]:
    found: dict[str, dict[tuple[str, str], Record]] = {}
    wanted = {*_COUNTS.values(), *(f"segevery-time/{sampler}" for sampler in _SAMPLERS.values())}
    # where one system was timed on several sets of images, the larger set counts
    for record in sorted(records, key=lambda r: (r.coverage.done, str(r.data["digest"]))):
        protocol = str(record.protocol["id"]).partition("@")[0]
        if record.kind == "timing" and protocol in wanted:
            device = f"{record.environment['device_name']}, {record.environment['dtype']}"
            key = (str(record.system["published"] or record.system["name"]), protocol)
            found.setdefault(device, {})[key] = record
    return [_Device(name, found[name]) for name in sorted(found)]


def _sampling_table(source: PublishedTable, device: _Device) -> Table:
    rows = []
    for printed in source.rows:
        record = device.times.get((printed.system, f"segevery-time/{_SAMPLERS[printed.variant]}"))
        rows.append(
            (
                Cell(printed.name),
                Cell(printed.cells["sampling"].text),
                Cell(printed.cells["segevery_ms"].text),
                *([_time(record)] if device.name else []),
                Cell(printed.cells["coco_mask_ar1000"].text),
            )
        )
    return Table(
        name=slug("sampling-strategies", device.name),
        caption=source.title,
        columns=(
            Column("Model", align="left"),
            Column("Sampling strategy", align="left"),
            Column("paper", "SegEvery time (ms)"),
            *([Column("ours", "SegEvery time (ms)")] if device.name else []),
            Column("paper", "Mask AR@1000 (%)"),
        ),
        rows=tuple(rows),
        context=(*_origin(source), *device.context),
        footnotes=_notes(source),
        commands=(
            "litesam-bench segevery-time --model lite-sam --sampler grid:32,autoppn:256",
            "litesam-bench segevery-time --model baselines/_with_autoppn.py"
            " --sampler grid:32,autoppn:256",
        ),
    )


def _prompts_table(source: PublishedTable, device: _Device) -> Table:
    counts = [source.column(key) for key in _COUNTS]
    rows = [_prompts_row(printed.name, printed, printed.system, device) for printed in source.rows]
    names = {printed.system for printed in source.rows}
    others = {
        system: str(record.system["display"])
        for (system, protocol), record in device.times.items()
        if system not in names and protocol in _COUNTS.values()
    }
    rows += [_prompts_row(others[system], None, system, device) for system in sorted(others)]
    columns = [Column("Model", align="left")]
    for column in counts:
        head = f"{column.label} (ms)"
        columns += [Column("paper", head), *([Column("ours", head)] if device.name else [])]
    return Table(
        name=slug("prompt-speed", device.name),
        caption=source.title,
        columns=tuple(columns),
        rows=tuple(rows),
        context=(*_origin(source), *device.context),
        footnotes=(
            "1, 10, 100: points, pixels to masks. E(n×n): segment everything with a grid, pixels to"
            " RLE.",
            *_notes(source),
        ),
        commands=(
            "litesam-bench latency --points 1,10,100",
            "litesam-bench segevery-time --sampler grid:16,grid:32,grid:64",
        ),
    )


def _prompts_row(
    name: str, printed: PublishedRow | None, system: str, device: _Device
) -> tuple[Cell, ...]:
    cells = [Cell(name)]
    for key, protocol in _COUNTS.items():
        cells.append(Cell(printed.cells[key].text if printed is not None else ""))
        if device.name:
            cells.append(_time(device.times.get((system, protocol))))
    return tuple(cells)


def _time(record: Record | None) -> Cell:
    """Median ms, and which images it is of."""
    found = cell(record, "median", percent=False, digits=0)
    if record is None:
        return found
    part = [note for note in record.footnotes if note.startswith("first ")]
    images = ", ".join([str(record.data["name"]), *part])
    return Cell(found.text, (*found.notes, images))


def _origin(source: PublishedTable) -> tuple[tuple[str, str], ...]:
    arxiv = f" (arXiv:{source.paper.arxiv})" if source.paper.arxiv else ""
    return (("Published", f"{source.paper.title}, {source.where}{arxiv}"),)


def _notes(source: PublishedTable) -> tuple[str, ...]:
    return (f"Published: {source.note}",) if source.note else ()
