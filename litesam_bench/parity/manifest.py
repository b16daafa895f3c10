"""The tensors of an official checkpoint, as a text file.

    # wrapper: model
    # owner/repository@commit: how the names were obtained
    image_encoder.blocks.{0,1,2}.norm1.weight f32 768
    image_encoder.bn.num_batches_tracked i64 -

One line is a name, a dtype and a shape (`-`: a single number without axes); `{0,1,2}` stands for
one tensor each. `wrapper` is the key under which the official file keeps the state dict, nothing
where it is the state dict itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from litesam_bench.errors import DataError

DTYPES = ("f32", "f16", "bf16", "f64", "i64", "i32", "u8", "bool")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of one tensor; dtypes are those of `DTYPES`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def is_floating(self) -> bool:
        return "f" in self.dtype


@dataclass(frozen=True)
class Manifest:
    """The tensors of one checkpoint by name. `comments` say where the names come from."""

    tensors: Mapping[str, TensorInfo]
    wrapper: str = ""
    comments: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Trained values: floating tensors without batch statistics and fixed random matrices."""
        fixed = ("running_mean", "running_var", "positional_encoding_gaussian_matrix")
        return sum(
            math.prod(tensor.shape)
            for name, tensor in self.tensors.items()
            if tensor.is_floating and not name.endswith(fixed)
        )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises DataError naming the line that does not follow the form."""
    wrapper = ""
    comments: list[str] = []
    tensors: dict[str, TensorInfo] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", fix="restore the file") from error
    for number, line in enumerate(lines, 1):
        if line.startswith("# wrapper:"):
            wrapper = line.partition(":")[2].strip()
        elif line.startswith("#"):
            comments.append(line[1:].strip())
        elif line.strip():
            try:
                pattern, dtype, axes = line.split(" ")
                info = TensorInfo(_shape(axes), dtype)
                names = _expand(pattern)
                if dtype not in DTYPES:
                    raise ValueError(f"unknown dtype {dtype}")
                if len(set(names)) < len(names) or not tensors.keys().isdisjoint(names):
                    raise ValueError("a name is listed twice")
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number}: {error}: {line!r}",
                    fix="write lines as: name f32 256x64, or name i64 - for a single number",
                ) from error
            tensors.update(dict.fromkeys(names, info))
    if not tensors:
        raise DataError(f"{path} lists no tensors", fix="write one line per tensor")
    return Manifest(tensors, wrapper, tuple(comments))


def manifest_text(manifest: Manifest) -> str:
    """The file's text; tensors that differ in numbers of their names only share a line."""
    head = [f"# wrapper: {manifest.wrapper}".rstrip(), *(f"# {c}" for c in manifest.comments)]
    rows = [(tuple(name.split(".")), info) for name, info in manifest.tensors.items()]
    for place in range(max((len(parts) for parts, _ in rows), default=0)):
        rows = _merged(rows, place)
    body = [f"{'.'.join(parts)} {info.dtype} {_axes(info.shape)}" for parts, info in rows]
    return "\n".join([*head, *body]) + "\n"


_Row = tuple[tuple[str, ...], TensorInfo]


def _merged(rows: list[_Row], place: int) -> list[_Row]:
    """Join the rows that differ in the number at one place of their names only."""
    groups: dict[tuple[tuple[str, ...], TensorInfo], list[str]] = {}
    for parts, info in rows:
        number = parts[place] if place < len(parts) and parts[place].isdigit() else ""
        key = (*parts[:place], "", *parts[place + 1 :]) if number else parts
        groups.setdefault((key, info), []).append(number)
    merged = []
    for (parts, info), numbers in groups.items():
        if not numbers[0]:
            merged.append((parts, info))
            continue
        joined = numbers[0] if len(numbers) == 1 else "{" + ",".join(numbers) + "}"
        merged.append(((*parts[:place], joined, *parts[place + 1 :]), info))
    return merged


def _expand(pattern: str) -> list[str]:
    """The names that a pattern stands for."""
    options = [
        part[1:-1].split(",") if part.startswith("{") and part.endswith("}") else [part]
        for part in pattern.split(".")
    ]
    return [".".join(choice) for choice in product(*options)]


def _shape(axes: str) -> tuple[int, ...]:
    return () if axes == "-" else tuple(int(size) for size in axes.split("x"))


def _axes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "-"
