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
    """Where the checkpoint lies, or would lie; one without a URL comes with the package, or is a
    third party's own where `file_name` is an absolute path."""
    if not weights.url:
        return paths.shipped_weights_dir() / weights.file_name
    return paths.weights_root() / weights.file_name


def model_card(spec: SystemSpec) -> dict[str, Any] | None:
    """What is known about weights that come with the package: data, licences, training, held-out
    numbers, weaknesses. None for other systems, whose authors say it elsewhere."""
    if spec.weights is None or spec.weights.url:
        return None
    path = path_of(spec.weights).with_suffix(".json")
    if not path.is_file():  # somebody's own weights, given by path
        return None
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
    for companion in spec.companions:  # records do not name them, so no option overrides them
        _compare(spec.name, companion, *_hashed(spec.name, companion))
    found = _hashed(spec.name, spec.weights)
    if allow_unverified:
        return Verified(*found, verified=found[1] == spec.weights.sha256)
    return _compare(spec.name, spec.weights, *found, override=True)


def verify(spec: SystemSpec) -> Verified | None:
    """Like `require`, but hashes the file again whatever is remembered about it."""
    for weights in _files(spec):
        _memo_path(path_of(weights)).unlink(missing_ok=True)
    return require(spec)


def state(spec: SystemSpec) -> State:
    """What is known about a system's checkpoint without hashing anything; of several files, about
    the first that is not here or not known to be right."""
    states = [_file_state(weights) for weights in _files(spec)]
    return next(
        (found for found in states if found != "verified"), "verified" if states else "none"
    )


def pull(
    spec: SystemSpec, *, opener: Opener | None = None, on_progress: Progress | None = None
) -> Verified:
    """Download a system's files, unless the right ones are there already.

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
    checkpoint, *_ = [_pull(spec.name, file, opener, on_progress) for file in _files(spec)]
    return checkpoint


def licence_notice(spec: SystemSpec) -> str:
    """What a user must know before using a checkpoint; "" when nothing restricts it."""
    if spec.weights is None or not spec.weights.restriction:
        return ""
    terms = spec.weights.licence or "terms of its own"
    return f"{spec.weights.file_name} is under {terms}: {spec.weights.restriction}"


def _files(spec: SystemSpec) -> tuple[Weights, ...]:
    """All files of a system, its own checkpoint first."""
    return () if spec.weights is None else (spec.weights, *spec.companions)


def _file_state(weights: Weights) -> State:
    path = path_of(weights)
    if not path.is_file():
        return "partial" if path.with_name(path.name + ".part").is_file() else "missing"
    # what the package ships is small, and its folder is not for notes
    found = _known_sha256(path) if weights.url else _hash(path, remember=False)
    if found is None:
        return "not-checked"
    if not weights.sha256:
        return "unverified"
    return "verified" if found == weights.sha256 else "wrong-hash"


def _pull(
    name: str, weights: Weights, opener: Opener | None, on_progress: Progress | None
) -> Verified:
    path = path_of(weights)
    if not path.exists():
        try:
            require_https(weights.url)
        except InsecureUrlError as cause:
            raise WeightsError(
                f"refused to download: {cause}", fix=f"copy the file by hand to {path}"
            ) from cause
        download(
            weights.url,
            path,
            sha256=weights.sha256,
            opener=https_opener() if opener is None else opener,
            error=WeightsError,
            retry=f"litesam-bench weights pull {name}",
            on_progress=on_progress,
        )
    return _compare(name, weights, *_hashed(name, weights), override=True)


def _hashed(name: str, weights: Weights) -> tuple[Path, str]:
    """Path and sha256 of a file of the system `name`. Raises WeightsError when it is missing."""
    path = path_of(weights)
    if not path.is_file() and Path(weights.file_name).is_absolute():
        raise WeightsError(
            f"{name} needs {path}, which does not exist",
            fix="train it, or give the right path in the system's file",
        )
    if not path.is_file() and not weights.url:
        raise WeightsError(
            f"{path}, which comes with litesam-bench, is missing",
            fix="install litesam-bench again",
        )
    if not path.is_file():
        size = human_size(weights.size_bytes) if weights.size_bytes else "size unknown"
        raise WeightsError(
            f"{name} needs its checkpoint {weights.file_name} ({size}), which is not in "
            f"{path.parent}; official URL: {weights.url}",
            fix=f"litesam-bench weights pull {name}",
        )
    return path, _known_sha256(path) or _hash(path, remember=bool(weights.url))


def _compare(
    name: str, weights: Weights, path: Path, found: str, *, override: bool = False
) -> Verified:
    """Raise WeightsError where a hash is published and another was found.

    `override`: the message names the option that accepts the file all the same.
    """
    expected = weights.sha256
    if expected and found != expected:
        option = (
            ", or pass --allow-unverified-weights to use it all the same (the record will say so)"
        )
        raise WeightsError(
            f"{path} has sha256 {found}, expected {expected}",
            fix=f"delete it and run `litesam-bench weights pull {name}`{option * override}",
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
