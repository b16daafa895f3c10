"""The table of edges says why a number is far from the printed one, and why a row is empty."""

from __future__ import annotations

from pathlib import Path

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.records.store import read_records
from litesam_bench.tables import published
from litesam_bench.tables.edges import NEAR, UNEXPLAINED, build
from litesam_bench.tables.render import Table

PRINTED = published.by_ref(published.all_tables())


def record(name: str, ods: float, ois: float, ap: float) -> Record:
    values = {"ods": ods, "ois": ois, "ap": ap, "r50": 0.7}
    return Record(
        kind="edges",
        status="complete",
        system={"name": name, "display": name, "published": name, "training": "not-applicable"},
        protocol={"id": "bsds@1"},
        data={"name": "bsds500-test", "digest": "d" * 64, "n_images": 200, "n_instances": 200},
        coverage=Coverage(expected=200, done=200, failed=0),
        metrics={
            key: Metric(value=v, unit="fraction", higher_is_better=True, n=200, protocol="bsds@1")
            for key, v in values.items()
        },
        environment={"device": "cpu", "device_name": "a CPU", "dtype": "fp32"},
    )


def notes(records: list[Record]) -> dict[str, str]:
    """Name and notes of each row of the official table."""
    table: Table = build(PRINTED, records)[0]
    return {row[0].text.partition(" (")[0]: "; ".join(row[0].notes) for row in table.rows}


def test_a_far_number_is_explained_and_a_near_one_is_not() -> None:
    near_one = record("canny", 0.6, 0.64, 0.58)  # what all rows say is said below the table
    near = notes([near_one, record("felz-hutt", 0.61 + 0.9 * NEAR, 0.64, 0.56)])
    assert near["Felz-Hutt"] == ""
    for far in ((0.64, 0.64, 0.56), (0.61, 0.61, 0.56), (0.61, 0.64, 0.585)):
        assert (
            "chosen on train and val" in notes([near_one, record("felz-hutt", *far)])["Felz-Hutt"]
        )
    # a number that the paper does not print is no distance
    assert notes([near_one, record("sobel", 0.54, 0.9, 0.9)])["Sobel filter"] == ""


def test_a_distance_without_a_reason_says_so() -> None:
    records = [record("canny", 0.6, 0.64, 0.58), record("sobel", 0.6, 0.6, 0.6)]
    assert notes(records)["Sobel filter"] == UNEXPLAINED


def test_an_empty_row_says_what_it_lacks() -> None:
    found = notes([record("sobel", 0.54, 0.6, 0.6)])
    assert "official weights could not be had" in found["HED"]
    assert "--from-maps" in found["EDTER"]
    assert "input size not stated; not measured" in found["Lite-SAM"]
    assert found["Sobel filter"] == ""


def test_a_system_of_no_printed_table_has_its_authors_numbers() -> None:
    found = notes([record("sobel", 0.54, 0.6, 0.6), record("pidinet", 0.8, 0.8, 0.8)])
    assert found["pidinet"] == "its authors print ODS 0.807, OIS 0.823"


def test_every_distance_of_the_committed_records_is_explained(repository: Path) -> None:
    records = read_records(repository / "results")
    table = build(PRINTED, [one for one in records if one.kind == "edges"])[0]
    assert len([row for row in table.rows if row[2].text]) >= 3
    assert UNEXPLAINED not in {note for row in table.rows for note in row[0].notes}
