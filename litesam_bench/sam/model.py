"""`Sam`: an image encoder, a prompt encoder and a mask decoder, injected into a plain module."""

from __future__ import annotations

from torch import Tensor, nn

from litesam_bench.sam.fast_decoder import Decoded, FastMaskDecoder, ImageSide, Keep
from litesam_bench.sam.image_encoder import ImageEncoderViT, ViTConfig
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.types import SizeHW


class Sam(nn.Module):
    """Any SAM descendant: `image_encoder` maps images (B, 3, H, W) to `Features`."""

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def encode(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) to features; no prompt is involved."""
        features: Features = self.image_encoder(images)
        return features

    def decode(
        self,
        features: Features,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All masks of N prompts; B images have N / B prompts each, ordered image by image.

        The prompts are as in `PromptEncoder.forward`, in network pixels of a frame of `frame_hw`.

        Returns:
            logits: (N, tokens, 4h, 4w) for an embedding of (h, w).
            iou: (N, tokens) predicted IoU.
        """
        sparse, dense = self.prompt_encoder(frame_hw, points, labels, boxes, masks)
        height, width = features.embedding.shape[-2:]
        image_pe = self.prompt_encoder.dense_pe((height, width))
        decoded: tuple[Tensor, Tensor] = self.mask_decoder(features, image_pe, sparse, dense)
        return decoded

    def image_side(self, fast: FastMaskDecoder, features: Features) -> ImageSide:
        """What `decode_fast` shares between the prompts of one image."""
        height, width = features.embedding.shape[-2:]
        dense = self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        return fast.image_side(features, self.prompt_encoder.dense_pe((height, width)), dense)

    def decode_fast(
        self,
        fast: FastMaskDecoder,
        features: Features,
        side: ImageSide,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        keep: Keep | None = None,
    ) -> Decoded:
        """The masks of N prompts of one image that `keep` asks for; all without it.

        `side` is `image_side` of the same features. The prompts are as in `decode`, but for mask
        prompts, whose dense embeddings are their own.
        """
        sparse, _ = self.prompt_encoder(frame_hw, points, labels, boxes)
        return fast(side, sparse, keep=keep)


def build_sam(vit: ViTConfig) -> Sam:
    """SAM with randomly initialised weights, in evaluation mode (upstream `build_sam.py`)."""
    sam = Sam(
        ImageEncoderViT(vit),
        PromptEncoder(PromptEncoderConfig(dim=vit.out_dim)),
        MaskDecoder(MaskDecoderConfig()),
    )
    return sam.eval()
