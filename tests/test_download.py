"""Downloads from a real server on this machine: resumed, cut, refused, full disk, interrupted."""

from __future__ import annotations

import errno
import hashlib
import http.server
import shutil
import threading
import urllib.error
import urllib.request
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from litesam_bench import download as module
from litesam_bench.download import (
    HttpsRedirects,
    InsecureUrlError,
    download,
    https_opener,
    human_size,
    require_https,
    sha256_file,
)
from litesam_bench.errors import StorageError, WeightsError

PAYLOAD = bytes(range(256)) * 4096 * 3  # 3 MiB: several chunks
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()


@dataclass
class Site:
    """A server's behaviour, and what it was asked."""

    address: str = ""
    payload: bytes = PAYLOAD
    ranges: bool = True
    send_at_most: int | None = None
    redirect_to: str = ""
    status: int = 200
    wrong_range: bool = False
    asked_ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked_ranges.append(asked)
            if state.redirect_to:
                self.send_response(302)
                self.send_header("Location", state.redirect_to)
                self.end_headers()
                return
            if state.status != 200:
                self.send_error(state.status)
                return
            total = len(state.payload)
            start = 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.end_headers()
                    return
                self.send_response(206)
                first = start + 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            else:
                self.send_response(200)
            body = state.payload[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.send_at_most is None else body[: state.send_at_most])

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}/weights.pt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "weights.pt"


