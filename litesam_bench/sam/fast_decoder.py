"""SAM's mask decoder with its arithmetic re-ordered: the same results, several times faster.

`MaskDecoder` repeats for every prompt what is the same for all of them, and sends thousands of
image cells through matrices when a handful of tokens would do. Only the order changes here:

* What the first layer makes of the image alone is computed once per image (`ImageSide`).
* Attention from T tokens to L cells: q · (W_k x) = (q W_k) · x, and the weighted mean of W_v x is
  W_v times the weighted mean of x. So the projections act on h T rows instead of L. The bias of
  W_k adds the same to all scores of a row and drops out of the softmax.
* Attention from L cells to T tokens: (W_q x) · k = x · (W_q' k), and W_o's part of each head acts
  on the tokens' values. The weights of a head sum to 1, so biases join the values.
* Predicted IoU follows from the tokens, before the upscaling: masks that the caller will drop are
  never made.
* Both transposed convolutions have stride = kernel, so a cell's 16 pixels follow from that cell
  alone: the upscaling is two matrix products over pieces of the image that stay in the cache.

The largest difference to the plain decoder in float32 is about 1e-6 of the logits' range.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.sam.mask_decoder import Features, MaskDecoder
from litesam_bench.sam.transformer import Attention, TwoWayBlock
from litesam_bench.types import SizeHW

Keep = Callable[[Tensor], Tensor]
"""Predicted IoU (n, M) to the masks that are wanted, (n, M) bool."""


class Decoded(NamedTuple):
    """K masks in the order of prompts, then tokens.

    logits: (K, 4h, 4w). iou: (K,). prompts, tokens: (K,) int64, where each mask comes from.
    """

    logits: Tensor
    iou: Tensor
    prompts: Tensor
    tokens: Tensor


def in_chunks(count: int, chunk: int, decode: Callable[[slice], Decoded]) -> Decoded:
    """Decode `count` prompts, `chunk` at a time, and put the answers behind one another."""
    starts = range(0, count, chunk)
    parts = [decode(slice(start, start + chunk)) for start in starts]
    return Decoded(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.iou for part in parts]),
        torch.cat([part.prompts + start for part, start in zip(parts, starts, strict=True)]),
        torch.cat([part.tokens for part in parts]),
    )


@dataclass(frozen=True)
class ImageSide:
    """What does not depend on the prompt. L = h * w cells, D channels.

    cells: (1, L, D) embedding plus dense embedding, or (1, L, D) without it where each prompt has
        a dense embedding of its own; then `keys`, `values`, `queries` are None.
    position: (1, L, D).
    keys, values: (heads, L, d) for the first layer's attention from tokens; queries: for its
        attention to tokens.
    stride8: (L, 4, D / 4) and stride4: (L, 4, 4, D / 8): what is added while upscaling.
    """

    size_hw: SizeHW
    cells: Tensor
    position: Tensor
    keys: Tensor | None
    values: Tensor | None
    queries: Tensor | None
    stride8: Tensor | None
    stride4: Tensor | None


class _Projections:
    """An `Attention`'s weights by head: q, k, v (heads, d, D) and out (heads, d, D)."""

    def __init__(self, attention: Attention) -> None:
        heads = attention.heads
        self.module = attention
        self.heads = heads
        self.q = torch.unflatten(attention.q_proj.weight, 0, (heads, -1))
        self.k = torch.unflatten(attention.k_proj.weight, 0, (heads, -1))
        self.v = torch.unflatten(attention.v_proj.weight, 0, (heads, -1))
        self.q_bias = torch.unflatten(attention.q_proj.bias, 0, (heads, -1))
        self.v_bias = torch.unflatten(attention.v_proj.bias, 0, (heads, -1))
        out = torch.unflatten(attention.out_proj.weight, 1, (heads, -1))  # (D, heads, d)
        self.out = out.permute(1, 2, 0).contiguous()
        self.scale = 1 / math.sqrt(self.q.shape[1])

    def by_head(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(n, T, D) to (n, heads, T, d)."""
        projected: Tensor = projection(x)
        return torch.unflatten(projected, -1, (self.heads, -1)).transpose(1, 2)

    def scaled_queries(self, x: Tensor) -> Tensor:
        """(n, T, D) to (n, heads, T, d), with the softmax's scale."""
        return self.by_head(self.module.q_proj, x) * self.scale

    def scaled_keys(self, x: Tensor) -> Tensor:
        """(n, T, D) to (n, heads, T, d), with the softmax's scale."""
        return self.by_head(self.module.k_proj, x) * self.scale

    def merged(self, x: Tensor) -> Tensor:
        """(n, heads, T, d) through the output projection, (n, T, D)."""
        out: Tensor = self.module.out_proj(x.transpose(1, 2).flatten(2))
        return out


class FastMaskDecoder:
    """A `MaskDecoder` computed in another order. Shares its parameters and has none of its own.

    Weights are rearranged when this is made, so make it after loading a checkpoint and moving the
    decoder to its device and precision. Inference only.

    Args:
        chunk: prompts that go through the transformer together; None takes what measured best on
            the kind of device. `best_chunk` measures it on the device at hand. The results depend
            on it in the last bits only.
    """

    def __init__(self, decoder: MaskDecoder, chunk: int | None = None) -> None:
        self.decoder = decoder
        device = decoder.iou_token.weight.device.type
        self.chunk = chunk or _CHUNK.get(device, _CHUNK["cuda"])
        transformer = decoder.transformer
        blocks = [layer for layer in transformer.layers if isinstance(layer, TwoWayBlock)]
        self._blocks = [
            (
                block,
                _Projections(block.cross_attn_token_to_image),
                _Projections(block.cross_attn_image_to_token),
            )
            for block in blocks
        ]
        self._final = _Projections(transformer.final_attn_token_to_image)
        first, norm, _, second, _ = decoder.output_upscaling
        assert isinstance(first, nn.ConvTranspose2d) and isinstance(second, nn.ConvTranspose2d)
        assert isinstance(norm, nn.LayerNorm)
        self._norm = norm
        self._up1, self._up1_bias = _as_matrix(first)
        self._up2, self._up2_bias = _as_matrix(second)

    @torch.inference_mode()
    def image_side(self, features: Features, image_pe: Tensor, dense: Tensor | None) -> ImageSide:
        """Everything that one image's prompts share.

        Args:
            features: of one image. image_pe: (1, D, h, w).
            dense: (1, D, 1, 1), or None where every prompt has a dense embedding of its own.
        """
        embedding = features.embedding
        assert len(embedding) == 1, "one image at a time"
        height, width = embedding.shape[2:]
        position = _cells(image_pe.to(embedding.dtype))
        keys = values = queries = None
        cells = _cells(embedding if dense is None else embedding + dense.to(embedding.dtype))
        if dense is not None:
            _, to_image, from_image = self._blocks[0]
            placed = cells + position
            keys = to_image.by_head(to_image.module.k_proj, placed)[0].contiguous()
            values = to_image.by_head(to_image.module.v_proj, cells)[0].contiguous()
            queries = from_image.by_head(from_image.module.q_proj, placed)[0].contiguous()
        return ImageSide(
            (height, width),
            cells,
            position,
            keys,
            values,
            queries,
            None if features.stride8 is None else _pixels_by_cell(features.stride8, 1),
            None if features.stride4 is None else _pixels_by_cell(features.stride4, 2),
        )

    @torch.inference_mode()
    def __call__(
        self,
        side: ImageSide,
        sparse: Tensor,
        dense: Tensor | None = None,
        keep: Keep | None = None,
    ) -> Decoded:
        """Decode N prompts of one image.

        Args:
            sparse: (N, T, D) from the prompt encoder.
            dense: (N, D, h, w) where every prompt has its own, as `image_side` was told.
            keep: which masks to make; None makes all of them.
        """
        return in_chunks(
            len(sparse),
            self.chunk,
            lambda part: self._decode_chunk(
                side, sparse[part], None if dense is None else dense[part], keep
            ),
        )

    def best_chunk(
        self,
        side: ImageSide,
        sparse: Tensor,
        dense: Tensor | None = None,
        candidates: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128),
    ) -> int:
        """The candidate with the least time per prompt, each timed on some of the given prompts.

        Candidates above the number of prompts are left out; with one candidate nothing is timed.
        """
        candidates = tuple(c for c in candidates if c <= len(sparse)) or (1,)
        seconds = {}
        for chunk in candidates:
            timed = FastMaskDecoder(self.decoder, chunk)
            part = slice(0, max(chunk, min(len(sparse), 4)))
            tries = []
            for _ in range(3):  # the first warms up; the least is what the machine can do
                begin = time.perf_counter()
                decoded = timed(side, sparse[part], None if dense is None else dense[part])
                decoded.logits.sum().item()  # waits for the device
                tries.append((time.perf_counter() - begin) / len(sparse[part]))
            seconds[chunk] = min(tries)
        return min(seconds, key=lambda chunk: seconds[chunk])

    def _decode_chunk(
        self, side: ImageSide, sparse: Tensor, dense: Tensor | None, keep: Keep | None
    ) -> Decoded:
        tokens, image = self._transform(side, sparse, dense)
        iou = self.decoder.iou_prediction_head(tokens[:, 0])  # (n, M)
        wanted = torch.ones_like(iou, dtype=torch.bool) if keep is None else keep(iou)
        prompts, masks = wanted.nonzero(as_tuple=True)
        return Decoded(
            self._masks(side, tokens, image, wanted), iou[prompts, masks], prompts, masks
        )

    # --- transformer -----------------------------------------------------------------------------

    def _transform(
        self, side: ImageSide, sparse: Tensor, dense: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Output tokens (n, 1 + M, D) and image (n, L, D)."""
        decoder = self.decoder
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        output = output.to(side.cells.dtype)
        pe = torch.cat(
            [output.expand(len(sparse), -1, -1), sparse.to(side.cells.dtype)], dim=1
        )  # (n, T, D): the tokens are their own positional encoding
        tokens, image = pe, side.cells
        if dense is not None:
            image = image + _cells(dense.to(image.dtype))
        for block, to_image, from_image in self._blocks:
            shared = image is side.cells and side.keys is not None
            placed = None if shared else image + side.position
            tokens = block.norm1(_self_attention(block, tokens, pe))
            if placed is None:
                attended = _to_shared_image(to_image, tokens + pe, side)
            else:
                attended = _to_image(to_image, tokens + pe, image, placed)
            tokens = block.norm2(tokens + attended)
            tokens = block.norm3(tokens + block.mlp(tokens))
            weights = (
                _weights_from_shared_image(from_image, tokens + pe, side)
                if placed is None
                else _weights_from_image(from_image, tokens + pe, placed)
            )
            image = _add_tokens(from_image, weights, tokens, image)
            image = block.norm4(image)
        count = len(output)
        tokens, pe = tokens[:, :count], pe[:, :count]
        attended = _to_image(self._final, tokens + pe, image, image + side.position)
        return decoder.transformer.norm_final_attn(tokens + attended), image

    # --- masks -----------------------------------------------------------------------------------

    def _masks(self, side: ImageSide, tokens: Tensor, image: Tensor, wanted: Tensor) -> Tensor:
        """Logits (K, 4h, 4w) of the wanted masks; `image` (n, L, D)."""
        mlps = self.decoder.output_hypernetworks_mlps
        kernels = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
        height, width = side.size_hw
        logits = image.new_empty(int(wanted.sum()), 4 * height, 4 * width)
        begin = 0
        for i, row in enumerate(wanted.tolist()):
            count = sum(row)
            if count:
                made = self._masks_of_prompt(side, kernels[i][wanted[i]], image[i])
                logits[begin : begin + count] = made
                begin += count
        return logits

    def _masks_of_prompt(self, side: ImageSide, kernels: Tensor, image: Tensor) -> Tensor:
        """Kernels (m, D / 8) and image (L, D) to logits (m, 4h, 4w)."""
        height, width = side.size_hw
        cells, count = len(image), len(kernels)
        found = image.new_empty(count, cells * 16)
        step = _UPSCALE_CELLS if image.device.type == "cpu" else cells
        for begin in range(0, cells, step):
            part = slice(begin, begin + step)
            x = torch.addmm(self._up1_bias, image[part], self._up1)
            x = torch.unflatten(x, 1, (4, -1))
            if side.stride8 is not None:
                x = x + side.stride8[part]
            # LayerNorm2d normalises channels, which come last here
            x = F.gelu(nn.LayerNorm.forward(self._norm, x)).flatten(0, 1)
            x = torch.addmm(self._up2_bias, x, self._up2)
            x = torch.unflatten(x, 1, (4, -1))
            if side.stride4 is not None:
                x = x + side.stride4[part].flatten(0, 1)
            x = F.gelu(x).flatten(0, 1)  # (cells * 16, D / 8)
            torch.mm(kernels, x.t(), out=found[:, 16 * begin : 16 * begin + len(x)])
        # (m, y, x, sub-y, sub-x, sub-sub-y, sub-sub-x) to (m, 4h, 4w)
        grid = torch.unflatten(found, 1, (height, width, 2, 2, 2, 2))
        return grid.permute(0, 1, 3, 5, 2, 4, 6).reshape(count, 4 * height, 4 * width)


_CHUNK = {"cpu": 1, "cuda": 64}
"""Prompts at once. One prompt's image (4 MB) stays in a CPU's cache; a GPU wants large launches."""

_UPSCALE_CELLS = 1024
"""Cells upscaled at once on a CPU: their 16 pixels of D / 8 channels take 2 MB."""


def _cells(x: Tensor) -> Tensor:
    """(B, D, h, w) to contiguous (B, h * w, D)."""
    return x.flatten(2).transpose(1, 2).contiguous()


def _pixels_by_cell(x: Tensor, halvings: int) -> Tensor:
    """(1, C, h * 2^k, w * 2^k) to (h * w, 4, C) for k = 1 and (h * w, 4, 4, C) for k = 2."""
    channels, height, width = x.shape[1:]
    side = 2**halvings
    shape = (channels, height // side, *[2] * halvings, width // side, *[2] * halvings)
    grid = x.reshape(shape)
    if halvings == 1:
        grid = grid.permute(1, 3, 2, 4, 0)  # y, x, sub-y, sub-x
    else:
        grid = grid.permute(1, 4, 2, 5, 3, 6, 0)
    return grid.reshape(-1, *[4] * halvings, channels).contiguous()


def _as_matrix(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A 2 x 2, stride 2 transposed convolution as (in, 4 * out), and its bias (4 * out,)."""
    assert convolution.kernel_size == convolution.stride == (2, 2)
    assert convolution.bias is not None
    matrix = convolution.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
    return matrix.detach(), convolution.bias.detach().repeat(4)


def _self_attention(block: TwoWayBlock, tokens: Tensor, pe: Tensor) -> Tensor:
    """The tokens after their attention to themselves, before the norm; (n, T, D)."""
    tokens = tokens.unsqueeze(0)
    if block.first:
        out: Tensor = block.self_attn(tokens, tokens, tokens)
        return out[0]
    q = tokens + pe
    added: Tensor = tokens + block.self_attn(q, q, tokens)
    return added[0]


def _to_shared_image(attention: _Projections, q: Tensor, side: ImageSide) -> Tensor:
    """Attention of (n, T, D) to the image that all prompts share, projected once."""
    assert side.keys is not None and side.values is not None
    scores = attention.scaled_queries(q) @ side.keys.transpose(1, 2)  # (n, heads, T, L)
    return attention.merged(torch.softmax(scores, dim=-1) @ side.values)


def _to_image(attention: _Projections, q: Tensor, image: Tensor, placed: Tensor) -> Tensor:
    """Attention of (n, T, D) to images (n, L, D) with positions (n, L, D), re-associated."""
    count = q.shape[1]
    rows = (attention.scaled_queries(q) @ attention.k).flatten(1, 2)  # (n, heads * T, D)
    weights = torch.softmax(rows @ placed.transpose(1, 2), dim=-1)  # (n, heads * T, L)
    means = torch.unflatten(weights @ image, 1, (attention.heads, count))
    values = means @ attention.v.transpose(1, 2) + attention.v_bias.unsqueeze(1)
    return attention.merged(values)


def _weights_from_shared_image(attention: _Projections, k: Tensor, side: ImageSide) -> Tensor:
    """Weights of T tokens for every cell of the shared image: (n, heads, T, L)."""
    assert side.queries is not None
    scores = attention.scaled_keys(k) @ side.queries.transpose(1, 2)
    return torch.softmax(scores, dim=2)


def _weights_from_image(attention: _Projections, k: Tensor, placed: Tensor) -> Tensor:
    """Weights of T tokens for every cell of images with positions (n, L, D): (n, heads, T, L)."""
    keys = attention.scaled_keys(k)
    rows = (keys @ attention.q).flatten(1, 2)  # (n, heads * T, D)
    bias = (keys @ attention.q_bias.unsqueeze(-1)).flatten(1, 2)  # (n, heads * T, 1)
    scores = torch.baddbmm(bias, rows, placed.transpose(1, 2))
    return torch.softmax(torch.unflatten(scores, 1, (attention.heads, -1)), dim=2)


def _add_tokens(attention: _Projections, weights: Tensor, v: Tensor, image: Tensor) -> Tensor:
    """Image (1 | n, L, D) plus what its cells take from the tokens (n, T, D); (n, L, D)."""
    values = attention.by_head(attention.module.v_proj, v) @ attention.out  # (n, heads, T, D)
    values[:, 0] += attention.module.out_proj.bias  # the weights of a head sum to 1
    n = len(values)
    return torch.baddbmm(
        image.expand(n, -1, -1), weights.flatten(1, 2).transpose(1, 2), values.flatten(1, 2)
    )
