"""Checkpoints: missing, right, wrong, changed behind our back, pulled."""

from __future__ import annotations

import hashlib
import io
import os
import urllib.request
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from litesam_bench import weights
from litesam_bench.errors import StorageError, UsageError, WeightsError
from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities

PAYLOAD = b"not a checkpoint, but bytes with a hash" * 100
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()
URL = "https://weights.example/net.pt"


def spec_of(
    *, sha256: str = DIGEST, url: str = URL, restriction: str = "", size_bytes: int = 375_042_383
) -> SystemSpec:
    return SystemSpec(
        name="net-s",
        family="net",
        display="Net",
        capabilities=Capabilities(boxes=True),
        weights=Weights(
            file_name="net.pt",
            url=url,
            sha256=sha256,
            size_bytes=size_bytes,
            licence="S-Lab 1.0",
            restriction=restriction,
        ),
    )


WEIGHTLESS = SystemSpec(
    name="plain", family="plain", display="Plain", capabilities=Capabilities(boxes=True)
)


class Served:
    """An opener that answers every request with PAYLOAD and remembers the requests."""

    def __init__(self, payload: bytes = PAYLOAD) -> None:
        self.payload = payload
        self.requests: list[urllib.request.Request] = []

    def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Answer:
        self.requests.append(fullurl)
        return Answer(self.payload)


