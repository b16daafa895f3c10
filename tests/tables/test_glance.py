"""The table at a glance, and the README blocks that show it."""

from __future__ import annotations

from pathlib import Path

from record_factory import make_record

from litesam_bench.tables import glance, published
from litesam_bench.tables.render import Cell, Column, Table, to_markdown, to_markdown_body
from litesam_bench.tables.report import fill_readme, update_readme

TABLE = Table("glance-x-1", "X", (Column("System", align="left"),), ((Cell("Oracle"),),))
PAGE = "# A\n\n<!-- table: glance-x -->\nold\n<!-- end table -->\n\nkept <!-- end -->\n"


def test_blocks_are_replaced_and_the_rest_is_kept() -> None:
    once = fill_readme(PAGE, [TABLE])
    assert "| Oracle |" in once and "old" not in once
    assert once.startswith("# A\n") and once.endswith("kept <!-- end -->\n")
    assert fill_readme(once, [TABLE]) == once


def test_a_block_without_a_table_says_so() -> None:
    assert "no record yet" in fill_readme(PAGE, [])


def test_check_changes_nothing_and_write_does(tmp_path: Path) -> None:
    page, printed = tmp_path / "README.md", published.by_ref(published.all_tables())
    assert update_readme(page, printed, [], write=True) == []
    page.write_text(PAGE)
    assert update_readme(page, printed, [], write=False) == [page]
    assert page.read_text() == PAGE
    assert update_readme(page, printed, [], write=True) == [page]
    assert update_readme(page, printed, [], write=True) == []


def test_the_body_is_part_of_the_page() -> None:
    assert to_markdown_body(TABLE) in to_markdown(TABLE)


def test_best_first_untrained_last() -> None:
    records = [
        make_record("ellipse", metrics={"miou": 0.64}),
        make_record("oracle", metrics={"miou": 1.0}),
        make_record("lite-sam", metrics={"miou": 0.9}, training="untrained"),
    ]
    (table,) = glance.build({}, records)
    assert [row[0].text for row in table.rows] == ["ORACLE", "ELLIPSE", "LITE-SAM"]
    assert table.rows[2][1].text == "(90.0)"
