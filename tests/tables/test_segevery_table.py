"""Tables of segment-everything: what is beside what, and what never is."""

from __future__ import annotations

from dataclasses import replace

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables import published, segevery

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
    assert texts[:2] == ["SAM-B", "grid:32"]
    assert "55.1" in texts  # ours and the paper's agree here
    assert texts[-1] == "55.1"
    assert texts[-2] == "900"
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
        "Milliseconds on GPU A, bf16",
        "Milliseconds on GPU A, fp32",
        "Milliseconds on GPU B, fp32",
    ]
    rows = {row[1].text: [cell.text for cell in row] for row in tables[1].rows}
    assert rows["grid:32"][2:6] == ["2000.0", "2100.0", "1500.0", "500.0"]
    assert rows["grid:32"][-2:] == ["1.00 [0.90, 1.10]", "2084"]
    assert rows["autoppn:256-points"][-1] == "120 (17.3x up)"
