"""Checkpoints and logs survive a kill at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litesam_bench.errors import StorageError, WeightsError
from litesam_bench.train import checkpoint
from litesam_bench.train.checkpoint import (
    append_log,
    load_checkpoint,
    read_log,
    save_checkpoint,
    truncate_log,
)


def test_the_last_checkpoint_comes_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, {"step": step, "model": {"w": torch.full((2,), float(step))}})
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["model"]["w"], torch.tensor([3.0, 3.0]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step})
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:100])
    state = load_checkpoint(tmp_path)
    assert state is not None and state["step"] == 1
    (tmp_path / "previous.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"last\.pt"):
        load_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, {"step": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_checkpoint(tmp_path, {"step": 2})
    state = load_checkpoint(tmp_path)
    assert state is not None and state["step"] == 1


def test_a_torn_log_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    for step in (10, 20, 30):
        append_log(path, {"step": step, "loss": 1.5})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')
    assert [entry["step"] for entry in read_log(path)] == [10, 20, 30]
    truncate_log(path, 20)
    append_log(path, {"step": 30})
    assert read_log(path) == [
        {"step": 10, "loss": 1.5},
        {"step": 20, "loss": 1.5},
        {"step": 30},
    ]
