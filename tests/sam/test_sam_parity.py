"""Our modules are facebookresearch/segment-anything's: names, shapes and numbers."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from litesam_bench.parity import manifest_path
from litesam_bench.parity.manifest import read_manifest
from litesam_bench.sam.image_encoder import (
    VIT_B,
    VIT_H,
    VIT_L,
    ViTConfig,
    window_merge,
    window_split,
)
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam, build_sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.transformer import Attention, TransformerConfig


@pytest.mark.parametrize(
    ("system", "vit", "count"),
    [("sam-vit-b", VIT_B, 314), ("sam-vit-l", VIT_L, 482), ("sam-vit-h", VIT_H, 594)],
)
def test_keys_and_shapes_are_the_official_checkpoints(
    system: str, vit: ViTConfig, count: int
) -> None:
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in build_sam(vit).state_dict().items()}
    official = read_manifest(manifest_path(system)).tensors
    assert ours == {name: info.shape for name, info in official.items()}
    assert len(ours) == count


def documented_weights(model: Sam) -> None:
    """Fill every tensor of the state dict with 0.2 times standard normal numbers from numpy's
    default generator, seeded with the CRC-32 of the tensor's name."""
    state = model.state_dict()
    for name, value in state.items():
        normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(value.shape)
        state[name] = torch.from_numpy(normal.astype(np.float32) * np.float32(0.2))
    model.load_state_dict(state)


@pytest.fixture(scope="module")
def small() -> Sam:
    """Small, but with everything: windows that need padding, a global block, all heads."""
    model = build_sam(ViTConfig(dim=96, depth=3, heads=4, global_blocks=(1,), image_size=320))
    documented_weights(model)
    return model


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    return {
        "image": torch.from_numpy(rng.standard_normal((1, 3, 320, 320)).astype(np.float32)),
        "points": torch.tensor(
            [
                [[20.0, 30.0], [200.5, 100.0]],
                [[319.0, 0.0], [5.0, 250.0]],
                [[160.0, 160.0], [10.0, 10.0]],
            ]
        ),
        "labels": torch.tensor([[1, 0], [1, 1], [0, -1]]),
        "boxes": torch.tensor(
            [[10.0, 20.0, 200.0, 150.0], [0.0, 0.0, 320.0, 320.0], [100.5, 50.25, 101.5, 300.0]]
        ),
        "masks": torch.from_numpy(rng.standard_normal((3, 1, 80, 80)).astype(np.float32)),
    }


# What upstream (dca509fe) returned for these weights and inputs.
GOLDEN_EMBEDDING = {
    (0, 0, 0): -0.080244,
    (7, 3, 19): -0.314501,
    (100, 10, 10): -0.340499,
    (255, 19, 0): 0.06567,
}
GOLDEN_AT = [(0, 0, 0, 0), (1, 1, 40, 41), (2, 2, 79, 3), (0, 3, 17, 60)]
GOLDEN = {
    "points+labels": {
        "logits": [-6.737543, 0.87038, -0.237276, -0.361141],
        "iou": [
            4.672371,
            4.105193,
            1.624407,
            -3.920681,
            4.632668,
            4.268625,
            1.58048,
            -3.835572,
            4.628094,
            4.104195,
            1.553183,
            -3.837174,
        ],
    },
    "boxes": {
        "logits": [-6.763628, 0.955302, -0.191554, -0.489755],
        "iou": [
            4.660654,
            3.991566,
            1.581445,
            -3.910116,
            4.404666,
            4.104635,
            1.474609,
            -3.798777,
            4.569365,
            4.205071,
            1.539091,
            -3.808526,
        ],
    },
    "points+labels+boxes+masks": {
        "logits": [-6.989067, 1.03272, 0.119499, -0.133689],
        "iou": [
            4.67481,
            4.11456,
            1.354436,
            -3.093238,
            4.446583,
            4.262623,
            1.220323,
            -3.008632,
            4.664906,
            4.270586,
            1.266863,
            -3.031515,
        ],
    },
}


