"""`zeroshot` and `score` as a user types them: one JSON document, one clear error, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from litesam_bench.cli.main import run
from litesam_bench.datasets.export import export_coco
from litesam_bench.datasets.scenes import ScenesDataset

N = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four small scenes on disk in COCO's format."""
    export_coco(ScenesDataset(N, seed=5, size_hw=(96, 128)), tmp_path, "mini")
    return tmp_path / "coco"


def options(tmp_path: Path, folder: Path) -> list[str]:
    return [
        *("--dataset", str(folder), "--device", "cpu"),
        *("--results", str(tmp_path / "results"), "--runs-dir", str(tmp_path / "runs")),
    ]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_one_json_document_with_metrics_and_coverage_per_system(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["zeroshot", "--model", "oracle,box-fill,ellipse", "--prompt", "box", "--json"]
    assert run([*command, *options(tmp_path, folder)]) == 0
    systems = document(capsys)["systems"]
    assert list(systems) == ["oracle", "box-fill", "ellipse"]
    oracle, box_fill, ellipse = systems.values()
    assert oracle["metrics"]["miou"]["value"] == 1.0
    assert oracle["metrics"]["ap"]["value"] == pytest.approx(1.0, abs=1e-12)
    assert 0.3 < box_fill["metrics"]["miou"]["value"] < ellipse["metrics"]["miou"]["value"] < 0.95
    assert oracle["coverage"] == {"expected": N, "done": N, "failed": 0, "failures": {}}
    stored = sorted((tmp_path / "results" / "records").rglob("*.json"))
    assert [p.name for p in stored] == [
        f"{name}.cpu-fp32.json" for name in ("box-fill", "ellipse", "oracle")
    ]


def test_a_missing_capability_is_not_available_and_never_substituted(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["zeroshot", "--model", "oracle,ellipse", "--prompt", "point", "--json"]
    assert run([*command, *options(tmp_path, folder)]) == 0
    systems = document(capsys)["systems"]
    assert systems["oracle"]["metrics"]["miou"]["value"] == 1.0
    assert systems["ellipse"]["status"] == "n/a"
    assert "point prompts" in systems["ellipse"]["reason"]
    assert systems["ellipse"]["metrics"] == {}


def test_score_needs_no_model_and_gives_the_same_numbers(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = options(tmp_path, folder)
    assert run(["zeroshot", "--model", "ellipse", "--json", *where]) == 0
    first = document(capsys)["systems"]["ellipse"]
    again = ["score", first["fingerprint"][:8], *where[4:]]
    assert run([*again, "--json"]) == 0
    assert document(capsys)["systems"]["ellipse"]["metrics"] == first["metrics"]
    assert run([*again, "--protocol", "miou-oracle", "--json"]) == 0
    oracle = document(capsys)
    assert oracle["protocol"]["id"] == "miou-oracle/box@1"
    assert run([*again, "--protocol", "miou-strict/point"]) == 2
    assert "cannot be scored as miou-strict/point@1" in capsys.readouterr().err


def test_score_refuses_other_data(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = options(tmp_path, folder)
    assert run(["zeroshot", "--model", "ellipse", "--json", *where]) == 0
    fingerprint = document(capsys)["systems"]["ellipse"]["fingerprint"]
    annotations = next(folder.rglob("*.json"))
    raw = json.loads(annotations.read_text())
    raw["annotations"] = raw["annotations"][1:]
    annotations.write_text(json.dumps(raw))
    assert run(["score", fingerprint, *where[4:]]) == 1
    assert "is not the data that" in capsys.readouterr().err


def test_a_truncated_image_is_counted_the_rest_is_kept_and_the_exit_status_tells(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))[1]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    command = ["zeroshot", "--model", "ellipse", "--json", *options(tmp_path, folder)]
    assert run(command) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)["systems"]["ellipse"]
    assert found["status"] == "partial"
    assert (found["coverage"]["done"], found["coverage"]["failed"]) == (N - 1, 1)
    assert image.name in captured.err
    assert "run the same command again" in captured.err
    image.write_bytes(whole)
    assert run(command) == 0
    assert document(capsys)["systems"]["ellipse"]["status"] == "complete"


def test_limited_runs_keep_no_record(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["zeroshot", "--model", "ellipse", "--limit", "2", *options(tmp_path, folder)]) == 0
    assert "limited run" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "elipse"], 2, "ellipse"),
        (["--dataset", "cocoa"], 2, "coco"),
        (["--protocol", "miou-strikt"], 2, "miou-strict"),
        (["--prompt", "polygon"], 2, "unknown prompt"),
        (["--prompt", "detector"], 2, "--boxes FILE is missing"),
        (["--boxes", "nowhere.json"], 1, "nowhere.json"),
        (["--boxes", "nowhere.json", "--prompt", "box"], 2, "but --boxes is given"),
        (["--device", "cuda:99"], 2, "cuda:99"),
        (["--model", "sam-vit-b"], 1, "litesam-bench weights pull sam-vit-b"),
        (["--dataset", "coco", "--data-root", "nowhere"], 1, "instances_val2017.json"),
    ],
)
def test_one_clear_error(
    arguments: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    models = [] if "--model" in arguments else ["--model", "ellipse"]
    assert run(["zeroshot", *models, *arguments]) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def detections(folder: Path) -> list[dict[str, Any]]:
    raw = json.loads(next(folder.rglob("*.json")).read_text())
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": a["bbox"],
            "score": 0.25 + 0.5 * (k % 2),
        }
        for k, a in enumerate(raw["annotations"])
    ]


