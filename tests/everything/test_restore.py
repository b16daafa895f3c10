"""Thresholding on the way to the image, against the plain way through image-sized logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from litesam_bench.dialogue import stability
from litesam_bench.everything.restore import threshold_masks
from litesam_bench.sam.geometry import Frame, Restore, restore_masks
from litesam_bench.spec import InputSpec

SIZES = [(48, 64), (64, 48), (1, 1), (1, 90), (333, 77), (200, 300)]


def noise(n: int, side: int, seed: int) -> torch.Tensor:
    """Smooth logits of both signs, of different scales."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, n, 6, 6, generator=generator) * 3 - 1
    return F.interpolate(coarse, (side, side), mode="bicubic")[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", [InputSpec(size=128), InputSpec(size=128, rule="stretch")])
def test_equals_the_plain_way(size: tuple[int, int], rule: InputSpec) -> None:
    frame = Frame.of(size, rule)
    low = noise(12, 32, seed=size[0])
    full = restore_masks(low, frame)
    masks, stable = threshold_masks(low.numpy(), *Restore(frame).taps((32, 32)), 0.0, 1.0)
    near = (full.abs() < 1e-4).numpy()  # rounding may decide these either way
    assert (masks == (full > 0).numpy())[~near].all()
    assert near.mean() < 0.01
    reference = stability(full).numpy()
    assert np.abs(stable - reference).max() < 0.02
    assert masks.any()


def test_a_small_mask_in_a_large_image() -> None:
    frame = Frame.of((120, 160), InputSpec(size=256))
    low = torch.full((2, 64, 64), -8.0)
    low[0, 20:24, 30:37] = 6
    masks, stable = threshold_masks(low.numpy(), *Restore(frame).taps((64, 64)), 0.0, 1.0)
    assert np.array_equal(masks[0], (restore_masks(low, frame) > 0)[0].numpy())
    assert 0 < masks[0].mean() < 0.05
    assert not masks[1].any()
    assert stable[1] == 0


def test_taps_add_up_to_one() -> None:
    for size in SIZES:
        for axis in Restore(Frame.of(size, InputSpec(size=128))).taps((32, 32)):
            assert np.allclose(axis.weights.sum(axis=1), 1, atol=1e-6)
            assert (axis.weights >= 0).all()
            first, last = axis.reach(32)
            for c in range(32):
                users = [
                    x
                    for x in range(len(axis))
                    if axis.start[x] <= c < axis.start[x] + axis.weights.shape[1]
                ]
                assert all(first[c] <= x <= last[c] for x in users)
