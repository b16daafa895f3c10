"""Parameters and MACs of a system's parts, without weights and without computing anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from litesam_bench.errors import CapabilityError
from litesam_bench.lite_sam.configs import BACKBONES
from litesam_bench.lite_sam.litevit import LiteViT
from litesam_bench.registry import System
from litesam_bench.sam.model import Sam
from litesam_bench.timing.complexity import Complexity, count


@dataclass(frozen=True)
class Profile:
    """A system's parts. `parts` are encoder, decoder (prompt encoder included, one point prompt)
    and, where there is one, proposals; `whole` is their sum for one image and one prompt.
    `input_hw` is the size of the network's input."""

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

    Raises:
        CapabilityError: its adapter defines no `network(spec)`.
        UsageError: it runs an operator whose MACs are not known.
    """
    spec = system.spec
    if system.network is None:
        raise CapabilityError(f"{spec.name} has no network to count")
    with torch.device("meta"):
        model = system.network(spec)
        size = spec.input.size
        image = torch.zeros(1, 3, size, size)
        encoder = count(model.image_encoder, image)
        features = model.encode(image)
        point, label = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int64)

        def decode(points: Tensor, labels: Tensor) -> Tensor:
            logits, _ = model.decode(features, (size, size), points=points, labels=labels)
            return logits

        decoder = count(_decoding_part(model), point, label, forward=decode)
        parts = {"encoder": encoder, "decoder": decoder}
        proposals = getattr(model, "autoppn", None)
        if isinstance(proposals, nn.Module):
            parts["proposals"] = count(proposals, features.embedding)
    return Profile((size, size), parts)


def profile_backbones(size: int = 640) -> dict[str, Complexity]:
    """Every backbone of the poster's Table 1 on a square input, by name in the table's order."""
    with torch.device("meta"):
        image = torch.zeros(1, 3, size, size)
        return {name: count(LiteViT(config), image) for name, config in BACKBONES.items()}


def _decoding_part(model: Sam) -> nn.Module:
    """Everything but the encoder and the proposals, as one module whose parameters are counted."""
    children = {
        name: child
        for name, child in model.named_children()
        if name not in ("image_encoder", "autoppn")
    }
    return nn.ModuleDict(children)
