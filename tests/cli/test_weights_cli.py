"""`weights list|pull|verify` over a baselines folder with one official checkpoint."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from litesam_bench import paths, weights
from litesam_bench.cli.main import run

PAYLOAD = b"bytes of a checkpoint" * 1000
ADAPTER = f"""
from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities

SPECS = (
    SystemSpec(
        name="net-s", family="net", display="Net", capabilities=Capabilities(boxes=True),
        weights=Weights(
            file_name="net.pt", url="https://weights.example/net.pt",
            sha256="{hashlib.sha256(PAYLOAD).hexdigest()}", size_bytes={len(PAYLOAD)},
            licence="S-Lab 1.0", restriction="non-commercial use only",
        ),
    ),
    SystemSpec(
        name="net-plain", family="net", display="Plain", capabilities=Capabilities(boxes=True),
    ),
)

def load(spec, context): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of weights."""
    baselines = tmp_path / "baselines"
    baselines.mkdir()
    (baselines / "net.py").write_text(ADAPTER)
    monkeypatch.setattr(paths, "baselines_dir", lambda: baselines)
    monkeypatch.setenv("LITESAM_BENCH_WEIGHTS", str(tmp_path / "weights"))
    yield tmp_path / "weights"
    sys.modules.pop("litesam_bench.baselines.net", None)


class Answer(io.BytesIO):
    status = 200

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(payload))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for; each is answered with PAYLOAD."""
    asked: list[str] = []

    class Served:
        def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Answer:
            asked.append(fullurl.full_url)
            return Answer(PAYLOAD)

    monkeypatch.setattr(weights, "https_opener", Served)
    return asked


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline:
        def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Answer:
            raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(weights, "https_opener", Offline)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert run(["weights", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return {entry["system"]: entry["state"] for entry in document["weights"]}


def test_pull_then_list_then_verify(
    folder: Path, network: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(capsys) == {"net-s": "missing"}  # net-plain has none
    assert run(["weights", "pull", "net-s"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder / 'net.pt'}\n"
    assert "net.pt is under S-Lab 1.0: non-commercial use only" in err
    assert (folder / "net.pt").read_bytes() == PAYLOAD
    assert listed(capsys) == {"net-s": "verified"}
    assert run(["weights", "verify"]) == 0
    assert f"net-s\tverified\t{folder / 'net.pt'}" in capsys.readouterr().out
    assert network == ["https://weights.example/net.pt"]


def test_second_pull_is_silent_about_the_licence_and_the_network(
    folder: Path, network: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["weights", "pull", "net"])
    capsys.readouterr()
    assert run(["weights", "pull", "net"]) == 0
    assert capsys.readouterr() == (f"{folder / 'net.pt'}\n", "")
    assert len(network) == 1


def test_offline_says_what_to_copy_where(
    folder: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["weights", "pull", "net-s"]) == 1
    err = capsys.readouterr().err
    assert "https://weights.example/net.pt" in err
    assert f"copy it to {folder / 'net.pt'}" in err
    assert "Name or service not known" in err


def test_verify_finds_a_damaged_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    (folder / "net.pt").write_bytes(PAYLOAD[:-1])
    assert run(["weights", "verify", "net-s"]) == 1
    out, err = capsys.readouterr()
    assert "net-s\twrong-hash\t" in out
    assert "expected" in err and "weights pull net-s" in err


def test_verify_of_a_missing_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "verify", "net-s"]) == 1
    assert "https://weights.example/net.pt" in capsys.readouterr().err


def test_verify_with_nothing_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "verify"]) == 0
    assert "no checkpoint is here" in capsys.readouterr().err


def test_pull_of_a_system_without_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "pull", "net-plain"]) == 2
    assert "net-plain has no checkpoint" in capsys.readouterr().err


def test_list_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "list"]) == 0
    out, err = capsys.readouterr()
    assert "net-s\tnet.pt\t21.0 kB\tS-Lab 1.0\tmissing\n" in out
    assert str(folder) in err