def get(
    site: Site,
    target: Path,
    *,
    sha256: str = DIGEST,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> str:
    """Plain http for the first hop, because the scheme of the URL itself is the caller's to check;
    redirects follow the rule of real use."""
    return download(
        site.address,
        target,
        sha256=sha256,
        opener=urllib.request.build_opener(HttpsRedirects),
        error=WeightsError,
        retry="pull it",
        on_progress=on_progress,
    )


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(content)


def test_whole_file(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    assert get(site, target, on_progress=lambda done, total: seen.append((done, total))) == DIGEST
    assert target.read_bytes() == PAYLOAD
    assert not part_of(target).exists()
    assert seen[-1] == (len(PAYLOAD), len(PAYLOAD))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_resumes_where_it_ended(site: Site, target: Path) -> None:
    leave_part(target, PAYLOAD[:1_000_000])
    seen: list[int] = []
    get(site, target, on_progress=lambda done, total: seen.append(done))
    assert site.asked_ranges == ["bytes=1000000-"]
    assert target.read_bytes() == PAYLOAD
    assert seen[0] > 1_000_000  # progress counts what was there


def test_starts_over_when_the_server_cannot_resume(site: Site, target: Path) -> None:
    site.ranges = False
    leave_part(target, b"x" * 1000)
    get(site, target)
    assert target.read_bytes() == PAYLOAD


def test_a_complete_part_is_only_checked(site: Site, target: Path) -> None:
    leave_part(target, PAYLOAD)
    get(site, target)
    assert target.read_bytes() == PAYLOAD
    assert site.asked_ranges == [f"bytes={len(PAYLOAD)}-"]


def test_a_part_longer_than_the_file_is_dropped(site: Site, target: Path) -> None:
    leave_part(target, PAYLOAD + b"more")
    get(site, target)
    assert target.read_bytes() == PAYLOAD
    assert site.asked_ranges == [f"bytes={len(PAYLOAD) + 4}-", None]


def test_without_a_hash_nothing_is_resumed(site: Site, target: Path) -> None:
    leave_part(target, b"of another file")
    assert get(site, target, sha256="") == DIGEST
    assert site.asked_ranges == [None]
    assert target.read_bytes() == PAYLOAD


def test_another_range_than_asked_for_is_not_appended(site: Site, target: Path) -> None:
    site.wrong_range = True
    leave_part(target, PAYLOAD[:1000])
    with pytest.raises(WeightsError, match="another part"):
        get(site, target)
    assert part_of(target).read_bytes() == PAYLOAD[:1000]
    assert not target.exists()


def test_cut_off_then_resumed(site: Site, target: Path) -> None:
    site.send_at_most = 2_000_000
    with pytest.raises(WeightsError, match=rf"after 2000000 of {len(PAYLOAD)} bytes") as caught:
        get(site, target)
    assert "pull it" in caught.value.fix
    assert not target.exists()
    assert part_of(target).stat().st_size == 2_000_000
    site.send_at_most = None
    get(site, target)
    assert target.read_bytes() == PAYLOAD
    assert site.asked_ranges == [None, "bytes=2000000-"]


def test_wrong_hash_leaves_nothing(site: Site, target: Path) -> None:
    with pytest.raises(WeightsError, match=f"{DIGEST}, expected {'0' * 64}"):
        get(site, target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("scheme", ["http", "file", "ftp"])
def test_redirect_to_another_scheme_is_refused(site: Site, target: Path, scheme: str) -> None:
    secret = target.parent.parent / "secret"
    secret.write_bytes(PAYLOAD)
    site.redirect_to = {
        "http": site.address + "?again",
        "file": secret.as_uri(),
        "ftp": "ftp://127.0.0.1/x",
    }[scheme]
    with pytest.raises(WeightsError, match=r"refused|not allowed") as caught:
        get(site, target)
    assert str(target) in caught.value.fix
    assert not target.exists()
    assert len(site.asked_ranges) == 1  # the second address was never asked


def test_server_error_names_url_and_target(site: Site, target: Path) -> None:
    site.status = 404
    with pytest.raises(WeightsError, match="answered 404") as caught:
        get(site, target)
    assert site.address in caught.value.message
    assert str(target) in caught.value.fix


def test_offline_names_url_and_target(site: Site, target: Path) -> None:
    class Offline:
        def open(self, fullurl: urllib.request.Request, *, timeout: float) -> object:
            raise urllib.error.URLError(OSError(errno.ENETUNREACH, "Network is unreachable"))

    leave_part(target, PAYLOAD[:10])
    with pytest.raises(WeightsError, match="Network is unreachable") as caught:
        download(
            site.address,
            target,
            sha256=DIGEST,
            opener=Offline(),
            error=WeightsError,
            retry="pull it",
        )
    assert site.address in caught.value.fix
    assert str(target) in caught.value.fix
    assert part_of(target).read_bytes() == PAYLOAD[:10]


def test_too_little_space_is_found_before_the_first_byte(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(StorageError, match=r"1\.0 kB free; 3\.1 MB are needed"):
        get(site, target)
    assert not part_of(target).exists()
    assert not target.exists()


def test_space_for_the_rest_is_enough_to_resume(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    leave_part(target, PAYLOAD[:-1000])
    get(site, target)
    assert target.read_bytes() == PAYLOAD


def test_disk_that_fills_up_on_the_way(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, chunk: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = module._write
    calls = []

    def write(stream: object, chunk: bytes) -> None:
        calls.append(chunk)
        real(stream if len(calls) == 1 else Full(), chunk)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(StorageError, match="no space left") as caught:
        get(site, target)
    assert "pull it" in caught.value.fix
    assert part_of(target).stat().st_size == len(calls[0])
    assert not target.exists()


def test_ctrl_c_keeps_the_part(site: Site, target: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done > 1_500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(site, target, on_progress=interrupt)
    kept = part_of(target).read_bytes()
    assert len(kept) > 1_500_000
    assert kept == PAYLOAD[: len(kept)]
    assert not target.exists()
    get(site, target)
    assert site.asked_ranges == [None, f"bytes={len(kept)}-"]
    assert target.read_bytes() == PAYLOAD


def test_folder_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        get(site, tmp_path / "file" / "weights.pt")


@pytest.mark.parametrize(
    "url", ["http://host/x", "file:///etc/hostname", "ftp://host/x", "https:///x", "host/x", ""]
)
def test_only_https_is_allowed(url: str) -> None:
    with pytest.raises(InsecureUrlError, match="not an https address"):
        require_https(url)


def test_https_is_allowed() -> None:
    require_https("https://host.example/x")


def test_the_opener_of_real_use_has_the_redirect_rule() -> None:
    handlers = [type(handler) for handler in https_opener().handlers]
    assert HttpsRedirects in handlers
    assert urllib.request.HTTPRedirectHandler not in handlers


def test_sha256_of_the_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_file(tmp_path / "empty") == known


@pytest.mark.parametrize(
    ("size", "text"),
    [(2_564_550_879, "2.56 GB"), (375_042_383, "375.0 MB"), (1_500, "1.5 kB")],
)
def test_human_size(size: int, text: str) -> None:
    assert human_size(size) == text
