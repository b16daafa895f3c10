"""The start-up benchmark compares medians of two commands; times themselves are never tested."""

from __future__ import annotations

import json
import subprocess

import pytest
from click.testing import CliRunner

from litesam_bench.bench import startup


def test_ratio_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {startup.HELP: iter([9.0, 0.1, 0.3, 0.2]), startup.TORCH: iter([9.0, 2.0, 1.0, 30.0])}
    monkeypatch.setattr(startup, "seconds", lambda command: next(times[command]))
    result = startup.measure(3)  # the first of each is not counted
    assert result == {"help_s": 0.2, "import_torch_s": 2.0, "ratio": pytest.approx(10)}


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        startup.seconds((startup.HELP[0], "-c", "raise SystemExit(3)"))


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "TORCH", startup.HELP)  # importing torch twice would take seconds
    shown = CliRunner().invoke(startup.main, ["--repeats", "1", "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.output)["ratio"] > 0
