"""LiteViT and Table 1: the printed parameters at the printed widths, and any input size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from litesam_bench.lite_sam.configs import BACKBONES
from litesam_bench.lite_sam.litevit import (
    Block,
    LiteViT,
    LiteViTConfig,
    Mspm,
    MspmConfig,
    PoolMixer,
)
from litesam_bench.timing.complexity import count

PRINTED_PARAMS_M = {
    "poolformer-s12": 11.9,
    "poolformer-s12-tiny": 0.54,
    "litevit-block2": 1.15,
    "litevit-block3": 1.15,
    "litevit-block4": 1.15,
    "litevit": 1.16,
    "litevit-2x": 2.19,
    "litevit-3x": 3.63,
}
PRINTED_DIMS = {
    "poolformer-s12": (64, 128, 320, 512),
    "poolformer-s12-tiny": (32, 64, 96, 128),
    "litevit-2x": (96, 128, 192, 384),
    "litevit-3x": (128, 160, 256, 512),
}


def gmacs(config: LiteViTConfig, size: int) -> float:
    with torch.device("meta"):
        return count(LiteViT(config), torch.empty(1, 3, size, size)).macs / 1e9


@pytest.mark.parametrize("name", PRINTED_PARAMS_M)
def test_params_of_table_1(name: str) -> None:
    config = BACKBONES[name]
    assert config.dims == PRINTED_DIMS.get(name, (64, 96, 128, 256))
    assert config.depths == (2, 2, 6, 2)
    with torch.device("meta"):
        params = sum(p.numel() for p in LiteViT(config).parameters())
    assert params / 1e6 == pytest.approx(PRINTED_PARAMS_M[name], rel=0.05)


def test_every_row_is_there() -> None:
    assert list(BACKBONES) == list(PRINTED_PARAMS_M)


def test_litevit_keeps_its_budget() -> None:
    with torch.device("meta"):
        params = sum(p.numel() for p in LiteViT(BACKBONES["litevit"]).parameters())
    assert params / 1e6 == pytest.approx(1.16, rel=0.01)
    assert gmacs(BACKBONES["litevit"], 640) <= 10.9


def test_poolformer_s12_has_the_macs_of_poolformer_s12() -> None:
    """14.8 at 640, as the official model; the 45.2 of the poster's table is not derivable."""
    assert gmacs(BACKBONES["poolformer-s12"], 640) == pytest.approx(14.79, abs=0.01)


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_have_the_strides(name: str) -> None:
    torch.manual_seed(0)
    model = LiteViT(BACKBONES[name]).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, 64, 96))
    for i, feature_map in enumerate(maps):
        stride = 4 * 2**i
        assert feature_map.shape == (1, model.config.dims[i], 64 // stride, 96 // stride)
        assert torch.isfinite(feature_map).all()


def test_a_size_that_the_stride_does_not_divide_is_named() -> None:
    with pytest.raises(ValueError, match="65 x 96: both must be divisible by 32"):
        LiteViT(BACKBONES["litevit"])(torch.zeros(1, 3, 65, 96))


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 5), (7, 20), (16, 16)])
def test_mspm_takes_any_grid(size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 32, *size_hw)
    assert Mspm(MspmConfig(), 32)(x, torch.ones(32)).shape == x.shape


def _averaging(module: Mspm) -> Mspm:
    """Each depthwise kernel becomes the identity and the local convolution vanishes."""
    with torch.no_grad():
        for conv in module.context:
            assert isinstance(conv, nn.Conv2d)
            nn.init.zeros_(conv.weight)
            centre = conv.kernel_size[0] // 2
            conv.weight[:, :, centre, centre] = 1
        assert module.local is not None
        nn.init.zeros_(module.local.weight)
        assert module.local.bias is not None
        nn.init.zeros_(module.local.bias)
    return module


def test_mspm_is_the_sum_of_the_means_at_all_scales() -> None:
    """A constant map through identity kernels comes back once per scale, edges included."""
    module = _averaging(Mspm(MspmConfig(), 16))
    x = torch.full((1, 16, 13, 9), 3.0)
    torch.testing.assert_close(module(x, torch.ones(16)), torch.full_like(x, 4 * 3.0))
    # and one bright cell spreads over its 16 x 16 neighbourhood, but keeps its sum per scale
    x = torch.zeros(1, 16, 64, 64)
    x[:, :, 30, 30] = 1.0
    out = module(x, torch.ones(16))
    torch.testing.assert_close(out.sum((2, 3)), torch.full((1, 16), 4.0), atol=1e-4, rtol=1e-4)
    assert (out[0, 0, 20:40, 20:40] > 0).all()


def test_the_scale_multiplies_the_mixer() -> None:
    torch.manual_seed(0)
    x, scale = torch.randn(1, 32, 9, 11), torch.rand(32)
    for mixer in (Mspm(MspmConfig(), 32), PoolMixer()):
        expected = mixer(x, torch.ones(32)) * scale.view(-1, 1, 1)
        torch.testing.assert_close(mixer(x, scale), expected, atol=1e-5, rtol=1e-4)


def test_pool_mixer_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(1, 1, 2, 2)
    expected = torch.tensor([[2.0, 1.0], [0.0, -3.0]]).view(1, 1, 2, 2)  # the mean is 3
    assert torch.equal(PoolMixer()(x, torch.ones(1)), expected)


def test_a_block_without_scale_is_the_identity() -> None:
    block = Block(32, MspmConfig(), mlp_ratio=1.0, layer_scale=0.0)
    x = torch.randn(1, 32, 8, 8)
    assert torch.equal(block(x), x)
