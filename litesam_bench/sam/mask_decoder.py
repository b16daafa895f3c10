"""Masks from an image embedding and prompt embeddings (upstream `modeling/mask_decoder.py`).

This is the plain decoder: the reference that any faster formulation is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from litesam_bench.sam.common import LayerNorm2d, Mlp
from litesam_bench.sam.transformer import TransformerConfig, TwoWayTransformer


class Features(NamedTuple):
    """What an image encoder returns for B images.

    embedding: (B, D, h, w), one cell per stride.
    stride8, stride4: (B, D / 4, 2h, 2w) and (B, D / 8, 4h, 4w), features that do not depend on the
        prompt and are added while the masks are upscaled, as in SAM 2; SAM itself has none.
        (Named for an embedding of stride 16.)
    """

    embedding: Tensor
    stride8: Tensor | None = None
    stride4: Tensor | None = None


@dataclass(frozen=True)
class MaskDecoderConfig:
    """`multimask` tokens besides token 0; the heads are `Mlp`s of the given hidden width, depth."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    multimask: int = 3
    hypernetwork_hidden: int = 256
    iou_hidden: int = 256
    iou_depth: int = 3


class MaskDecoder(nn.Module):
    """A two-way transformer, an upscaling by 4 and one hypernetwork per mask token."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        dim = config.transformer.dim
        self.config = config
        self.mask_count = config.multimask + 1
        self.transformer = TwoWayTransformer(config.transformer)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.mask_count, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp(dim, config.hypernetwork_hidden, dim // 8, 3) for _ in range(self.mask_count)
        )
        self.iou_prediction_head = Mlp(dim, config.iou_hidden, self.mask_count, config.iou_depth)

    def forward(
        self, features: Features, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode N = B * M prompts, ordered image by image.

        Args:
            features: of B images.
            image_pe: (1, D, h, w) positional encoding of the embedding's cells.
            sparse: (N, T, D) from the prompt encoder.
            dense: (N, D, h, w), or (1, D, 1, 1) where no prompt has a mask.

        Returns:
            logits: (N, multimask + 1, 4h, 4w); mask 0 is the single-mask token's.
            iou: (N, multimask + 1) predicted IoU.
        """
        tokens, image = self._attend(features, image_pe, sparse, dense, self._output_tokens())
        upscaled = self._upscale(image, features)  # (N, D / 8, 4h, 4w)
        kernels = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        return self._correlate(kernels, upscaled), self.iou_prediction_head(tokens[:, 0])

    def _output_tokens(self) -> Tensor:
        """What is learned about the outputs, (1 + masks, D): predicted IoU, then one per mask."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def _attend(
        self,
        features: Features,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        output_tokens: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The two-way transformer: tokens (N, outputs + T, D), the outputs' first, and the image
        as each prompt sees it, (N, D, h, w)."""
        batch, _, height, width = features.embedding.shape
        # under autocast, one float32 summand would keep the whole image in float32
        dtype = features.embedding.dtype
        image_pe, sparse, dense = image_pe.to(dtype), sparse.to(dtype), dense.to(dtype)
        output_tokens = output_tokens.to(dtype)
        tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens = torch.unflatten(tokens, 0, (batch, -1))  # (B, M, T, D)

        image = features.embedding.unsqueeze(1)  # (B, 1, D, h, w)
        image = image + (torch.unflatten(dense, 0, (batch, -1)) if len(dense) > 1 else dense)
        image = image.flatten(3).transpose(2, 3)  # (B, M | 1, L, D)
        position = image_pe.unsqueeze(1).flatten(3).transpose(2, 3)
        tokens, image = self.transformer(image, position, tokens)

        image = torch.unflatten(image.flatten(0, 1).transpose(1, 2), 2, (height, width))
        return tokens.flatten(0, 1), image

    @staticmethod
    def _correlate(kernels: Tensor, pixels: Tensor) -> Tensor:
        """Kernels (N, M, C) with pixels (N, C, h, w): logits (N, M, h, w)."""
        rows = pixels.permute(0, 2, 3, 1).flatten(1, 2)  # a view: convolutions are NHWC here
        return torch.unflatten(kernels @ rows.transpose(1, 2), 2, pixels.shape[2:])

    def _upscale(self, image: Tensor, features: Features) -> Tensor:
        """(N, D, h, w) to (N, D / 8, 4h, 4w)."""
        first, norm, activation, second, last_activation = self.output_upscaling
        image = _add_per_image(first(image), features.stride8)
        image = _add_per_image(second(activation(norm(image))), features.stride4)
        upscaled: Tensor = last_activation(image)
        return upscaled


def _add_per_image(x: Tensor, extra: Tensor | None) -> Tensor:
    """Add (B, C, h, w) to each prompt of its image, (B * M, C, h, w)."""
    if extra is None:
        return x
    return (torch.unflatten(x, 0, (len(extra), -1)) + extra.unsqueeze(1)).flatten(0, 1)
