"""Terminal output: nothing is cut, whatever the width."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from record_factory import make_record
from rich.console import Console

from litesam_bench.tables import zeroshot
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.terminal import run_table, show, show_run

Printed = Mapping[str, PublishedTable]
SIZES: dict[str, float | None] = {"miou": 0.637, "miou_s": 0.5, "miou_m": 0.6, "miou_l": 0.7}
AP: dict[str, float | None] = {
    "ap": 0.4, "ap50": 0.8, "ap75": 0.3, "aps": 0.1, "apm": 0.2, "apl": 0.5
}  # fmt: skip


def _console(width: int, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, height=50
    )


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 80, 100, 200])
def test_a_run_fits_any_terminal(width: int) -> None:
    console = _console(width)
    show_run([make_record("ellipse", metrics=SIZES, ap=AP)], console)
    text = _text(console)
    assert "…" not in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for number in ("63.7", "50.0", "40.0", "20.0", "124/124"):
        assert number in text


def test_the_wide_run_has_all_metrics_the_compact_one_fits_80() -> None:
    record = make_record("lite-sam-640", metrics=SIZES, ap=AP, training="untrained")
    wide = run_table([record])
    assert [c.label for c in wide.columns] == [
        *("system", "all [95 %]", "S", "M", "L", "all", "50", "75", "S", "M", "L"),
        *("images", "seconds"),
    ]
    console = _console(80)
    show_run([record], console)
    assert "──" in _text(console)  # a grid, not blocks
    assert "(63.7)" in _text(console)


def test_a_pipe_gets_the_whole_grid(printed: Printed) -> None:
    table = zeroshot.build(printed, [])[0]
    console = _console(40, terminal=False)
    show(table, console)
    lines = _text(console).splitlines()
    assert any("Lite-SAM (r1024)" in line and "70.7" in line for line in lines)


def test_a_narrow_terminal_gets_blocks_with_footnotes(printed: Printed) -> None:
    record = make_record(key="sam-b", status="n/a", reason="no boxes", done=0)
    table = zeroshot.build(printed, [record])[0]
    console = _console(60)
    show(table, console)
    text = _text(console)
    assert "  1-box mIoU paper: 75.0" in text
    marker = next(line for line in text.splitlines() if "1-box mIoU ours: n/a" in line)[-2]
    assert f"{marker}: no boxes" in text


def test_partial_and_missing_runs_say_so() -> None:
    table = run_table(
        [
            make_record("a", metrics=SIZES, status="partial", reason="3 of 124 images", done=3),
            make_record("b", status="n/a", reason="no boxes", done=0),
        ]
    )
    assert [cell.text for cell in table.rows[0][1:3]] == ["3/124", "3/124"]
    assert table.rows[0][0].notes == ("3 of 124 images",)
    assert [cell.text for cell in table.rows[1][1:3]] == ["n/a", "n/a"]
    assert table.rows[1][0].notes == ("no boxes",)


def test_markup_in_names_is_printed_not_obeyed() -> None:
    console = _console(120)
    show_run([make_record("[bold]x", metrics=SIZES)], console)
    assert "[BOLD]X" in _text(console)
