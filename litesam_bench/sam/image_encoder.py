"""SAM's image encoder: a plain ViT with windows (upstream `modeling/image_encoder.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.sam.common import LayerNorm2d, MlpBlock
from litesam_bench.sam.mask_decoder import Features
from litesam_bench.types import SizeHW


@dataclass(frozen=True)
class ViTConfig:
    """A ViT for square inputs of `image_size`. `global_blocks` attend over the whole image, the
    others within windows of `window` x `window` patches."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4
    out_dim: int = 256


VIT_B = ViTConfig(dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11))
VIT_L = ViTConfig(dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
VIT_H = ViTConfig(dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: (B, 3, H, W) to (B, h, w, dim)."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.proj(x)
        return patches.permute(0, 2, 3, 1)


class RelPosAttention(nn.Module):
    """Self-attention over an (h, w) grid with a learned bias per relative row and column.

    The bias of query i and key j is q_i · R_h[row_i - row_j] + q_i · R_w[column_i - column_j].
    """

    def __init__(self, dim: int, heads: int, grid_hw: SizeHW) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_hw[0] - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_hw[1] - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, dim) to (B, h, w, dim); (h, w) is the grid that the module was made for."""
        height, width = x.shape[1:3]
        qkv = torch.unflatten(self.qkv(x).flatten(1, 2), -1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, L, 3, heads, d) to three (B, heads, L, d)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q, height, width))
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return torch.unflatten(projected, 1, (height, width))

    def _bias(self, q: Tensor, height: int, width: int) -> Tensor:
        """(B, heads, L, L), from the unscaled queries."""
        q = torch.unflatten(q, 2, (height, width))
        rows = torch.einsum("bnhwc,hkc->bnhwk", q, _relative(self.rel_pos_h, height))
        columns = torch.einsum("bnhwc,wkc->bnhwk", q, _relative(self.rel_pos_w, width))
        return (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(4).flatten(2, 3)


def _relative(table: Tensor, size: int) -> Tensor:
    """(2 * size - 1, d) to (size, size, d): entry [i, j] is the row for the offset i - j."""
    index = torch.arange(size, device=table.device)
    return table[index[:, None] - index[None, :] + size - 1]


class ViTBlock(nn.Module):
    """Pre-norm attention and MLP; with `window` 0 the attention is global."""

    def __init__(self, config: ViTConfig, window: int) -> None:
        super().__init__()
        grid = window or config.image_size // config.patch
        self.window = window
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = RelPosAttention(config.dim, config.heads, (grid, grid))
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = MlpBlock(config.dim, config.dim * config.mlp_ratio, F.gelu)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, dim) to the same."""
        height, width = x.shape[1:3]
        y = self.norm1(x)
        if self.window:
            y = window_merge(self.attn(window_split(y, self.window)), self.window, height, width)
        else:
            y = self.attn(y)
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def window_split(x: Tensor, window: int) -> Tensor:
    """(B, h, w, C) to (B * windows, window, window, C), zero-padded right and below.

    The padding takes part in attention, as upstream: it is not masked.
    """
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    x = torch.unflatten(torch.unflatten(x, 2, (-1, window)), 1, (-1, window))
    # (B, rows, window, columns, window, C)
    return x.transpose(2, 3).flatten(0, 2)


def window_merge(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `window_split`: back to (B, height, width, C)."""
    rows, columns = -(-height // window), -(-width // window)
    x = torch.unflatten(x, 0, (-1, rows, columns)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]


def sam_neck(dim: int, out_dim: int) -> nn.Sequential:
    """The end of SAM's image encoder and of many descendants': `dim` to `out_dim` channels."""
    return nn.Sequential(
        nn.Conv2d(dim, out_dim, kernel_size=1, bias=False),
        LayerNorm2d(out_dim),
        nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_dim),
    )


class ImageEncoderViT(nn.Module):
    """(B, 3, S, S) to an embedding (B, out_dim, S / patch, S / patch), S = `image_size`."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        grid = config.image_size // config.patch
        self.config = config
        self.patch_embed = PatchEmbed(config.patch, config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.dim))
        self.blocks = nn.ModuleList(
            ViTBlock(config, window=0 if i in config.global_blocks else config.window)
            for i in range(config.depth)
        )
        self.neck = sam_neck(config.dim, config.out_dim)

    def forward(self, images: Tensor) -> Features:
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return Features(self.neck(x.permute(0, 3, 1, 2)))
