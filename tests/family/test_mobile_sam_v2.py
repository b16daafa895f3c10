"""MobileSAMv2's two files, and SAM descendants that use some of their tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from litesam_bench.adapters import select_above
from litesam_bench.errors import WeightsError
from litesam_bench.family.mobile_sam_v2 import HalvedInput
from litesam_bench.family.some_tokens import SomeTokensSegmenter
from litesam_bench.parity import manifest_path
from litesam_bench.parity.documented import documented_weights, parity_image, parity_prompts
from litesam_bench.parity.manifest import read_manifest
from litesam_bench.registry import System, systems
from litesam_bench.sam.image_encoder import ImageEncoderViT, ViTConfig
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.spec import InputSpec
from litesam_bench.types import Capabilities, LoadContext

V2 = tuple(system for system in systems() if system.spec.family == "mobile-sam-v2")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return documented_weights(read_manifest(manifest_path("mobile-sam-v2-tiny-vit")))


def tiny_vit() -> System:
    return next(system for system in V2 if system.spec.name == "mobile-sam-v2-tiny-vit")


def official_files(folder: Path, state: dict[str, Tensor]) -> Path:
    """The decoder's file and, beside it, MobileSAM's; returns the decoder's."""
    spec = tiny_vit().spec
    assert spec.weights is not None
    parts: dict[str, dict[str, Tensor]] = {"PromtEncoder": {}, "MaskDecoder": {}}
    # a whole MobileSAM: its own prompt encoder and decoder must not be taken
    mobile_sam = {"prompt_encoder.no_mask_embed.weight": torch.full((1, 256), 7.0)}
    for name, value in state.items():
        part, _, own = name.partition(".")
        if part in parts:
            parts[part][own] = value
        else:
            mobile_sam[name] = value
    torch.save(parts, folder / spec.weights.file_name)
    torch.save(mobile_sam, folder / spec.companions[0].file_name)
    return folder / spec.weights.file_name


def test_two_files_are_one_model(tmp_path: Path, state: dict[str, Tensor]) -> None:
    system = tiny_vit()
    (tmp_path / "two").mkdir()
    torch.save(state, tmp_path / "one.pt")
    two, one = (
        system.load(system.spec, LoadContext(weights=str(path))).model.state_dict()
        for path in (official_files(tmp_path / "two", state), tmp_path / "one.pt")
    )
    assert two.keys() == one.keys()
    assert all(torch.equal(two[name], one[name]) for name in one)
    expected = state["PromtEncoder.no_mask_embed.weight"]
    assert torch.equal(two["prompt_encoder.no_mask_embed.weight"], expected)


def test_a_missing_encoder_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    system = tiny_vit()
    decoder = official_files(tmp_path, state)
    (tmp_path / "mobile_sam.pt").unlink()
    with pytest.raises(WeightsError, match=r"mobile_sam\.pt") as caught:
        system.load(system.spec, LoadContext(weights=str(decoder)))
    assert "weights pull" in caught.value.fix


@pytest.mark.parametrize("system", V2, ids=lambda system: system.spec.name)
def test_the_encoder_is_another_systems_checkpoint(system: System) -> None:
    """Name, URL, hash and size are stated in two adapters: they must agree."""
    (companion,) = system.spec.companions
    others = [s.spec.weights for s in systems() if s.spec.family != "mobile-sam-v2"]
    assert companion in others


def test_halved_input_averages_four_pixels() -> None:
    class Seen(torch.nn.Module):
        def forward(self, images: Tensor) -> Features:
            return Features(images)

    images = torch.arange(32.0).view(1, 2, 4, 4)
    half = HalvedInput(Seen())(images).embedding
    torch.testing.assert_close(half, torch.nn.functional.avg_pool2d(images, 2))


@pytest.fixture(scope="module")
def small_sam() -> Sam:
    torch.manual_seed(0)
    vit = ViTConfig(dim=32, depth=1, heads=2, global_blocks=(0,), image_size=64)
    return Sam(
        ImageEncoderViT(vit), PromptEncoder(PromptEncoderConfig()), MaskDecoder(MaskDecoderConfig())
    ).eval()


@pytest.mark.parametrize("tokens", [(0,), (1, 2, 3)])
@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("iou_thresh", [0.0, "median"])
def test_only_the_tokens_in_use_come_out(
    small_sam: Sam, tokens: tuple[int, ...], multimask: bool, iou_thresh: float | str
) -> None:
    rule, context = InputSpec(size=64), LoadContext()
    some = SomeTokensSegmenter(small_sam, rule, context, tokens)
    embedding = some.embed(parity_image(40, 60, 0))
    prompts = parity_prompts((40, 60), Capabilities(boxes=True))["boxes"]
    every = super(SomeTokensSegmenter, some).segment(embedding, prompts)
    batch = some.segment(embedding, prompts)
    assert batch.tokens == tokens
    assert torch.equal(batch.logits, every.logits[:, list(tokens)])
    assert torch.equal(batch.iou, every.iou[:, list(tokens)])

    above = float(batch.iou.median()) if iou_thresh == "median" else 0.0
    found = some.segment_above(embedding, prompts, multimask=multimask, iou_thresh=above)
    expected = select_above(batch, multimask=multimask, iou_thresh=above)
    assert set(found.tokens.tolist()) <= set(tokens)
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.prompts, expected.prompts)
    assert found.considered == expected.considered
    torch.testing.assert_close(found.logits, expected.logits)
