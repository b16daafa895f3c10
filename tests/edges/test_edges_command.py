"""`litesam-bench edges` from the command line to the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from litesam_bench.cli.main import run
from litesam_bench.edges.collect import collect
from litesam_bench.edges.outcome import read_counts, read_curves
from litesam_bench.errors import DataError
from litesam_bench.records.store import read_records


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`gt`, `images` and `maps` with three images of 120 x 160: a step, and where it is."""
    monkeypatch.chdir(tmp_path)
    for name in ("gt", "images", "maps"):
        (tmp_path / name).mkdir()
    for i in range(3):
        picture = np.full((120, 160, 3), 30, np.uint8)
        picture[:, 80 + i :] = 220
        outline = np.zeros((120, 160), np.uint8)
        outline[:, 80 + i] = 1
        cells = np.empty((1, 2), object)
        cells[0, 0] = cells[0, 1] = {"Boundaries": outline}
        savemat(tmp_path / "gt" / f"{i}.mat", {"groundTruth": cells})
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), picture)
        cv2.imwrite(str(tmp_path / "maps" / f"{i}.png"), outline * 200)
    return tmp_path


MAPS = ["edges", "--ground-truth", "gt", "--from-maps", "maps", "--workers", "1"]


def json_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    captured = capsys.readouterr()
    document: dict[str, Any] = json.loads(captured.out)
    return document


@pytest.mark.data
def test_the_official_example_as_json(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    bench = data_root / "bsds500" / "bench"
    arguments = ["--from-maps", bench / "png", "--ground-truth", bench / "groundTruth"]
    assert run(["edges", *map(str, arguments), "--thresholds", "5", "--json"]) == 0
    found = json_of(capsys)
    assert list(found["ods"]) == ["threshold", "recall", "precision", "f"]
    assert found["ods"]["f"] == pytest.approx(0.704628, abs=0.0002)
    assert found["ois"]["f"] == pytest.approx(0.708698, abs=0.0002)
    assert found["ap"] == pytest.approx(0.307627, abs=0.0002)
    assert 0 < found["r50"] < 1
    assert found["coverage"] == {"expected": 5, "done": 5, "failed": 0, "missing": []}


def test_perfect_maps_and_what_is_written(folders: Path, capsys: Any) -> None:
    assert run([*MAPS, "--json", "--gallery", "2"]) == 0
    found = json_of(capsys)
    assert found["ods"]["f"] == found["ois"]["f"] == 1
    assert (found["system"], found["data"], found["protocol"]) == ("maps", "gt", "bsds@1")
    (record,) = read_records(folders / "results")
    assert record.kind == "edges"
    assert record.status == "complete"
    assert record.metrics["ods"].value == 1
    assert record.protocol["knobs"]["max_dist"] == 0.0075
    (counts_file,) = (folders / "results" / "counts").rglob("*.json.gz")
    counts, thresholds = read_counts(counts_file)
    again = collect(counts, thresholds)
    assert again.ods.f == found["ods"]["f"]
    assert again.per_image["0"].f == 1
    assert set(read_curves(folders / "results", record)) == {"maps"}
    (figure,) = (folders / "results" / "figures").rglob("*.png")
    assert figure.with_suffix(".svg").is_file()
    (sheet,) = (folders / "results" / "galleries").rglob("*.png")
    assert cv2.imread(str(sheet)).shape[1] > 1000


def test_the_same_run_writes_the_same_bytes(folders: Path) -> None:
    def files() -> dict[Path, bytes]:
        kept = [p for k in ("counts", "figures") for p in (folders / "results" / k).rglob("*.*")]
        return {p: p.read_bytes() for p in kept}

    assert run(MAPS) == 0
    first = files()
    assert len(first) == 3
    assert run(MAPS) == 0
    assert files() == first


def test_report_draws_the_curves_again(folders: Path, capsys: Any) -> None:
    """Also where a setting brings a dot into the name."""
    assert run([*MAPS, "--max-dist", "0.01"]) == 0
    drawn = {p: p.read_bytes() for p in (folders / "results" / "figures").rglob("*.*")}
    assert {p.name.split("-gt-")[0] for p in drawn} == {"bsds-d0.01@1"}
    for path in drawn:
        path.unlink()
    capsys.readouterr()
    assert run(["report", "--results", "results"]) == 0
    out = capsys.readouterr().out
    assert all(path.name in out for path in drawn)
    assert {p: p.read_bytes() for p in drawn} == drawn
    assert run(["report", "--results", "results"]) == 0
    assert "figures" not in capsys.readouterr().out


def test_text_output_is_data_on_stdout(folders: Path, capsys: Any) -> None:
    assert run(MAPS) == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert [row[0] for row in rows] == ["measure", "ODS", "OIS", "AP", "R50"]
    assert rows[1][1] == "1.0000"
    assert "3/3 images" in captured.err


def test_other_settings_get_another_protocol(folders: Path, capsys: Any) -> None:
    extra = ["--thresholds", "9", "--max-dist", "0.02", "--no-thin", "--name", "My Net", "--json"]
    assert run([*MAPS, *extra]) == 0
    found = json_of(capsys)
    assert (found["protocol"], found["system"]) == ("bsds-t9-d0.02-nothin@1", "My Net")


def test_edge_nms_of_finished_maps(folders: Path, capsys: Any) -> None:
    for i in range(3):
        path = folders / "maps" / f"{i}.png"
        thick = cv2.GaussianBlur(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), (0, 0), 3)
        cv2.imwrite(str(path), thick)
    assert run([*MAPS, "--edge-nms", "dollar-r1", "--no-thin", "--json"]) == 0
    found = json_of(capsys)
    assert found["protocol"] == "bsds-nothin/dollar-r1@1"
    assert run([*MAPS, "--no-thin"]) == 0
    (figure,) = (folders / "results" / "figures").rglob("*.svg")
    assert "maps (dollar-r1): ODS" in figure.read_text()
    assert "maps: ODS" in figure.read_text()
    assert found["ods"]["f"] > 0.9  # the frame fades, the rest is a line of one pixel
    ridges = {
        r.protocol["id"]: r.protocol["knobs"]["nms"] for r in read_records(folders / "results")
    }
    assert ridges == {"bsds-nothin/dollar-r1@1": "dollar-r1", "bsds-nothin@1": "none"}


