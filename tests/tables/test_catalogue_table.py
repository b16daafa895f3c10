"""The catalogue names every system that comes with the package, once."""

from __future__ import annotations

from pathlib import Path

from litesam_bench.parity import standing
from litesam_bench.registry import shipped_systems
from litesam_bench.tables.catalogue import build


def test_every_system_is_in_it() -> None:
    (table,) = build({}, [])
    named = [name for row in table.rows for name in row[1].text.split(", ")]
    assert sorted(named) == sorted(shipped_systems().names)
    assert len({row[0].text for row in table.rows}) == len(table.rows)


def test_it_says_what_is_proven_and_what_restricts() -> None:
    (table,) = build({}, [])
    rows = {row[0].text: row for row in table.rows}
    assert rows["sam"][2].text == "93.7, 312.3, 641.1"
    assert rows["sam"][5].text == "yes"
    assert rows["ellipse"][5].text == ""
    assert rows["lite-sam"][5].text == "not proven"
    assert rows["lite-sam"][2].text == "4.2"
    assert rows["edge-sam"][4].notes == ("non-commercial use only",)
    for system in shipped_systems():
        word = rows[system.spec.family][5].text
        if word == "yes":
            assert standing(system.spec).proven
        if word == "not proven":
            assert not standing(system.spec).proven


def test_the_readme_names_every_family(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    block = text.partition("<!-- table: catalogue -->")[2].partition("<!-- end table -->")[0]
    missing = [name for name in shipped_systems().names if name not in block]
    assert not missing, "run `litesam-bench report`"
