"""MACs against counts by hand, and no operator left out in silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from litesam_bench.errors import UsageError
from litesam_bench.sam.image_encoder import VIT_B, VIT_H, RelPosAttention, ViTConfig
from litesam_bench.sam.model import build_sam
from litesam_bench.sam.transformer import Attention, TransformerConfig, TwoWayBlock
from litesam_bench.timing.complexity import count


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_convolution(device: str) -> None:
    conv = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4, device=device)
    found = count(conv, torch.zeros(2, 8, 10, 14, device=device))
    assert found.macs == 2 * 12 * 5 * 7 * (8 // 4) * 9
    assert found.params == 12 * 2 * 9 + 12


def test_a_transposed_convolution() -> None:
    conv = nn.ConvTranspose2d(8, 6, kernel_size=2, stride=2)
    assert count(conv, torch.zeros(1, 8, 5, 7)).macs == 8 * 5 * 7 * 6 * 4


def test_linear_layers_with_and_without_bias() -> None:
    x = torch.zeros(2, 7, 5)
    assert count(nn.Linear(5, 3), x).macs == 2 * 7 * 5 * 3
    assert count(nn.Linear(5, 3, bias=False), x).macs == 2 * 7 * 5 * 3


class Product(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


def test_batched_products() -> None:
    assert count(Product(), torch.zeros(3, 4, 5), torch.zeros(3, 5, 6)).macs == 3 * 4 * 5 * 6


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_attention(device: str, dtype: torch.dtype) -> None:
    """Projections of 7 tokens and 50 cells, and two products of 7 x 50 x 32; fused or not."""
    attention = Attention(64, heads=4, downsample=2).to(device=device, dtype=dtype)
    tokens = torch.zeros(1, 1, 7, 64, device=device, dtype=dtype)
    image = torch.zeros(1, 1, 50, 64, device=device, dtype=dtype)
    projections = (7 + 50 + 50 + 7) * 64 * 32  # query, key, value, output
    products = 2 * 7 * 50 * 32
    assert count(attention, tokens, image, image).macs == projections + products


def test_attention_with_relative_positions() -> None:
    attention = RelPosAttention(48, heads=4, grid_hw=(6, 6))
    cells = 36
    linear = cells * 48 * (3 * 48) + cells * 48 * 48
    products = 2 * cells * cells * 48
    bias = cells * 48 * (6 + 6)  # each query with the 6 rows and the 6 columns
    assert count(attention, torch.zeros(1, 6, 6, 48)).macs == linear + products + bias


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_decoder_layer(device: str) -> None:
    """One two-way block of SAM's decoder: 7 tokens, 4096 cells, width 256, cross-attention 128."""
    tokens, cells, dim, inner, hidden = 7, 4096, 256, 128, 2048
    block = TwoWayBlock(TransformerConfig(), first=False).to(device)
    self_attention = 4 * tokens * dim * dim + 2 * tokens * tokens * dim
    mlp = 2 * tokens * dim * hidden
    products = 2 * tokens * cells * inner
    to_image = (2 * tokens + 2 * cells) * dim * inner + products
    to_tokens = (2 * cells + 2 * tokens) * dim * inner + products
    t = torch.zeros(1, 1, tokens, dim, device=device)
    i = torch.zeros(1, 1, cells, dim, device=device)
    found = count(block, t, i, t, i)
    assert found.macs == self_attention + mlp + to_image + to_tokens
    assert found.by_submodule["self_attn"] == self_attention
    assert found.by_submodule["mlp"] == mlp
    assert found.by_submodule["cross_attn_token_to_image"] == to_image
    assert found.by_submodule[""] == found.macs


@pytest.mark.parametrize(("vit", "printed_gmacs"), [(VIT_B, 487), (VIT_H, 2976)])
def test_sams_encoders_have_their_published_macs(vit: ViTConfig, printed_gmacs: float) -> None:
    """TinySAM prints 487 and 2976 for the whole of SAM-B and SAM-H."""
    with torch.device("meta"):
        sam = build_sam(vit)
        found = count(sam, torch.empty(1, 3, 1024, 1024), forward=sam.encode)
    assert found.macs / 1e9 == pytest.approx(printed_gmacs, rel=0.005)


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x)


def test_an_unknown_operator_is_an_error_that_names_it() -> None:
    module = Unknown()
    with pytest.raises(UsageError, match=r"aten\.linalg_inv"):
        count(module, torch.eye(3))
    assert not module._forward_hooks


def test_nothing_of_the_count_stays_in_the_module() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    count(module, torch.zeros(1, 2))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
