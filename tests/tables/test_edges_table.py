"""The table of edges: whose rows stand beside published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables.edges import build
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

Printed = Mapping[str, PublishedTable]


def edge_record(name: str = "canny", protocol: str = "bsds@1", **changes: Any) -> Record:
    metrics = {
        key: Metric(value=v, unit="fraction", higher_is_better=True, n=200, protocol=protocol)
        for key, v in {"ods": 0.6112, "ois": 0.65, "ap": 0.5, "r50": 0.7}.items()
    }
    entry = {
        "kind": "edges",
        "status": "complete",
        "system": {
            "name": name,
            "display": name,
            "published": name,
            "training": "not-applicable",
        },
        "protocol": {"id": protocol},
        "data": {"name": "bsds500-test", "digest": "d" * 64, "n_images": 200, "n_instances": 200},
        "coverage": Coverage(expected=200, done=200, failed=0),
        "metrics": metrics,
        "environment": {"device": "cpu", "device_name": "a CPU", "dtype": "fp32"},
    }
    return Record(**{**entry, **changes})


def texts(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def one(printed: Printed, records: Sequence[Record]) -> Table:
    (table,) = build(printed, records)
    return table


def test_published_rows_are_there_before_anything_is_measured(printed: Printed) -> None:
    table = one(printed, [])
    rows = texts(table)
    assert rows["Canny"][:3] == ["0.600", "", ""]
    assert rows["Lite-SAM (input not stated)"][0] == "0.761"
    assert any("edges --bsds --model" in command for command in table.commands)


def test_ours_beside_the_paper_in_its_digits(printed: Printed) -> None:
    rows = texts(one(printed, [edge_record()]))
    assert rows["Canny"][:3] == ["0.600", "0.611", "+0.011"]
    assert rows["Sobel filter"][1] == ""


def test_maps_of_masks_are_rows_of_their_own(printed: Printed) -> None:
    variants = [f"bsds/grid:16-{nms}@1" for nms in ("canny", "dollar-r1")]
    table = one(printed, [edge_record("lite-sam-r640", v, footnotes=[v]) for v in variants])
    mine = [row for row in table.rows if row[0].text == "Lite-SAM (input not stated)"]
    assert len(mine) == 2
    assert mine[0][0].notes != mine[1][0].notes


def test_other_settings_data_and_parts_are_not_compared(printed: Printed) -> None:
    scenes = {"name": "scenes", "digest": "e" * 64, "n_images": 64, "n_instances": 64}
    subset = {"name": "bsds500-test", "digest": "f" * 64, "n_images": 5, "n_instances": 5}
    records = [
        edge_record(protocol="bsds-t5@1"),
        edge_record(data=scenes),
        edge_record(data=subset),
    ]
    tables = build(printed, records)
    assert len(tables) == 4
    assert len({table.name for table in tables}) == 4
    assert texts(tables[0])["Canny"][1] == ""
    for table in tables[1:]:
        assert list(texts(table)) == ["canny"]


def test_a_partial_run_shows_its_coverage(printed: Printed) -> None:
    partial = edge_record(status="partial", coverage=Coverage(expected=200, done=150, failed=50))
    assert texts(one(printed, [partial]))["Canny"][:3] == ["0.600", "150/200", ""]
