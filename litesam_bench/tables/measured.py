"""Records as table cells, grouped so that unlike measurements never share a column.

A `View` is what one table may show: one dataset digest, one protocol preset and, for detector
prompts, one file of boxes. Inside it a `Run` is one row: one system on one device in one precision.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from litesam_bench.errors import DataError
from litesam_bench.records.schema import Record
from litesam_bench.tables.render import Cell

DIGEST_CHARS = 12
# Other splits and versions, and a user's own folder, have no published numbers to stand beside.
_MEASURED_BY_PAPERS = {"coco-val2017": "coco", "lvis-v1-val": "lvis"}


@dataclass(frozen=True, slots=True)
class Run:
    """One system on one device in one precision; its records by prompt (`box`, `clicks:3`)."""

    system: Mapping[str, Any]
    device: str
    dtype: str
    records: Mapping[str, Record]

    @property
    def notes(self) -> tuple[str, ...]:
        """Footnotes of all its records, without repetition."""
        return tuple(dict.fromkeys(n for r in self.records.values() for n in r.footnotes))

    @property
    def where(self) -> str:
        return f"{self.device}, {self.dtype}"


@dataclass(frozen=True, slots=True)
class View:
    """Records that one table may show. `preset` is a protocol's name and version without prompt."""

    data: Mapping[str, Any]
    preset: str
    runs: tuple[Run, ...]

    @property
    def family(self) -> str:
        """`coco` or `lvis` for the sets that papers measure on, "" for all others."""
        return _MEASURED_BY_PAPERS.get(self.name, "")

    @property
    def name(self) -> str:
        """The dataset's own name, such as `coco-val2017` or `scenes`."""
        return str(self.data["name"])

    @property
    def digest(self) -> str:
        return str(self.data["digest"])[:DIGEST_CHARS]

    @property
    def boxes(self) -> Mapping[str, Any]:
        """The detector's boxes that were the prompts; empty for other prompts."""
        found: Mapping[str, Any] = self.data.get("boxes") or {}
        return found

    @property
    def suffix(self) -> str:
        """Distinguishes the files of different views: data, digest, preset and boxes."""
        boxes = f"-boxes-{self.boxes['sha256'][:8]}" if self.boxes else ""
        name, _, version = self.preset.partition("@")
        text = f"{self.name}-{self.digest}-{name}-v{version}{boxes}"
        return re.sub(r"[^A-Za-z0-9.-]+", "-", text)

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(sorted({run.where for run in self.runs}))


def split_id(protocol_id: str) -> tuple[str, str]:
    """`miou-strict/clicks:3@1` -> (`miou-strict@1`, `clicks:3`)."""
    head, _, version = protocol_id.partition("@")
    name, _, prompt = head.partition("/")
    return f"{name}@{version or '1'}", prompt


def views(records: Iterable[Record], prompts: Collection[str]) -> list[View]:
    """Group the zero-shot records that were prompted in one of these ways.

    Views come in the order of data name, digest, preset and boxes; runs by display name.

    Raises:
        DataError: two records measure the same thing, so that neither can be preferred.
    """
    groups: dict[tuple[str, ...], dict[tuple[str, ...], dict[str, Record]]] = {}
    for record in records:
        preset, prompt = split_id(str(record.protocol["id"]))
        if record.kind != "zeroshot" or prompt not in prompts:
            continue
        boxes = record.data.get("boxes") or {}
        group = (
            str(record.data["name"]),
            str(record.data["digest"]),
            preset,
            str(boxes.get("sha256", "")),
        )
        run = groups.setdefault(group, {}).setdefault(_run_key(record), {})
        if prompt in run:
            raise DataError(
                f"two records of {record.system['name']} have the same protocol "
                f"{record.protocol['id']}, data digest {group[1][:DIGEST_CHARS]} and device",
                fix="keep one of them under results/records and run `litesam-bench report` again",
            )
        run[prompt] = record
    return [_view(groups[key], key) for key in sorted(groups)]


def _run_key(record: Record) -> tuple[str, ...]:
    environment = record.environment
    device = str(environment.get("device_name") or environment.get("device", "cpu"))
    return (
        str(record.system["display"]),
        str(record.system["name"]),
        device,
        str(environment.get("dtype", "fp32")),
    )


def _view(runs: Mapping[tuple[str, ...], Mapping[str, Record]], key: tuple[str, ...]) -> View:
    ordered = [
        Run(
            system=next(iter(runs[run].values())).system,
            device=run[2],
            dtype=run[3],
            records=runs[run],
        )
        for run in sorted(runs)
    ]
    first = next(iter(ordered[0].records.values()))
    return View(data=first.data, preset=key[2], runs=tuple(ordered))


# --- cells ---------------------------------------------------------------------------------------


def number(record: Record | None, metric: str, *, percent: bool, digits: int) -> Decimal | None:
    """A metric at the digits of the paper, or None unless the record is complete and has it."""
    if record is None or record.status != "complete":
        return None
    found = record.metrics.get(metric)
    if found is None or found.value is None:
        return None
    value = Decimal(str(found.value))
    if percent and found.unit == "fraction":
        value *= 100
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def cell(record: Record | None, metric: str, *, percent: bool, digits: int) -> Cell:
    """The measured cell: a number, `n/N` images of a partial run, `failed`, `n/a`, or nothing.

    Numbers of untrained systems are in parentheses; `-` stands for a mean over nothing.
    """
    if record is None:
        return Cell()
    if record.status == "partial":
        coverage = f"{record.coverage.done}/{record.coverage.expected}"
        return Cell(coverage, ("partial run: images done / expected, not a score",))
    if record.status != "complete":
        return Cell(record.status, (record.reason,) if record.reason else ())
    value = number(record, metric, percent=percent, digits=digits)
    if value is None:
        return Cell("-" if metric in record.metrics else "")
    return Cell(f"({value})" if record.system.get("training") == "untrained" else str(value))


def difference(record: Record | None, measured: Decimal | None, printed: Decimal | None) -> Cell:
    """Ours minus the paper's, in the paper's digits; empty for untrained systems."""
    if record is None or measured is None or printed is None:
        return Cell()
    if record.system.get("training") == "untrained":
        return Cell()
    delta = measured - printed
    if delta == 0:
        return Cell(str(abs(delta)))
    return Cell(f"+{delta}" if delta > 0 else f"−{-delta}")


def sample_size(run: Run) -> Cell:
    """`instances / images` behind the run's numbers; several where its prompts differ."""
    sizes = dict.fromkeys(
        f"{_instances(record)} / {record.coverage.done}"
        for record in run.records.values()
        if record.status == "complete"
    )
    return Cell("; ".join(sizes))


def _instances(record: Record) -> int:
    miou = record.metrics.get("miou")
    return miou.n if miou is not None else int(record.data["n_instances"])
