"""SAM's mask decoder with its arithmetic re-ordered: the same results, several times faster.

`MaskDecoder` repeats for every prompt what is the same for all of them, and sends thousands of
image cells through matrices when a handful of tokens would do. Only the order changes here:

* What the first layer makes of the image alone is computed once per image (`ImageSide`).
* Attention from T tokens to L cells: q · (W_k x) = (q W_k) · x, and the weighted mean of W_v x is
  W_v times the weighted mean of x. So the projections act on h T rows instead of L. The bias of
  W_k adds the same to all scores of a row and drops out of the softmax.
* Attention from L cells to T tokens: (W_q x) · k = x · (W_q' k), and W_o's part of each head acts
  on the tokens' values. The weights of a head sum to 1, so biases join the values.
* After the first layer a prompt's image is the shared one plus what h T rows gave it, normalised.
  A projection of it is therefore the projection of the shared image, scaled, plus that of the rows:
  the second layer's projections of the image are made once per image too (`Factored`).
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
class SharedProjection:
    """A projection W of the first layer's output, as far as prompts share it.

    With that layer's norm, (u - mean) * scale * gain + shift, where u is the shared image x plus
    rows, W's result is scale * (W gain x + W gain rows - mean W gain 1) + W shift + bias.

    matrix: (heads, d, D) W gain. base: (heads, d, L) of x. total: (heads, d) W gain 1.
    offset: (heads, d, L) W (shift + position) + bias, or (heads, d, 1) without position.
    """

    matrix: Tensor
    base: Tensor
    total: Tensor
    offset: Tensor


@dataclass(frozen=True)
class SecondLayer:
    """The second layer's attention to the image and from it."""

    keys: SharedProjection
    values: SharedProjection
    queries: SharedProjection


@dataclass(frozen=True)
class Factored:
    """What the first layer added to the shared image, and its norm.

    weights: (n, heads * T, L) of every cell for the rows. rows: (n, heads * T, D).
    mean, scale: (n, 1, L), float32 in every precision.
    """

    weights: Tensor
    rows: Tensor
    mean: Tensor
    scale: Tensor


