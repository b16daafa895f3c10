"""`agreement` as a user types it, with methods without weights in the place of networks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from litesam_bench.cli.main import run
from litesam_bench.datasets.export import export_coco
from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.records.store import read_records
from litesam_bench.tables import published
from litesam_bench.tables.agreement import build

N = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small scenes on disk in COCO's format."""
    export_coco(ScenesDataset(N, seed=5, size_hw=(192, 256)), tmp_path, "mini")
    return tmp_path / "coco"


def command(tmp_path: Path, folder: Path, *more: str) -> list[str]:
    return [
        *("agreement", "--dataset", str(folder), "--device", "cpu", "--json"),
        *("--results", str(tmp_path / "results"), "--runs-dir", str(tmp_path / "runs")),
        *more,
    ]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_ellipse_covers_a_quarter_of_pi_of_its_box(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = command(tmp_path, folder, "--reference", "box-fill", "--model", "ellipse,oracle")
    assert run(asked) == 0
    found = document(capsys)
    assert found["protocol"]["id"] == "agreement-box-fill/box@1"
    assert found["protocol"]["reference"]["system"]["name"] == "box-fill"
    ellipse = found["systems"]["ellipse"]
    assert ellipse["kind"] == "agreement"
    assert ellipse["coverage"]["done"] == N
    assert "ap" not in ellipse["metrics"]
    large = ellipse["metrics"]["miou_l"]
    assert large["n"] > 0
    assert large["value"] == pytest.approx(math.pi / 4, abs=0.02)
    # the truth is no longer the annotation: the oracle is not at 1
    assert 0.2 < found["systems"]["oracle"]["metrics"]["miou"]["value"] < 0.95


def test_it_is_symmetric_and_does_not_segment_twice(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = command(tmp_path, folder, "--reference", "box-fill", "--model", "ellipse")
    back = command(tmp_path, folder, "--reference", "ellipse", "--model", "box-fill")
    assert run(there) == 0
    first = document(capsys)["systems"]["ellipse"]["metrics"]["miou"]["value"]
    journals = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("journal-*.jsonl")}
    assert len(journals) == 2
    assert run(back) == 0
    assert document(capsys)["systems"]["box-fill"]["metrics"]["miou"]["value"] == first
    zeroshot = ["zeroshot", *back[1:-4], "--model", "ellipse,box-fill"]
    assert run(zeroshot) == 0
    after = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("journal-*.jsonl")}
    assert after == journals


def test_a_system_agrees_with_itself_through_another_reference_only(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = command(tmp_path, folder, "--reference", "ellipse", "--model", "ellipse")
    assert run(asked) == 2
    assert "leaves nothing to compare with ellipse" in capsys.readouterr().err


def test_what_cannot_be_asked_is_not_available(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--reference", "oracle", "--model", "ellipse", "--prompt", "point"]
    assert run(command(tmp_path, folder, *asked)) == 0
    found = document(capsys)["systems"]["ellipse"]
    assert (found["status"], found["reason"]) == ("n/a", "no point prompts")
    asked = ["--reference", "ellipse", "--model", "oracle", "--prompt", "point"]
    assert run(command(tmp_path, folder, *asked)) == 1
    assert "no point prompts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--reference", "box-fill", "--prompt", "clicks:3"], "later clicks depend"),
        (["--reference", "box-fill,oracle"], "means 2 systems"),
        (["--reference", "no-such"], "unknown system"),
    ],
)
def test_wrong_command_lines(
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    message: str,
) -> None:
    assert run(command(tmp_path, folder, "--model", "ellipse", *asked)) == 2
    assert message in capsys.readouterr().err


def test_images_that_the_reference_cannot_do_are_named(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted(path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg"))[0]
    image.write_bytes(image.read_bytes()[:200])
    asked = command(tmp_path, folder, "--reference", "box-fill", "--model", "ellipse")
    assert run(asked) == 1
    assert f"box-fill has no masks for 1 of {N} images" in capsys.readouterr().err


def test_the_table_holds_what_was_measured(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = command(tmp_path, folder, "--reference", "box-fill", "--model", "ellipse,oracle")
    assert run(asked) == 0
    capsys.readouterr()
    records = list(read_records(tmp_path / "results", "agreement"))
    assert len(records) == 2
    (table,) = build(published.by_ref(published.all_tables()), records)
    assert [row[0].text for row in table.rows] == ["Inscribed ellipse", "Oracle"]
    ellipse = next(r for r in records if r.system["name"] == "ellipse")
    value = ellipse.metrics["miou"].value
    assert value is not None
    assert table.rows[0][1].text == f"{100 * value:.1f}"
    assert any("MobileSAM 0.73, 0.71, 0.74" in note for note in table.footnotes)
    assert build(published.by_ref(published.all_tables()), []) == []
