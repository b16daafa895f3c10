"""Parameters and MACs of a system's parts, without weights and without computing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from litesam_bench.errors import CapabilityError
from litesam_bench.lite_sam.neck import BackboneConfig
from litesam_bench.records.provenance import environment
from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.registry import System
from litesam_bench.timing.complexity import Complexity, count

SYSTEM_PROTOCOL = "complexity/system@1"
BACKBONE_PROTOCOL = "complexity/backbone@1"

# these are counted on their own; what else a network has is its decoding
_NOT_DECODING = ("image_encoder", "autoppn")


@dataclass(frozen=True)
class Profile:
    """A system's parts. `parts` are encoder, decoder (prompt encoder included, one point prompt)
    and proposals, as far as there are such; `input_hw` is the size of the network's input."""

    input_hw: tuple[int, int]
    parts: dict[str, Complexity]

    @property
    def params(self) -> int:
        """Parameters of all parts."""
        return sum(part.params for part in self.parts.values())

    @property
    def macs(self) -> int:
        """MACs of one image with one point prompt."""
        return sum(part.macs for part in self.parts.values())


def profile(system: System) -> Profile:
    """Count a system's parts on the meta device.

    The adapter's `network(spec)` has an `image_encoder` and, unless its prompts only choose among
    what the encoder found, `encode` and `decode` as `Sam` has them.

    Raises:
        CapabilityError: its adapter defines no `network(spec)`.
        UsageError: it runs an operator whose MACs are not known, or needs a package that is not
            installed.
    """
    spec = system.spec
    if system.network is None:
        raise CapabilityError(f"{spec.name} has no network to count")
    size = spec.input.size
    with torch.device("meta"):
        model = system.network(spec).eval()
    # ultralytics' networks insist on the CPU, where counting takes as long as running them
    with torch.device(next(model.parameters()).device):
        image = torch.zeros(1, 3, size, size)
        parts = {"encoder": count(model.image_encoder, image)}
        if not hasattr(model, "decode"):
            return Profile((size, size), parts)
        features = model.encode(image)
        point, label = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int64)

        def decode(points: Tensor, labels: Tensor) -> Tensor:
            logits, _ = model.decode(features, (size, size), points=points, labels=labels)
            return logits

        parts["decoder"] = count(_decoding_part(model), point, label, forward=decode)
        proposals = getattr(model, "autoppn", None)
        if isinstance(proposals, nn.Module):
            parts["proposals"] = count(proposals, features.embedding)
    return Profile((size, size), parts)


def profile_backbones(
    configs: Mapping[str, BackboneConfig], size: int = 640
) -> dict[str, Complexity]:
    """Backbones on a square input, by name, in the order given.

    Raises:
        UsageError: one runs an operator whose MACs are not known, or its library is not installed.
    """
    with torch.device("meta"):
        image = torch.zeros(1, 3, size, size)
        return {name: count(config.build().eval(), image) for name, config in configs.items()}


def _decoding_part(model: nn.Module) -> nn.Module:
    """Everything but the encoder and the proposals, as one module whose parameters are counted."""
    children = {n: child for n, child in model.named_children() if n not in _NOT_DECODING}
    return nn.ModuleDict(children)


def system_record(system: System, counted: Profile) -> Record:
    """What is kept of a system's profile: totals, and `encoder_macs_g` and so on for each part."""
    spec = system.spec
    values = {"params_m": counted.params / 1e6, "macs_g": counted.macs / 1e9}
    for name, part in counted.parts.items():
        values |= {f"{name}_params_m": part.params / 1e6, f"{name}_macs_g": part.macs / 1e9}
    about = {
        "name": spec.name,
        "display": spec.display,
        "family": spec.family,
        "published": spec.published,
    }
    return _record(SYSTEM_PROTOCOL, about, counted.input_hw, values)


def backbone_record(
    name: str, display: str, counted: Complexity, input_hw: tuple[int, int]
) -> Record:
    """What is kept of a backbone's count. `name` is its published key."""
    values = {"params_m": counted.params / 1e6, "macs_g": counted.macs / 1e9}
    about = {"name": name, "display": display, "published": name}
    return _record(BACKBONE_PROTOCOL, about, input_hw, values)


def _record(
    protocol: str, system: dict[str, str], input_hw: tuple[int, int], values: Mapping[str, float]
) -> Record:
    height, width = input_hw
    return Record(
        kind="complexity",
        status="complete",
        system={**system},
        protocol={"id": protocol, "counts": "convolutions and matrix products; see timing"},
        data={"name": f"input-{height}x{width}", "digest": "none", "n_images": 1},
        coverage=Coverage(expected=1, done=1, failed=0),
        metrics={
            name: Metric(
                value=value,
                unit="M" if name.endswith("_m") else "G",
                higher_is_better=False,
                n=1,
                protocol=protocol,
            )
            for name, value in values.items()
        },
        environment=environment("meta", "none: shapes only", "fp32"),
    )
