"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side (pytest -n); threads of one would only wait for those of the others.
# Must be set before torch is imported, also in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return _ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real data: LITESAM_BENCH_DATA, else `shared/data` beside the checkout; skips when absent."""
    chosen = os.environ.get("LITESAM_BENCH_DATA")
    root = Path(chosen) if chosen else _ROOT.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real data: {root} does not exist (set LITESAM_BENCH_DATA)")
    return root.resolve()


@pytest.fixture(autouse=True)
def _private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes a user's cache, runs, weights or results."""
    monkeypatch.setenv("LITESAM_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("RUNS", "WEIGHTS", "RESULTS", "DATA"):
        monkeypatch.delenv(f"LITESAM_BENCH_{name}", raising=False)
