"""Lite-SAM as a whole: budgets, any size, determinism, training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litesam_bench.lite_sam.configs import BACKBONES, LITE_SAM
from litesam_bench.lite_sam.model import LiteSam, LiteSamConfig, build
from litesam_bench.timing.complexity import Complexity, count


def complexity(size: int) -> Complexity:
    """Encoder, neck, AutoPPN, prompt encoder and decoder, with one box and all four tokens."""
    with torch.device("meta"):
        return count(LiteSam(LITE_SAM), torch.empty(1, 3, size, size), torch.empty(1, 4))


def test_params_of_the_poster() -> None:
    assert complexity(64).params / 1e6 == pytest.approx(4.2, rel=0.02)


@pytest.mark.parametrize(("size", "printed_gmacs"), [(640, 12.7), (1024, 32.5)])
def test_macs_stay_within_the_posters(size: int, printed_gmacs: float) -> None:
    whole = complexity(size)
    assert whole.macs / 1e9 <= printed_gmacs
    parts = [whole.by_submodule[part] for part in ("image_encoder", "mask_decoder", "autoppn")]
    assert all(parts)
    assert whole.macs >= sum(parts)


@pytest.fixture(scope="module")
def model() -> LiteSam:
    return build(LITE_SAM, seed=0)


@pytest.mark.parametrize("size_hw", [(32, 32), (64, 160), (224, 96)])
def test_any_size_that_the_stride_divides(model: LiteSam, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    torch.manual_seed(0)
    with torch.no_grad():
        logits, iou, maps = model(torch.randn(2, 3, height, width), torch.rand(6, 4) * 32)
    assert logits.shape == (6, 4, height // 4, width // 4)
    assert iou.shape == (6, 4)
    assert maps.logits.shape == (2, 3, height // 8, width // 8)
    assert torch.isfinite(logits).all()


def test_the_seed_is_the_model() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (build(LITE_SAM, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "image_encoder.vit.embeds.0.weight"
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_makes_a_lite_sam(name: str) -> None:
    with torch.device("meta"):
        whole = LiteSam(LiteSamConfig(vit=BACKBONES[name]))
        logits, _, _ = whole(torch.empty(1, 3, 64, 64), torch.empty(2, 4))
    assert logits.shape == (2, 4, 16, 16)


def test_every_parameter_of_a_box_training_step_learns() -> None:
    """In bfloat16 autocast and channels_last, as it is trained on CPUs."""
    network = build(LITE_SAM, seed=0).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    boxes = torch.tensor([[4.0, 4, 40, 40], [0, 0, 60, 60], [10, 5, 20, 60], [1, 2, 3, 4]])
    with torch.autocast("cpu", torch.bfloat16):
        logits, iou, maps = network(images, boxes)
        loss = logits.float().square().mean() + iou.float().square().mean()
        loss = loss + maps.logits.square().mean() + maps.ltrb.mean()
    loss.backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None}
    # a box uses neither points nor the mask prompt's encoder
    assert all("prompt_encoder" in name for name in silent), silent
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_memory_format_does_not_change_the_answer(model: LiteSam) -> None:
    torch.manual_seed(0)
    images, boxes = torch.randn(1, 3, 96, 64), torch.tensor([[4.0, 4, 40, 40]])
    with torch.no_grad():
        plain = model(images, boxes)[0]
        other = build(LITE_SAM, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        channels_last = other(images.contiguous(memory_format=torch.channels_last), boxes)[0]
    torch.testing.assert_close(plain, channels_last, atol=2e-5, rtol=1e-4)


def test_the_model_is_readable_alone() -> None:
    """It imports torch and litesam_bench.sam, and nothing of the harness."""
    code = (
        "import sys, litesam_bench.lite_sam.configs\n"
        "allowed = {'lite_sam', 'sam', 'types'}\n"
        "parts = {m.split('.')[1] for m in sys.modules if m.startswith('litesam_bench.')}\n"
        "assert parts <= allowed, parts - allowed\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.slow
def test_nothing_in_it_depends_on_the_data() -> None:
    """One graph without breaks, so that it compiles and exports."""
    network = build(LITE_SAM, seed=0)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.manual_seed(0)
    images, boxes = torch.randn(1, 3, 64, 64), torch.tensor([[4.0, 4, 40, 40]])
    with torch.no_grad():
        assert torch.equal(compiled(images, boxes)[0], network(images, boxes)[0])
