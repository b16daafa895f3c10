"""Where a number comes from: code version, machine, libraries, command line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import litesam_bench

_LIBRARIES = (
    *("torch", "torchvision", "timm", "transformers", "ultralytics"),
    *("numpy", "scipy", "pycocotools", "opencv-python-headless", "pillow", "numba"),
)


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout this package runs from; empty when installed."""
    root = Path(litesam_bench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        # results are what runs write: a table being regenerated does not make the code dirty
        changed = _git(root, "status", "--porcelain", "--", ".", ":!results")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(changed)}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def cpu_name() -> str:
    """The processor as the operating system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the libraries that can move a number."""
    found = {"python": platform.python_version(), "litesam-bench": litesam_bench.__version__}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# Where files lie on one machine; they change no number and mean nothing on another.
_PLACES = ("--results", "--runs-dir", "--data-root")


def command_line() -> str:
    """The command that ran, as one can type it again, without the folders of this machine."""
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word in _PLACES:
            next(words, None)
        elif not word.startswith(tuple(f"{place}=" for place in _PLACES)):
            kept.append(",".join(_last_part(part) for part in word.split(",")))
    program = Path(sys.argv[0]).name
    return shlex.join(["litesam-bench" if program == "__main__.py" else program, *kept])


def _last_part(word: str) -> str:
    """An absolute path without the folders above it; any other word as it is."""
    return Path(word).name or word if Path(word).is_absolute() else word


def environment(device: str, device_name: str, dtype: str, **extra: Any) -> dict[str, Any]:
    """The `environment` field of a record."""
    return {
        "device": device,
        "device_name": device_name,
        "dtype": dtype,
        "cpu_count": os.cpu_count(),
        "platform": platform.platform(terse=True),
        "versions": versions(),
        "git": git_state(),
        "command": command_line(),
        **extra,
    }
