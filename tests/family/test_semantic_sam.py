"""Semantic-SAM's own rules: its input frame, clicks as small boxes, prompts that do not mix."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from litesam_bench import registry
from litesam_bench.errors import CapabilityError, WeightsError
from litesam_bench.spec import InputSpec
from litesam_bench.types import LoadContext, Prompts

pytest.importorskip("torchvision", reason="needs the extra `family`")
pytest.importorskip("transformers", reason="needs the extra `family`")

from litesam_bench.family.semantic_sam import (
    DIM,
    HEADS,
    LEVELS,
    SAMPLES,
    DeformableAttention,
    SelfAttention,
    SemanticRestore,
    SemanticSam,
    SemanticSamSegmenter,
    SwinConfig,
    cell_centres,
    inverse_sigmoid,
    remap,
    short_side_frame,
    sine_of_boxes,
    sine_of_cells,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter() -> SemanticSamSegmenter:
    """The network with a tiny backbone and a short side of 128."""
    torch.manual_seed(0)
    swin = SwinConfig(dim=16, depths=(2, 2, 2, 1), heads=(1, 2, 4, 8), window=4)
    return SemanticSamSegmenter(SemanticSam(swin), InputSpec(size=128, rule="none"), LoadContext())


def _clicks(*xy: tuple[float, float]) -> Prompts:
    return Prompts(
        ids=tuple(range(len(xy))),
        points=np.array(xy)[:, None],
        labels=np.ones((len(xy), 1), np.int64),
    )


def test_the_short_side_becomes_640_and_the_frame_a_multiple_of_32() -> None:
    wide = short_side_frame((333, 517), 640)
    assert wide.resized_hw == (640, 993)  # 517 * 640 / 333 = 993.6, rounded down
    assert wide.network_hw == (640, 1024)
    tall = short_side_frame((517, 333), 640)
    assert (tall.resized_hw, tall.network_hw) == ((993, 640), (1024, 640))
    square = short_side_frame((100, 100), 640)
    assert square.resized_hw == square.network_hw == (640, 640)


def test_a_click_is_a_box_of_a_two_hundredth_of_the_image() -> None:
    torch.manual_seed(0)
    swin = SwinConfig(dim=16, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=4)
    model = SemanticSam(swin)
    seen: list[torch.Tensor] = []
    model.mask_decoder.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    features = model.encode(torch.zeros(1, 3, 128, 256))
    model.decode(features, (128, 256), torch.tensor([[[64.0, 32.0]]]), resized_hw=(128, 200))
    # x and y of the padded frame; width 0.005 of the image's 200 pixels out of 256
    assert seen[0].tolist() == [pytest.approx([0.25, 0.25, 0.005 * 200 / 256, 0.005])]


def test_prompts_do_not_see_each_other(segmenter: SemanticSamSegmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    embedding = segmenter.embed(image)
    clicks = _clicks((10, 10), (80, 50), (45.5, 30))
    together = segmenter.segment(embedding, clicks)
    assert together.tokens == (1, 2, 3, 4, 5, 6)
    for i in range(3):
        alone = segmenter.segment(embedding, clicks[i : i + 1])
        torch.testing.assert_close(together.logits[i], alone.logits[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.iou[i], alone.iou[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together.logits[0], together.logits[1])
    assert not torch.allclose(together.logits[0, 0], together.logits[0, 1])


def test_masks_come_back_at_the_image_size(segmenter: SemanticSamSegmenter) -> None:
    for size in ((60, 90), (200, 70), (33, 33)):
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        batch = segmenter.segment(segmenter.embed(image), _clicks((5, 5)))
        assert batch.to_image(batch.logits[0]).shape == (6, *size)


def test_the_padding_is_cropped_before_the_last_resize() -> None:
    frame = short_side_frame((64, 100), 128)  # 128 x 200 in 128 x 224
    ramp = torch.linspace(0, 1, 56).expand(1, 32, 56)
    restored = SemanticRestore(frame)(ramp)
    whole = F.interpolate(ramp[None], (128, 224), mode="bilinear", align_corners=False)
    # bicubic antialiasing keeps a ramp: a pixel is the mean of the two that it covers
    expected = whole[0, :, ::2, :200].unflatten(-1, (100, 2)).mean(-1)
    torch.testing.assert_close(restored[..., 3:-3], expected[..., 3:-3], rtol=0, atol=1e-5)


def test_only_one_foreground_point_is_taken(segmenter: SemanticSamSegmenter) -> None:
    embedding = segmenter.embed(np.zeros((40, 40, 3), np.uint8))
    box = Prompts(ids=(0,), boxes=np.array([[1.0, 1, 30, 30]]))
    two = Prompts(ids=(0,), points=np.ones((1, 2, 2)), labels=np.ones((1, 2), np.int64))
    background = Prompts(ids=(0,), points=np.ones((1, 1, 2)), labels=np.zeros((1, 1), np.int64))
    for prompts in (box, two, background):
        with pytest.raises(CapabilityError):
            segmenter.segment(embedding, prompts)


def test_half_precision_keeps_what_samples_in_float32() -> None:
    swin = SwinConfig(dim=16, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=4)
    half = SemanticSamSegmenter(
        SemanticSam(swin), InputSpec(size=64, rule="none"), LoadContext(dtype="bf16")
    )
    encoder = half.model.image_encoder
    assert {p.dtype for p in encoder.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in encoder.pixel_decoder.parameters()} == {torch.float32}
    batch = half.segment(half.embed(np.zeros((40, 40, 3), np.uint8)), _clicks((5, 5)))
    assert batch.logits.dtype == torch.float32


def test_deformable_attention_reads_the_cell_at_the_reference() -> None:
    """Without offsets, a point at a cell's centre reads that cell on every level."""
    attention = DeformableAttention()
    for linear in (attention.sampling_offsets, attention.attention_weights):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    for linear in (attention.value_proj, attention.output_proj):
        linear.weight.data.copy_(torch.eye(DIM))
        torch.nn.init.zeros_(linear.bias)
    level_hw = [(3, 5)] * LEVELS
    memory = torch.randn(1, LEVELS * 15, DIM)
    reference = cell_centres((3, 5), CPU)[None]
    read = attention(torch.zeros(1, 15, DIM), reference, memory, level_hw)
    expected = memory.view(LEVELS, 15, DIM).mean(0)
    torch.testing.assert_close(read[0], expected, rtol=1e-4, atol=1e-5)


