"""The two-way transformer of SAM's mask decoder (upstream `modeling/transformer.py`).

Shapes: B images, M prompts each, T tokens per prompt, L image cells, D channels. Image cells that
do not depend on the prompt have M = 1 and broadcast; they become (B, M, L, D) only where the
prompts first act on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.sam.common import MlpBlock


@dataclass(frozen=True)
class TransformerConfig:
    """`attention_downsample`: cross-attention runs at dim / attention_downsample channels."""

    dim: int = 256
    depth: int = 2
    heads: int = 8
    mlp_dim: int = 2048
    attention_downsample: int = 2


class Attention(nn.Module):
    """Multi-head attention with projections to `dim / downsample` channels."""

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        assert inner % heads == 0, "the heads must divide the inner width"
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, M | 1, Lq, D), k and v (B, M | 1, Lk, D) to (B, M, Lq, D)."""
        prompts = max(q.shape[1], k.shape[1])
        heads = (
            self._heads(self.q_proj(q), prompts),
            self._heads(self.k_proj(k), prompts),
            self._heads(self.v_proj(v), prompts),
        )
        out = _attend(*heads)  # (B * M, heads, Lq, D / heads)
        out = torch.unflatten(out.transpose(1, 2).flatten(2), 0, (-1, prompts))
        projected: Tensor = self.out_proj(out)
        return projected

    def _heads(self, x: Tensor, prompts: int) -> Tensor:
        """(B, M | 1, L, D) to (B * M, heads, L, D / heads); a view where B or M is 1."""
        x = x.expand(-1, prompts, -1, -1).flatten(0, 1)
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot product attention.

    Spelled out where the image attends to a few tokens in half precision: a fused kernel has
    nothing to save there, and on CPUs it is 2 times slower forward and 4 times backward.
    """
    if k.shape[-2] > 32 or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1).to(v.dtype) @ v


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves, then to the image; an MLP; then the image to the tokens."""

    def __init__(self, config: TransformerConfig, *, first: bool) -> None:
        super().__init__()
        dim, heads, downsample = config.dim, config.heads, config.attention_downsample
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MlpBlock(dim, config.mlp_dim, F.relu)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, M, T, D) and image (B, M | 1, L, D) to the same with M prompts."""
        if self.first:  # the tokens are their own positional encoding here
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)

        q, k = tokens + token_pe, image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        q = tokens + token_pe
        image = self.norm4(image + self.cross_attn_image_to_token(k, q, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """`depth` two-way blocks and a last attention from the tokens to the image."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, first=i == 0) for i in range(config.depth))
        self.final_attn_token_to_image = Attention(
            config.dim, config.heads, config.attention_downsample
        )
        self.norm_final_attn = nn.LayerNorm(config.dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Args: image (B, M | 1, L, D), image_pe (1, 1, L, D), tokens (B, M, T, D).

        Returns the tokens (B, M, T, D) and the image (B, M, L, D).
        """
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image
