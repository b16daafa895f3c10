"""Points, boxes and masks to embeddings (upstream `modeling/prompt_encoder.py`).

Nothing here depends on the resolution: the frame and the grid are arguments, so one set of weights
serves inputs of 640, 1024 or any other size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from litesam_bench.sam.common import LayerNorm2d
from litesam_bench.types import SizeHW


@dataclass(frozen=True)
class PromptEncoderConfig:
    """`dim`: width of the embeddings; `mask_channels`: width inside the mask prompt's encoder."""

    dim: int = 256
    mask_channels: int = 16


class RandomFourierEncoding(nn.Module):
    """Positions in [0, 1]² to the sine and cosine of fixed random frequencies.

    Always float32, whatever the module is converted to: with phases in half precision
    neighbouring pixels would coincide.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = self.positional_encoding_gaussian_matrix
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        converted = self.positional_encoding_gaussian_matrix
        if converted.dtype != torch.float32:
            self.positional_encoding_gaussian_matrix = exact.to(converted.device)
        return self

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) float32 in [0, 1] to (..., 2 * features) float32."""
        # spelled out, because autocast would take a matrix product to half precision
        x, y = (2 * xy - 1).unsqueeze(-2).unbind(-1)
        x_frequency, y_frequency = self.positional_encoding_gaussian_matrix
        phases = 2 * math.pi * (x * x_frequency + y * y_frequency)
        return torch.cat([phases.sin(), phases.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Sparse embeddings for points and box corners, a dense one for a mask prompt."""

    def __init__(self, config: PromptEncoderConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, config.mask_channels
        self.config = config
        self.pe_layer = RandomFourierEncoding(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.no_mask_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, hidden // 4, kernel_size=2, stride=2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, kernel_size=2, stride=2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, dim, kernel_size=1),
        )

    def forward(
        self,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embed N prompts.

        Args:
            frame_hw: size of the network frame, which normalises the coordinates.
            points: (N, P, 2) xy in network pixels.
            labels: (N, P) 1 foreground, 0 background, -1 padding, -2 a null point: zeros, as in
                EdgeSAM's prompt encoder, by which its evaluation runs SAM too.
            boxes: (N, 4) XYXY in network pixels.
            masks: (N, 1, 4h, 4w) logits at the decoder's resolution, for an embedding of (h, w).

        Returns:
            sparse: (N, T, dim); T is P, plus 1 padding point where there is no box, plus 2 per box.
            dense: (N, dim, h, w) with a mask prompt, else (1, dim, 1, 1), to be broadcast.
        """
        dtype = self.no_mask_embed.weight.dtype
        parts: list[Tensor] = []
        if points is not None and labels is not None:
            if boxes is None:
                points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
            parts.append(self._embed_points(points, labels, frame_hw))
        if boxes is not None:
            parts.append(self._embed_boxes(boxes, frame_hw))
        if parts:
            sparse = torch.cat(parts, dim=1).to(dtype)
        else:
            count = 1 if masks is None else len(masks)
            sparse = self.no_mask_embed.weight.new_zeros(count, 0, self.config.dim)

        if masks is None:
            return sparse, self.no_mask_embed.weight.view(1, -1, 1, 1)
        dense: Tensor = self.mask_downscaling(masks.to(dtype))
        return sparse, dense

    def dense_pe(self, grid_hw: SizeHW) -> Tensor:
        """The positional encoding of the cells of an (h, w) embedding, (1, dim, h, w)."""
        height, width = grid_hw
        device = self.no_mask_embed.weight.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        encoding: Tensor = self.pe_layer(torch.stack([grid_x, grid_y], dim=-1))
        return encoding.permute(2, 0, 1).unsqueeze(0).to(self.no_mask_embed.weight.dtype)

    def _encode(self, xy: Tensor, frame_hw: SizeHW) -> Tensor:
        """Pixel coordinates to encodings; the half moves from a pixel's index to its centre."""
        size = torch.tensor((frame_hw[1], frame_hw[0]), dtype=torch.float32, device=xy.device)
        encoding: Tensor = self.pe_layer((xy.to(torch.float32) + 0.5) / size)
        return encoding

    def _embed_points(self, points: Tensor, labels: Tensor, frame_hw: SizeHW) -> Tensor:
        encoding = self._encode(points, frame_hw)
        labels = labels.unsqueeze(-1)
        padding = self.not_a_point_embed.weight.expand_as(encoding)
        encoding = torch.where(labels == -1, padding, encoding)
        encoding = torch.where(labels == -2, 0.0, encoding)
        background, foreground, _, _ = self._kinds()
        encoding = torch.where(labels == 0, encoding + background, encoding)
        return torch.where(labels == 1, encoding + foreground, encoding)

    def _embed_boxes(self, boxes: Tensor, frame_hw: SizeHW) -> Tensor:
        corners = self._encode(boxes.reshape(-1, 2, 2), frame_hw)
        return corners + torch.cat(self._kinds()[2:])

    def _kinds(self) -> list[Tensor]:
        """Background point, foreground point, top left corner, bottom right corner: (1, dim)."""
        return list(self.point_embeddings.parameters())
