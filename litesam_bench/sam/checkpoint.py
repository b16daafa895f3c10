"""Reading checkpoints without running them, and loading them without leaving anything out."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from litesam_bench.errors import WeightsError
from litesam_bench.spec import SystemSpec
from litesam_bench.types import LoadContext

Network = TypeVar("Network", bound=nn.Module)

_WRAPPERS = ("model", "state_dict")
_FETCH_AGAIN = "delete the file and run: litesam-bench weights pull"


def load_official(
    spec: SystemSpec,
    context: LoadContext,
    network: Callable[[SystemSpec], Network],
    remap: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    *,
    read: Callable[[str], Mapping[str, Tensor]] | None = None,
    initialised: bool = False,
) -> Network:
    """A system's network with its official weights, on the CPU: what most adapters begin with.

    Args:
        network: builds the model without weights.
        remap: the file's names to the model's.
        read: reads the file; by default `load_state_dict_file`.
        initialised: build the model with initial values. Needed where it has tensors that no
            checkpoint holds, such as TinyViT's table of attention offsets; else they cost time for
            nothing.

    Raises:
        WeightsError: no checkpoint, or one that does not fit, but for the keys that the SPEC names.
    """
    if context.weights is None:
        assert spec.weights is not None, f"{spec.name} has no official weights"
        raise WeightsError(
            f"{spec.name} needs {spec.weights.file_name} from {spec.weights.url}",
            fix=f"litesam-bench weights pull {spec.name}",
        )
    state = remap((read or load_state_dict_file)(context.weights))
    with torch.device("cpu" if initialised else "meta"):
        model = network(spec)
    load_strict(
        model,
        state,
        allow_missing=spec.allow_missing,
        allow_unexpected=spec.allow_unexpected,
        source=context.weights,
    )
    return model


def load_state_dict_file(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file or a PyTorch checkpoint, on the CPU.

    A pickle is read with `weights_only=True`: code inside it never runs. `{"model": ...}` and
    `{"state_dict": ...}` are unwrapped. The names of several state dicts in one file get its keys
    in front: `{"encoder": {"conv.weight": ...}, ...}` gives `encoder.conv.weight`.

    Raises:
        WeightsError: missing, truncated or corrupt file; a pickle that contains anything but
            tensors and plain containers; content that is not a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist", fix="litesam-bench weights pull")
    try:
        if path.suffix == ".safetensors":
            content: object = safetensors.torch.load_file(path)
        else:
            with _open(path) as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a plain checkpoint: it is corrupt, or it holds objects other than"
            " tensors, which would run code when read; nothing in it was run",
            fix="use the official checkpoint, or save its state_dict() as .safetensors",
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        SafetensorError,
        zipfile.BadZipFile,
    ) as error:
        raise WeightsError(f"{path} is truncated or corrupt: {error}", fix=_FETCH_AGAIN) from error

    if isinstance(content, Mapping):
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a state dict", fix=_FETCH_AGAIN
        )
    state: dict[str, Tensor] = {}
    for name, value in _one_level(content).items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is not a state dict: {name!r} is a {type(value).__name__}",
                fix="give a file with one tensor per parameter name",
            )
        state[name] = value
    return state


def _open(path: Path) -> IO[bytes]:
    """The checkpoint's bytes: the file itself, or the one that a `.zip` holds.

    A PyTorch checkpoint is a zip archive too, but its members lie in a folder.
    """
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [
                name
                for name in archive.namelist()
                if name.endswith((".pt", ".pth")) and not name.startswith("__MACOSX/")
            ]
            if len(inner) == 1:
                return io.BytesIO(archive.read(inner[0]))  # torch seeks, a member cannot
    return path.open("rb")


def _one_level(content: Mapping[object, object]) -> dict[object, object]:
    """The entries of mappings inside a mapping as entries of their own, `key.inner key`."""
    flat: dict[object, object] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": entry for inner, entry in value.items()}
        else:
            flat[key] = value
    return flat


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_missing: Collection[str] = (),
    allow_unexpected: Collection[str] = (),
    source: str,
) -> None:
    """Copy `state` into `module`; every key must fit, but for the named exceptions.

    A module on the meta device takes the tensors of `state` themselves, without a copy.

    Args:
        source: what the messages call the checkpoint, usually its path.

    Raises:
        WeightsError: naming the first missing, unexpected and mis-shaped key and how many there
            are of each, or the first tensor with NaN or infinite values.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and name not in allow_missing]
    unexpected = [name for name in state if name not in own and name not in allow_unexpected]
    shared = [name for name in own if name in state]
    misshaped = [name for name in shared if own[name].shape != state[name].shape]

    problems = []
    if missing:
        problems.append(f"{len(missing)} keys are missing, first {missing[0]}")
    if unexpected:
        problems.append(f"{len(unexpected)} keys are unexpected, first {unexpected[0]}")
    if misshaped:
        name = misshaped[0]
        problems.append(
            f"{len(misshaped)} keys have another shape, first {name}:"
            f" {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        )
    if problems:
        raise WeightsError(
            f"{source} is a checkpoint of another architecture: {'; '.join(problems)}",
            fix="give the checkpoint that belongs to this system: litesam-bench weights list",
        )
    for name in shared:
        if state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            raise WeightsError(f"{source}: {name} has NaN or infinite values", fix=_FETCH_AGAIN)
    on_meta = any(tensor.is_meta for tensor in own.values())
    module.load_state_dict({name: state[name] for name in shared}, strict=False, assign=on_meta)