def test_encoder_agrees_with_upstream(small: Sam, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        embedding = small.encode(inputs["image"]).embedding
    assert embedding.shape == (1, 256, 20, 20)
    for place, value in GOLDEN_EMBEDDING.items():
        assert float(embedding[(0, *place)]) == pytest.approx(value, abs=2e-5)


@pytest.mark.parametrize("prompts", GOLDEN)
def test_decoder_agrees_with_upstream(small: Sam, inputs: dict[str, Tensor], prompts: str) -> None:
    given = {name: inputs[name] for name in prompts.split("+")}
    with torch.no_grad():
        logits, iou = small.decode(small.encode(inputs["image"]), (320, 320), **given)
    assert logits.shape == (3, 4, 80, 80)
    expected = GOLDEN[prompts]
    assert [float(logits[at]) for at in GOLDEN_AT] == pytest.approx(expected["logits"], abs=2e-5)
    assert iou.flatten().tolist() == pytest.approx(expected["iou"], abs=2e-5)


def test_windows_return_what_they_split() -> None:
    x = torch.randn(2, 20, 33, 5)
    windows = window_split(x, 14)
    assert windows.shape == (2 * 2 * 3, 14, 14, 5)
    assert torch.equal(window_merge(windows, 14, 20, 33), x)
    assert torch.equal(windows[0], x[0, :14, :14])


def test_prompts_of_two_images_decode_as_each_alone(small: Sam) -> None:
    """B images with M prompts each give what each image gives by itself."""
    torch.manual_seed(0)
    embedding = torch.randn(2, 256, 20, 20)
    boxes = torch.rand(6, 4) * 320
    with torch.no_grad():
        together, iou = small.decode(Features(embedding), (320, 320), boxes=boxes)
        for image in range(2):
            part = slice(3 * image, 3 * image + 3)
            alone, iou_alone = small.decode(
                Features(embedding[image : image + 1]), (320, 320), boxes=boxes[part]
            )
            torch.testing.assert_close(together[part], alone, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(iou[part], iou_alone, atol=2e-5, rtol=1e-5)


def test_broadcast_embedding_equals_a_repeated_one_bit_for_bit() -> None:
    torch.manual_seed(0)
    attention = Attention(64, heads=4, downsample=2).eval()
    tokens, image = torch.randn(1, 3, 7, 64), torch.randn(1, 1, 100, 64)
    repeated = image.repeat(1, 3, 1, 1)
    with torch.no_grad():
        assert torch.equal(attention(tokens, image, image), attention(tokens, repeated, repeated))


def test_half_precision_attention_to_few_tokens_is_the_fused_one() -> None:
    """The spelled-out branch of `Attention` computes what the fused kernel computes."""
    torch.manual_seed(0)
    attention = Attention(64, heads=4, downsample=2).eval()
    image, tokens = torch.randn(2, 3, 50, 64), torch.randn(2, 3, 7, 64)
    with torch.no_grad():
        exact = attention(image, tokens, tokens)
        half = attention.bfloat16()(image.bfloat16(), tokens.bfloat16(), tokens.bfloat16())
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.05)


def test_high_resolution_features_reach_the_masks() -> None:
    torch.manual_seed(0)
    decoder = MaskDecoder(MaskDecoderConfig(TransformerConfig(dim=64, mlp_dim=32))).eval()
    encoder = PromptEncoder(PromptEncoderConfig(dim=64))
    sparse, dense = encoder((64, 64), boxes=torch.tensor([[4.0, 4, 40, 40], [0, 0, 9, 9]]))
    embedding = torch.randn(1, 64, 4, 4)
    zeros = Features(embedding, torch.zeros(1, 16, 8, 8), torch.zeros(1, 8, 16, 16))
    position = encoder.dense_pe((4, 4))
    with torch.no_grad():
        plain, _ = decoder(Features(embedding), position, sparse, dense)
        assert torch.equal(decoder(zeros, position, sparse, dense)[0], plain)
        for name in ("stride8", "stride4"):
            changed = zeros._replace(**{name: torch.randn_like(getattr(zeros, name))})
            assert not torch.allclose(decoder(changed, position, sparse, dense)[0], plain)


def test_positions_stay_exact_in_half_precision() -> None:
    encoder = PromptEncoder(PromptEncoderConfig())
    exact = encoder.pe_layer.positional_encoding_gaussian_matrix.clone()
    encoder.bfloat16()
    assert encoder.no_mask_embed.weight.dtype == torch.bfloat16
    assert torch.equal(encoder.pe_layer.positional_encoding_gaussian_matrix, exact)
    sparse, _ = encoder((1024, 1024), torch.tensor([[[500.0, 500.0]]]), torch.tensor([[1]]))
    assert sparse.dtype == torch.bfloat16
    # in bfloat16 phases, one pixel of 1024 would be lost in rounding
    near, _ = encoder((1024, 1024), torch.tensor([[[501.0, 500.0]]]), torch.tensor([[1]]))
    assert not torch.equal(sparse, near)
