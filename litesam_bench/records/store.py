"""The record store: `results/records/<kind>/<protocol>/v<version>/<data>/<system>.json`.

The path carries what must not be mixed (protocol, version, data digest, device and dtype); the file
carries everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from litesam_bench.records.files import write_atomic
from litesam_bench.records.schema import Record, parse_record


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def record_path(root: Path, record: Record) -> Path:
    """Where a record lives under a results root."""
    name, _, version = str(record.protocol["id"]).partition("@")
    device = str(record.environment.get("device", "cpu")).partition(":")[0]
    if record.kind == "timing":  # two processors are two measurements
        device = _safe(str(record.environment["device_name"])).lower()
    dtype = record.environment.get("dtype", "fp32")
    data = f"{_safe(str(record.data['name']))}-{str(record.data['digest'])[:8]}"
    return (
        root
        / "records"
        / record.kind
        / _safe(name)
        / f"v{version or 1}"
        / data
        / f"{_safe(str(record.system['name']))}.{device}-{dtype}.json"
    )


def write_record(root: Path, record: Record) -> Path:
    """Write a record atomically; returns its path. Raises StorageError: a lost record is fatal."""
    path = record_path(root, record)
    write_atomic(path, record.to_json())
    return path


def read_records(root: Path, kind: str | None = None) -> Iterator[Record]:
    """All records under a results root in path order. Raises DataError naming a damaged file."""
    base = root / "records" / kind if kind else root / "records"
    for path in sorted(base.rglob("*.json")):
        yield parse_record(path.read_text(), path)