def test_offsets_count_in_cells_from_a_point_and_in_eighths_from_a_box() -> None:
    attention = DeformableAttention()
    for linear in (attention.sampling_offsets, attention.attention_weights):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    # one cell to the right
    attention.sampling_offsets.bias.data.view(HEADS, LEVELS, SAMPLES, 2)[..., 0] = 1
    level_hw = [(4, 8)] * LEVELS
    memory = torch.randn(1, LEVELS * 32, DIM)
    query = torch.zeros(1, 1, DIM)
    at_point = attention(query, torch.tensor([[[0.5, 0.5]]]), memory, level_hw)
    shifted = torch.tensor([[[0.5 + 1 / 8, 0.5, 0.0, 0.0]]])  # a box without size: no offset
    torch.testing.assert_close(at_point, attention(query, shifted, memory, level_hw))
    wide = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])  # an eighth of its width is one cell of 8
    torch.testing.assert_close(at_point, attention(query, wide, memory, level_hw))


def test_self_attention_is_multihead_attention() -> None:
    ours, reference = SelfAttention(), torch.nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    ours.in_proj.weight.data.copy_(reference.in_proj_weight)
    ours.in_proj.bias.data.normal_()
    reference.in_proj_bias.data.copy_(ours.in_proj.bias)
    ours.out_proj.load_state_dict(reference.out_proj.state_dict())
    x, position = torch.randn(3, 6, DIM), torch.randn(3, 6, DIM)
    expected, _ = reference(x + position, x + position, x)
    torch.testing.assert_close(ours(x, position), expected, rtol=1e-4, atol=1e-5)


def test_positions() -> None:
    boxes = torch.tensor([0.25, 0.5, 0.1, 0.2])
    sine = sine_of_boxes(boxes)
    assert sine.shape == (512,)
    # y first: half a turn; then x: a quarter; the second pair has frequency 10000 ** (-2 / 128)
    assert sine[:2].tolist() == pytest.approx([0, -1], abs=1e-6)
    assert sine[128:130].tolist() == pytest.approx([1, 0], abs=1e-6)
    slower = math.pi * 10000 ** (-2 / 128)
    assert sine[2:4].tolist() == pytest.approx([math.sin(slower), math.cos(slower)], abs=1e-6)

    cells = sine_of_cells((2, 3), CPU).view(2, 3, 256)
    # row 1 of 2 is half a turn, column 3 of 3 a whole one
    assert cells[0, 2, :2].tolist() == pytest.approx([0, -1], abs=1e-5)
    assert cells[0, 2, 128:130].tolist() == pytest.approx([0, 1], abs=1e-5)
    assert cell_centres((2, 4), CPU)[5].tolist() == [0.375, 0.75]  # row 1, column 1

    values = torch.tensor([0.0, 0.3, 1.0])
    expected = torch.tensor([1e-5, 0.3, 1 - 1e-5])
    torch.testing.assert_close(inverse_sigmoid(values).sigmoid(), expected, rtol=1e-3, atol=1e-8)


def test_shared_parameters_take_the_value_that_upstream_keeps() -> None:
    head = "model.sem_seg_head.predictor."
    state = {
        head + "_bbox_embed.layers.0.bias": torch.zeros(1),
        head + "decoder.bbox_embed.8.layers.0.bias": torch.zeros(1),
        head + "bbox_embed.7.layers.0.bias": torch.zeros(1),
        head + "bbox_embed.8.layers.0.bias": torch.ones(1),
        head + "decoder_norm.weight": torch.zeros(1),
        head + "decoder.norm.weight": torch.ones(1),
        head + "lang_mapper": torch.zeros(1),
        "unknown": torch.zeros(1),
    }
    kept = {name: float(value) for name, value in remap(state).items()}
    assert kept == {
        "mask_decoder.box_head.0.bias": 1,
        "mask_decoder.norm.weight": 1,
        "unknown": 0,
    }


def test_without_weights_the_message_names_the_file() -> None:
    system = registry.resolve("semantic-sam-swin-t")[0]
    with pytest.raises(WeightsError, match=r"swint_only_sam_many2many\.pth"):
        system.load(system.spec, LoadContext())


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": {"model.backbone.norm0.weight": torch.ones(96)}}, path)
    system = registry.resolve("semantic-sam-swin-t")[0]
    with pytest.raises(WeightsError, match="another architecture"):
        system.load(system.spec, LoadContext(weights=str(path)))


def test_the_image_is_padded_after_normalisation(segmenter: SemanticSamSegmenter) -> None:
    image = np.full((64, 100, 3), 200, np.uint8)
    pixels, frame = segmenter.preprocess(image)
    assert frame.resized_hw == (128, 200)
    assert pixels.shape == (1, 3, 128, 224)
    red = (200 - 123.675) / 58.395
    assert float(pixels[0, 0, 0, 0]) == pytest.approx(red, rel=1e-5)
    assert bool((pixels[..., 200:] == 0).all())
    assert F.l1_loss(pixels[0, 0, :, :200], torch.full((128, 200), red)) < 1e-5
