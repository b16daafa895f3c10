"""MobileSAMv2 (Zhang et al., 2023): a decoder trained for boxes, behind any of three encoders.

Upstream: `MobileSAMv2/` of github.com/ChaoningZhang/MobileSAM. The encoders are MobileSAM's,
EfficientViT-SAM-L2's and SAM ViT-H's, each with its own embedding; prompt encoder and decoder are
SAM's, with weights of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.family import require
from litesam_bench.sam.image_encoder import VIT_H, ImageEncoderViT
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig

_PARTS = {"PromtEncoder.": "prompt_encoder.", "MaskDecoder.": "mask_decoder."}  # (sic)
_ENCODER = "image_encoder."


class HalvedInput(nn.Module):
    """Images (B, 3, S, S) to an encoder that was trained for half their size."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Features:
        half = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
        features: Features = self.encoder(half)
        return features


def build(encoder: str) -> Sam:
    """MobileSAMv2 with `tiny-vit`, `efficientvit-l2` or `sam-vit-h`, random weights.

    Raises:
        UsageError: timm is not installed.
    """
    sam = Sam(
        _encoder(encoder), PromptEncoder(PromptEncoderConfig()), MaskDecoder(MaskDecoderConfig())
    )
    return sam.eval()


def _encoder(name: str) -> nn.Module:
    if name == "tiny-vit":
        from litesam_bench.family.tiny_vit import TinyVitEncoder

        return TinyVitEncoder()
    if name == "efficientvit-l2":
        require("timm")
        from litesam_bench.family.efficientvit_sam import CONFIGS, Encoder

        return HalvedInput(Encoder(CONFIGS["l2"]))
    assert name == "sam-vit-h", name
    return ImageEncoderViT(VIT_H)


def encoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's parameters of a whole model's checkpoint."""
    return {name: value for name, value in state.items() if name.startswith(_ENCODER)}


def remap(state: Mapping[str, Tensor], encoder: str) -> dict[str, Tensor]:
    """Official names of both files, the decoder's and the encoder's, to ours."""
    from litesam_bench.family import efficientvit_sam, tiny_vit

    if encoder == "tiny-vit":
        state = tiny_vit.remap(state)
    elif encoder == "efficientvit-l2":
        state = efficientvit_sam.remap(state)
    return {_renamed(name, encoder): value for name, value in state.items()}


def _renamed(name: str, encoder: str) -> str:
    for official, ours in _PARTS.items():
        if name.startswith(official):
            return ours + name.removeprefix(official)
    if encoder == "efficientvit-l2" and name.startswith(_ENCODER):
        return f"{_ENCODER}encoder.{name.removeprefix(_ENCODER)}"
    return name
