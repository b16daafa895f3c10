"""The generator's steps, one by one, on discs whose areas and boxes are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import Blobs, blank

from litesam_bench.errors import BenchError, ModelOutputError
from litesam_bench.everything.crops import Crop, crops, cut_by_crop
from litesam_bench.everything.generator import generate
from litesam_bench.everything.grid import Grid, grid_points
from litesam_bench.everything.nms import box_nms
from litesam_bench.everything.proposals import GeneratorConfig
from litesam_bench.everything.regions import without_small_regions
from litesam_bench.metrics import rle
from litesam_bench.types import MaskBatch, Prompts

OFF = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1)
IMAGE = blank(60, 80)


def test_defaults_are_those_of_sam() -> None:
    assert GeneratorConfig().knobs() == {
        "points_per_batch": 64,
        "tokens": "multimask",
        "pred_iou_thresh": 0.88,
        "stability_thresh": 0.95,
        "stability_offset": 1.0,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_overlap_ratio": 512 / 1500,
        "crop_nms_thresh": 0.7,
        "min_mask_region_area_px": 0,
    }


def test_every_prompt_gives_three_masks_best_first() -> None:
    result = generate(Blobs(), IMAGE, Grid(4), OFF)
    assert len(result.proposals) == 48
    assert {p.token for p in result.proposals} == {1, 2, 3}
    ious = [p.predicted_iou for p in result.proposals]
    assert ious == sorted(ious, reverse=True)
    assert (result.funnel.prompts, result.funnel.candidates) == (16, 48)
    assert result.funnel.dropped == {}


def test_single_token() -> None:
    config = GeneratorConfig(tokens="single", pred_iou_thresh=0, stability_thresh=0)
    assert {p.token for p in generate(Blobs(), IMAGE, Grid(2), config).proposals} == {0}


def test_mask_box_area_and_point() -> None:
    (best, *_) = generate(Blobs(), IMAGE, Grid(1), OFF).proposals
    y, x = np.mgrid[:60, :80] + 0.5
    disc = np.hypot(x - 40, y - 30) < 3
    assert np.array_equal(rle.decode(best.rle), disc)
    assert best.area_px == disc.sum()
    assert best.box == (37, 27, 42, 32)  # the maxima belong to the mask
    assert best.point == (40.0, 30.0)
    assert best.crop == (0, 0, 80, 60)


def test_predicted_iou_must_be_above_the_threshold() -> None:
    one = Blobs().segment((60, 80), Prompts(ids=(0,), points=np.array([[[40.0, 30.0]]])))
    threshold = float(one.iou[0, 2])
    config = GeneratorConfig(pred_iou_thresh=threshold, stability_thresh=0, box_nms_thresh=1)
    result = generate(Blobs(), IMAGE, Grid(1), config)
    assert [p.token for p in result.proposals] == [1]
    assert result.funnel.dropped == {"predicted IoU": 2}


def test_stability_is_an_area_ratio_and_equality_stays() -> None:
    everything = generate(Blobs(), IMAGE, Grid(8), OFF)
    rough = [p for p in everything.proposals if p.point and p.point[0] < 10]
    assert rough
    assert all(p.stability < 0.7 for p in rough)
    threshold = sorted(p.stability for p in everything.proposals)[60]
    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=threshold, box_nms_thresh=1)
    kept = generate(Blobs(), IMAGE, Grid(8), config)
    assert len(kept.proposals) == sum(p.stability >= threshold for p in everything.proposals)
    assert threshold in {p.stability for p in kept.proposals}


def test_box_nms_keeps_the_better_of_two_alike() -> None:
    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=0.5)
    dense = generate(Blobs(), IMAGE, Grid(20), config)
    assert 0 < len(dense.proposals) < 1200
    assert dense.funnel.dropped["box NMS"] + dense.funnel.dropped.get("empty", 0) == 1200 - len(
        dense.proposals
    )
    for i, a in enumerate(dense.proposals):
        for b in dense.proposals[:i]:
            assert _box_iou(a.box, b.box) <= 0.5


def _box_iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union else 0.0


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_do_not_change_the_result(batch: int) -> None:
    a = generate(Blobs(), IMAGE, Grid(5), GeneratorConfig(stability_thresh=0.6))
    b = generate(
        Blobs(), IMAGE, Grid(5), GeneratorConfig(stability_thresh=0.6, points_per_batch=batch)
    )
    assert a.proposals == b.proposals
    assert len(a.proposals) > 3


def test_empty_masks_are_dropped_and_counted() -> None:
    class Nothing(Blobs):
        def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
            batch = super().segment(embedding, prompts)
            batch.logits[:, 1] = -5
            return batch

    result = generate(Nothing(), IMAGE, Grid(2), OFF)
    assert result.funnel.dropped == {"empty": 4}
    assert len(result.proposals) == 8
    # with the filter on, 0 / 0 does not pass either
    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0.01, box_nms_thresh=1)
    assert generate(Nothing(), IMAGE, Grid(2), config).funnel.dropped == {"stability": 4}


def test_nothing_left_is_an_answer_that_says_why() -> None:
    result = generate(Blobs(), IMAGE, Grid(2), GeneratorConfig(pred_iou_thresh=2))
    assert result.proposals == ()
    assert result.funnel.describe() == "4 prompts, 12 masks; dropped: predicted IoU 12"


def test_no_prompts() -> None:
    class NoPoints(Grid):
        def prompts(self, view: object, round_number: int, confident: object) -> Prompts:
            return Prompts(ids=())

    result = generate(Blobs(), IMAGE, NoPoints(1), OFF)
    assert result.proposals == ()
    assert result.funnel.describe() == "the sampler proposed no prompts"


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_tiny_images(size: tuple[int, int]) -> None:
    result = generate(Blobs(), blank(*size), Grid(2), GeneratorConfig(stability_thresh=0))
    assert all(p.rle["size"] == list(size) for p in result.proposals)
    assert len(result.proposals) >= 1
    deeper = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, crop_n_layers=2)
    assert len(generate(Blobs(), blank(*size), Grid(2), deeper).proposals) >= 1


def test_out_of_memory_halves_the_batch_and_says_so() -> None:
    segmenter, said = Blobs(memory=5), []
    result = generate(
        segmenter, IMAGE, Grid(4), GeneratorConfig(points_per_batch=16), notify=said.append
    )
    assert result.proposals == generate(Blobs(), IMAGE, Grid(4), GeneratorConfig()).proposals
    assert result.batch == 4
    assert segmenter.batches == [16, 8, 4, 4, 4, 4]
    assert len(said) == 2
    assert "16 prompts" in said[0]


def test_not_even_one_prompt_fits() -> None:
    with pytest.raises(BenchError, match="single prompt"):
        generate(Blobs(memory=0), IMAGE, Grid(4), GeneratorConfig())


class Cramped(Blobs):
    """Has memory for a few masks at the image's size."""

    def __init__(self, masks: int) -> None:
        super().__init__()
        self.masks = masks

    def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
        def to_image(low: torch.Tensor) -> torch.Tensor:
            if len(low) > self.masks:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return low

        return replace(super().segment(embedding, prompts), to_image=to_image)


