"""EfficientSAM's own rules: prompts as slots, the stretched frame, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litesam_bench import registry
from litesam_bench.errors import CapabilityError
from litesam_bench.spec import InputSpec
from litesam_bench.types import LoadContext, Prompts

pytest.importorskip("timm", reason="needs the extra `family`")

from litesam_bench.family.efficient_sam import (
    EfficientSamConfig,
    EfficientSamPromptEncoder,
    EfficientSamSegmenter,
    Stretch,
    build_efficient_sam,
    slots,
)


@pytest.fixture(scope="module")
def segmenter() -> EfficientSamSegmenter:
    """Shallow and small; what is tested here depends on neither."""
    torch.manual_seed(0)
    model = build_efficient_sam(EfficientSamConfig(dim=48, heads=1, depth=1))
    return EfficientSamSegmenter(model, InputSpec(rule="stretch", size=256), LoadContext())


def test_a_box_takes_two_slots_before_the_points() -> None:
    prompts = Prompts(
        ids=(0,),
        points=np.array([[[5.0, 6], [0, 0], [0, 0]]]),
        labels=np.array([[1, -1, -2]]),
        boxes=np.array([[1.0, 2, 3, 4]]),
    )
    points, labels = slots(prompts)
    assert points.tolist() == [[[1, 2], [3, 4], [5, 6], [0, 0], [0, 0]]]
    assert labels.tolist() == [[2, 3, 1, -1, -1]]


def test_what_it_has_no_embedding_for_is_refused() -> None:
    point = np.array([[[5.0, 6]]])
    with pytest.raises(CapabilityError, match="no background points"):
        slots(Prompts(ids=(0,), points=point, labels=np.array([[0]])))
    with pytest.raises(CapabilityError, match=r"6 points at most.* here are 7"):
        slots(
            Prompts(
                ids=(0,),
                points=np.repeat(point, 5, axis=1),
                labels=np.ones((1, 5), np.int64),
                boxes=np.array([[1.0, 2, 3, 4]]),
            )
        )
    with pytest.raises(CapabilityError, match="no mask prompts"):
        slots(
            Prompts(
                ids=(0,),
                boxes=np.array([[1.0, 2, 3, 4]]),
                low_res_logits=np.zeros((1, 1, 256, 256), np.float32),
            )
        )


def test_padding_and_points_outside_lie_at_minus_one(segmenter: EfficientSamSegmenter) -> None:
    """Upstream `get_rescaled_pts`: a negative coordinate becomes -1, whatever its label."""
    embedding = segmenter.embed(np.zeros((50, 70, 3), np.uint8))

    def logits(points: list[list[float]], labels: list[int]) -> torch.Tensor:
        prompts = Prompts(ids=(0,), points=np.array([points]), labels=np.array([labels]))
        return segmenter.segment(embedding, prompts).logits

    one = logits([[30.0, 20]], [1])
    assert torch.equal(logits([[30.0, 20], [44, 11]], [1, -1]), one)
    assert not torch.equal(logits([[30.0, 20], [44, 11]], [1, 1]), one)
    assert torch.equal(logits([[30.0, -5]], [1]), logits([[30.0, -9]], [1]))
    assert not torch.equal(logits([[30.0, 0]], [1]), logits([[30.0, -9]], [1]))


def test_a_prompt_is_its_position_plus_its_kind() -> None:
    encoder = EfficientSamPromptEncoder()
    points = torch.full((1, 4, 2), 100.0)
    out = encoder((1024, 1024), points, torch.tensor([[-1, 1, 2, 3]]))
    position = encoder.pe_layer(torch.tensor([100.5, 100.5]) / 1024)
    kinds = [
        encoder.invalid_points,
        encoder.point_embeddings,
        encoder.bbox_top_left_embeddings,
        encoder.bbox_bottom_right_embeddings,
    ]
    for slot, kind in zip(out[0], kinds, strict=True):
        assert torch.allclose(slot, position + kind.weight[0])


def test_the_image_is_stretched_and_the_masks_are_stretched_back(
    segmenter: EfficientSamSegmenter,
) -> None:
    image = np.zeros((40, 200, 3), np.uint8)
    image[:, 100:] = 255
    pixels, frame = segmenter.preprocess(image)
    assert pixels.shape == (1, 3, 256, 256)
    assert frame.scale_xy == (256 / 200, 256 / 40)
    assert float(pixels[0, 0, 100, 100]) == pytest.approx(-0.485 / 0.229, abs=1e-4)
    assert float(pixels[0, 0, 100, 200]) == pytest.approx((1 - 0.485) / 0.229, abs=1e-4)

    logits = torch.full((1, 64, 64), -1.0)
    logits[:, :, 32:] = 1
    full = Stretch((40, 200))(logits)
    assert full.shape == (1, 40, 200)
    assert bool(((full[0] > 0).numpy() == (image[..., 0] > 0)).all())


def test_token_0_is_not_offered(segmenter: EfficientSamSegmenter) -> None:
    embedding = segmenter.embed(np.zeros((50, 70, 3), np.uint8))
    batch = segmenter.segment(embedding, Prompts(ids=(0,), boxes=np.array([[1.0, 2, 30, 40]])))
    assert batch.tokens == (1, 2, 3)
    assert batch.logits.shape == (1, 3, 64, 64)
    assert not registry.resolve("efficient-sam")[0].spec.capabilities.single_mask
