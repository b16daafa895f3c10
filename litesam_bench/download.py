"""Get one file over https: resumed, checked before it takes its name, or not there at all.

While a file is on its way it is called `NAME.part`. It is renamed to `NAME` only when it is
complete and its hash is right, so a file under its own name is always whole. `NAME.part` survives
a broken connection and Ctrl-C, and the next call goes on from there.

Written with urllib rather than a download library because of three rules that have to be enforced
together: every hop of a redirect is https, a transfer resumes, and free space is checked first.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import litesam_bench
from litesam_bench.errors import BenchError, StorageError

Progress = Callable[[int, int | None], None]
"""Called with bytes done (a resumed part included) and bytes in total, None when unknown."""

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0


class Opener(Protocol):
    """What `download` asks of the network; `urllib.request.OpenerDirector` has it."""

    def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Any: ...


class InsecureUrlError(ValueError):
    """A URL, or a redirect, that is not https."""


def require_https(url: str) -> None:
    """Raise InsecureUrlError unless `url` is https and names a host."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise InsecureUrlError(f"{url} is not an https address")


class HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only; anything else raises InsecureUrlError."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> urllib.request.OpenerDirector:
    """The opener for real use; proxies are taken from the environment, as urllib does."""
    return urllib.request.build_opener(HttpsRedirects)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def human_size(size_bytes: int) -> str:
    """Decimal units, as download pages print them: 375.0 MB."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.2f} GB"
    if size_bytes >= 1e6:
        return f"{size_bytes / 1e6:.1f} MB"
    return f"{size_bytes / 1e3:.1f} kB"


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    opener: Opener,
    error: type[BenchError],
    retry: str,
    on_progress: Progress | None = None,
) -> str:
    """Get `url` as `target` and return its sha256.

    The scheme of `url` is the caller's to check (`require_https`); that of redirects is the
    opener's (`https_opener`).

    Args:
        sha256: the expected hash. With "" nothing is resumed, since a part of an older file could
            not be told from a part of this one.
        error: the domain error to raise (WeightsError, DataError).
        retry: the command that runs this again, for messages.

    Raises:
        error: offline, refused, redirected to another scheme, cut off, or another hash than
            expected. The message names the URL, the remedy names `target`.
        StorageError: not enough free space (found before the first byte), or a failed write.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"download {url} elsewhere and copy it to {target}"
    try:
        _prepare(part, keep=bool(sha256))
        _transfer(url, part, opener, on_progress)
    except InsecureUrlError as cause:
        raise error(f"refused to download {url}: {cause}", fix=by_hand) from cause
    except _WriteError as cause:
        raise storage_error(part, cause.os_error, retry) from cause
    except urllib.error.HTTPError as cause:
        raise error(
            f"{url} answered {cause.code} {cause.reason}", fix=f"try later: {retry}; or {by_hand}"
        ) from cause
    except (OSError, http.client.HTTPException) as cause:
        reason = getattr(cause, "reason", None) or cause
        raise error(
            f"cannot download {url}: {reason or type(cause).__name__}",
            fix=f"when online, run `{retry}` (it resumes); offline, {by_hand}",
        ) from cause
    found = sha256_file(part)
    if sha256 and found != sha256:
        part.unlink()  # resuming from it could never end well
        raise error(
            f"{url} has sha256 {found}, expected {sha256}; the download was deleted",
            fix=f"run `{retry}` once more; if it fails again, the file upstream has changed",
        )
    try:
        part.replace(target)
    except OSError as cause:
        raise storage_error(target, cause, retry) from cause
    return found


def storage_error(path: Path, cause: OSError, retry: str) -> StorageError:
    """A failed write, as the error that says what to do."""
    if cause.errno == errno.ENOSPC:
        return StorageError(
            f"no space left on the disk of {path}", fix=f"free some space, then run `{retry}`"
        )
    return StorageError(f"cannot write {path}: {cause.strerror or cause}", fix=f"run `{retry}`")


class _WriteError(Exception):
    """Wraps an OSError of the disk, to tell it from one of the network."""

    def __init__(self, os_error: OSError) -> None:
        super().__init__(str(os_error))
        self.os_error = os_error


def _transfer(url: str, part: Path, opener: Opener, on_progress: Progress | None) -> None:
    """Bring `part` to its full length, from where it ends if the server can."""
    done = part.stat().st_size if part.exists() else 0
    headers = {
        "User-Agent": f"litesam-bench/{litesam_bench.__version__}",
        "Accept-Encoding": "identity",
    }
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as cause:
        if cause.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            # Either all of the file is here already or the part belongs to another file.
            if _total_of(cause.headers) == done:
                return
            part.unlink()
            _transfer(url, part, opener, on_progress)
            return
        raise
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not str(response.headers.get("Content-Range", "")).startswith(f"bytes {done}-"):
                raise ConnectionError("the server sent another part than it was asked for")
        else:
            done = 0  # the server sends the whole file again
        total = _total_of(response.headers)
        _check_space(part, None if total is None else total - done)
        with _writable(part, append=done > 0) as stream:
            while chunk := response.read(_CHUNK_BYTES):
                _write(stream, chunk)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done, total)
    if total is not None and done != total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _prepare(part: Path, *, keep: bool) -> None:
    """Make the folder; drop what an earlier call left unless it can be resumed."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if not keep:
            part.unlink(missing_ok=True)
    except OSError as cause:
        raise _WriteError(cause) from cause


def _total_of(headers: Message) -> int | None:
    """The length of the whole file, from Content-Range (`bytes 5-9/10`) or Content-Length."""
    if match := re.fullmatch(r"bytes [^/]*/(\d+)", headers.get("Content-Range", "")):
        return int(match[1])
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _check_space(part: Path, needed: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed is not None and needed > free:
        raise StorageError(
            f"{part.parent} has {human_size(free)} free; {human_size(needed)} are needed",
            fix="free some space, or choose another folder with LITESAM_BENCH_WEIGHTS "
            "(checkpoints) or --data-root (data)",
        )


def _writable(part: Path, *, append: bool) -> IO[bytes]:
    try:
        return part.open("ab" if append else "wb", buffering=0)
    except OSError as cause:
        raise _WriteError(cause) from cause


def _write(stream: IO[bytes], chunk: bytes) -> None:
    """Write all of `chunk`; the stream is unbuffered, so what is counted is on its way to disk."""
    view = memoryview(chunk)
    try:
        while view:
            view = view[stream.write(view) :]
    except OSError as cause:
        raise _WriteError(cause) from cause
