"""Drawn prompts: outlines where the prompt is, bounds where the box ends."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litesam_bench.lite_sam.configs import LITE_SAM
from litesam_bench.lite_sam.model import build
from litesam_bench.lite_sam.prior import PromptPrior, bound_boxes, draw_boxes, draw_points
from litesam_bench.sam.mask_decoder import Features


def upsampled(drawn: Tensor) -> Tensor:
    return F.interpolate(drawn[:, None], scale_factor=4.0, mode="bilinear")[:, 0]


@pytest.mark.parametrize(
    ("box", "least_iou"),
    [
        ((20.0, 12.0, 100.0, 60.0), 0.97),
        ((33.0, 41.0, 49.0, 62.0), 0.9),
        ((50.0, 50.0, 60.0, 60.0), 0.8),  # two and a half cells
    ],
)
def test_a_box_is_drawn_as_the_ellipse_inside_it(box: tuple[float, ...], least_iou: float) -> None:
    mask = upsampled(draw_boxes(torch.tensor([box]), (32, 32), 4))[0] > 0
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    u = (x - (box[0] + box[2]) / 2) / ((box[2] - box[0]) / 2)
    v = (y - (box[1] + box[3]) / 2) / ((box[3] - box[1]) / 2)
    ellipse = u.square() + v.square() <= 1
    assert float((mask & ellipse).sum() / (mask | ellipse).sum()) > least_iou


def test_a_box_bounds_to_the_pixel() -> None:
    box = torch.tensor([[21.0, 14.0, 83.0, 57.0]])
    inside = upsampled(bound_boxes(box, (32, 32), 4))[0] > 0
    expected = torch.zeros(128, 128, dtype=torch.bool)
    expected[14:57, 21:83] = True
    wrong = inside ^ expected
    assert int(wrong.sum()) <= 4 * 4  # at most a few pixels where two planes meet, at the corners


def test_tiny_boxes_keep_a_mask() -> None:
    boxes = torch.tensor([[8.0, 8.0, 9.0, 9.0], [10.0, 10.0, 14.0, 14.0], [7.9, 7.9, 8.1, 30.0]])
    assert (upsampled(bound_boxes(boxes, (16, 16), 4)) > 0).any((1, 2)).all()


def test_points_raise_and_lower() -> None:
    points = torch.tensor([[[30.0, 30.0], [90.0, 90.0]]] * 3)
    labels = torch.tensor([[1, -1], [1, 0], [1, 1]])
    drawn = draw_points(points, labels, (32, 32), 4)
    at = [drawn[:, 7, 7], drawn[:, 22, 22]]
    assert (at[0] > 0).all()  # the object is at the first point in any case
    assert float(at[0][0]) > 0.9
    assert float(at[1][0]) < 0  # padding does nothing
    assert float(at[1][1]) < float(at[1][0])  # background lowers
    assert float(at[1][2]) > 0.9


def test_nothing_of_a_mask_lies_outside_of_its_box() -> None:
    model = build(LITE_SAM, seed=0)
    torch.nn.init.constant_(model.prior.bias, 100.0)  # a model that wants everything
    torch.manual_seed(0)
    with torch.no_grad():
        logits, _ = model.decode(
            model.encode(torch.randn(1, 3, 128, 128)),
            (128, 128),
            boxes=torch.tensor([[40.0, 24.0, 88.0, 72.0]]),
        )
    mask = F.interpolate(logits, scale_factor=4.0, mode="bilinear")[0] > 0
    area = torch.zeros(128, 128, dtype=torch.bool)
    area[24:72, 40:88] = True
    assert not (mask & ~area).any()
    assert mask[:, 26:70, 42:86].all()


def test_the_region_token_tells_inside_from_around() -> None:
    prior = PromptPrior(64, 4)
    fine = torch.zeros(1, 8, 32, 32)
    fine[:, :, 8:16, 8:16] = 1.0
    features = Features(torch.zeros(1, 64, 8, 8), torch.zeros(1, 16, 16, 16), fine)
    seen: list[Tensor] = []
    prior.region.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    drawn = draw_boxes(torch.tensor([[32.0, 32.0, 64.0, 64.0]]), (32, 32), 4)
    assert prior.region_token(features, drawn).shape == (1, 1, 64)
    inside, around = seen[0][0, :8], seen[0][0, 8:16]
    assert (inside > 0.85).all()
    assert (around < 0.5).all()


def test_adding_to_chosen_masks_is_adding_to_all() -> None:
    prior = PromptPrior(64, 4)
    torch.nn.init.normal_(prior.weight)
    torch.nn.init.normal_(prior.bias)
    logits, drawn = torch.randn(3, 4, 8, 8), torch.randn(3, 8, 8)
    every = prior.add(logits, drawn)
    prompts, tokens = torch.tensor([0, 2, 2]), torch.tensor([3, 0, 1])
    chosen = prior.add_each(logits[prompts, tokens], drawn[prompts], tokens)
    torch.testing.assert_close(chosen, every[prompts, tokens])