class Answer(io.BytesIO):
    status = 200

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(payload))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "weights"
    root.mkdir()
    monkeypatch.setenv("LITESAM_BENCH_WEIGHTS", str(root))
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is hashed, in order."""
    seen: list[Path] = []
    real = weights.sha256_file

    def record(path: Path) -> str:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(weights, "sha256_file", record)
    return seen


class TestRequire:
    def test_a_system_without_weights(self, folder: Path) -> None:
        assert weights.require(WEIGHTLESS) is None

    def test_missing_names_file_url_size_and_command(self, folder: Path) -> None:
        with pytest.raises(WeightsError) as caught:
            weights.require(spec_of())
        assert "net.pt" in caught.value.message
        assert str(folder) in caught.value.message
        assert URL in caught.value.message
        assert "375.0 MB" in caught.value.message
        assert caught.value.fix == "litesam-bench weights pull net-s"

    def test_missing_with_unknown_size(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match="size unknown"):
            weights.require(spec_of(size_bytes=0))

    def test_right_file(self, folder: Path) -> None:
        path = folder / "net.pt"
        path.write_bytes(PAYLOAD)
        assert weights.require(spec_of()) == weights.Verified(path, DIGEST, verified=True)

    def test_wrong_hash_names_both(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        with pytest.raises(WeightsError, match=f"sha256 {DIGEST}, expected {'0' * 64}") as caught:
            weights.require(spec_of(sha256="0" * 64))
        assert "--allow-unverified-weights" in caught.value.fix

    def test_wrong_hash_can_be_insisted_on_and_is_recorded(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        got = weights.require(spec_of(sha256="0" * 64), allow_unverified=True)
        assert got == weights.Verified(folder / "net.pt", DIGEST, verified=False)

    def test_unpublished_hash_is_unverified(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        got = weights.require(spec_of(sha256=""))
        assert got is not None and not got.verified and got.sha256 == DIGEST


class TestMemory:
    def test_an_unchanged_file_is_hashed_once(self, folder: Path, hashed: list[Path]) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        for _ in range(3):
            weights.require(spec_of())
        assert hashed == [folder / "net.pt"]

    def test_a_changed_file_is_noticed(self, folder: Path) -> None:
        path = folder / "net.pt"
        path.write_bytes(PAYLOAD)
        weights.require(spec_of())
        path.write_bytes(b"X" + PAYLOAD[1:])  # the same size
        with pytest.raises(WeightsError, match="expected"):
            weights.require(spec_of())

    def test_a_replaced_file_of_equal_size_and_time_is_noticed(self, folder: Path) -> None:
        path = folder / "net.pt"
        path.write_bytes(PAYLOAD)
        weights.require(spec_of())
        stat = path.stat()
        other = folder / "other"
        other.write_bytes(b"X" + PAYLOAD[1:])
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(path)
        assert path.stat().st_mtime_ns == stat.st_mtime_ns
        with pytest.raises(WeightsError, match="expected"):
            weights.require(spec_of())

    def test_another_expectation_is_compared_with_the_remembered_hash(
        self, folder: Path, hashed: list[Path]
    ) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        weights.require(spec_of())
        with pytest.raises(WeightsError, match="expected"):
            weights.require(spec_of(sha256="1" * 64))
        assert len(hashed) == 1

    @pytest.mark.parametrize("damage", ["", "{", "[]", '{"file": {}}'])
    def test_a_damaged_memory_is_ignored(
        self, folder: Path, hashed: list[Path], damage: str
    ) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        weights.require(spec_of())
        (memo,) = folder.glob(".*.json")
        memo.write_text(damage)
        weights.require(spec_of())
        assert len(hashed) == 2

    def test_verify_hashes_again(self, folder: Path, hashed: list[Path]) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        weights.require(spec_of())
        weights.verify(spec_of())
        assert len(hashed) == 2


class TestState:
    def test_every_state(self, folder: Path) -> None:
        assert weights.state(WEIGHTLESS) == "none"
        assert weights.state(spec_of()) == "missing"
        (folder / "net.pt.part").write_bytes(b"x")
        assert weights.state(spec_of()) == "partial"
        (folder / "net.pt").write_bytes(PAYLOAD)
        assert weights.state(spec_of()) == "not-checked"
        weights.require(spec_of())
        assert weights.state(spec_of()) == "verified"
        assert weights.state(spec_of(sha256="")) == "unverified"
        assert weights.state(spec_of(sha256="0" * 64)) == "wrong-hash"


class TestPull:
    def test_into_a_folder_that_does_not_exist_yet(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LITESAM_BENCH_WEIGHTS", str(tmp_path / "new" / "folder"))
        opener = Served()
        got = weights.pull(spec_of(), opener=opener)
        assert got == weights.Verified(tmp_path / "new/folder/net.pt", DIGEST, verified=True)
        assert got.path.read_bytes() == PAYLOAD
        assert [request.full_url for request in opener.requests] == [URL]
        assert weights.state(spec_of()) == "verified"

    def test_what_is_there_is_not_pulled_again(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        opener = Served()
        assert weights.pull(spec_of(), opener=opener).verified
        assert opener.requests == []

    def test_a_wrong_file_is_neither_used_nor_overwritten(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(b"a user's own file")
        with pytest.raises(WeightsError, match="expected"):
            weights.pull(spec_of(), opener=Served())
        assert (folder / "net.pt").read_bytes() == b"a user's own file"

    def test_wrong_content_leaves_nothing(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match="the download was deleted"):
            weights.pull(spec_of(), opener=Served(b"a login page"))
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("url", ["http://weights.example/net.pt", "file:///etc/hostname"])
    def test_only_https(self, folder: Path, url: str) -> None:
        opener = Served()
        with pytest.raises(WeightsError, match="not an https address") as caught:
            weights.pull(spec_of(url=url), opener=opener)
        assert str(folder / "net.pt") in caught.value.fix
        assert opener.requests == []

    def test_a_system_without_weights(self) -> None:
        with pytest.raises(UsageError, match="plain has no checkpoint"):
            weights.pull(WEIGHTLESS, opener=Served())

    def test_unpublished_hash(self, folder: Path) -> None:
        got = weights.pull(spec_of(sha256=""), opener=Served())
        assert got == weights.Verified(folder / "net.pt", DIGEST, verified=False)


class TestSeveralFiles:
    """A system whose checkpoint `net.pt` is nothing without `encoder.pt`."""

    encoder = Weights(file_name="encoder.pt", url="https://weights.example/encoder.pt")

    def spec(self, sha256: str = DIGEST) -> SystemSpec:
        return replace(spec_of(), companions=(replace(self.encoder, sha256=sha256),))

    def test_all_are_pulled(self, folder: Path) -> None:
        served = Served()
        found = weights.pull(self.spec(), opener=served)
        assert found == weights.Verified(folder / "net.pt", DIGEST, verified=True)
        assert [request.full_url for request in served.requests] == [URL, self.encoder.url]
        assert weights.require(self.spec()) == found
        assert weights.pull(self.spec(), opener=served) == found
        assert len(served.requests) == 2

    def test_a_missing_companion_names_itself(self, folder: Path) -> None:
        (folder / "net.pt").write_bytes(PAYLOAD)
        with pytest.raises(WeightsError, match=r"encoder\.pt") as caught:
            weights.require(self.spec(), allow_unverified=True)
        assert caught.value.fix == "litesam-bench weights pull net-s"

    def test_no_option_accepts_a_wrong_companion(self, folder: Path) -> None:
        for name in ("net.pt", "encoder.pt"):
            (folder / name).write_bytes(PAYLOAD)
        with pytest.raises(WeightsError, match=f"expected {'0' * 64}") as caught:
            weights.require(self.spec("0" * 64), allow_unverified=True)
        assert "--allow" not in caught.value.fix

    def test_the_state_is_that_of_the_worst(self, folder: Path) -> None:
        assert weights.state(self.spec()) == "missing"
        (folder / "net.pt").write_bytes(PAYLOAD)
        weights.require(spec_of())
        assert weights.state(self.spec()) == "missing"
        (folder / "encoder.pt").write_bytes(PAYLOAD)
        assert weights.state(self.spec()) == "not-checked"
        weights.require(self.spec())
        assert weights.state(self.spec()) == "verified"
        assert weights.state(self.spec("0" * 64)) == "wrong-hash"

    def test_verify_hashes_all_again(self, folder: Path, hashed: list[Path]) -> None:
        for name in ("net.pt", "encoder.pt"):
            (folder / name).write_bytes(PAYLOAD)
        weights.require(self.spec())
        hashed.clear()
        weights.verify(self.spec())
        assert {path.name for path in hashed} == {"net.pt", "encoder.pt"}


def test_licence_notice() -> None:
    notice = weights.licence_notice(spec_of(restriction="non-commercial use only"))
    assert notice == "net.pt is under S-Lab 1.0: non-commercial use only"
    assert weights.licence_notice(spec_of()) == ""
    assert weights.licence_notice(WEIGHTLESS) == ""


def test_a_file_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "net.pt").write_bytes(PAYLOAD)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(weights, "sha256_file", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*net\.pt: Permission denied"):
        weights.require(spec_of())


# --------------------------------------------------------------------------------------------
# weights that come with the package


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "package" / "shipped"
    root.mkdir(parents=True)
    monkeypatch.setattr(weights.paths, "shipped_weights_dir", lambda: root)
    return root


def test_weights_without_a_url_come_with_the_package(folder: Path, shipped: Path) -> None:
    spec = spec_of(url="")
    (folder / "net.pt").write_bytes(b"a file of that name among the downloads")
    with pytest.raises(WeightsError, match="is missing") as error:
        weights.require(spec)
    assert "install" in error.value.fix
    (shipped / "net.pt").write_bytes(PAYLOAD)
    found = weights.require(spec)
    assert found is not None
    assert (found.path, found.verified) == (shipped / "net.pt", True)
    assert weights.state(spec) == "verified"
    assert weights.pull(spec) == found
    assert [path.name for path in shipped.iterdir()] == ["net.pt"]  # no notes beside it


def test_the_model_card_lies_beside_the_weights(folder: Path, shipped: Path) -> None:
    (shipped / "net.json").write_text('{"data": "a few images"}')
    assert weights.model_card(spec_of(url="")) == {"data": "a few images"}
    assert weights.model_card(spec_of()) is None
    assert weights.model_card(WEIGHTLESS) is None


def test_changed_weights_of_the_package_are_noticed(folder: Path, shipped: Path) -> None:
    (shipped / "net.pt").write_bytes(PAYLOAD + b"!")
    assert weights.state(spec_of(url="")) == "wrong-hash"
    with pytest.raises(WeightsError, match="expected"):
        weights.require(spec_of(url=""))
