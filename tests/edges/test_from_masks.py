"""Edges from a promptable model's masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litesam_bench.edges.from_masks import MaskEdges, StrongestEdges, edges_from_masks
from litesam_bench.errors import UsageError
from litesam_bench.types import MaskBatch, Prompts


def disc(radius: float, sharpness: float, centre: tuple[float, float] = (32, 32)) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    return ((radius - np.hypot(x - centre[0], y - centre[1])) * sharpness).astype(np.float32)


def test_the_outline_of_a_mask_is_its_edge() -> None:
    edges = StrongestEdges((64, 64))
    edges.add(disc(20, 2))
    strength = edges.finish("canny", 0)
    y, x = np.nonzero(strength > 0.3)
    assert len(y) > 60
    assert np.abs(np.hypot(x - 32, y - 32) - 20).max() < 1.5
    assert strength.max() == 1
    assert strength[32, 32] == 0


def test_a_surer_outline_wins_and_faint_waves_do_not_count() -> None:
    edges = StrongestEdges((64, 64))
    edges.add(disc(20, 0.2))
    edges.add(disc(8, 4))
    strength = edges.finish("none", 0)
    assert strength[32, 40] == pytest.approx(1, abs=0.05)
    assert 0 < strength[32, 52] < 0.3
    # a soft mask's probability still slopes 6 pixels from its outline; nothing is counted there
    assert strength[32, 58] == 0


def test_no_mask_is_no_edge_and_huge_logits_are_no_error() -> None:
    assert StrongestEdges((5, 7)).finish("dollar-r1", 0).max() == 0
    edges = StrongestEdges((64, 64))
    with np.errstate(all="raise"):
        edges.add(np.where(disc(20, 1) > 0, 1e4, -np.inf).astype(np.float32))
    assert edges.finish("none", 0).max() == 1


def test_border_is_blanked_on_request() -> None:
    logits = np.where(np.arange(64)[:, None] < 30, 5.0, -5.0).repeat(64, 1).astype(np.float32)
    edges = StrongestEdges((64, 64))
    edges.add(logits)
    framed = edges.finish("none", 0)
    assert framed[10, 0] > 0  # zeros outside the image make an edge of every mask that ends there
    blanked = edges.finish("none", 3)
    assert blanked[:3].max() == blanked[:, -3:].max() == 0
    assert blanked[29, 30] == framed[29, 30] > 0
    assert StrongestEdges((4, 4)).finish("none", 3).shape == (4, 4)


class Discs:
    """A segmenter that answers every point with three discs around it."""

    def embed(self, image: Any) -> tuple[int, int]:
        return image.shape[:2]

    def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
        import torch

        assert prompts.points is not None
        y, x = torch.meshgrid(*(torch.arange(n) for n in embedding), indexing="ij")
        px = torch.as_tensor(prompts.points[:, 0])
        away = torch.hypot(x - px[:, 0, None, None], y - px[:, 1, None, None])
        radii = torch.tensor([4.0, 7.0, 10.0])
        logits = (radii[None, :, None, None] - away[:, None]).float()
        return MaskBatch(
            logits=logits,
            iou=torch.ones(len(prompts), 3),
            tokens=(1, 2, 3),
            to_image=lambda low: low,
        )


def test_a_segmenter_becomes_an_edge_detector() -> None:
    detector = edges_from_masks(Discs(), MaskEdges(sampler="grid:2", nms="none"))
    strength = detector.edge_map(np.zeros((48, 64, 3), np.uint8))
    assert strength.shape == (48, 64)
    # grid points are at (16, 12), ...: the outline of the largest disc is 10 pixels to the left
    assert strength[12, 6] > 0
    assert strength[12, 16] == 0
    assert strength.max() == 1


def test_choices_are_checked_and_named() -> None:
    assert MaskEdges().variant == "grid:16-dollar-r1"
    assert MaskEdges("autoppn:256", "none", 5).variant == "autoppn:256-none-border5"
    with pytest.raises(UsageError, match="unknown sampler"):
        MaskEdges(sampler="hexagons")
    with pytest.raises(UsageError, match="unknown edge NMS"):
        MaskEdges(nms="hed")
