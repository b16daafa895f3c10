"""Where a number comes from, without what only one machine knows."""

from __future__ import annotations

import pytest

from litesam_bench.records.provenance import command_line


def test_the_command_can_be_typed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["zeroshot", "--results", "/home/me/r", "--runs-dir=/tmp/x", "--prompt", "box"]
    monkeypatch.setattr("sys.argv", ["/opt/venv/bin/litesam-bench", *words])
    assert command_line() == "litesam-bench zeroshot --prompt box"


def test_a_folder_of_data_keeps_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["zeroshot", "--dataset", "/home/me/wild/dsb2018,coco", "--model", "a/b.py"]
    monkeypatch.setattr("sys.argv", ["litesam-bench", *words])
    assert command_line() == "litesam-bench zeroshot --dataset dsb2018,coco --model a/b.py"
