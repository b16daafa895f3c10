"""The one place that measures time: warm-up, synchronisation, interleaving, intervals.

Every timing table comes from here, so that all of them share these rules:

* a system is warmed up until its times are stable, not for a fixed number of calls;
* the device is synchronised before and after everything that is timed;
* systems take turns (A B C A B C ...) on the same item, so that drift and noise meet all of them;
* samples are kept per item, and a ratio is of medians with a bootstrap interval over items;
* phases are timed inside the same call and must add up to its wall time.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from litesam_bench.errors import UsageError

Item = TypeVar("Item")

PHASES_TOLERANCE = 0.02
"""Part of the wall time that may lie outside all phases."""


def synchronize(device: str) -> None:
    """Wait until the device has done what was asked of it; nothing to wait for on a CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        import torch

        torch.mps.synchronize()


@dataclass
class PhaseTimer:
    """Seconds per phase of one call, with the device synchronised at every boundary.

    Has the interface of `everything.generator.Clock`. Phases must not nest.
    """

    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to phase `name`."""
        synchronize(self.device)
        begin = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self.device)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True)
class Sample:
    """One timed call: wall seconds, and seconds per phase (empty where the call has none)."""

    wall_s: float
    phases_s: Mapping[str, float]

    @property
    def unaccounted(self) -> float:
        """The part of the wall time that lies in no phase."""
        return 1 - sum(self.phases_s.values()) / self.wall_s if self.phases_s else 0.0


@dataclass(frozen=True)
class Timings:
    """All samples of one system, in the order of the items (repeats one after the other).

    warm_up: calls before the first sample. peak_bytes: memory during its first round, on the
    device, or of the whole process on a CPU (None where the system does not tell).
    facts: what the system said about its calls, e.g. the number of masks, per sample.
    """

    samples: tuple[Sample, ...]
    warm_up: int
    peak_bytes: int | None = None
    facts: tuple[Mapping[str, float], ...] = ()

    @property
    def median_s(self) -> float:
        """Median wall time."""
        return statistics.median(s.wall_s for s in self.samples)

    @property
    def p90_s(self) -> float:
        """90th percentile of the wall time."""
        return float(np.percentile([s.wall_s for s in self.samples], 90))

    @property
    def unaccounted(self) -> float:
        """The part of the total wall time that lies in no phase."""
        wall = sum(s.wall_s for s in self.samples)
        phases = sum(sum(s.phases_s.values()) for s in self.samples)
        return 1 - phases / wall if phases else 0.0

    def phase_medians_s(self) -> dict[str, float]:
        """Median seconds of every phase, in the order of their first appearance."""
        names = dict.fromkeys(name for s in self.samples for name in s.phases_s)
        return {
            name: statistics.median(s.phases_s.get(name, 0.0) for s in self.samples)
            for name in names
        }

    def summary(self) -> dict[str, Any]:
        """What records and `--json` hold: milliseconds, with all samples."""
        return {
            "median_ms": _ms(self.median_s),
            "p90_ms": _ms(self.p90_s),
            "phases_ms": {k: _ms(v) for k, v in self.phase_medians_s().items()},
            "unaccounted": round(self.unaccounted, 4),
            "samples_ms": [_ms(s.wall_s) for s in self.samples],
            "warm_up": self.warm_up,
            "peak_bytes": self.peak_bytes,
            "facts": {
                name: statistics.median(f[name] for f in self.facts)
                for name in (self.facts[0] if self.facts else ())
            },
        }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 4)


@dataclass(frozen=True)
class Ratio:
    """How many times longer one system takes than another, with a 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Ratio:
        """The ratio per unit, where one of the two was given `factor` times as much to do."""
        return Ratio(self.value * factor, self.low * factor, self.high * factor)


Timed = Callable[[Item, PhaseTimer], Mapping[str, float] | None]
"""What is timed: works on an item, marks its phases on the timer, and may return facts."""


