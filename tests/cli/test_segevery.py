"""`litesam-bench segevery` end to end, on embedded scenes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from litesam_bench.cli.segevery import segevery
from litesam_bench.errors import UsageError


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(segevery, arguments)
    return result.exit_code, result.stdout, result.exception


def test_json_of_oracle_and_felz_hutt(tmp_path: Path) -> None:
    code, text, _ = run(
        "--model", "oracle,felz-hutt", "--limit", "2", "--json", "--runs-dir", str(tmp_path)
    )
    assert code == 0
    systems = json.loads(text)["systems"]
    assert systems["oracle"]["metrics"]["ar1000"]["value"] == 1.0
    felz = systems["felz-hutt"]["metrics"]
    assert 0 < felz["ar10"]["value"] < felz["ar1000"]["value"] < 1


def test_a_system_that_cannot_is_n_a(tmp_path: Path) -> None:
    code, text, _ = run(
        "--model", "box-fill", "--limit", "1", "--json", "--runs-dir", str(tmp_path)
    )
    assert code == 0
    system = json.loads(text)["systems"]["box-fill"]
    assert system["status"] == "n/a"
    assert "point prompts" in system["reason"]
    assert json.loads(text)["protocol"]["id"] == "ar-sam/grid:32@1"  # nothing to propose with


def test_combinations_that_make_no_sense() -> None:
    for arguments in (
        ("--sampler", "object-aware"),
        ("--protocol", "ar-bsds"),
        ("--sampler", "gird:3"),
        ("--protocol", "ar-samm"),
    ):
        _, _, error = run("--model", "oracle", "--limit", "1", *arguments)
        assert isinstance(error, UsageError), arguments