@dataclass(frozen=True)
class ImageSide:
    """What does not depend on the prompt. L = h * w cells, D channels.

    cells: (1, L, D) embedding plus dense embedding, or (1, L, D) without it where each prompt has
        a dense embedding of its own; then `keys`, `values`, `queries` are None.
    position: (1, L, D).
    keys, values: (heads, L, d) for the first layer's attention from tokens; queries: for its
        attention to tokens.
    second: the second layer's projections, None where prompts have dense embeddings of their own or
        there is no second layer.
    stride8: (L, 4, D / 4) and stride4: (L, 4, 4, D / 8): what is added while upscaling.
    """

    size_hw: SizeHW
    cells: Tensor
    position: Tensor
    keys: Tensor | None
    values: Tensor | None
    queries: Tensor | None
    second: SecondLayer | None
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
        keys = values = queries = second = None
        cells = _cells(embedding if dense is None else embedding + dense.to(embedding.dtype))
        if dense is not None:
            _, to_image, from_image = self._blocks[0]
            placed = cells + position
            keys = to_image.by_head(to_image.module.k_proj, placed)[0].contiguous()
            values = to_image.by_head(to_image.module.v_proj, cells)[0].contiguous()
            queries = from_image.by_head(from_image.module.q_proj, placed)[0].contiguous()
            if len(self._blocks) > 1:
                second = self._second_layer(cells, position)
        return ImageSide(
            (height, width),
            cells,
            position,
            keys,
            values,
            queries,
            second,
            None if features.stride8 is None else _pixels_by_cell(features.stride8, 1),
            None if features.stride4 is None else _pixels_by_cell(features.stride4, 2),
        )

    def _second_layer(self, cells: Tensor, position: Tensor) -> SecondLayer:
        """The shared parts of the second layer; cells and position (1, L, D)."""
        norm = self._blocks[0][0].norm4
        gained = cells * norm.weight

        def shared(by_head: Tensor, bias: Tensor, offset: Tensor) -> SharedProjection:
            matrix = by_head * norm.weight
            return SharedProjection(
                matrix=matrix,
                base=by_head @ gained[0].t(),
                total=matrix.sum(dim=2),
                offset=by_head @ (offset + norm.bias).t() + bias.unsqueeze(2),
            )

        _, to_image, from_image = self._blocks[1]
        nowhere = torch.zeros_like(position[0, :1])
        return SecondLayer(
            keys=shared(to_image.k, torch.zeros_like(to_image.v_bias), position[0]),
            values=shared(to_image.v, to_image.v_bias, nowhere),
            queries=shared(from_image.q, from_image.q_bias, position[0]),
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
        tokens, pe, image = self._transform(side, sparse, dense)
        placed = image + side.position
        iou_token = self._finish(tokens[:, :1], pe[:, :1], image, placed)
        iou = self.decoder.iou_prediction_head(iou_token[:, 0])  # (n, M)
        wanted = torch.ones_like(iou, dtype=torch.bool) if keep is None else keep(iou)
        prompts, masks = wanted.nonzero(as_tuple=True)
        rows = wanted.any(dim=1)
        if not rows.all():  # the others are done with
            wanted, tokens, pe = wanted[rows], tokens[rows], pe[rows]
            image, placed = image[rows], placed[rows]
        logits = self._masks(
            side, self._finish(tokens[:, 1:], pe[:, 1:], image, placed), image, wanted
        )
        return Decoded(logits, iou[prompts, masks], prompts, masks)

    # --- transformer -----------------------------------------------------------------------------

    def _transform(
        self, side: ImageSide, sparse: Tensor, dense: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output tokens and their positional encodings, (n, 1 + M, D), and image (n, L, D); all
        that is left is the last attention, from the tokens to the image."""
        decoder = self.decoder
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        output = output.to(side.cells.dtype)
        pe = torch.cat(
            [output.expand(len(sparse), -1, -1), sparse.to(side.cells.dtype)], dim=1
        )  # (n, T, D): the tokens are their own positional encoding
        tokens, image = pe, side.cells
        if dense is not None:
            image = image + _cells(dense.to(image.dtype))
        factored: Factored | None = None
        for index, (block, to_image, from_image) in enumerate(self._blocks):
            tokens = block.norm1(_self_attention(block, tokens, pe))
            if index == 0 and side.keys is not None:
                tokens = _after_image(block, tokens, _to_shared(to_image, tokens + pe, side))
                weights = _weights_from_shared(from_image, tokens + pe, side)
                image, factored = _add_rows_factored(
                    from_image, weights, tokens, image, block.norm4
                )
                continue
            if index == 1 and factored is not None and side.second is not None:
                attended = _to_factored(to_image, tokens + pe, factored, side.second)
                tokens = _after_image(block, tokens, attended)
                scores = _factored_scores(
                    from_image.scaled_keys(tokens + pe), factored, side.second.queries
                )
                weights = torch.softmax(scores, dim=2)
            else:
                placed = image + side.position
                attended = _to_image(to_image, tokens + pe, image, placed)
                tokens = _after_image(block, tokens, attended)
                weights = _weights_from_image(from_image, tokens + pe, placed)
            image = block.norm4(_add_rows(weights, _rows(from_image, tokens), image))
        count = len(output)
        return tokens[:, :count], pe[:, :count], image

    def _finish(self, tokens: Tensor, pe: Tensor, image: Tensor, placed: Tensor) -> Tensor:
        """The last attention of some output tokens, (n, T, D); each asks for itself alone."""
        attended = _to_image(self._final, tokens + pe, image, placed)
        out: Tensor = self.decoder.transformer.norm_final_attn(tokens + attended)
        return out

    # --- masks -----------------------------------------------------------------------------------

    def _masks(self, side: ImageSide, tokens: Tensor, image: Tensor, wanted: Tensor) -> Tensor:
        """Logits (K, 4h, 4w) of the masks that are `wanted`, (n, M); tokens (n, M, D), image
        (n, L, D)."""
        mlps = self.decoder.output_hypernetworks_mlps
        kernels = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(mlps)], dim=1)
        height, width = side.size_hw
        made = [image.new_empty(0, 4 * height, 4 * width)]
        if image.device.type == "cpu":
            for i in range(len(image)):
                made += self._upscale(side, kernels[i : i + 1, wanted[i]], image[i : i + 1])
        elif len(image):
            made.append(self._upscale(side, kernels, image)[wanted])
        return torch.cat(made)

    def _upscale(self, side: ImageSide, kernels: Tensor, image: Tensor) -> Tensor:
        """Kernels (n, m, D / 8) and image (n, L, D) to logits (n, m, 4h, 4w)."""
        height, width = side.size_hw
        n, cells, count = len(image), image.shape[1], kernels.shape[1]
        found = image.new_empty(n, count, cells * 16)
        step = _UPSCALE_CELLS if image.device.type == "cpu" else cells
        for begin in range(0, cells, step):
            part = slice(begin, begin + step)
            x = F.linear(image[:, part], self._up1, self._up1_bias)
            x = torch.unflatten(x, 2, (4, -1))  # (n, cells, 4, D / 4)
            if side.stride8 is not None:
                x = x + side.stride8[part]
            # LayerNorm2d normalises channels, which come last here
            x = F.gelu(nn.LayerNorm.forward(self._norm, x))
            x = F.linear(x, self._up2, self._up2_bias)
            x = torch.unflatten(x, 3, (4, -1))  # (n, cells, 4, 4, D / 8)
            if side.stride4 is not None:
                x = x + side.stride4[part]
            x = F.gelu(x).flatten(1, 3)  # (n, cells * 16, D / 8)
            pixels = slice(16 * begin, 16 * begin + x.shape[1])
            found[:, :, pixels] = kernels @ x.transpose(1, 2)
        # (n, m, y, x, sub-y, sub-x, sub-sub-y, sub-sub-x) to (n, m, 4h, 4w)
        grid = torch.unflatten(found, 2, (height, width, 2, 2, 2, 2)).permute(
            0, 1, 2, 4, 6, 3, 5, 7
        )
        return grid.reshape(n, count, 4 * height, 4 * width)


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
    """A 2 x 2, stride 2 transposed convolution as a linear layer: weight (4 * out, in), bias."""
    assert convolution.kernel_size == convolution.stride == (2, 2)
    assert convolution.bias is not None
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    return weight.detach(), convolution.bias.detach().repeat(4)


def _self_attention(block: TwoWayBlock, tokens: Tensor, pe: Tensor) -> Tensor:
    """The tokens after their attention to themselves, before the norm; (n, T, D)."""
    tokens = tokens.unsqueeze(0)
    if block.first:
        out: Tensor = block.self_attn(tokens, tokens, tokens)
        return out[0]
    q = tokens + pe
    added: Tensor = tokens + block.self_attn(q, q, tokens)
    return added[0]


def _after_image(block: TwoWayBlock, tokens: Tensor, attended: Tensor) -> Tensor:
    """The tokens after their attention to the image and their MLP."""
    tokens = block.norm2(tokens + attended)
    out: Tensor = block.norm3(tokens + block.mlp(tokens))
    return out


def _to_shared(attention: _Projections, q: Tensor, side: ImageSide) -> Tensor:
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


def _weights_from_shared(attention: _Projections, k: Tensor, side: ImageSide) -> Tensor:
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


def _rows(attention: _Projections, v: Tensor) -> Tensor:
    """What T tokens (n, T, D) give to a cell that weighs them: (n, heads * T, D)."""
    rows = attention.by_head(attention.module.v_proj, v) @ attention.out  # (n, heads, T, D)
    rows[:, 0] += attention.module.out_proj.bias  # the weights of a head sum to 1
    return rows.flatten(1, 2)


def _add_rows(weights: Tensor, rows: Tensor, image: Tensor) -> Tensor:
    """Image (1 | n, L, D) plus rows (n, heads * T, D) by weights (n, heads, T, L); (n, L, D)."""
    return torch.baddbmm(
        image.expand(len(rows), -1, -1), weights.flatten(1, 2).transpose(1, 2), rows
    )


def _add_rows_factored(
    attention: _Projections, weights: Tensor, v: Tensor, image: Tensor, norm: nn.LayerNorm
) -> tuple[Tensor, Factored]:
    """The shared image plus what (n, T, D) tokens give it, normalised; and the factors of that."""
    rows = _rows(attention, v)
    image, mean, scale = torch.native_layer_norm(
        _add_rows(weights, rows, image), norm.normalized_shape, norm.weight, norm.bias, norm.eps
    )
    mean, scale = mean.transpose(1, 2).float(), scale.transpose(1, 2).float()
    return image, Factored(weights.flatten(1, 2), rows, mean, scale)


def _factored_scores(q: Tensor, image: Factored, shared: SharedProjection) -> Tensor:
    """q (n, heads, T, d) times a projection of the image's cells: (n, heads, T, L)."""
    scores = q @ shared.base
    of_rows = q @ (shared.matrix @ image.rows.transpose(1, 2).unsqueeze(1))  # (n, heads, T, rows)
    flat = scores.flatten(1, 2)  # (n, heads * T, L), the same memory
    flat.baddbmm_(of_rows.flatten(1, 2), image.weights)
    flat.sub_((q @ shared.total.unsqueeze(2)).flatten(1, 2) * image.mean)
    flat.mul_(image.scale)
    return scores.add_(q @ shared.offset)


def _to_factored(
    attention: _Projections, q: Tensor, image: Factored, second: SecondLayer
) -> Tensor:
    """Attention of (n, T, D) to the first layer's output; (n, T, D)."""
    scores = _factored_scores(attention.scaled_queries(q), image, second.keys)
    scaled = torch.softmax(scores, dim=-1) * image.scale.unsqueeze(1)
    scaled = scaled.to(scores.dtype)  # (n, heads, T, L)
    shared = second.values
    means = scaled @ shared.base.transpose(1, 2)  # (n, heads, T, d)
    flat = scaled.flatten(1, 2)
    of_rows = torch.unflatten(flat @ image.weights.transpose(1, 2), 1, scores.shape[1:3])
    means += of_rows @ (image.rows.unsqueeze(1) @ shared.matrix.transpose(1, 2))
    of_mean = torch.unflatten(
        flat @ image.mean.to(flat.dtype).transpose(1, 2), 1, scores.shape[1:3]
    )
    means -= of_mean * shared.total.unsqueeze(1)
    return attention.merged(means + shared.offset.transpose(1, 2))
