"""The record: one JSON file that says what was measured, with what, on what, and how completely.

Tables and figures are pure functions of records. The schema is versioned and strict: an unknown or
missing field is an error that names the file, so that a table never silently drops what it cannot
read.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from litesam_bench.errors import DataError

SCHEMA = 1
Status = Literal["complete", "partial", "failed", "n/a"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number. `low` and `high` bound its 95 % interval where one is computed.

    `n` counts what was averaged (instances, images, categories). `protocol` is the protocol id that
    defines the number: one run can be scored under several.
    """

    value: float | None
    unit: str
    higher_is_better: bool
    n: int
    protocol: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Images expected, done and failed. A record with done < expected never renders as a score."""

    expected: int
    done: int
    failed: int
    failures: dict[str, str] = field(default_factory=dict)  # image id -> first line of the reason


@dataclass(frozen=True, kw_only=True)
class Record:
    """See the module docstring. Everything except `metrics`, `coverage` and the identities
    (system, protocol, data) may differ between two runs of the same thing."""

    kind: str  # "zeroshot", "segevery", "edges", "timing", ...
    status: Status
    system: dict[str, Any]
    protocol: dict[str, Any]
    data: dict[str, Any]
    coverage: Coverage
    metrics: dict[str, Metric]
    timing_s: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    footnotes: list[str] = field(default_factory=list)
    reason: str = ""
    fingerprint: str = ""
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Indented, key-sorted JSON; NaN is not JSON and becomes null."""
        return json.dumps(_finite(asdict(self)), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _build(cls: type[Any], raw: Any, where: str) -> Any:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: expected an object", fix=_FIX)
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise DataError(f"{where}: unknown field {unknown[0]!r}", fix=_FIX)
    try:
        return cls(**raw)
    except TypeError as error:
        raise DataError(f"{where}: {error}", fix=_FIX) from error


_FIX = "delete the file and run its command again (`environment.command`), or upgrade litesam-bench"


def parse_record(text: str, path: Path | str) -> Record:
    """Parse and check one record. Raises DataError naming `path` and the first bad field."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}", fix=_FIX) from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else None
        raise DataError(f"{path}: schema {found!r}, this release reads {SCHEMA}", fix=_FIX)
    raw["coverage"] = _build(Coverage, raw.get("coverage"), f"{path}: coverage")
    metrics = raw.get("metrics")
    if not isinstance(metrics, dict):
        raise DataError(f"{path}: metrics: expected an object", fix=_FIX)
    raw["metrics"] = {k: _build(Metric, v, f"{path}: metrics.{k}") for k, v in metrics.items()}
    record: Record = _build(Record, raw, str(path))
    return record
