"""Official checkpoints: where they lie, whether they are what they claim, how they get there.

A checkpoint is used only after its sha256 was compared with the SPEC's. Hashing 2.5 GB takes
seconds, so the result is remembered in a small file next to it and reused for as long as size,
modification time and inode are the same.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from litesam_bench import paths
from litesam_bench.download import (
    InsecureUrlError,
    Opener,
    Progress,
    download,
    https_opener,
    human_size,
    require_https,
    sha256_file,
)
from litesam_bench.errors import StorageError, UsageError, WeightsError
from litesam_bench.spec import SystemSpec, Weights

State = Literal["none", "missing", "partial", "not-checked", "verified", "unverified", "wrong-hash"]


@dataclass(frozen=True, slots=True)
class Verified:
    """A local checkpoint. `verified` is False when nobody has published a hash for it, or when the
    user insisted on a file with another hash; records carry it."""

    path: Path
    sha256: str
    verified: bool


def path_of(weights: Weights) -> Path:
    """Where the checkpoint lies, or would lie; one without a URL comes with the package."""
    if not weights.url:
        return paths.shipped_weights_dir() / weights.file_name
    return paths.weights_root() / weights.file_name


def model_card(spec: SystemSpec) -> dict[str, Any] | None:
    """What is known about weights that come with the package: data, licences, training, held-out
    numbers, weaknesses. None for other systems, whose authors say it elsewhere."""
    if spec.weights is None or spec.weights.url:
        return None
    path = path_of(spec.weights).with_suffix(".json")
    card: dict[str, Any] = json.loads(path.read_text())
    return card


def require(spec: SystemSpec, *, allow_unverified: bool = False) -> Verified | None:
    """The checkpoint of a system, checked; None for a system without one.

    Args:
        allow_unverified: accept a file whose hash is not the SPEC's (`--allow-unverified-weights`).

    Raises:
        WeightsError: the file is missing (naming URL, size and the command that gets it) or has
            another hash than the SPEC's.
    """
    if spec.weights is None:
        return None
    path = path_of(spec.weights)
    if not path.is_file() and not spec.weights.url:
        raise WeightsError(
            f"{path}, which comes with litesam-bench, is missing",
            fix="install litesam-bench again",
        )
    if not path.is_file():
        size = human_size(spec.weights.size_bytes) if spec.weights.size_bytes else "size unknown"
        raise WeightsError(
            f"{spec.name} needs its checkpoint {spec.weights.file_name} ({size}), which is not in "
            f"{path.parent}; official URL: {spec.weights.url}",
            fix=f"litesam-bench weights pull {spec.name}",
        )
    found = _known_sha256(path) or _hash(path, remember=bool(spec.weights.url))
    return _compare(spec, path, found, allow_unverified)


def verify(spec: SystemSpec) -> Verified | None:
    """Like `require`, but hashes the file again whatever is remembered about it."""
    if spec.weights is not None:
        _memo_path(path_of(spec.weights)).unlink(missing_ok=True)
    return require(spec)


def state(spec: SystemSpec) -> State:
    """What is known about a system's checkpoint without hashing anything."""
    if spec.weights is None:
        return "none"
    path = path_of(spec.weights)
    if not path.is_file():
        return "partial" if path.with_name(path.name + ".part").is_file() else "missing"
    # what the package ships is small, and its folder is not for notes
    found = _known_sha256(path) if spec.weights.url else _hash(path, remember=False)
    if found is None:
        return "not-checked"
    if not spec.weights.sha256:
        return "unverified"
    return "verified" if found == spec.weights.sha256 else "wrong-hash"


def pull(
    spec: SystemSpec, *, opener: Opener | None = None, on_progress: Progress | None = None
) -> Verified:
    """Download a system's checkpoint, unless the right one is there already.

    Raises:
        UsageError: the system has no checkpoint.
        WeightsError: the URL or a redirect is not https, the network failed (a part is kept and
            resumed), or the hash is wrong (nothing is kept). A file that is already there with
            another hash is not overwritten.
        StorageError: not enough space, or the folder cannot be written.
    """
    if spec.weights is None:
        raise UsageError(
            f"{spec.name} has no checkpoint to pull ({spec.notes or spec.training})",
            fix="litesam-bench weights list shows the systems that have one",
        )
    path = path_of(spec.weights)
    if path.exists():
        present = require(spec)
        assert present is not None  # it has weights
        return present
    try:
        require_https(spec.weights.url)
    except InsecureUrlError as cause:
        raise WeightsError(
            f"refused to download: {cause}", fix=f"copy the file by hand to {path}"
        ) from cause
    download(
        spec.weights.url,
        path,
        sha256=spec.weights.sha256,
        opener=https_opener() if opener is None else opener,
        error=WeightsError,
        retry=f"litesam-bench weights pull {spec.name}",
        on_progress=on_progress,
    )
    return _compare(spec, path, _hash(path), allow_unverified=False)


def licence_notice(spec: SystemSpec) -> str:
    """What a user must know before using a checkpoint; "" when nothing restricts it."""
    if spec.weights is None or not spec.weights.restriction:
        return ""
    terms = spec.weights.licence or "terms of its own"
    return f"{spec.weights.file_name} is under {terms}: {spec.weights.restriction}"


def _compare(spec: SystemSpec, path: Path, found: str, allow_unverified: bool) -> Verified:
    assert spec.weights is not None
    expected = spec.weights.sha256
    if expected and found != expected and not allow_unverified:
        raise WeightsError(
            f"{path} has sha256 {found}, expected {expected}",
            fix=f"delete it and run `litesam-bench weights pull {spec.name}`, or pass "
            "--allow-unverified-weights to use it all the same (the record will say so)",
        )
    return Verified(path=path, sha256=found, verified=found == expected)


def _memo_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256.json")


def _fingerprint(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def _known_sha256(path: Path) -> str | None:
    """The remembered hash, if the file is still the one that was hashed."""
    try:
        memo = json.loads(_memo_path(path).read_text())
        same = memo["file"] == _fingerprint(path)
        return str(memo["sha256"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no memo or a damaged one: hash again


def _hash(path: Path, *, remember: bool = True) -> str:
    before = _fingerprint(path)
    try:
        found = sha256_file(path)
    except OSError as cause:
        raise StorageError(
            f"cannot read {path}: {cause.strerror or cause}", fix="check the file's permissions"
        ) from cause
    if not remember:
        return found
    with contextlib.suppress(OSError):  # a read-only folder of weights is fine: no memory, then
        _memo_path(path).write_text(json.dumps({"file": before, "sha256": found}))
    return found
