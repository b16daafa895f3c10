"""Lite-SAM: LiteViT, neck, AutoPPN, prompt encoder and mask decoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from litesam_bench.lite_sam.autoppn import AutoPpn, AutoPpnConfig, ProposalMaps
from litesam_bench.lite_sam.litevit import LiteViT, LiteViTConfig
from litesam_bench.lite_sam.neck import LiteSamEncoder, NeckConfig
from litesam_bench.sam.mask_decoder import MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.transformer import TransformerConfig


@dataclass(frozen=True)
class LiteSamConfig:
    """Lite-SAM with any backbone.

    Decision (ours): the decoder is SAM's with an MLP of 512 instead of 2048 hidden units. SAM's
    alone has 4.06 M parameters, and 3.15 M of the difference between 4.2 M and LiteViT are left
    for everything else. The MLP acts on a handful of tokens and adds next to nothing to the
    arithmetic; the width of 256 and the hypernetworks stay, because every mask passes them.
    """

    vit: LiteViTConfig
    neck: NeckConfig = field(default_factory=NeckConfig)
    ppn: AutoPpnConfig = field(default_factory=AutoPpnConfig)
    prompt: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    decoder: MaskDecoderConfig = field(
        default_factory=lambda: MaskDecoderConfig(TransformerConfig(mlp_dim=512))
    )


class LiteSam(Sam):
    """A `Sam` that can also propose its prompts; any input size divisible by 32."""

    def __init__(self, config: LiteSamConfig) -> None:
        super().__init__(
            LiteSamEncoder(LiteViT(config.vit), config.neck),
            PromptEncoder(config.prompt),
            MaskDecoder(config.decoder),
        )
        self.config = config
        self.autoppn = AutoPpn(config.neck.dim, config.ppn)

    def forward(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, ProposalMaps]:
        """Everything once: what training computes and what the complexity table counts.

        Args:
            images: (B, 3, H, W) normalised.
            boxes: (B * M, 4) XYXY in network pixels, ordered image by image.

        Returns:
            logits (B * M, 4, H / 4, W / 4) and iou (B * M, 4) of all tokens, and AutoPPN's maps.
        """
        features = self.encode(images)
        height, width = images.shape[-2:]
        logits, iou = self.decode(features, (height, width), boxes=boxes)
        return logits, iou, self.autoppn(features.embedding)


def build(config: LiteSamConfig, seed: int) -> LiteSam:
    """Lite-SAM with random weights that depend on the seed alone, in evaluation mode.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LiteSam(config).eval()
