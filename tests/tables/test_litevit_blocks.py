"""Table 1's counted columns: every printed row, ours beside it, from records of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litesam_bench.cli.main import run
from litesam_bench.records.store import read_records
from litesam_bench.tables import litevit_blocks, published


def test_the_command_writes_what_the_table_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", "--backbones", "--results", str(tmp_path), "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)["backbones"]
    printed = published.by_ref(published.all_tables())
    (table,) = litevit_blocks.build(printed, list(read_records(tmp_path)))
    assert len(table.rows) == 8 <= len(counted)
    for row, (name, ours) in zip(table.rows, counted.items(), strict=False):
        texts = [cell.text for cell in row]
        assert texts[3] == f"{ours['params_m']:.2f}", name
        assert float(texts[2].split()[0]) == pytest.approx(ours["params_m"], rel=0.05)
        assert texts[6] == f"{ours['macs_g']:.1f}", name


def test_rows_that_were_not_counted_are_empty() -> None:
    (table,) = litevit_blocks.build(published.by_ref(published.all_tables()), [])
    assert [cell.text for cell in table.rows[0][2:5]] == ["11.9", "", ""]
