"""Other networks in LiteViT's place: the Lite-SAM poster's comparison of backbones.

Each gives its maps at strides 4, 8, 16 and 32 to Lite-SAM's neck; what serves classification alone
(the head, and the widening convolution before it) is left out. The poster names architectures
without their sizes; a configuration here is the size whose parameters come nearest.

PoolFormer-S12, also in the poster, is `lite_sam.configs.BACKBONES["poolformer-s12"]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from litesam_bench.errors import UsageError
from litesam_bench.family import require
from litesam_bench.lite_sam.configs import BACKBONES

if TYPE_CHECKING:
    from torch import nn

    from litesam_bench.lite_sam.neck import BackboneConfig


@dataclass(frozen=True)
class LibraryBackbone:
    """A backbone that a library builds: timm's `model`, torchvision's, or a variant of
    `family.efficientvit_sam`. `note` says what the poster's figures of this row contain."""

    library: Literal["timm", "torchvision", "efficientvit_sam"]
    model: str
    dims: tuple[int, int, int, int]
    note: str = ""

    def build(self) -> nn.Module:
        """The backbone with random weights: images (B, 3, H, W) to four maps.

        Raises:
            UsageError: timm or torchvision is not installed.
        """
        require("torchvision" if self.library == "torchvision" else "timm")
        from litesam_bench.family import backbone_modules as modules

        if self.library == "timm":
            return modules.TimmBackbone(self.model)
        if self.library == "torchvision":
            return modules.ShuffleNet(self.model)
        return modules.EfficientVitBackbone(self.model)


LIBRARY_BACKBONES: dict[str, LibraryBackbone] = {
    "mobilenet-v2": LibraryBackbone("timm", "mobilenetv2_100", (24, 32, 96, 320)),
    "shufflenet-v2": LibraryBackbone("torchvision", "shufflenet_v2_x1_0", (24, 116, 232, 1024)),
    "mobilevit": LibraryBackbone("timm", "mobilevit_s", (64, 96, 128, 640)),
    "efficientvit": LibraryBackbone("efficientvit_sam", "l0", (64, 128, 256, 512)),
    "fastvit": LibraryBackbone("timm", "fastvit_t8", (48, 96, 192, 384)),
    "tinyvit": LibraryBackbone("timm", "tiny_vit_5m_224", (64, 128, 160, 320)),
}
"""The rows of the poster's backbone table, in its order, but for LiteViT itself."""


def backbone_config(name: str) -> BackboneConfig:
    """Any backbone of the poster by its published key. Raises UsageError naming those there are."""
    known: Mapping[str, BackboneConfig] = {**BACKBONES, **LIBRARY_BACKBONES}
    if name not in known:
        raise UsageError(f"there is no backbone {name!r}", fix=f"one of: {', '.join(known)}")
    return known[name]
