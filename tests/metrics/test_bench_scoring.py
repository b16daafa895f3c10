"""The scoring benchmark on a small problem: its numbers agree and its report is complete."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from litesam_bench.bench import scoring


@pytest.fixture(scope="module")
def report() -> dict:
    outcome = CliRunner().invoke(
        scoring.main, ["--images", "20", "--masks", "150", "--repeats", "1", "--json"]
    )
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def test_numbers_are_identical_and_peaks_are_measured(report: dict) -> None:
    assert report["identical"]
    assert {"litesam-bench", "pycocotools"} <= report["scorers"].keys()
    for row in report["scorers"].values():
        assert row["median_s"] > 0
        assert 0.02 < row["peak_gib"] < 2
        assert row["max_difference"] < 1e-10


def test_the_problem_has_cocos_shape() -> None:
    problem = scoring.make_problem(images=50, masks=600)
    area = np.array([a["area"] for a in problem.dataset["annotations"]])
    shares = [(area < 32**2).mean(), (area > 96**2).mean()]
    assert all(0.2 < share < 0.55 for share in shares)
    assert len(problem.results) == sum(len(t.instances) for t in problem.truths) == 600
    again = scoring.make_problem(images=50, masks=600)
    assert again == problem
    assert scoring.make_problem(images=50, masks=600, seed=1).results != problem.results


def test_a_difference_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = scoring.Numbers(*(np.zeros((1,)) for _ in range(4)))
    other = scoring.Numbers(*(np.zeros((1,)) for _ in range(3)), np.array([1e-12]))
    assert scoring._max_difference(numbers, numbers) == 0.0
    assert scoring._max_difference(numbers, other) == 1e-12
    monkeypatch.setattr(scoring, "run", lambda *a: {"identical": False, "scorers": {}})
    outcome = CliRunner().invoke(scoring.main, ["--json"])
    assert outcome.exit_code == 1
    assert "differ from pycocotools" in outcome.output
