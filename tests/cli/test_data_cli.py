"""`data list|where|verify|pull` as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from litesam_bench.cli.main import run
from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.train.loop import read_sources
from litesam_bench.train.shards import open_shards


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A COCO folder with annotations of two images, one of which is here."""
    coco = tmp_path / "data" / "coco"
    (coco / "annotations").mkdir(parents=True)
    (coco / "val2017").mkdir()
    (coco / "val2017" / "a.jpg").touch()
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "iscrowd": 1}],
        "categories": [],
    }
    (coco / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    return tmp_path / "data"


def test_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "list", "--data-root", str(root)]) == 0
    out, err = capsys.readouterr()
    states = {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()[1:]}
    assert states == {
        "scenes": "built-in",
        "coco": "partial",
        "lvis": "missing",
        "bsds500": "missing",
    }
    assert str(root) in err


def test_where_by_environment(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITESAM_BENCH_DATA", str(root))
    assert run(["data", "where", "coco"]) == 0
    out, err = capsys.readouterr()
    assert f"coco\t{root}/coco/val2017\t1 of 5000 files\n" in out
    assert f"coco\t{root}/coco/annotations/instances_val2017.json\tpresent\n" in out
    assert "litesam-bench data pull coco" in err


def test_verify_counts_and_fails_for_a_subset(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "verify", "--data-root", str(root)]) == 1
    out, err = capsys.readouterr()
    assert "2 of 5000 images, 1 of 36781 annotations, 1 of 446 crowd, 1 of 5000 files" in out
    assert "lvis" not in out  # of which nothing is here
    assert "not the complete official set" in err and "data where coco" in err


def test_verify_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "verify", "coco", "--data-root", str(root), "--json"]) == 1
    (coco,) = json.loads(capsys.readouterr().out)["datasets"]
    assert coco["state"] == "partial"
    assert coco["parts"][0]["found"] == {"images": 2, "annotations": 1, "crowd": 1, "files": 1}
    assert coco["parts"][0]["expected"]["annotations"] == 36_781


def test_verify_of_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "verify", "lvis", "--data-root", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out


def test_verify_with_nothing_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "verify", "--data-root", str(tmp_path)]) == 0
    capsys.readouterr()


def test_pull_without_a_direct_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "pull", "bsds500", "--data-root", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "research use" in err and "https://github.com/BIDS/BSDS500" in err


def test_unknown_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "where", "cocoo"]) == 2
    assert "did you mean coco?" in capsys.readouterr().err


def test_scenes_to_train_on_are_pairs_with_names_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "extra"
    assert run(["data", "scenes", str(folder), "--images", "2", "--seed", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    shards = open_shards([folder])
    assert [shards.name(i) for i in range(2)] == ["sa_903000001", "sa_903000002"]
    assert set(read_sources([folder]).values()) == {"scenes-train"}
    measured = ScenesDataset(1, 3).sample(1).image
    assert not np.array_equal(shards.read(0).image, measured)
