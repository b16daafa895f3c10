"""Records: strict to read, atomic to write, and their path says what must not be mixed."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest

from litesam_bench.errors import DataError, StorageError
from litesam_bench.records import files
from litesam_bench.records.schema import Coverage, Metric, Record, parse_record
from litesam_bench.records.store import read_records, record_path, write_record


def record(**changes: Any) -> Record:
    base = Record(
        kind="zeroshot",
        status="complete",
        system={"name": "ellipse"},
        protocol={"id": "miou-strict/clicks:3@1"},
        data={"name": "coco", "digest": "0123456789abcdef"},
        coverage=Coverage(expected=2, done=2, failed=0),
        metrics={
            "miou": Metric(
                value=0.64, unit="fraction", higher_is_better=True, n=9, protocol="miou-strict/x@1"
            )
        },
        environment={"device": "cuda:1", "dtype": "bf16"},
    )
    return dataclasses.replace(base, **changes)


def test_round_trip() -> None:
    assert parse_record(record().to_json(), "x.json") == record()


def test_path_carries_protocol_version_data_system_device_and_dtype() -> None:
    path = record_path(Path("results"), record())
    assert path.as_posix() == (
        "results/records/zeroshot/miou-strict-clicks-3/v1/coco-01234567/ellipse.cuda-bf16.json"
    )


def test_names_from_third_parties_cannot_leave_the_store() -> None:
    path = record_path(Path("results"), record(system={"name": "../../etc/passwd"}))
    assert ".." not in path.parts


def test_nan_is_written_as_null() -> None:
    metric = dataclasses.replace(record().metrics["miou"], value=float("nan"))
    text = record(metrics={"miou": metric}).to_json()
    assert json.loads(text)["metrics"]["miou"]["value"] is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.update(colour="red"), "unknown field 'colour'"),
        (lambda raw: raw.pop("system"), "system"),
        (lambda raw: raw.update(schema=99), "schema 99"),
        (lambda raw: raw["coverage"].update(lost=1), "coverage: unknown field 'lost'"),
        (lambda raw: raw["metrics"]["miou"].pop("n"), "metrics.miou"),
        (lambda raw: raw.update(metrics=[]), "metrics"),
    ],
)
def test_a_bad_record_is_named_with_its_field(edit: Any, message: str) -> None:
    raw = json.loads(record().to_json())
    edit(raw)
    with pytest.raises(DataError, match=message) as caught:
        parse_record(json.dumps(raw), "results/x.json")
    assert "results/x.json" in caught.value.message


def test_truncated_record_is_named() -> None:
    with pytest.raises(DataError, match=r"x\.json is not JSON"):
        parse_record(record().to_json()[:50], "x.json")


def test_write_and_read_back_by_kind(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    write_record(tmp_path, record(kind="edges"))
    assert [r.kind for r in read_records(tmp_path)] == ["edges", "zeroshot"]
    assert [r.kind for r in read_records(tmp_path, "zeroshot")] == ["zeroshot"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    files.write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="no space left on the disk"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
