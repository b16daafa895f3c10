"""EdgeSAM's own rules: stability as the rating, and the null click of its evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litesam_bench import protocols, registry
from litesam_bench.dialogue import next_prompts
from litesam_bench.metrics import rle
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.spec import InputSpec
from litesam_bench.types import LoadContext, MaskBatch, Prompts

pytest.importorskip("timm", reason="needs the extra `family`")

from litesam_bench.family.edge_sam import EdgeSamSegmenter, build_edge_sam


@pytest.fixture(scope="module")
def segmenter() -> EdgeSamSegmenter:
    """Small inputs, and logits beyond the offsets of the stability score."""
    torch.manual_seed(0)
    model = build_edge_sam()
    with torch.no_grad():
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 100
    return EdgeSamSegmenter(model, InputSpec(size=256), LoadContext())


def test_pulling_the_weights_says_that_they_are_not_for_commerce() -> None:
    for system in registry.resolve("edge-sam:all"):
        assert system.spec.weights is not None
        assert "non-commercial" in system.spec.weights.restriction


def test_a_mask_is_rated_by_its_stability(segmenter: EdgeSamSegmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    embedding = segmenter.embed(image)
    prompts = Prompts(ids=(0, 1), boxes=np.array([[10.0, 10, 60, 50], [0, 0, 90, 60]]))
    batch = segmenter.segment(embedding, prompts)
    for logits, rating in zip(batch.logits.flatten(0, 1), batch.iou.flatten(), strict=True):
        surely, perhaps = int((logits > 1).sum()), int((logits > -1).sum())
        assert float(rating) == pytest.approx(surely / max(perhaps, 1), abs=1e-6)

    ratings = batch.iou[:, 1:].flatten().tolist()
    limit = sorted(ratings)[2]
    assert 0 < limit < max(ratings)
    above = segmenter.segment_above(embedding, prompts, multimask=True, iou_thresh=limit)
    assert above.considered == 6
    assert sorted(above.iou.tolist()) == sorted(v for v in ratings if v > limit)


def test_a_null_point_is_a_token_of_zeros() -> None:
    encoder = PromptEncoder(PromptEncoderConfig())
    points, labels = torch.tensor([[[5.0, 7.0], [0.0, 0.0]]]), torch.tensor([[1, -2]])
    sparse, _ = encoder((1024, 1024), points, labels)
    assert sparse.shape == (1, 3, 256)  # the click, the null point, SAM's padding point
    assert bool((sparse[0, 1] == 0).all())
    alone, _ = encoder((1024, 1024), points[:, :1], labels[:, :1])
    assert torch.equal(sparse[:, [0, 2]], alone)


def test_nothing_left_to_correct_is_a_null_click() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 20:50] = 1
    wrong = np.zeros((40, 60), np.uint8)
    logits = torch.tensor(np.stack([truth, wrong])[:, None].astype(np.float32) * 2 - 1)
    masks = MaskBatch(logits, torch.ones(2, 1), (0,), to_image=lambda low: low)
    protocol = protocols.get("miou-edgesam/box-ref:1")
    prompts = Prompts(ids=(1, 2), boxes=np.array([[20.0, 10, 50, 30]] * 2))
    after = next_prompts(prompts, masks, [rle.encode(truth)] * 2, protocol, 1, (40, 60))
    assert after.labels is not None
    assert after.labels.tolist() == [[-2], [1]]
