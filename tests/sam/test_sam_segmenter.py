"""The segmenter: frames, precisions, batches, and what it refuses to return."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litesam_bench.errors import ModelOutputError
from litesam_bench.lite_sam.litevit import LiteViTConfig, MspmConfig
from litesam_bench.lite_sam.model import LiteSam, LiteSamConfig, build
from litesam_bench.lite_sam.neck import NeckConfig
from litesam_bench.sam.mask_decoder import MaskDecoderConfig
from litesam_bench.sam.prompt_encoder import PromptEncoderConfig
from litesam_bench.sam.segmenter import ProposingSamSegmenter, SamSegmenter
from litesam_bench.sam.transformer import TransformerConfig
from litesam_bench.spec import InputSpec
from litesam_bench.types import (
    DType,
    ImageU8,
    LoadContext,
    Prompts,
    ProposingSegmenter,
    Segmenter,
)

RULE = InputSpec(size=128)


def tiny() -> LiteSam:
    config = LiteSamConfig(
        vit=LiteViTConfig((32, 32, 32, 32), depths=(1, 1, 1, 1), mixer=MspmConfig()),
        neck=NeckConfig(dim=64),
        prompt=PromptEncoderConfig(dim=64),
        decoder=MaskDecoderConfig(TransformerConfig(dim=64, mlp_dim=64)),
    )
    return build(config, seed=0)


def segmenter(dtype: DType = "fp32") -> ProposingSamSegmenter:
    model = tiny()
    return ProposingSamSegmenter(model, model.autoppn, RULE, LoadContext(dtype=dtype))


@pytest.fixture
def image() -> ImageU8:
    return np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)


def prompts(count: int = 5) -> Prompts:
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 75, (count, 2, 2)), axis=1)
    return Prompts(
        ids=tuple(range(count)),
        points=rng.uniform(0, 75, (count, 2, 2)),
        labels=rng.integers(0, 2, (count, 2)),
        boxes=corners.reshape(count, 4),
        low_res_logits=rng.standard_normal((count, 1, 32, 32)).astype(np.float32),
    )


def test_it_is_what_the_harness_expects() -> None:
    system = segmenter()
    assert isinstance(system, Segmenter)
    assert isinstance(system, ProposingSegmenter)


@pytest.mark.parametrize("parts", [("boxes",), ("points", "labels"), ("low_res_logits", "boxes")])
def test_a_batch_equals_its_prompts_one_by_one(image: ImageU8, parts: tuple[str, ...]) -> None:
    system = segmenter()
    embedding = system.embed(image)
    given = Prompts(ids=tuple(range(5)), **{name: getattr(prompts(), name) for name in parts})
    batch = system.segment(embedding, given)
    assert batch.logits.shape == (5, 4, 32, 32)
    assert batch.tokens == (0, 1, 2, 3)
    for i in range(5):
        alone = system.segment(embedding, given[i : i + 1])
        torch.testing.assert_close(batch.logits[i], alone.logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch.iou[i], alone.iou[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_stays_near_full(image: ImageU8, dtype: DType) -> None:
    full, half = segmenter(), segmenter(dtype)
    expected = full.segment(full.embed(image), prompts())
    batch = half.segment(half.embed(image), prompts())
    assert half.embed(image).features.embedding.dtype == half.dtype
    assert batch.logits.dtype == batch.iou.dtype == torch.float32
    torch.testing.assert_close(batch.logits, expected.logits, atol=0.05, rtol=0.05)
    torch.testing.assert_close(batch.iou, expected.iou, atol=0.05, rtol=0.05)


def test_masks_come_back_at_the_size_of_the_image(image: ImageU8) -> None:
    system = segmenter()
    batch = system.segment(system.embed(image), prompts(2))
    masks = batch.to_image(batch.logits[:, 1])
    assert masks.shape == (2, 75, 100)
    assert masks.dtype == torch.float32


def test_prompts_are_in_original_pixels(image: ImageU8) -> None:
    """Twice the image with twice the box is the same network input."""
    system = segmenter()
    large = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    boxes = np.array([[10.0, 20.0, 60.0, 70.0]])
    embedding = system.embed(image)
    frame = system.embed(large).frame
    assert frame.resized_hw == embedding.frame.resized_hw
    same = type(embedding)(embedding.features, frame)
    one = system.segment(embedding, Prompts(ids=(0,), boxes=boxes))
    two = system.segment(same, Prompts(ids=(0,), boxes=2 * boxes))
    torch.testing.assert_close(one.logits, two.logits, atol=1e-5, rtol=1e-5)


def test_nan_is_an_error_and_never_a_mask(image: ImageU8) -> None:
    model = tiny()
    with torch.no_grad():
        model.mask_decoder.iou_token.weight[:] = float("nan")
    system = SamSegmenter(model, RULE, LoadContext())
    with pytest.raises(ModelOutputError, match="NaN or infinite"):
        system.segment(system.embed(image), prompts())


def test_proposals_lie_in_the_image(image: ImageU8) -> None:
    system = segmenter()
    proposed = system.propose(system.embed(image), 20)
    assert proposed.points.shape == (20, 2)
    assert proposed.boxes.shape == (20, 4)
    real = proposed.scores > 0
    assert real.any()
    assert (proposed.points[real] >= 0).all()
    assert (proposed.points[real] <= [100, 75]).all()
    assert (proposed.boxes >= 0).all()
    assert (proposed.boxes <= np.array([100, 75, 100, 75]) + 1e-4).all()
    assert (np.diff(proposed.scores) <= 0).all()