def test_out_of_memory_at_the_image_s_size_halves_the_masks_and_says_so() -> None:
    said: list[str] = []
    result = generate(Cramped(5), IMAGE, Grid(4), GeneratorConfig(), notify=said.append)
    roomy = generate(Blobs(), IMAGE, Grid(4), GeneratorConfig())
    assert (result.proposals, result.funnel) == (roomy.proposals, roomy.funnel)
    assert said and all("at the image's size" in line for line in said)
    with pytest.raises(BenchError, match="single mask"):
        generate(Cramped(0), IMAGE, Grid(4), GeneratorConfig())


def test_other_errors_are_not_taken_for_memory() -> None:
    class Broken(Blobs):
        def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        generate(Broken(), IMAGE, Grid(1), OFF)


def test_nan_output_is_an_error() -> None:
    class NotANumber(Blobs):
        def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
            batch = super().segment(embedding, prompts)
            batch.logits[0, 2, 0, 0] = torch.nan
            return batch

    with pytest.raises(ModelOutputError, match="NaN"):
        generate(NotANumber(), IMAGE, Grid(1), OFF)


def test_kept_logits_give_the_masks_back() -> None:
    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, crop_n_layers=1)
    result = generate(Blobs(), IMAGE, Grid(3), config, keep_logits=True)
    assert result.logits is not None
    assert len({p.crop for p in result.proposals}) > 1
    for i, proposal in enumerate(result.proposals):
        full = result.logits(i)
        assert tuple(full.shape) == (60, 80)
        assert np.array_equal((full > 0).numpy(), rle.decode(proposal.rle))


