"""Times beside printed ones: by way of sampling, by number of prompts, one device a table."""

from __future__ import annotations

from dataclasses import replace

from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.tables import published, speed
from litesam_bench.tables.render import Table

PUBLISHED = published.by_ref(published.all_tables())


def timed(protocol: str, ms: float, published_as: str = "sam-b", device: str = "GPU A") -> Record:
    return Record(
        kind="timing",
        status="complete",
        system={"name": "own", "display": "Own", "family": "own", "published": published_as},
        protocol={"id": f"{protocol}@1"},
        data={"name": "scenes", "digest": "abc", "n_images": 64},
        coverage=Coverage(expected=5, done=5, failed=0),
        metrics={
            "median": Metric(value=ms, unit="ms", higher_is_better=False, n=5, protocol=protocol)
        },
        environment={"device_name": device, "dtype": "fp32"},
        footnotes=["first 5 of 64 images"],
        fingerprint="f",
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_without_times_the_printed_ones_stand_alone() -> None:
    sampling, prompts = speed.build(PUBLISHED, [])
    assert (sampling.name, prompts.name) == ("sampling-strategies", "prompt-speed")
    assert texts(sampling)[0][1:] == ["Grid-Search (32 x 32)", "2084", "55.1"]
    assert texts(prompts)[0][1:] == ["446", "464", "627", "852", "2099", "6972"]


def test_ours_stand_beside_the_printed_time_of_the_same_sampler() -> None:
    records = [
        timed("segevery-time/grid:32", 900.4),
        timed("segevery-time/autoppn:256-points", 81.6),
        timed("segevery-time/autoppn:64-points", 20.0),  # not what the poster printed
        timed("latency/encoder", 7.0),
        timed("latency/10-points", 55.0, published_as=""),
    ]
    sampling, prompts = speed.build(PUBLISHED, records)
    assert texts(sampling)[0][2:4] == ["2084", "900"]
    assert texts(sampling)[1][2:4] == ["120 (17.3x up)", "82"]
    assert texts(sampling)[2][3] == ""
    assert sampling.rows[0][3].notes == ("scenes, first 5 of 64 images",)
    assert sampling.context[-1] == ("Device of ours", "GPU A, fp32")
    sam_b = next(row for row in texts(prompts) if "432" in row)
    assert sam_b[9:11] == ["1383", "900"]
    assert texts(prompts)[-1][:5] == ["Own", "", "", "", "55"]


def test_devices_never_share_a_table_and_the_larger_set_counts() -> None:
    small = timed("segevery-time/grid:32", 100.0)
    large = replace(
        timed("segevery-time/grid:32", 200.0), coverage=Coverage(expected=9, done=9, failed=0)
    )
    elsewhere = timed("segevery-time/grid:32", 300.0, device="GPU B")
    tables = speed.build(PUBLISHED, [large, elsewhere, small])
    assert [t.name for t in tables] == [
        "sampling-strategies-gpu-a-fp32",
        "sampling-strategies-gpu-b-fp32",
        "prompt-speed-gpu-a-fp32",
        "prompt-speed-gpu-b-fp32",
    ]
    assert [texts(t)[0][3] for t in tables[:2]] == ["200", "300"]
