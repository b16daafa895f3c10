"""`check` as a user types it: a table or JSON, and an exit status that a script can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litesam_bench.cli.main import run


def test_a_sound_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "ellipse"]) == 0
    shown = capsys.readouterr()
    header, *lines = shown.out.splitlines()
    assert header.split("\t") == ["system", "check", "result", "detail"]
    results = {line.split("\t")[1]: line.split("\t")[2] for line in lines}
    assert results["a batch is its prompts one by one"] == "pass"
    assert results["equal to upstream"] == "n/a"
    assert "all checks passed" in shown.err


def test_a_newcomers_file_that_fails(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    template = (repository / "baselines" / "_template.py").read_text()
    mine.write_text(template.replace("boxes=True", "boxes=True, multimask=True"))
    assert run(["check", f"{mine},ellipse", "--json"]) == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["passed"] is False
    first, second = document["systems"]
    assert (first["system"], first["passed"]) == ("my-sam-tiny", False)
    assert first["proven"] is False
    failed = {row["name"]: row["detail"] for row in first["checks"] if row["status"] == "fail"}
    assert failed["answers box"] == "tokens (0,) do not fit multimask=True"
    assert second["passed"] is True
    assert "checks failed" in shown.err


def test_failed_checks_only(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    template = (repository / "baselines" / "_template.py").read_text()
    mine.write_text(
        template.replace("import numpy as np\n", "import numpy as np\nimport torch\n", 1)
    )
    assert run(["check", str(mine), "--failed"]) == 1
    (_, line) = capsys.readouterr().out.splitlines()
    assert line == "my-sam-tiny\timports nothing heavy\tfail\ttorch"


def test_an_unknown_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "elipse"]) == 2
    assert "did you mean ellipse?" in capsys.readouterr().err
