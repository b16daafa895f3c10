"""The ablations: equal terms for all rows, records that are kept, tables that show them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from litesam_bench.cli.main import run
from litesam_bench.errors import UsageError
from litesam_bench.records.store import read_records
from litesam_bench.tables import ablations, published
from litesam_bench.train.ablation import STUDIES, Study, run_study, trials
from litesam_bench.train.recipes import Recipe


def tiny(recipe: Recipe) -> Recipe:
    """What the eight made-up pairs allow."""
    data = replace(recipe.data, crop=64, prompts=2, min_area=4)
    optim = replace(recipe.optim, batch=2)
    return replace(recipe, data=data, optim=optim, hold_out={"": 2}, workers=0)


def small(study: str) -> Study:
    whole = STUDIES[study]
    return replace(whole, prepare=lambda recipe: tiny(whole.prepare(recipe)))


def test_rows_of_a_study_differ_in_what_is_studied_alone() -> None:
    for name, varied in (
        ("table1", {"backbone"}),
        ("table2", {"ppn_stem", "ppn_grouped", "data", "loss"}),
    ):
        plan = trials(STUDIES[name], seeds=2)
        assert len(plan) == 16
        first = plan[0].recipe
        for trial in plan:
            same = {
                field: getattr(trial.recipe, field) == getattr(first, field)
                for field in ("optim", "late", "source_weights", "encoder", "share", *varied)
            }
            assert {field for field, equal in same.items() if not equal} <= varied
        assert {trial.seed for trial in plan[:8]} == {0}  # whole rounds first


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="table2 has no row 'table2-x'"):
        trials(STUDIES["table2"], rows=["table2-x"])


@pytest.mark.parametrize(("study", "metric"), [("table1", "box"), ("table2", "ar")])
def test_a_study_ends_in_records_and_a_table_and_is_not_run_twice(
    study: str, metric: str, pairs: Path, tmp_path: Path
) -> None:
    chosen = STUDIES[study].rows[4:6] if study == "table1" else STUDIES[study].rows[:2]
    plan = trials(small(study), steps=2, seeds=1, rows=chosen)
    runs, results = tmp_path / "runs", tmp_path / "results"
    done = list(run_study(plan, [pairs], runs, results, precision="fp32", images=2))
    assert [trial.row for trial, _ in done] == list(chosen)
    for _, record in done:
        value = record.metrics[metric].value
        assert value is not None
        assert 0 <= value <= 1

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    again = list(run_study(plan, [pairs], runs, results, precision="fp32", images=2))
    assert [record.metrics for _, record in again] == [record.metrics for _, record in done]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}

    printed = published.by_ref(published.all_tables())
    (table,) = ablations.build(printed, list(read_records(results)))
    shown = [row for row in table.rows if row[-1].text]
    assert len(table.rows) == 8
    assert len(shown) == 2
    assert "Too few rows" in table.footnotes[0]


def test_another_schedule_is_another_record(pairs: Path, tmp_path: Path) -> None:
    rows = STUDIES["table2"].rows[:1]
    for steps in (1, 2):
        plan = trials(small("table2"), steps=steps, seeds=1, rows=rows)
        runs = tmp_path / f"runs{steps}"
        ((_, record),) = run_study(plan, [pairs], runs, tmp_path, precision="fp32", images=1)
        assert record.protocol["steps"] == steps  # the old record was not taken for it


def test_the_command_says_what_it_did(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDIES, "table2", small("table2"))
    places = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"))
    row = STUDIES["table2"].rows[0]
    options = ("--row", row, "--steps", "1", "--seeds", "1", "--images", "1", "--json")
    assert run(["ablate", "table2", "--data", str(pairs), *places, *options]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)["trials"]) == {f"{row}-seed0"}
    assert "1/1" in printed.err
