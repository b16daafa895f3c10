"""The tables folder: complete, reproducible, atomic, without leftovers; and its command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from record_factory import make_record

from litesam_bench.cli.report import report as command
from litesam_bench.errors import DataError
from litesam_bench.records.store import write_record
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import to_markdown
from litesam_bench.tables.report import build_tables, render_report, stale_files, write_report

Printed = Mapping[str, PublishedTable]


def test_every_table_in_three_formats_and_an_index(printed: Printed, tmp_path: Path) -> None:
    written = write_report([], printed, tmp_path)
    names = {table.name for table in build_tables(printed, [])}
    expected = {f"{name}{suffix}" for name in names for suffix in (".md", ".csv", ".tex")}
    assert {path.name for path in tmp_path.iterdir()} == expected | {"README.md"}
    assert {path.name for path in written} == expected | {"README.md"}
    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "README.md").read_text())
    assert set(links) == expected
    assert "litesam-bench zeroshot" in (tmp_path / "README.md").read_text()


def test_markdown_parses_into_the_same_cells(printed: Printed) -> None:
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    records = [
        make_record(key="sam-b", metrics={"miou": 0.7}, footnotes=["a | b", "<c>"]),
        make_record("pipe|_x_", status="failed", reason="*why*", done=0),
    ]
    for table in build_tables(printed, records):
        html = parser.render(to_markdown(table))
        assert html.count("<table>") == 1, table.name
        assert len(re.findall("<th[ >]", html)) == len(table.columns), table.name
        assert len(re.findall("<td[ >]", html)) == len(table.columns) * len(table.rows), table.name
        assert "<em>" not in html


def test_writing_again_changes_nothing(printed: Printed, tmp_path: Path) -> None:
    write_report([], printed, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert write_report([], printed, tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_the_text_depends_on_records_alone(printed: Printed) -> None:
    records = [make_record("b", metrics={"miou": 0.5}), make_record("a", metrics={"miou": 0.6})]
    assert render_report(printed, records) == render_report(printed, records[::-1])


def test_tables_that_no_longer_exist_are_removed_but_nothing_else(
    printed: Printed, tmp_path: Path
) -> None:
    write_report([], printed, tmp_path)
    (tmp_path / "mine.md").write_text("not generated")
    record = make_record(key="sam-b", metrics={"miou": 0.7})
    changed = write_report([record], printed, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert "zeroshot-coco.md" not in names
    assert "zeroshot-coco.csv" not in names
    assert "mine.md" in names
    assert tmp_path / "zeroshot-coco.tex" in changed
    assert stale_files(render_report(printed, [record]), tmp_path) == []


def test_an_edited_file_is_stale(printed: Printed, tmp_path: Path) -> None:
    write_report([], printed, tmp_path)
    (tmp_path / "zeroshot-coco.md").write_text("better numbers")
    assert stale_files(render_report(printed, []), tmp_path) == [tmp_path / "zeroshot-coco.md"]


def test_the_command_writes_then_agrees(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(key="sam-b", metrics={"miou": 0.7}))
    run = CliRunner()
    stale = run.invoke(command, ["--results", str(tmp_path), "--check"])
    assert isinstance(stale.exception, DataError)
    assert not (tmp_path / "tables").exists()
    first = run.invoke(command, ["--results", str(tmp_path)])
    assert first.exit_code == 0, first.output
    listed = first.stdout.splitlines()
    assert str(tmp_path / "tables" / "README.md") in listed
    assert all(Path(line).is_file() for line in listed)
    assert "1 records" in first.stderr
    again = run.invoke(command, ["--results", str(tmp_path), "--check"])
    assert again.exit_code == 0, again.output
    assert again.stdout == ""


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records" / "zeroshot" / "broken.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    result = CliRunner().invoke(command, ["--results", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    assert "broken.json" in result.exception.message


@pytest.mark.parametrize("option", ["--help"])
def test_help_has_examples(option: str) -> None:
    result = CliRunner().invoke(command, [option])
    assert result.exit_code == 0
    assert "litesam-bench report --check" in result.output
