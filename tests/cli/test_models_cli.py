"""`models` and `protocols`: catalogues that need nothing loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from litesam_bench import protocols
from litesam_bench.catalogue import prompts_text
from litesam_bench.cli.main import run
from litesam_bench.registry import systems
from litesam_bench.types import Capabilities

EVERY_ID = [p.id for p in protocols.presets()] + [
    *(f"{name}/grid:32@1" for name in ("ar-sam", "ar-sam-iou", "ar-default-amg")),
    "ar-object-aware/object-aware@1",
    "ar-bsds/grid:32@1",
]


def output(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert run(args) == 0
    return capsys.readouterr().out


class TestModels:
    def test_list_has_a_line_per_system(self, capsys: pytest.CaptureFixture[str]) -> None:
        header, *lines = output(capsys, "models", "list").splitlines()
        assert header.split("\t")[0] == "system"
        assert [line.split("\t")[0] for line in lines] == list(systems().names)
        assert all(len(line.split("\t")) == len(header.split("\t")) for line in lines)

    def test_list_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        entries = json.loads(output(capsys, "models", "list", "--json"))["systems"]
        by_name = {entry["name"]: entry for entry in entries}
        assert set(by_name) == set(systems().names)
        assert by_name["ellipse"]["weights_state"] == "none"
        assert by_name["ellipse"]["weights_path"] is None
        assert by_name["ellipse"]["capabilities"]["boxes"] is True
        assert by_name["ellipse"]["source"].endswith("ellipse.py")

    def test_list_says_what_is_proven(self, capsys: pytest.CaptureFixture[str]) -> None:
        entries = json.loads(output(capsys, "models", "list", "--json"))["systems"]
        by_name = {entry["name"]: entry for entry in entries}
        sam = by_name["sam-vit-b"]
        assert sam["proven"] is True
        assert sam["parameters_m"] == 93.74
        assert sam["variants"] == ["sam-vit-b", "sam-vit-l", "sam-vit-h"]
        assert sam["published_numbers"]["lite-sam/complexity"]["params_m"] == "90"
        assert by_name["lite-sam-640"]["proven"] is False
        assert by_name["lite-sam-640"]["parameters_m"] == pytest.approx(4.2, abs=0.1)
        assert all(entry["proven_reason"] for entry in entries)
        lines = output(capsys, "models", "list").splitlines()
        column = lines[0].split("\t").index("proven")
        words = {line.split("\t")[0]: line.split("\t")[column] for line in lines[1:]}
        assert words["sam-vit-b"] == "proven"
        assert words["lite-sam-640"] == "not proven"
        assert words["ellipse"] == ""

    def test_listing_loads_nothing_heavy(self, repository: Path) -> None:
        script = (
            "import sys; from litesam_bench.cli.main import run; run(['models', 'list', '--json']);"
            "print(sorted({'torch', 'timm', 'transformers', 'cv2'} & set(sys.modules)),"
            " file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "[]\n"

    def test_show(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = output(capsys, "models", "show", "ellipse")
        assert "name: ellipse\n" in shown
        assert "capabilities:\n  points: False\n" in shown

    def test_show_several_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = json.loads(output(capsys, "models", "show", "oracle,box-fill", "--json"))
        assert [entry["name"] for entry in shown["systems"]] == ["oracle", "box-fill"]

    def test_show_a_file(
        self, capsys: pytest.CaptureFixture[str], repository: Path, tmp_path: Path
    ) -> None:
        mine = shutil.copy(repository / "baselines" / "_template.py", tmp_path / "mine.py")
        assert "name: my-sam-tiny\n" in output(capsys, "models", "show", str(mine))

    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["models", "show", "elipse"]) == 2
        assert "did you mean ellipse?" in capsys.readouterr().err

    def test_prompts_text(self) -> None:
        assert prompts_text(Capabilities(points=True, boxes=True, max_points=6)) == (
            "points, boxes (at most 6 points)"
        )
        assert prompts_text(Capabilities(everything=True)) == "everything"


class TestProtocols:
    def test_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = output(capsys, "protocols", "list").splitlines()[1:]
        assert [line.split("\t")[0] for line in lines] == EVERY_ID

    def test_list_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        entries = json.loads(output(capsys, "protocols", "list", "--json"))["protocols"]
        assert [entry["id"] for entry in entries] == EVERY_ID
        assert all(entry["source"] for entry in entries)

    def test_show_has_every_field(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = json.loads(output(capsys, "protocols", "show", "miou-strict/clicks:3", "--json"))
        assert shown["id"] == "miou-strict/clicks:3@1"
        assert shown["n_clicks"] == 3
        assert {"crowd", "mask_select", "point_rule", "gt_res"} <= set(shown)

    def test_show_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "crowd: drop\n" in output(capsys, "protocols", "show", "miou-strict")

    def test_segment_everything_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = output(capsys, "protocols", "show", "ar-sam/autoppn:64-boxes@1")
        assert shown.startswith("id: ar-sam/autoppn:64-boxes@1\n")
        assert "  box_nms_thresh: 0.9\n" in shown
        assert run(["protocols", "show", "ar-sam@7"]) == 2

    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["protocols", "show", "miou-strikt"]) == 2
        assert "miou-strict" in capsys.readouterr().err
