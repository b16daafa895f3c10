"""Complexity tables: printed figures, ours from records, and a device's throughput."""

from __future__ import annotations

import pytest

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables import complexity, published
from litesam_bench.tables.render import Table


def record(protocol: str, name: str, key: str, values: dict[str, float], **more: object) -> Record:
    return Record(
        kind="timing" if protocol.startswith("network") else "complexity",
        status="complete",
        system={"name": name, "display": name, "published": key},
        protocol={"id": protocol},
        data={"name": "input-512x512", "digest": "none", "n_images": 1},
        coverage=Coverage(expected=1, done=1, failed=0),
        metrics={
            metric: Metric(value=v, unit="M", higher_is_better=False, n=1, protocol=protocol)
            for metric, v in values.items()
        },
        environment={"device_name": "Some GPU", "dtype": "fp16", **more},
    )


L0 = record(
    complexity.SYSTEM_PROTOCOL,
    "efficientvit-sam-l0",
    "efficientvit-sam-l0",
    {
        "params_m": 34.79,
        "macs_g": 36.59,
        "encoder_params_m": 30.73,
        "encoder_macs_g": 34.77,
        "decoder_params_m": 4.07,
        "decoder_macs_g": 1.81,
    },
)


def tables(*records: Record) -> dict[str, Table]:
    printed = published.by_ref(published.all_tables())
    return {table.name: table for table in complexity.build(printed, records)}


def row(table: Table, name: str) -> dict[str, str]:
    heads = [f"{c.group} {c.label}".strip() for c in table.columns]
    (cells,) = [cells for cells in table.rows if cells[0].text == name]
    return dict(zip(heads, (cell.text for cell in cells), strict=True))


def test_ours_stands_beside_the_papers_in_its_digits() -> None:
    cells = row(tables(L0)["efficientvit-sam-table1"], "EfficientViT-SAM-L0")
    assert (cells["Params (M) paper"], cells["Params (M) ours"]) == ("34.8", "34.8")
    assert cells["Params (M) Δ"] == "0.0"
    assert (cells["MACs (G) paper"], cells["MACs (G) ours"]) == ("35", "37")
    assert cells["ours encoder G"] == "34.8"
    assert cells["Throughput (images/s) paper"] == "762"
    assert cells["Input of ours"] == "512x512"


def test_rows_that_were_not_counted_are_empty() -> None:
    cells = row(tables()["complexity"], "SAM-B")
    assert cells["Params (M) paper"] == "90"
    assert cells["Params (M) ours"] == cells["Input of ours"] == ""


def test_each_device_has_its_own_throughput() -> None:
    latency = record(
        "network-latency/encoder@1", "efficientvit-sam-l0", "efficientvit-sam-l0", {"median": 8.0}
    )
    found = tables(L0, latency)
    assert "efficientvit-sam-table1" not in found
    cells = row(found["efficientvit-sam-table1-some-gpu-fp16"], "EfficientViT-SAM-L0")
    assert cells["Throughput (images/s) ours"] == "125"


def test_systems_that_no_paper_prints_come_last() -> None:
    other = record(complexity.SYSTEM_PROTOCOL, "new-sam", "", {"params_m": 1.25, "macs_g": 2.0})
    table = tables(L0, other)["complexity"]
    assert [c.text for c in table.rows[-1][:4]] == ["new-sam", "", "1.3", ""]


def test_the_familys_own_paper_is_quoted_first() -> None:
    printed = complexity.printed_of(
        "efficientvit-sam-l0", "efficientvit-sam", published.all_tables()
    )
    assert (printed[0].params_m, printed[0].macs_g) == ("34.8", "35")
    assert ("31", "109") in [(p.params_m, p.macs_g) for p in printed]
    assert complexity.printed_of("", "ellipse", published.all_tables()) == []


@pytest.mark.parametrize("paper_and_system", complexity.NOTES)
def test_every_note_is_about_a_printed_row(paper_and_system: tuple[str, str]) -> None:
    paper, system = paper_and_system
    assert any(table.row(system) for table in published.load(paper))
