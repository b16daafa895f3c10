"""`SystemSpec`: what is known about a system without loading it.

A baseline file defines `SPECS` (a tuple) and `load(spec, context) -> Segmenter`. Importing the file
must not import torch or its upstream package: `--help`, `models list` and capability checks read
the SPEC only. Unknown fields are a TypeError because the dataclasses are strict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from litesam_bench.types import Capabilities, DType

TrainingStatus = Literal["trained", "untrained", "not-applicable"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One official checkpoint file.

    `sha256` may be empty only where nobody has published it; then the first pull prints it and
    the record says "unverified". `size_bytes` 0 means unknown. `licence` is the weights' licence,
    which may differ from the code's; `restriction` is printed on first pull ("non-commercial").
    Weights of your own: the absolute path as `file_name`, and no `url`.
    """

    file_name: str
    url: str
    sha256: str = ""
    size_bytes: int = 0
    licence: str = ""
    restriction: str = ""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Image preprocessing. `pad`: long side to `size`, zero padding at bottom and right after
    normalisation; `stretch`: both sides to `size`; `none`: the system takes the image as it is.
    `mean` and `std` are in 0..255 units."""

    size: int = 1024
    rule: Literal["pad", "stretch", "none"] = "pad"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True)
class SystemSpec:
    """A system under test.

    name: `family-variant`, lower case, unique over all registered systems.
    display: as the papers print it.
    published: key of the row in results/published, "" when no paper prints it.
    training_data: "" for systems that are not trained. `not_zero_shot_on` names datasets whose
        domain the training data contains: their rows carry the footnote.
    companions: further official files that must lie beside `weights`, where one is not all.
    allow_missing, allow_unexpected: state-dict keys of the official file that may be absent or
        extra; a name that ends in a dot stands for a whole module.
    overflows_in: half precisions in which the network is known to leave the range of numbers.
    """

    name: str
    family: str
    display: str
    capabilities: Capabilities
    input: InputSpec = field(default_factory=InputSpec)
    weights: Weights | None = None
    companions: tuple[Weights, ...] = ()
    training: TrainingStatus = "trained"
    training_data: str = ""
    not_zero_shot_on: tuple[str, ...] = ()
    upstream: str = ""
    commit: str = ""
    code_licence: str = "Apache-2.0"
    published: str = ""
    extra: str = ""  # the pip extra that must be installed: "ultralytics", "timm", ...
    allow_missing: tuple[str, ...] = ()
    allow_unexpected: tuple[str, ...] = ()
    overflows_in: tuple[DType, ...] = ()
    notes: str = ""