def test_detector_boxes_are_prompts_and_described_in_the_record(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.json"
    found = detections(folder)
    stray = [{**found[0], "image_id": 10**6}, {**found[0], "category_id": 10**6}]
    boxes.write_text(json.dumps([*found, *stray]))
    command = ["zeroshot", "--model", "box-fill", "--prompt", "detector", "--boxes", str(boxes)]
    assert run([*command, "--json", *options(tmp_path, folder)]) == 0
    result = document(capsys)
    assert result["protocol"]["id"] == "ap-det/detector@1"
    described = result["data"]["boxes"]
    assert described["n_boxes"] == len(found)
    assert described["skipped"] == {"unknown-image": 1, "unknown-category": 1}
    assert described["box_ap"]["ap"] > 0.95
    assert 0 < result["systems"]["box-fill"]["metrics"]["ap"]["value"] < 1


def _metrics(folder: Path) -> dict[str, Any]:
    paths = sorted((folder / "records").rglob("*.json"))
    return {p.name: json.loads(p.read_text())["metrics"] for p in paths}


def test_two_processes_end_with_the_same_bytes_as_one(tmp_path: Path, folder: Path) -> None:
    command = ["zeroshot", "--model", "ellipse", "--dataset", str(folder), "--device", "cpu"]
    one, two = tmp_path / "one", tmp_path / "two"

    def places(at: Path) -> list[str]:
        return ["--results", str(at), "--runs-dir", str(at / "runs")]

    subprocess.run(
        [sys.executable, "-m", "litesam_bench", *command, *places(one)], check=True, timeout=120
    )
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *torchrun, "-m", "litesam_bench", *command, *places(two)],
        check=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    journals = sorted(p.name for p in (two / "runs").rglob("journal-*.jsonl"))
    assert journals == ["journal-0.jsonl", "journal-1.jsonl"]
    lines = [len(p.read_text().splitlines()) for p in (two / "runs").rglob("journal-*.jsonl")]
    assert sum(lines) == N  # no padding duplicates
    assert json.dumps(_metrics(one)) == json.dumps(_metrics(two))


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = ["zeroshot", "--model", "grabcut", "--runs-dir", str(runs), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "litesam_bench", *command, "--results", str(tmp_path / "results")],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        journal = next(runs.glob("*/journal-0.jsonl"), None)
        if journal is not None and journal.stat().st_size > 0:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert next(runs.glob("*/journal-0.jsonl")).read_text().endswith("\n")


