"""HQ-SAM (Ke et al., 2023): SAM with one more output token and finer features for its mask.

Upstream: `segment_anything/modeling/mask_decoder_hq.py` of github.com/SysCV/sam-hq. The image
encoder, prompt encoder, transformer and SAM's own four tokens are frozen copies of SAM's (or of
MobileSAM's, for Light HQ-SAM).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from litesam_bench.family import tiny_vit
from litesam_bench.sam.common import LayerNorm2d, Mlp
from litesam_bench.sam.image_encoder import ImageEncoderViT, ViTConfig
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig

# parts of upstream's decoder that see the image alone: the encoder's, here
_IMAGE_PARTS = ("compress_vit_feat", "embedding_encoder")
# TinyViT's classifier, which is in the file of Light HQ-SAM and in no encoder
_UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")


class EarlyFeatures(Protocol):
    """An image encoder that also shows what it has early on."""

    def early_and_embedding(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to early features (B, C, h, w) and the embedding (B, D, h, w)."""
        ...


class EarlyViT(ImageEncoderViT):
    """SAM's encoder; its early features are those after the first global block."""

    def early_and_embedding(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(images) + self.pos_embed
        early = None
        for block in self.blocks:
            x = block(x)
            if early is None and not block.window:
                early = x
        assert early is not None, "every SAM encoder has a global block"
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return early.permute(0, 3, 1, 2), embedding


class EarlyTinyVit(tiny_vit.TinyVitEncoder):
    """MobileSAM's encoder; its early features are those that enter the third stage.

    Raises:
        UsageError: timm is not installed.
    """

    def early_and_embedding(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first, second, third, last = self.stages
        early = third.downsample(second(first(self.patch_embed(images))))
        x = third.blocks(early.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        embedding: Tensor = self.neck(last(x))
        return early, embedding


class HqEncoder(nn.Module):
    """Images (B, 3, S, S) to the embedding and, as `stride4`, the features of the HQ mask.

    Args:
        encoder: an `EarlyFeatures`. early_dim: the channels of its early features.
    """

    def __init__(self, encoder: nn.Module, early_dim: int, dim: int = 256) -> None:
        super().__init__()
        self.encoder = encoder
        self.compress_vit_feat = nn.Sequential(
            nn.ConvTranspose2d(early_dim, dim, kernel_size=2, stride=2),
            LayerNorm2d(dim),
            nn.GELU(),
            nn.ConvTranspose2d(dim, dim // 8, kernel_size=2, stride=2),
        )
        self.embedding_encoder = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
        )

    def forward(self, images: Tensor) -> Features:
        encoder: EarlyFeatures = self.encoder  # type: ignore[assignment]
        early, embedding = encoder.early_and_embedding(images)
        fine = self.embedding_encoder(embedding) + self.compress_vit_feat(early)
        return Features(embedding, stride4=fine)


class HqMaskDecoder(MaskDecoder):
    """SAM's decoder with the HQ token.

    `stride4` joins the upscaled image for the HQ token's mask only; SAM's tokens see what they
    saw in SAM. The HQ mask is added to one of SAM's, so there are two outputs instead of four.
    """

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__(config)
        dim = config.transformer.dim
        self.hf_token = nn.Embedding(1, dim)
        self.hf_mlp = Mlp(dim, dim, dim // 8, 3)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(dim // 8, dim // 4, kernel_size=3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 8, kernel_size=3, padding=1),
        )

    def forward(
        self, features: Features, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts; arguments as in `MaskDecoder.forward`, `stride4` from `HqEncoder`.

        Returns:
            logits: (N, 2, 4h, 4w): the mask of token 0, and that of the multimask token with the
                highest predicted IoU, each plus the HQ token's.
            iou: (N, 2) what SAM predicts for the mask that the HQ mask was added to.
        """
        assert features.stride4 is not None, "HqEncoder gives them"
        output_tokens = torch.cat([self._output_tokens(), self.hf_token.weight])
        tokens, image = self._attend(features, image_pe, sparse, dense, output_tokens)
        upscaled = self._upscale(image, Features(features.embedding))
        kernels = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = self._correlate(kernels, upscaled)  # (N, 4, 4h, 4w)
        iou = self.iou_prediction_head(tokens[:, 0])

        fine = torch.unflatten(self.embedding_maskfeature(upscaled), 0, (len(features.stride4), -1))
        fine = (fine + features.stride4.unsqueeze(1)).flatten(0, 1)
        hq_kernel = self.hf_mlp(tokens[:, 1 + self.mask_count]).unsqueeze(1)
        best = 1 + iou[:, 1:].argmax(dim=1)
        chosen = torch.stack([torch.zeros_like(best), best], dim=1)  # (N, 2)
        rows = torch.arange(len(logits), device=logits.device).unsqueeze(1)
        return logits[rows, chosen] + self._correlate(hq_kernel, fine), iou[rows, chosen]


def build_sam_hq(encoder: nn.Module, early_dim: int) -> Sam:
    """HQ-SAM on an `EarlyFeatures` encoder, with random weights, in evaluation mode."""
    sam = Sam(
        HqEncoder(encoder, early_dim),
        PromptEncoder(PromptEncoderConfig()),
        HqMaskDecoder(MaskDecoderConfig()),
    )
    return sam.eval()


def build_sam_hq_vit(vit: ViTConfig) -> Sam:
    """HQ-SAM on one of SAM's encoders."""
    return build_sam_hq(EarlyViT(vit), vit.dim)


def build_sam_hq_tiny() -> Sam:
    """Light HQ-SAM. As `build_tiny_vit_sam`, not for use when made on the meta device."""
    return build_sam_hq(EarlyTinyVit(), early_dim=160)


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official parameter names to those of `build_sam_hq`, for every encoder.

    Those of TinyViT's classifier stay: nothing here has a place for them.
    """
    renamed = {}
    for name, tensor in tiny_vit.remap(state).items():
        part, _, rest = name.partition(".")
        if part == "image_encoder" and not name.startswith(_UNUSED):
            name = f"image_encoder.encoder.{rest}"
        elif part == "mask_decoder" and rest.startswith(_IMAGE_PARTS):
            name = f"image_encoder.{rest}"
        renamed[name] = tensor
    return renamed
