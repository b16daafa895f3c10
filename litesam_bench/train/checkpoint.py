"""Checkpoints of a run: written whole or not at all, read without running code."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litesam_bench.errors import StorageError, WeightsError
from litesam_bench.sam.checkpoint import load_state_dict_file

FORMAT = 1
LAST, PREVIOUS = "last.pt", "previous.pt"


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write `last.pt`; what it replaces is kept as `previous.pt`.

    The file is complete and on the disk before it gets its name: a kill at any moment leaves
    the one or the other.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
    """
    last, previous, partial = folder / LAST, folder / PREVIOUS, folder / "partial.pt"
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        if last.exists():
            last.replace(previous)
        partial.replace(last)
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"checkpoint {last} could not be written: {error}",
            fix="free some space, then continue with --resume",
        ) from error
    return last


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint in a folder that can be read, or None where there is none.

    Raises:
        WeightsError: there are checkpoints, and none of them can be read.
    """
    problems = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            problems.append(f"{path}: {error}")
            continue
        if isinstance(state, dict) and state.get("format") == FORMAT:
            return state
        problems.append(f"{path}: not a checkpoint of this version")
    if problems:
        raise WeightsError("; ".join(problems), fix=f"remove {folder} and train again")
    return None


def initial_weights(path: Path) -> dict[str, Tensor]:
    """The weights to begin another run with: the last ones of a run's folder (not their average,
    which a high learning rate would leave behind at once), or those of a weights file.

    Raises:
        WeightsError: nothing there, or nothing that can be read.
    """
    if not path.is_dir():
        return {name: value.float() for name, value in load_state_dict_file(path).items()}
    state = load_checkpoint(path)
    if state is None:
        raise WeightsError(f"{path} holds no run", fix="give the folder of a run, or weights")
    weights: dict[str, Tensor] = state["model"]
    return weights


def append_log(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to a JSON-lines file."""
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file; a last line that was torn by a kill is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def truncate_log(path: Path, step: int) -> None:
    """Drop the lines after `step`: a resumed run writes them again."""
    kept = [entry for entry in read_log(path) if entry.get("step", 0) <= step]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
