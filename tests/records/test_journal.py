"""Journals survive what happens to runs: kills, torn lines, damage, full disks, two writers."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from litesam_bench.errors import StorageError, UsageError
from litesam_bench.records.journal import (
    Candidate,
    Entry,
    JournalWriter,
    Prediction,
    RunFolder,
    fingerprint,
    from_line,
    to_line,
)


def entry(image_id: int, *, iou: float = 0.5, error: str = "") -> Entry:
    if error:
        return Entry(image_id, (4, 6), error=error)
    prediction = Prediction(7, (Candidate(0, iou, 0.9, "0`3"),), ((1.0, 2.0, 1),))
    return Entry(image_id, (4, 6), (prediction,), {"embed": 0.25})


def test_lines_round_trip() -> None:
    for original in (entry(3), entry(4, error="truncated"), Entry(5, (2, 2))):
        assert from_line(to_line(original)) == original


@pytest.mark.parametrize("cut", [1, 10, 40, -2, -1])
def test_a_torn_line_is_dropped(cut: int) -> None:
    assert from_line(to_line(entry(3))[:cut]) is None


def test_a_flipped_character_is_noticed() -> None:
    line = to_line(entry(3))
    assert from_line(line.replace("0.9", "0.8")) is None


def test_a_killed_writer_loses_only_its_last_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {"system": "x"})
    with run.writer() as writer:
        writer.append(entry(1))
        writer.append(entry(2))
    journal = run.path / "journal-0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert list(run.entries()) == [1]
    with run.writer() as writer:
        writer.append(entry(3))
    assert list(run.entries()) == [1, 3]
    assert run.damaged() == 1


def test_success_replaces_failure_and_never_the_other_way(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {})
    with run.writer(0) as writer:
        writer.append(entry(1, error="missing"))
        writer.append(entry(1))
    with run.writer(1) as writer:
        writer.append(entry(1, error="missing again"))
    assert run.entries()[1].error == ""


def test_journals_of_all_ranks_merge_in_image_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {})
    for rank, ids in enumerate([(5, 1), (4, 2)]):
        with run.writer(rank) as writer:
            for i in ids:
                writer.append(entry(i))
    assert list(run.entries()) == [1, 2, 4, 5]


def test_two_writers_of_one_journal_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal-0.jsonl"
    with JournalWriter(path), pytest.raises(UsageError, match="another process"):
        JournalWriter(path).__enter__()
    with JournalWriter(path) as writer:  # the lock was given back
        writer.append(entry(1))


def test_full_disk_is_a_storage_error_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path, {})
    with pytest.raises(StorageError, match="no space left") as caught, run.writer() as writer:
        writer.append(entry(1))

        def full(data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        class Full:
            write = staticmethod(full)

            def close(self) -> None: ...

        monkeypatch.setattr(writer, "_handle", Full())
        writer.append(entry(2))
    assert "run the same command again" in caught.value.fix
    assert list(run.entries()) == [1]


def test_fingerprints_depend_on_every_value_but_not_on_order() -> None:
    base = {"system": "a", "dtype": "fp32", "knobs": {"n": 1}}
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    changed = [{**base, "dtype": "bf16"}, {**base, "knobs": {"n": 2}}, {**base, "batch": 8}]
    assert len({fingerprint(c) for c in [base, *changed]}) == 4


def test_open_by_prefix_and_refusals(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {"system": "x"})
    assert RunFolder.open(tmp_path, run.fingerprint[:6]).path == run.path
    assert RunFolder.open(Path("/nowhere"), run.path).fingerprint == run.fingerprint
    with pytest.raises(UsageError, match="no run is called"):
        RunFolder.open(tmp_path, "zzzz")
    (run.path / "run.json").write_text('{"system": "y"}')
    with pytest.raises(UsageError, match="does not belong"):
        RunFolder.open(tmp_path, run.fingerprint)


def test_context_is_kept_and_its_absence_is_explained(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {})
    with pytest.raises(UsageError, match="missing or damaged"):
        run.context()
    run.keep_context({"protocol": "miou-strict/box@1"})
    assert run.context() == {"protocol": "miou-strict/box@1"}