def test_missing_maps_are_no_score(folders: Path, capsys: Any) -> None:
    (folders / "maps" / "1.png").unlink()
    assert run([*MAPS, "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["ods"] is found["ois"] is found["ap"] is found["r50"] is None
    assert found["partial"]["ods"]["f"] == 1
    assert found["coverage"] == {"expected": 3, "done": 2, "failed": 1, "missing": ["1"]}
    assert "2 of 3 images have a map; the first without: 1" in captured.err
    (record,) = read_records(folders / "results")
    assert record.status == "partial"
    # a curve of a part is not drawn beside curves of the whole
    assert not (folders / "results" / "figures").exists()
    assert run(MAPS) == 1
    assert "measure (2/3)" in capsys.readouterr().out


def test_a_model_s_maps_are_saved_and_go_on(folders: Path, capsys: Any) -> None:
    command = ["edges", "--model", "sobel", "--ground-truth", "gt", "--image-dir", "images"]
    command += ["--workers", "1", "--save-maps", "out", "--json"]
    assert run(command) == 0
    assert json_of(capsys)["ods"]["f"] > 0.9
    saved = folders / "out" / "0.png"
    assert cv2.imread(str(saved), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    before = saved.stat().st_mtime_ns
    (folders / "out" / "2.png").unlink()
    assert run(command) == 0
    assert saved.stat().st_mtime_ns == before
    assert (folders / "out" / "2.png").is_file()
    capsys.readouterr()
    # the folder belongs to sobel now, and a folder of foreign maps to nobody
    command[command.index("sobel")] = "canny"
    assert run(command) == 2
    assert "maps of another system" in capsys.readouterr().err
    command[command.index("out")] = "maps"
    assert run(command) == 2
    assert "no earlier run of this command wrote" in capsys.readouterr().err


def test_scenes_are_the_default_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from litesam_bench.datasets.scenes import ScenesDataset
    from litesam_bench.edges import scenes_gt

    monkeypatch.chdir(tmp_path)
    few = ScenesDataset(n=2, size_hw=(96, 128))
    monkeypatch.setattr(scenes_gt, "ScenesDataset", lambda: few)
    assert run(["edges", "--thresholds", "9", "--workers", "1", "--json"]) == 0
    found = json_of(capsys)
    assert (found["data"], found["system"]) == ("scenes", "sobel")
    assert found["coverage"]["done"] == 2
    assert 0.2 < found["ods"]["f"] < 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from-maps", "maps", "--model", "sobel"], "exclude each other"),
        (["--from-maps", "maps", "--save-maps", "out"], "exclude each other"),
        (["--model", "sobel", "--name", "mine"], "--name goes with --from-maps"),
        (["--bsds", "--ground-truth", "gt"], "name different data"),
        (["--image-dir", "images"], "--image-dir goes with --ground-truth"),
        (["--ground-truth", "nowhere", "--from-maps", "maps"], "nowhere does not exist"),
        (["--ground-truth", "gt", "--from-maps", "nowhere"], "not a folder of edge maps"),
        (["--ground-truth", "gt", "--from-maps", "images"], "0.png is a colour image"),
        (["--ground-truth", "gt", "--model", "sobel"], "no picture of image 0"),
        (["--ground-truth", "gt", "--image-dir", "images", "--model", "box-fill"], "neither finds"),
        (["--ground-truth", "gt", "--from-maps", "maps", "--edge-nms", "canny"], "finished maps"),
        (["--bsds", "nowhere", "--model", "sobel"], "no BSDS500 in nowhere"),
        (["--bsds", "--data-root", "gt", "--model", "sobel"], "no BSDS500"),
    ],
)
def test_mistakes(folders: Path, arguments: list[str], complaint: str, capsys: Any) -> None:
    if "images" in arguments and "--from-maps" in arguments:
        coloured = np.zeros((40, 50, 3), np.uint8)
        coloured[0, 0] = 1, 2, 3
        cv2.imwrite(str(folders / "images" / "0.png"), coloured)
    assert run(["edges", "--workers", "1", *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert "fix:" in captured.err
    assert captured.out == ""


def test_damaged_counts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    for content in (b"", b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.json\.gz is not a file of counts"):
            read_counts(path)


def test_help_has_examples(capsys: Any) -> None:
    assert run(["edges", "--help"]) == 0
    assert "litesam-bench edges --bsds --model canny" in capsys.readouterr().out
