"""HQ-SAM's decoder: two masks, each one of SAM's plus the HQ token's."""

from __future__ import annotations

import pytest
import torch

from litesam_bench.family.sam_hq import HqMaskDecoder, build_sam_hq_vit, remap
from litesam_bench.sam.image_encoder import ViTConfig
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.transformer import TransformerConfig

_CONFIG = MaskDecoderConfig(TransformerConfig(dim=32, heads=4, mlp_dim=32))


@pytest.fixture
def decoder() -> HqMaskDecoder:
    torch.manual_seed(0)
    return HqMaskDecoder(_CONFIG).eval()


@torch.inference_mode()
def test_each_mask_is_one_of_sams_plus_the_hq_tokens(decoder: HqMaskDecoder) -> None:
    embedding, position = torch.randn(2, 1, 32, 6, 5)
    sparse, dense = torch.randn(3, 2, 32), torch.randn(1, 32, 1, 1)
    fine = torch.randn(1, 4, 24, 20)
    logits, iou = decoder(Features(embedding, stride4=fine), position, sparse, dense)
    assert logits.shape == (3, 2, 24, 20) and iou.shape == (3, 2)

    # SAM's own part, with the HQ token among the tokens as in the whole
    tokens = torch.cat([decoder._output_tokens(), decoder.hf_token.weight])
    decoder._output_tokens = lambda: tokens  # type: ignore[method-assign]
    plain, plain_iou = MaskDecoder.forward(decoder, Features(embedding), position, sparse, dense)
    best = plain_iou[:, 1:].argmax(dim=1) + 1
    rows = torch.arange(3)
    assert torch.allclose(iou[:, 0], plain_iou[:, 0])
    assert torch.allclose(iou[:, 1], plain_iou[rows, best])
    hq = logits[:, 0] - plain[:, 0]
    assert torch.allclose(logits[:, 1] - plain[rows, best], hq, atol=1e-5)
    assert hq.abs().max() > 0.01


def test_official_names_fit(decoder: HqMaskDecoder) -> None:
    vit = ViTConfig(dim=16, depth=2, heads=2, global_blocks=(1,), image_size=64, window=2)
    own = build_sam_hq_vit(vit).state_dict()
    official = {}
    for name, value in own.items():
        name = name.replace("image_encoder.encoder.", "image_encoder.")
        for part in ("compress_vit_feat", "embedding_encoder"):
            name = name.replace(f"image_encoder.{part}", f"mask_decoder.{part}")
        official[name] = value
    assert set(remap(official)) == set(own)
