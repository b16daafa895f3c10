"""Finding entries without keeping their masks in memory."""

from __future__ import annotations

from pathlib import Path

from litesam_bench.records.journal import Candidate, Entry, Prediction, RunFolder

MASK = Prediction(1, (Candidate(0, 0.5, 0.5, "0n0"),))


def test_index_and_entries_agree(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {"a": 1})
    with run.writer(0) as journal:
        journal.append(Entry(7, (3, 4), error="broken"))
        journal.append(Entry(2, (3, 4), (MASK, MASK)))
        journal.append(Entry(7, (3, 4), (MASK,)))
        journal.append(Entry(9, (3, 4), error='a "quoted" reason, é'))
    with run.writer(1) as journal:
        journal.append(Entry(2, (3, 4), error="later, so it does not count"))
        journal.append(Entry(2, (3, 4), (MASK,)))
    path = run.path / "journal-1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"crc":1,"entry":{"image_id":5,"size":[1,1]')
    index = run.index()
    assert list(index) == [2, 7, 9]
    assert [place.failed for place in index.values()] == [False, False, True]
    found = list(run.read(index.values()))
    assert [len(entry.predictions) for entry in found] == [1, 1, 0]
    assert found[2].error == 'a "quoted" reason, é'
    assert run.entries() == {entry.image_id: entry for entry in found}
    assert run.damaged() == 1
