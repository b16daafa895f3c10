"""The ablation tables: means over seeds, ranks beside the paper's, and a verdict in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables import ablations, published

ROWS = ("baseline", "mspm", "labels", "groups", "mspm-labels", "mspm-groups", "labels-groups")
ALL = (*ROWS, "mspm-labels-groups")


def record(row: str, seed: int, value: float, steps: int = 10) -> Record:
    protocol = "ablation/table2@1"
    metric = Metric(value=value, unit="fraction", higher_is_better=True, n=4, protocol=protocol)
    return Record(
        kind="ablation",
        status="complete",
        system={"name": f"table2-{row}-seed{seed}", "row": f"table2-{row}", "seed": seed},
        protocol={"id": protocol, "steps": steps, "batch": 8},
        data={"name": "held-out", "digest": "d" * 64, "n_images": 4},
        coverage=Coverage(expected=4, done=4, failed=0),
        metrics={"ar": metric},
        environment={"device": "cpu", "device_name": "a CPU"},
        footnotes=["scaled-down replication"],
    )


def tables(records: list[Record]) -> list[ablations.Table]:
    return ablations.build(published.by_ref(published.all_tables()), records)


def test_the_papers_order_is_recognised() -> None:
    papers = (48.8, 49.5, 50.1, 49.7, 51.4, 52.3, 51.1, 53.0)
    (table,) = tables(
        [record(r, s, v / 100 + s / 1000) for r, v in zip(ALL, papers, strict=True) for s in (0, 1)]
    )
    assert [row[4].text for row in table.rows] == [row[7].text for row in table.rows]
    assert table.rows[0][5].text == "48.9"  # the mean of 48.8 and 48.9, half up to even digits
    assert table.rows[0][6].text == "2: 48.8 to 48.9"
    assert "tau of the two orders: 1.00" in table.footnotes[0]
    assert "beyond chance" in table.footnotes[0]
    assert "not reproduced" not in table.footnotes[0]
    assert "seeds of one row by 0.1" in table.footnotes[0]


def test_another_order_is_said_to_be_another() -> None:
    (table,) = tables([record(row, 0, 0.5 - i / 100) for i, row in enumerate(ALL)])
    assert "not reproduced beyond chance" in table.footnotes[0]
    assert table.rows[0][7].text == "1"
    assert table.rows[0][4].text == "8"


def test_schedules_are_not_mixed() -> None:
    two = tables([record("baseline", 0, 0.3), record("baseline", 0, 0.4, steps=20)])
    assert len({table.name for table in two}) == 2
    assert [table.rows[0][5].text for table in two] == ["30.0", "40.0"]


def test_rows_without_a_run_are_empty() -> None:
    (table,) = tables([record("groups", 0, 0.25)])
    measured = [[cell.text for cell in row[5:]] for row in table.rows]
    assert measured.count(["", "", ""]) == 7
    assert ["25.0", "1", "1"] in measured


def test_a_failed_metric_counts_as_missing() -> None:
    broken = record("groups", 0, 0.25)
    broken = replace(broken, metrics={"ar": replace(broken.metrics["ar"], value=None)})
    (table,) = tables([broken])
    assert all(row[5].text == "" for row in table.rows)


@pytest.mark.parametrize("steps", [5, 1000])
def test_the_schedule_is_in_the_head(steps: int) -> None:
    (table,) = tables([record("baseline", 0, 0.3, steps=steps)])
    assert dict(table.context)["Schedule"] == f"{steps} steps of 8 images"
