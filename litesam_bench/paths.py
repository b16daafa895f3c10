"""Where data, weights, runs and results live. Every location has one rule and one override.

| what | override | default |
|---|---|---|
| data root | `--data-root`, `LITESAM_BENCH_DATA` | `./data` if it exists, else cache/data |
| weights | `LITESAM_BENCH_WEIGHTS` | cache/weights |
| runs (journals) | `--runs-dir`, `LITESAM_BENCH_RUNS` | cache/runs |
| results | `--results`, `LITESAM_BENCH_RESULTS` | `./results` |
| cache | `LITESAM_BENCH_CACHE` | the platform's user cache folder |
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def cache_root() -> Path:
    """The cache folder; made on first use."""
    override = os.environ.get("LITESAM_BENCH_CACHE")
    root = Path(override) if override else Path(platformdirs.user_cache_dir("litesam-bench"))
    root.mkdir(parents=True, exist_ok=True)
    return root


def data_root(option: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds `coco/`, `lvis/`, `bsds500/`, ...; it need not exist."""
    chosen = option or os.environ.get("LITESAM_BENCH_DATA")
    if chosen:
        return Path(chosen).resolve()
    here = Path("data")
    return here.resolve() if here.is_dir() else cache_root() / "data"


def weights_root() -> Path:
    """The folder that holds the official checkpoints under their upstream file names."""
    override = os.environ.get("LITESAM_BENCH_WEIGHTS")
    return Path(override).resolve() if override else cache_root() / "weights"


def shipped_weights_dir() -> Path:
    """The weights that come with the package: those of systems that nobody else publishes."""
    return _PACKAGE / "shipped"


def runs_root(option: str | os.PathLike[str] | None = None) -> Path:
    """The folder of journals; one subfolder per run fingerprint."""
    chosen = option or os.environ.get("LITESAM_BENCH_RUNS")
    return Path(chosen).resolve() if chosen else cache_root() / "runs"


def results_root(option: str | os.PathLike[str] | None = None) -> Path:
    """The folder of records, tables and figures."""
    chosen = option or os.environ.get("LITESAM_BENCH_RESULTS")
    return Path(chosen or "results").resolve()


def _shipped(name: str, beside: Path) -> Path:
    """A folder that a wheel carries inside the package and a checkout keeps beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else beside


def baselines_dir() -> Path:
    """The folder of baseline files."""
    return _shipped("baselines", _PACKAGE.parent / "baselines")


def published_dir() -> Path:
    """The folder of published numbers (TOML)."""
    return _shipped("published", _PACKAGE.parent / "results" / "published")
