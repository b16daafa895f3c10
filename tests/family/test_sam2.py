"""SAM 2's decoder: the further token, IoU in [0, 1], the fallback of token 0, videos left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from litesam_bench.family import sam2
from litesam_bench.family.sam2 import Sam2MaskDecoder, remap
from litesam_bench.registry import systems
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.transformer import TransformerConfig

_CONFIG = MaskDecoderConfig(TransformerConfig(dim=32, heads=4, mlp_dim=32))


@torch.inference_mode()
def _decode() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What SAM 2's decoder answers, and what it would without its own rules."""
    torch.manual_seed(0)
    decoder = Sam2MaskDecoder(_CONFIG).eval()
    embedding, position = torch.randn(2, 1, 32, 6, 5)
    features = Features(embedding, torch.randn(1, 8, 12, 10), torch.randn(1, 4, 24, 20))
    prompts = torch.randn(3, 2, 32), torch.randn(1, 32, 1, 1)
    plain, plain_iou = MaskDecoder.forward(decoder, features, position, *prompts)
    return *decoder(features, position, *prompts), plain, plain_iou.sigmoid()


def test_stable_masks_of_token_0_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam2, "_STABLE", 0.0)
    logits, iou, plain, plain_iou = _decode()
    assert torch.equal(logits, plain)
    assert torch.equal(iou, plain_iou)
    assert (iou >= 0).all() and (iou <= 1).all()


def test_unstable_masks_of_token_0_give_way_to_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam2, "_STABLE", 1.1)
    logits, iou, plain, plain_iou = _decode()
    best = 1 + plain_iou[:, 1:].argmax(dim=1)
    rows = torch.arange(3)
    assert torch.equal(logits[:, 0], plain[rows, best])
    assert torch.equal(iou[:, 0], plain_iou[rows, best])
    assert torch.equal(logits[:, 1:], plain[:, 1:])


def test_names_of_the_official_files() -> None:
    value = torch.zeros(1)
    assert set(
        remap(
            {
                "image_encoder.trunk.blocks.3.mlp.layers.1.weight": value,
                "image_encoder.neck.convs.2.conv.bias": value,
                "sam_mask_decoder.conv_s0.weight": value,
                "sam_mask_decoder.transformer.layers.1.mlp.layers.0.weight": value,
                "sam_mask_decoder.iou_prediction_head.layers.0.weight": value,
                "sam_prompt_encoder.no_mask_embed.weight": value,
                "no_mem_embed": value,
                "sam_mask_decoder.pred_obj_score_head.layers.0.weight": value,
                "no_mem_pos_enc": value,
                "memory_attention.norm.weight": value,
            },
            unused=systems().get("sam2.1-tiny").spec.allow_unexpected,
        )
    ) == {
        "image_encoder.trunk.blocks.3.mlp.fc2.weight",
        "image_encoder.lateral.2.bias",
        "image_encoder.conv_s0.weight",
        "mask_decoder.transformer.layers.1.mlp.lin1.weight",
        "mask_decoder.iou_prediction_head.layers.0.weight",
        "prompt_encoder.no_mask_embed.weight",
        "image_encoder.no_mem_embed",
    }