def test_several_folders_and_their_mean(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_coco(ScenesDataset(3, seed=9, size_hw=(96, 128)), tmp_path / "other", "mini")
    second = tmp_path / "other" / "coco"
    two = ["--dataset", f"{folder}, {second}", *options(tmp_path, folder)[2:]]
    command = ["zeroshot", "--model", "ellipse,oracle", "--prompt", "box", "--json"]
    assert run([*command, *two]) == 0
    first, other, mean = document(capsys)["datasets"]
    assert [d["data"]["n_images"] for d in (first, other, mean)] == [N, 3, N + 3]
    assert first["data"]["digest"] != other["data"]["digest"]
    for name in ("miou", "ap"):
        values = [d["systems"]["ellipse"]["metrics"][name]["value"] for d in (first, other)]
        got = mean["systems"]["ellipse"]["metrics"][name]
        assert values[0] != values[1]
        assert got["value"] == pytest.approx(sum(values) / 2)
        assert (got["n"], got["low"]) == (2, None)
    assert mean["data"]["name"] == "mean-of-2"
    assert mean["systems"]["oracle"]["metrics"]["miou"]["value"] == 1.0
    stored = list((tmp_path / "results" / "records" / "zeroshot-mean").rglob("*.json"))
    assert sorted(path.name for path in stored) == ["ellipse.cpu-fp32.json", "oracle.cpu-fp32.json"]
    # each folder alone is the same measurement
    assert run([*command, *options(tmp_path, folder)]) == 0
    alone = document(capsys)["systems"]["ellipse"]
    assert alone["metrics"] == first["systems"]["ellipse"]["metrics"]


def test_a_mean_needs_every_dataset_whole(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_coco(ScenesDataset(3, seed=9, size_hw=(96, 128)), tmp_path / "other", "mini")
    second = tmp_path / "other" / "coco"
    broken = sorted(p for p in second.rglob("*.*") if p.suffix in (".png", ".jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:100])
    two = ["--dataset", f"{folder},{second}", *options(tmp_path, folder)[2:]]
    assert run(["zeroshot", "--model", "ellipse", "--json", *two]) == 1
    *_, mean = document(capsys)["datasets"]
    assert mean["systems"]["ellipse"]["status"] == "partial"
    assert mean["systems"]["ellipse"]["metrics"] == {}


@pytest.mark.parametrize("more", [["--ann-file", "a.json"], ["--image-dir", "images"]])
def test_files_of_one_dataset_cannot_serve_several(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    two = ["--dataset", f"{folder},{tmp_path}", *options(tmp_path, folder)[2:]]
    assert run(["zeroshot", "--model", "ellipse", *two, *more]) == 2
    assert "belong to one dataset" in capsys.readouterr().err


def test_a_dataset_is_named_once(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = ["--dataset", f"{folder},{folder}", *options(tmp_path, folder)[2:]]
    assert run(["zeroshot", "--model", "ellipse", *two]) == 2
    assert "one twice" in capsys.readouterr().err


@pytest.mark.data
def test_a_folder_from_the_wild(
    tmp_path: Path, data_root: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nuclei of dsb2018 beside generated scenes: any folder in COCO's format is a dataset."""
    nuclei = data_root / "dsb2018"
    if not nuclei.is_dir():
        pytest.skip(f"{nuclei} does not exist")
    two = ["--dataset", f"{nuclei},{folder}", *options(tmp_path, folder)[2:]]
    command = ["zeroshot", "--model", "box-fill,ellipse,oracle", "--limit", "3", "--json"]
    assert run([*command, *two]) == 0
    wild, _, mean = document(capsys)["datasets"]
    found = {name: entry["metrics"]["miou"]["value"] for name, entry in wild["systems"].items()}
    # nuclei are round: the ellipse beats the box
    assert 0.5 < found["box-fill"] < found["ellipse"] < found["oracle"] == 1.0
    assert mean["data"]["parts"][0]["name"] == wild["data"]["name"]
