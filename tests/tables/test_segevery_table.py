"""Tables of segment-everything: what is beside what, and what never is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables import published, segevery, segevery_figure
from litesam_bench.tables.report import render_report

PUBLISHED = published.by_ref(published.all_tables())


def metric(value: float, unit: str = "fraction", **interval: float) -> Metric:
    return Metric(
        value=value, unit=unit, higher_is_better=True, n=3, protocol="ar-sam/grid:32@1", **interval
    )


def recall(system: str = "sam-b", sampler: str = "grid:32", footnote: str = "") -> Record:
    return Record(
        kind="segevery",
        status="complete",
        system={"name": system, "display": system.upper(), "published": system, "training": "x"},
        protocol={"id": f"ar-sam/{sampler}@1"},
        data={"name": "coco-val2017", "digest": "abcdef0123456789", "footnote": footnote},
        coverage=Coverage(expected=3, done=3, failed=0),
        metrics={"ar1000": metric(0.5512), "masks_per_image": metric(900.4, "masks")},
        environment={"device_name": "GPU A", "dtype": "fp32"},
    )


def time(device: str, sampler: str = "grid:32", dtype: str = "fp32") -> Record:
    return replace(
        recall(sampler=sampler),
        kind="timing",
        protocol={"id": f"segevery-time/{sampler}@1"},
        metrics={
            "median": metric(2000.0, "ms"),
            "p90": metric(2100.0, "ms"),
            "ratio": metric(1.0, "ratio", low=0.9, high=1.1),
        },
        timing_s={"encode": 1.5, "decode": 0.5},
        environment={
            "device_name": device,
            "dtype": dtype,
            "facts": {"prompts": 1024, "masks": 90},
            "ratio_against": "sam-b grid:32",
        },
    )


def test_recall_stands_beside_the_papers_only_on_its_own_set() -> None:
    (table,) = segevery.build(PUBLISHED, [recall()])
    texts = [cell.text for cell in table.rows[0]]
    assert texts[:3] == ["SAM-B", "grid:32", "55.1"]  # the paper's
    assert "55.1" in texts[3:]  # ours agrees here
    assert texts[-1] == "900"
    (subset,) = segevery.build(PUBLISHED, [recall(footnote="subset, 124 images")])
    assert len(subset.columns) == len(table.columns) - 1
    assert subset.footnotes == ("subset, 124 images",)


def test_presets_and_data_do_not_mix() -> None:
    other = replace(recall(), protocol={"id": "ar-default-amg/grid:32@1"})
    elsewhere = replace(recall(), data={"name": "scenes", "digest": "f" * 16})
    tables = segevery.build(PUBLISHED, [recall(), other, elsewhere])
    assert len(tables) == len({t.name for t in tables}) == 3


def test_devices_never_share_a_table() -> None:
    records = [
        time("GPU A"),
        time("GPU A", "autoppn:256-points"),
        time("GPU B"),
        time("GPU A", dtype="bf16"),
    ]
    tables = segevery.build(PUBLISHED, records)
    assert [t.caption for t in tables] == [
        "Segment everything, pixels to RLE: milliseconds per image on GPU A, bf16",
        "Segment everything, pixels to RLE: milliseconds per image on GPU A, fp32",
        "Segment everything, pixels to RLE: milliseconds per image on GPU B, fp32",
    ]
    rows = {row[1].text: [cell.text for cell in row] for row in tables[1].rows}
    assert rows["grid:32"][2:7] == ["2084", "2000.0", "2100.0", "1500.0", "500.0"]
    assert rows["grid:32"][-1] == "1.00 [0.90, 1.10]"
    assert rows["autoppn:256-points"][2] == "120 (17.3x up)"


def test_the_index_lists_them() -> None:
    files = render_report(PUBLISHED, [recall(), time("GPU A")])
    lines = [line for line in files["README.md"].splitlines() if "](segevery" in line]
    assert len(lines) == 2
    assert all("coco-val2017, digest abcdef012345" in line for line in lines)


@pytest.mark.parametrize(
    ("preset", "command"),
    [("latency", "litesam-bench latency"), ("network-latency", "litesam-bench profile --latency")],
)
def test_times_of_prompts_have_tables_of_their_own(preset: str, command: str) -> None:
    records = [
        replace(time("GPU A"), protocol={"id": f"{preset}/{what}@1"})
        for what in ("10-points", "encoder", "1-points")
    ]
    for record in records:
        record.environment["facts"] = {"prompts": 1}
    (table,) = segevery.build(PUBLISHED, records)
    assert table.commands == (command,)
    assert [row[1].text for row in table.rows] == ["encoder", "1-points", "10-points"]
    heads = [column.label for column in table.columns]
    assert "masks" not in heads and "ms, paper" not in heads


# --- figure --------------------------------------------------------------------------------------


def measured(sampler: str, ar: float, system: str = "lite-sam") -> Record:
    return replace(recall(system, sampler), metrics={"ar1000": metric(ar)})


def test_samplers_by_number_of_prompts() -> None:
    assert segevery_figure.sampling("grid:16") == ("grid", 256)
    assert segevery_figure.sampling("autoppn:64-boxes") == ("boxes", 64)
    for other in ("own", "hierarchical:32", "object-aware:1f2e", "grid:16/2", "autoppn:64"):
        assert segevery_figure.sampling(other) is None


def test_the_figure_shows_what_is_comparable() -> None:
    records = [
        measured("grid:16", 0.3),
        measured("grid:8", 0.2),
        measured("autoppn:64-points", 0.25),
        measured("own", 0.28, "felz-hutt"),
        measured("own", 1.0, "oracle"),
        measured("grid:8", 0.1, "sam-b"),  # nothing to compare it with
        replace(measured("autoppn:64-boxes", 0.9), status="partial"),
    ]
    slow = replace(time("GPU A", "grid:8"), system={**records[0].system})
    (row,) = segevery_figure.panels([*records, slow])
    assert list(row.lines) == ["grid", "points"]
    assert [(p.prompts, p.ar, p.ms) for p in row.lines["grid"]] == [
        (64, 0.2, 2000.0),
        (256, 0.3, None),
    ]
    assert row.references == {"FELZ-HUTT": 0.28, "ORACLE": 1.0}
    assert row.device == "GPU A, fp32"


def test_the_figure_is_the_same_twice_and_only_written_when_it_changes(tmp_path: Path) -> None:
    records = [measured("grid:8", 0.2), measured("autoppn:64-points", 0.25)]
    assert segevery_figure.write([], tmp_path) == []
    assert segevery_figure.write(records, tmp_path) == [tmp_path / segevery_figure.NAME]
    assert segevery_figure.write(records, tmp_path) == []
    with Image.open(tmp_path / segevery_figure.NAME) as picture:
        assert picture.size == (600, 516)
    timed = [*records, replace(time("GPU A", "grid:8"), system={**records[0].system})]
    segevery_figure.write(timed, tmp_path)
    with Image.open(tmp_path / segevery_figure.NAME) as picture:
        assert picture.size == (1200, 516)
