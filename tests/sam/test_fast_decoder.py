"""The fast decoder against the plain one, which stays the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from litesam_bench.lite_sam.configs import LITE_SAM
from litesam_bench.lite_sam.model import build
from litesam_bench.sam.fast_decoder import FastMaskDecoder
from litesam_bench.sam.image_encoder import ViTConfig
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import build_sam
from litesam_bench.sam.segmenter import SamSegmenter
from litesam_bench.sam.transformer import TransformerConfig
from litesam_bench.spec import InputSpec
from litesam_bench.types import FilteringSegmenter, LoadContext, Prompts

SAM = MaskDecoderConfig()
SLIM = MaskDecoderConfig(
    TransformerConfig(dim=64, depth=3, heads=4, mlp_dim=96, attention_downsample=4),
    multimask=2,
    hypernetwork_hidden=48,
    iou_hidden=40,
    iou_depth=2,
)


def decoder(config: MaskDecoderConfig, seed: int = 0) -> MaskDecoder:
    torch.manual_seed(seed)
    made = MaskDecoder(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=1.6 / config.transformer.dim**0.5)
    return made


def inputs(
    config: MaskDecoderConfig, n: int, *, h: int = 7, w: int = 9, fine: bool, own_dense: bool
) -> tuple[Features, Tensor, Tensor, Tensor]:
    dim = config.transformer.dim
    features = Features(
        torch.randn(1, dim, h, w),
        torch.randn(1, dim // 4, 2 * h, 2 * w) if fine else None,
        torch.randn(1, dim // 8, 4 * h, 4 * w) if fine else None,
    )
    dense = torch.randn(n, dim, h, w) if own_dense else torch.randn(1, dim, 1, 1)
    return features, torch.randn(1, dim, h, w), torch.randn(n, 3, dim), dense


def middle(values: Tensor) -> float:
    """A threshold that halves the values and is none of them."""
    ordered = values.flatten().sort().values
    half = len(ordered) // 2
    return float((ordered[half - 1] + ordered[half]) / 2)


@pytest.mark.parametrize("chunk", [1, 2, 64])
@pytest.mark.parametrize("own_dense", [False, True])
@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("config", [SAM, SLIM])
@torch.inference_mode()
def test_equals_the_plain_decoder(
    config: MaskDecoderConfig, fine: bool, own_dense: bool, chunk: int
) -> None:
    plain = decoder(config)
    features, position, sparse, dense = inputs(config, 5, fine=fine, own_dense=own_dense)
    logits, iou = plain(features, position, sparse, dense)
    fast = FastMaskDecoder(plain, chunk)
    side = fast.image_side(features, position, None if own_dense else dense)
    found = fast(side, sparse, dense if own_dense else None)
    spread = logits.max() - logits.min()
    assert spread > 0.1
    assert (found.logits - logits.flatten(0, 1)).abs().max() < 1e-5 * spread
    torch.testing.assert_close(found.iou, iou.flatten(), atol=1e-5, rtol=1e-5)
    masks = config.multimask + 1
    assert found.prompts.tolist() == [n for n in range(5) for _ in range(masks)]
    assert found.tokens.tolist() == list(range(masks)) * 5


@torch.inference_mode()
def test_only_wanted_masks_are_made() -> None:
    plain = decoder(SAM)
    features, position, sparse, dense = inputs(SAM, 6, fine=False, own_dense=False)
    logits, iou = plain(features, position, sparse, dense)
    threshold = middle(iou)
    fast = FastMaskDecoder(plain, 4)
    side = fast.image_side(features, position, dense)
    made = []
    original = fast._upscale
    fast._upscale = lambda *a: made.append(1) or original(*a)  # type: ignore[method-assign,func-returns-value]
    found = fast(side, sparse, keep=lambda iou: iou > threshold)
    rows, columns = (iou > threshold).nonzero(as_tuple=True)
    assert found.prompts.tolist() == rows.tolist()
    assert found.tokens.tolist() == columns.tolist()
    torch.testing.assert_close(found.logits, logits[rows, columns], atol=1e-4, rtol=1e-4)
    assert len(made) == len(set(rows.tolist()))
    nothing = fast(side, sparse, keep=lambda iou: iou > 1e9)
    assert nothing.logits.shape == (0, 28, 36)


@torch.inference_mode()
def test_half_precision_stays_near() -> None:
    plain = decoder(SLIM)
    features, position, sparse, dense = inputs(SLIM, 4, fine=False, own_dense=False)
    logits, _ = plain(features, position, sparse, dense)
    half = plain.to(torch.bfloat16)
    fast = FastMaskDecoder(half, 2)
    low = Features(features.embedding.bfloat16())
    side = fast.image_side(low, position, dense)
    found = fast(side, sparse)
    assert found.logits.dtype == torch.bfloat16
    reference, _ = half(low, position, sparse, dense)
    spread = logits.max() - logits.min()
    error = (found.logits.float() - logits.flatten(0, 1)).abs().mean()
    # no worse than what the precision itself costs the plain decoder
    assert error < 2 * (reference.float() - logits).abs().mean() + 1e-3 * spread


@torch.inference_mode()
def test_best_chunk_is_a_candidate() -> None:
    fast = FastMaskDecoder(decoder(SLIM))
    features, position, sparse, dense = inputs(SLIM, 4, fine=False, own_dense=False)
    side = fast.image_side(features, position, dense)
    assert fast.best_chunk(side, sparse, candidates=(1, 3, 99)) in (1, 3)
    assert fast.best_chunk(side, sparse, candidates=(99,)) == 1


def segmenters() -> tuple[SamSegmenter, SamSegmenter]:
    torch.manual_seed(1)
    model = build_sam(ViTConfig(dim=16, depth=1, heads=2, global_blocks=(0,), image_size=128))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    rule = InputSpec(size=128)
    return (
        SamSegmenter(model, rule, LoadContext()),
        SamSegmenter(model, rule, LoadContext(), fast=False),
    )


@pytest.mark.parametrize("kind", ["points", "boxes", "both", "masks"])
def test_the_segmenter_answers_alike(kind: str) -> None:
    fast, plain = segmenters()
    assert fast.fast is not None
    assert plain.fast is None
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (3, 2))
    prompts = Prompts(
        ids=(0, 1, 2),
        points=None if kind == "boxes" else rng.uniform(0, 100, (3, 2, 2)),
        labels=None if kind == "boxes" else np.array([[1, 0], [1, 1], [1, -1]]),
        boxes=np.concatenate([corners, corners + 30], 1) if kind in ("boxes", "both") else None,
        low_res_logits=(
            rng.normal(size=(3, 1, 32, 32)).astype(np.float32) if kind == "masks" else None
        ),
    )
    image = rng.integers(0, 255, (90, 120, 3)).astype(np.uint8)
    a = fast.segment(fast.embed(image), prompts)
    b = plain.segment(plain.embed(image), prompts)
    assert a.tokens == b.tokens
    torch.testing.assert_close(a.logits, b.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.iou, b.iou, atol=1e-4, rtol=1e-4)
    for multimask in (True, False):
        threshold = middle(b.iou)
        kept = [
            s.segment_above(s.embed(image), prompts, multimask=multimask, iou_thresh=threshold)
            for s in (fast, plain)
        ]
        assert isinstance(fast, FilteringSegmenter)
        assert kept[0].prompts.tolist() == kept[1].prompts.tolist()
        assert kept[0].tokens.tolist() == kept[1].tokens.tolist()
        assert kept[0].considered == kept[1].considered == (9 if multimask else 3)
        torch.testing.assert_close(kept[0].logits, kept[1].logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prior", [(), ("dense",), ("dense", "token", "output"), ("output",)])
@pytest.mark.parametrize("kind", ["points", "boxes"])
@torch.inference_mode()
def test_lite_sam_decodes_alike(kind: str, prior: tuple[str, ...]) -> None:
    config = replace(LITE_SAM, prior=prior)
    model = build(config, seed=3)
    for parameter in model.prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    features = model.encode(torch.randn(1, 3, 96, 128))
    boxes = torch.tensor([[5.0, 8.0, 60.0, 50.0], [0.0, 0.0, 127.0, 95.0], [9.0, 9.0, 12.0, 15.0]])
    prompts = {
        "points": None if kind == "boxes" else boxes[:, None, :2],
        "labels": None if kind == "boxes" else torch.tensor([[1], [0], [1]]),
        "boxes": boxes if kind == "boxes" else None,
    }
    logits, iou = model.decode(features, (96, 128), **prompts)
    fast = FastMaskDecoder(model.mask_decoder, 2)
    side = model.image_side(fast, features)
    found = model.decode_fast(fast, features, side, (96, 128), **prompts)
    spread = logits.max() - logits.min()
    assert (found.logits - logits.flatten(0, 1)).abs().max() < 1e-4 * spread
    torch.testing.assert_close(found.iou, iou.flatten(), atol=1e-4, rtol=1e-4)
    threshold = middle(iou)
    kept = model.decode_fast(
        fast, features, side, (96, 128), **prompts, keep=lambda iou: iou > threshold
    )
    rows, columns = (iou > threshold).nonzero(as_tuple=True)
    assert kept.prompts.tolist() == rows.tolist()
    assert kept.tokens.tolist() == columns.tolist()
    assert (kept.logits - logits[rows, columns]).abs().max() < 1e-4 * spread