def test_crops_see_their_part_of_the_image() -> None:
    config = GeneratorConfig(
        pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1, crop_n_layers=1
    )
    result = generate(Blobs(), blank(300, 400), Grid(4, downscale=2), config)
    by_crop = {p.crop for p in result.proposals}
    assert len(by_crop) == 5
    for p in result.proposals:
        assert p.point is not None
        area = np.argwhere(rle.decode(p.rle)).mean(axis=0)[::-1]
        assert np.abs(area - p.point).max() < 0.6  # a disc around its own point
    # masks of small crops come first: they win between crops
    areas = [(p.crop[2] - p.crop[0]) * (p.crop[3] - p.crop[1]) for p in result.proposals]
    assert areas == sorted(areas)


def test_small_regions_are_cleaned_and_duplicates_removed() -> None:
    class Speckled(Blobs):
        def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
            batch = super().segment(embedding, prompts)
            batch.logits[:, 2, 0, 0] = 5  # an island far from the disc
            batch.logits[:, 3, 30, 40] = -5  # a hole in it
            return batch

    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, min_mask_region_area_px=4)
    cleaned = {p.token: p for p in generate(Speckled(), IMAGE, Grid(1), config).proposals}
    plain = {p.token: p for p in generate(Blobs(), IMAGE, Grid(1), OFF).proposals}
    assert cleaned.keys() == plain.keys()
    assert all(cleaned[t].rle == plain[t].rle for t in cleaned)
    assert all(cleaned[t].box == plain[t].box for t in cleaned)


# --- parts ---------------------------------------------------------------------------------------


def test_grid_points_are_cell_centres_row_by_row() -> None:
    assert grid_points(2, (4, 8)).tolist() == [[2, 1], [6, 1], [2, 3], [6, 3]]


def test_crop_boxes_by_hand() -> None:
    # 150 x 200: overlap int(512 / 1500 * 150) = 51, width ceil(251 / 2), height ceil(201 / 2)
    found = crops((150, 200), 1, 512 / 1500)
    assert [c.box for c in found] == [
        (0, 0, 200, 150),
        (0, 0, 126, 101),
        (0, 50, 126, 150),
        (75, 0, 200, 101),
        (75, 50, 200, 150),
    ]
    assert len(crops((600, 800), 3, 512 / 1500)) == 1 + 4 + 16 + 64


def test_masks_cut_by_a_crop() -> None:
    crop = Crop((100, 0, 300, 200), 1)
    boxes = np.array(
        [
            [121, 30, 279, 179],  # 21 pixels from every edge
            [120, 30, 279, 179],  # 20 from the left one
            [150, 0, 200, 100],  # at the top, which is the image's own edge
            [150, 50, 280, 100],
        ]
    )
    assert cut_by_crop(boxes, crop, (400, 400)).tolist() == [False, True, False, True]
    whole = Crop((0, 0, 400, 400), 0)
    assert not cut_by_crop(boxes * 0, whole, (400, 400)).any()


def test_nms_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.integers(0, 30, (40, 2))
        boxes = np.concatenate([corners, corners + rng.integers(0, 15, (40, 2))], axis=1)
        scores = rng.integers(0, 8, 40) / 8  # ties
        kept: list[int] = []
        for i in sorted(range(40), key=lambda i: -scores[i]):
            if all(_box_iou(boxes[i], boxes[j]) <= 0.4 for j in kept):
                kept.append(i)
        assert box_nms(boxes, scores, 0.4).tolist() == kept
    assert box_nms(np.empty((0, 4)), [], 0.5).tolist() == []


def test_regions() -> None:
    mask = np.zeros((9, 12), bool)
    mask[1:8, 1:8] = True
    mask[3, 3] = False  # a hole of 1
    mask[5:7, 5:7] = False  # a hole of 4
    mask[0, 10:12] = True  # an island of 2
    cleaned, changed = without_small_regions(mask, 3)
    expected = mask.copy()
    expected[3, 3] = True
    expected[0, 10:12] = False
    assert changed
    assert np.array_equal(cleaned, expected)
    assert without_small_regions(cleaned, 3)[1] is False
    largest, _ = without_small_regions(np.array([[1, 0, 1, 1]], bool), 100)
    assert largest.tolist() == [[False, False, True, True]] or largest.all()
