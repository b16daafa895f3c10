"""Atomic writes and content hashes, shared by everything that stores a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from litesam_bench.errors import StorageError


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file whole or not at all: temporary file beside it, fsync, rename.

    Raises StorageError when the disk is full or the folder cannot be written. A failure to save is
    fatal everywhere in this package.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(payload)
            handle.flush()
            os.fsync(handle.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error for a write that failed; nothing already stored is lost."""
    if error.errno == errno.ENOSPC:
        return StorageError(
            f"no space left on the disk of {path}",
            fix="free some space and run the same command again; finished images are kept",
        )
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        fix="check the folder's permissions, or choose another with LITESAM_BENCH_CACHE, "
        "--runs-dir or --results; then run the same command again",
    )


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_text(text: str) -> str:
    """Hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
