"""`segevery-time` and `latency`, at a size where only their shape matters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from litesam_bench.cli.latency import latency
from litesam_bench.cli.segevery_time import segevery_time
from litesam_bench.errors import UsageError
from litesam_bench.records.store import read_records
from litesam_bench.timing.latency import PHASES_TOLERANCE


def test_segevery_time_prints_phases_and_ratios(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        segevery_time,
        ["--limit", "1", "--sampler", "grid:2,autoppn:3", "--results", str(tmp_path), "--json"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    grid, autoppn = found["rows"]
    assert grid["protocol"] == "segevery-time/grid:2@1"
    assert grid["facts"]["prompts"] == 4
    assert grid["facts"]["candidates"] == 12
    assert autoppn["facts"]["prompts"] == 3
    assert grid["ratio"]["value"] == 1.0
    assert {"preprocess", "encode", "prompts", "decode"} <= grid["phases_ms"].keys()
    # how much lies outside the phases depends on the machine; that it is said does not
    total = sum(grid["phases_ms"].values())
    outside = 1 - total / grid["median"]["value"]
    assert grid["unaccounted"] == pytest.approx(outside, abs=0.05)
    said = any("outside the phases" in note for note in grid["footnotes"])
    assert said == (grid["unaccounted"] > PHASES_TOLERANCE)
    assert found["state"]["torch_threads"] >= 1
    records = list(read_records(tmp_path, "timing"))
    assert {r.protocol["id"] for r in records} == {grid["protocol"], autoppn["protocol"]}
    assert all(r.environment["samples_ms"] for r in records)


def test_latency_times_encoder_and_points(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        latency,
        ["--limit", "1", "--repeats", "1", "--points", "1,3", "--results", str(tmp_path)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split("\t")[:3] == ["system", "what", "median ms"]
    assert [line.split("\t")[1] for line in lines[2:5]] == ["encoder", "1-points", "3-points"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (latency, ["--points", "1,x"]),
        (latency, ["--points", "0"]),
        (latency, ["--model", "oracle"]),
        (segevery_time, ["--model", "oracle"]),
        (segevery_time, ["--sampler", "grid:2,nothing"]),
    ],
)
def test_wrong_questions(command: object, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    assert isinstance(result.exception, UsageError)
