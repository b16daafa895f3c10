"""TinyViT-5M as SAM's image encoder: MobileSAM, MobileSAMv2, TinySAM, Light HQ-SAM.

Upstream: `mobile_sam/modeling/tiny_vit_sam.py` of github.com/ChaoningZhang/MobileSAM. The blocks
are timm's. Two things differ from TinyViT as a classifier: the last stage keeps the resolution of
the one before it, so that the output has stride 16, and SAM's neck takes the classifier's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from litesam_bench.family import require
from litesam_bench.sam.image_encoder import sam_neck
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig

_RENAMED = (
    (r"patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"\.c\.weight$", ".conv.weight"),
    (r"^layers\.", "stages."),
)
_PREFIX = "image_encoder."


class TinyVitEncoder(nn.Module):
    """(B, 3, S, S) to an embedding (B, 256, S / 16, S / 16).

    Raises:
        UsageError: timm is not installed.
    """

    def __init__(self, out_dim: int = 256) -> None:
        super().__init__()
        # timm's `create_model` would do the same after reading its whole registry
        trunk = require("timm.models.tiny_vit").tiny_vit_5m_224(pretrained=False)
        self.patch_embed = trunk.patch_embed
        self.stages = trunk.stages
        self.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.neck = sam_neck(trunk.num_features, out_dim)

    def forward(self, images: Tensor) -> Features:
        return Features(self.neck(self.stages(self.patch_embed(images))))


def build_tiny_vit_sam() -> Sam:
    """SAM with TinyViT-5M, random weights, in evaluation mode.

    timm's attention holds a table that is no parameter and in no checkpoint, so a model for use
    must not be made on the meta device.
    """
    sam = Sam(
        TinyVitEncoder(), PromptEncoder(PromptEncoderConfig()), MaskDecoder(MaskDecoderConfig())
    )
    return sam.eval()


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MobileSAM's parameter names to ours; names outside `image_encoder.` stay."""
    return {_renamed(name): value for name, value in state.items()}


def _renamed(name: str) -> str:
    if not name.startswith(_PREFIX):
        return name
    own = name.removeprefix(_PREFIX)
    # upstream ends a stage with the merging that timm begins the next one with
    own = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", own)
    for pattern, replacement in _RENAMED:
        own = re.sub(pattern, replacement, own)
    return _PREFIX + own
