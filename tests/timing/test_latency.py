"""The latency helper: what it counts, in which order, and how it compares."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from litesam_bench.errors import UsageError
from litesam_bench.timing import latency
from litesam_bench.timing.latency import (
    PHASES_TOLERANCE,
    PhaseTimer,
    Ratio,
    Sample,
    Timings,
    machine_state,
    measure,
    ratio,
    warm_up,
)
from litesam_bench.timing.runs import limit


def timings(*seconds: float) -> Timings:
    return Timings(tuple(Sample(s, {}) for s in seconds), warm_up=2)


def test_systems_take_turns_after_their_warm_up() -> None:
    calls: list[tuple[str, int]] = []

    def system(name: str) -> Callable[[int, PhaseTimer], None]:
        def run(item: int, timer: PhaseTimer) -> None:
            calls.append((name, item))
            with timer.phase("work"):
                time.sleep(0.002)

        return run

    result = measure({"a": system("a"), "b": system("b")}, [1, 2], repeats=2, warm_up_limit=3)
    timed = calls[result["a"].warm_up + result["b"].warm_up :]
    assert timed == [("a", 1), ("b", 1), ("a", 2), ("b", 2)] * 2
    assert all(2 <= r.warm_up <= 3 for r in result.values())
    assert len(result["a"].samples) == 4


def test_phases_add_up_to_the_wall_time() -> None:
    def run(item: int, timer: PhaseTimer) -> dict[str, float]:
        with timer.phase("encode"):
            time.sleep(0.02)
        for _ in range(2):
            with timer.phase("decode"):
                time.sleep(0.01)
        return {"masks": 7.0}

    result = measure({"x": run}, [0, 1, 2])["x"]
    phases = result.phase_medians_s()
    assert list(phases) == ["encode", "decode"]
    assert phases["encode"] >= 0.02
    assert 0 <= result.unaccounted < PHASES_TOLERANCE
    summary = result.summary()
    assert summary["facts"] == {"masks": 7.0}
    assert len(summary["samples_ms"]) == 3


def test_time_outside_phases_is_seen() -> None:
    def run(item: int, timer: PhaseTimer) -> None:
        with timer.phase("encode"):
            time.sleep(0.01)
        time.sleep(0.01)

    assert 0.3 < measure({"x": run}, [0])["x"].unaccounted < 0.7


def test_warm_up_ends_when_times_are_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls_needed(times_s: list[float], **options: float) -> int:
        scripted = iter(times_s)
        monkeypatch.setattr(latency, "timed", lambda call, device: (next(scripted), None))
        return warm_up(lambda: None, device="cpu", **options)  # type: ignore[arg-type]

    assert calls_needed([0.05, 0.02, 0.005, 0.02, 0.021, 0.02]) == 5
    assert calls_needed([0.04, 0.02, 0.01, 0.005], limit=3) == 3
    assert calls_needed([0.2, 0.02, 0.1], budget_s=0.1) == 2


def test_statistics_by_hand() -> None:
    t = timings(1, 2, 3, 4, 10)
    assert t.median_s == 3
    assert t.p90_s == pytest.approx(7.6)
    same = ratio(timings(2, 4, 6), timings(1, 2, 3))
    assert same == Ratio(2.0, pytest.approx(same.low), pytest.approx(same.high))
    assert same.low <= 2 <= same.high


def test_the_interval_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        drift = rng.uniform(1, 2, 40)  # the same for both: they take turns
        slow = timings(*(3 * drift * rng.lognormal(0, 0.1, 40)))
        fast = timings(*(drift * rng.lognormal(0, 0.1, 40)))
        found = ratio(slow, fast, resamples=300, seed=seed)
        covered += found.low <= 3 <= found.high
    assert covered >= 50


def test_unpaired_samples_and_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        ratio(timings(1, 2), timings(1))
    with pytest.raises(UsageError, match="nothing to time"):
        measure({}, [1])


# In a process of its own: pages that the system takes back from a large one hide what it adds.
_ALLOCATES = """
import numpy as np
from litesam_bench.timing.latency import peak_bytes, reset_peak

large = np.ones(90_000_000, np.uint8)
del large
reset_peak("cpu")
before = peak_bytes("cpu")
block = np.ones(60_000_000, np.uint8)
print(peak_bytes("cpu") - before, block.sum())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can forget a peak")
def test_peak_memory_sees_an_allocation() -> None:
    output = subprocess.check_output([sys.executable, "-c", _ALLOCATES], text=True)
    added, total = map(int, output.split())
    assert 50_000_000 < added < 70_000_000
    assert total == 60_000_000


def test_machine_state() -> None:
    assert machine_state("cpu")["torch_threads"] >= 1


def test_what_limits_a_system_is_its_longest_phase() -> None:
    phases = {"encode": 10.0, "decode": 80.0, "nms": 10.0}
    assert limit({"phases_ms": phases, "facts": {"prompts": 16}}) == (
        "decode is 80 % of the time, 5 ms per prompt"
    )
    assert limit({"phases_ms": {"encode": 3.0}, "facts": {}}) == "encode is 100 % of the time"
    assert limit({"phases_ms": {}, "facts": {}}) == ""


def test_a_ratio_per_unit_of_work() -> None:
    assert Ratio(2.0, 1.5, 3.0).times(4) == Ratio(8.0, 6.0, 12.0)


def test_without_a_warm_up_of_its_own() -> None:
    calls: list[int] = []
    found = measure({"a": lambda item, timer: calls.append(item)}, [7], warm_up_limit=0)
    assert (calls, found["a"].warm_up, found["a"].peak_bytes) == ([7], 0, None)
