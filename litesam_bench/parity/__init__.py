"""Proof that an adapter computes what its authors' code computes.

Official checkpoints are large and not always to be had, but their parameter names and shapes are a
few lines of text. So every system has

* a manifest, `manifests/<system>.txt`: the tensors of the official file (`manifest.py`);
* weights that follow from each tensor's name and shape by a documented rule (`documented.py`);
* a golden, `goldens/<system>.json`: what the authors' own code returned for those weights, fixed
  images and fixed prompts, recorded once at a named commit (`golden.py`).

`check.py` loads the documented weights through the adapter's own `load` and compares; it also holds
any system, a newcomer's own file included, to the contract that the harness relies on.

This module imports neither torch nor numpy: the catalogue reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from litesam_bench.spec import SystemSpec

_HERE = Path(__file__).resolve().parent


def manifest_path(system: str) -> Path:
    """Where a system's manifest lies, or would lie."""
    return _HERE / "manifests" / f"{system}.txt"


def golden_path(system: str) -> Path:
    """Where a system's golden lies, or would lie."""
    return _HERE / "goldens" / f"{system}.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a system was proven equal to its upstream, and why or why not."""

    proven: bool
    reason: str


def standing(spec: SystemSpec) -> Standing:
    """What the catalogue says of a system. A golden counts because the tests hold to it."""
    if golden_path(spec.name).is_file() and manifest_path(spec.name).is_file():
        return Standing(True, f"equals upstream at {spec.commit[:12] or 'a named commit'}")
    if spec.training == "not-applicable":
        return Standing(False, "nothing to compare with: a method without weights")
    if spec.training == "untrained":
        return Standing(False, "nothing to compare with: a network of ours, without weights")
    if spec.weights is None or not spec.weights.url:
        return Standing(False, "nothing to compare with: no code of its authors is public")
    missing = " and no manifest" if not manifest_path(spec.name).is_file() else ""
    reason = f"no golden{missing}: upstream was not run"
    return Standing(False, f"{reason}; {spec.notes}" if spec.notes else reason)
