"""Where a number comes from, without what only one machine knows."""

from __future__ import annotations

import pytest

from litesam_bench.records.provenance import command_line


def test_the_command_can_be_typed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["zeroshot", "--results", "/home/me/r", "--runs-dir=/tmp/x", "--prompt", "box"]
    monkeypatch.setattr("sys.argv", ["/opt/venv/bin/litesam-bench", *words])
    assert command_line() == "litesam-bench zeroshot --prompt box"