def measure(
    systems: Mapping[str, Timed[Item]],
    items: Sequence[Item],
    *,
    device: str = "cpu",
    repeats: int = 1,
    warm_up_limit: int = 10,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Timings]:
    """Time systems against each other on the same items.

    Args:
        systems: by name; they take turns on every item.
        repeats: rounds over all items.
        warm_up_limit: most calls of a system before its first sample; 0 where the caller has
            warmed it up on something smaller (then its peak memory is unknown).
        progress: called after every sample.

    Raises:
        UsageError: no items or no systems.
    """
    if not systems or not items:
        raise UsageError("nothing to time: no systems or no images", fix="--limit 5, --model ...")
    warmed: dict[str, int] = {}
    peaks: dict[str, int | None] = {}
    for name, run in systems.items():
        if warm_up_limit == 0:
            warmed[name], peaks[name] = 0, None
            continue
        reset_peak(device)
        once = partial(run, items[0], PhaseTimer(device))
        warmed[name] = warm_up(once, device=device, limit=warm_up_limit)
        peaks[name] = peak_bytes(device)
    samples: dict[str, list[Sample]] = {name: [] for name in systems}
    facts: dict[str, list[Mapping[str, float]]] = {name: [] for name in systems}
    for _ in range(repeats):
        for item in items:
            for name, run in systems.items():
                timer = PhaseTimer(device)
                wall, said = timed(partial(run, item, timer), device)
                samples[name].append(Sample(wall, timer.seconds))
                if said:
                    facts[name].append(said)
                progress()
    return {
        name: Timings(tuple(samples[name]), warmed[name], peaks[name], tuple(facts[name]))
        for name in systems
    }


T = TypeVar("T")


def timed(call: Callable[[], T], device: str) -> tuple[float, T]:
    """Wall seconds of one call, synchronised on both sides, and what it returned."""
    synchronize(device)
    begin = time.perf_counter()
    result = call()
    synchronize(device)
    return time.perf_counter() - begin, result


def warm_up(
    call: Callable[[], object],
    *,
    device: str,
    limit: int = 10,
    tolerance: float = 0.1,
    budget_s: float = 30.0,
) -> int:
    """Call until the last two times are within `tolerance` of each other.

    Compiled kernels, autotuning and caches make the first calls slower by any factor, so a fixed
    number is either too small or a waste. At least two calls, at most `limit`, and none begins
    after `budget_s`: what takes that long does not depend on its first milliseconds. Returns how
    many calls it took.
    """
    last, _ = timed(call, device)
    spent = last
    for n in range(2, limit + 1):
        now, _ = timed(call, device)
        spent += now
        if abs(now - last) <= tolerance * max(now, last) or spent > budget_s:
            return n
        last = now
    return limit


def ratio(slow: Timings, fast: Timings, *, resamples: int = 2000, seed: int = 0) -> Ratio:
    """Median time of `slow` over that of `fast`, with a bootstrap interval over paired samples.

    Raises ValueError when the two were not measured on the same items.
    """
    a = np.array([s.wall_s for s in slow.samples])
    b = np.array([s.wall_s for s in fast.samples])
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} samples are not pairs")
    rows = np.random.default_rng(seed).integers(0, len(a), (resamples, len(a)))
    ratios = np.median(a[rows], axis=1) / np.median(b[rows], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))


# --- memory --------------------------------------------------------------------------------------


def reset_peak(device: str) -> None:
    """Forget the peak so far, where the system can."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM


def peak_bytes(device: str) -> int | None:
    """Peak memory since `reset_peak`: allocated on the device, resident of the process on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    if not device.startswith("cpu"):
        return None
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine_state(device: str) -> dict[str, Any]:
    """What else can move a time: threads, load of the machine, clocks where they are readable."""
    import torch

    state: dict[str, Any] = {"torch_threads": torch.get_num_threads()}
    if hasattr(os, "getloadavg"):
        state["load_average"] = round(os.getloadavg()[0], 2)
    if device.startswith("cuda"):
        # readable only with the driver's management library
        with suppress(RuntimeError, ModuleNotFoundError):
            state["clock_mhz"] = int(torch.cuda.clock_rate(device))
    else:
        with suppress(OSError, ValueError):
            text = Path("/proc/cpuinfo").read_text()
            mhz = [float(x.partition(":")[2]) for x in text.splitlines() if x.startswith("cpu MHz")]
            if mhz:
                state["clock_mhz"] = round(statistics.median(mhz))
    return state
