"""Checkpoints are read without running them, and loaded whole or not at all."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from litesam_bench.errors import WeightsError
from litesam_bench.sam.checkpoint import load_state_dict_file, load_strict


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}


class Malicious:
    """A pickle of this creates `path` when it is loaded by pickle.load."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_reads_plain_and_wrapped_checkpoints(
    tmp_path: Path, state: dict[str, Tensor], wrapper: str | None
) -> None:
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    read = load_state_dict_file(tmp_path / "w.pth")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_names_of_several_state_dicts_say_which(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"encoder": state, "decoder": {"bias": torch.zeros(3)}}, tmp_path / "w.pt")
    read = load_state_dict_file(tmp_path / "w.pt")
    assert set(read) == {"encoder.weight", "encoder.bias", "decoder.bias"}
    assert torch.equal(read["encoder.weight"], state["weight"])


def test_reads_the_one_checkpoint_in_a_zip(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"model": state}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt.zip", "w") as archive:
        archive.write(tmp_path / "w.pt", "w.pt")
        archive.writestr("__MACOSX/._w.pt", b"what a Mac adds")
    read = load_state_dict_file(tmp_path / "w.pt.zip")
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_code_in_a_zipped_pickle_never_runs(tmp_path: Path) -> None:
    trace, path = tmp_path / "ran", tmp_path / "w.pt.zip"
    torch.save({"weight": Malicious(trace)}, tmp_path / "w.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "w.pt", "w.pt")
    with pytest.raises(WeightsError, match="is not a plain checkpoint"):
        load_state_dict_file(path)
    assert not trace.exists()


def test_reads_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(load_state_dict_file(tmp_path / "w.safetensors")["weight"], state["weight"])


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_never_runs(tmp_path: Path, writer: str) -> None:
    trace, path = tmp_path / "ran", tmp_path / "w.pth"
    content = {"weight": Malicious(trace)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(WeightsError, match=r"w\.pth is not a plain checkpoint") as caught:
        load_state_dict_file(path)
    assert not trace.exists()
    assert caught.value.fix
    # the same bytes do run elsewhere, so the test above can fail
    if writer == "pickle":
        pickle.loads(path.read_bytes())
        assert trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"weight": 3}, {4: torch.ones(1)}, torch.ones(2)])
def test_what_is_not_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        load_state_dict_file(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_torn_file_is_a_plain_error(
    tmp_path: Path, state: dict[str, Tensor], suffix: str, keep: int
) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(keep, len(whole) - 8)])
    with pytest.raises(WeightsError, match="w" + suffix.replace(".", r"\.")):
        load_state_dict_file(path)


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth does not exist"):
        load_state_dict_file(tmp_path / "absent.pth")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_strict_loading_copies_every_value(state: dict[str, Tensor], device: str) -> None:
    module = nn.Linear(3, 2, device=device)
    load_strict(module, state, source="w.pth")
    assert torch.equal(module.weight, state["weight"])
    assert torch.equal(module.bias, state["bias"])


def test_another_architecture_is_named_key_by_key(state: dict[str, Tensor]) -> None:
    wrong = {"weight": torch.ones(4, 3), "gamma": torch.ones(1), "delta": torch.ones(1)}
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(WeightsError) as caught:
        load_strict(module, wrong, source="other.pth")
    message = caught.value.message
    assert "other.pth" in message
    assert "1 keys are missing, first bias" in message
    assert "2 keys are unexpected, first gamma" in message
    assert "first weight: (4, 3) in the file, (2, 3) in the model" in message
    assert torch.equal(module.weight, before)


def test_exceptions_must_be_named(state: dict[str, Tensor]) -> None:
    module = nn.Linear(3, 2)
    partial = {"weight": state["weight"], "extra": torch.ones(1)}
    with pytest.raises(WeightsError):
        load_strict(module, partial, source="w", allow_missing=("bias",))
    load_strict(module, partial, source="w", allow_missing=("bias",), allow_unexpected=("extra",))
    assert torch.equal(module.weight, state["weight"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_with_nan_are_refused(state: dict[str, Tensor], bad: float) -> None:
    state["bias"][1] = bad
    with pytest.raises(WeightsError, match="bias has NaN or infinite values"):
        load_strict(nn.Linear(3, 2), state, source="w.pth")
