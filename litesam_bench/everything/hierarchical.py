"""Hierarchical sampling: TinySAM's two passes, coarse grid first, then only where it found nothing.

Source: TinySAM, "hierarchical segmenting everything". A pass with a quarter of the grid; the union
of its kept masks at a logit above 8.5 is settled. The second pass tests the fine grid's points
around each coarse point that lie outside of it. Both passes share one box NMS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litesam_bench.errors import UsageError
from litesam_bench.everything.grid import grid_points, point_prompts
from litesam_bench.everything.proposals import BoolMask, View
from litesam_bench.types import FloatArray, Prompts, SizeHW

_COARSER = 4


@dataclass(frozen=True)
class Hierarchical:
    """`per_side` is the fine grid's; the coarse one has a quarter of it."""

    per_side: int = 32
    confident_logit: float | None = 8.5
    rounds: int = 2

    def __post_init__(self) -> None:
        if self.per_side < _COARSER:
            raise UsageError(
                f"a hierarchical grid of {self.per_side} has no coarse points",
                fix=f"use at least {_COARSER}: --sampler hierarchical:32",
            )

    @property
    def name(self) -> str:
        """`hierarchical:32`."""
        return f"hierarchical:{self.per_side}"

    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """The coarse grid, then the unsettled points between. Raises UsageError for crops."""
        if view.layer > 0:
            raise UsageError(
                "the hierarchical sampler is not defined for crops",
                fix="leave out --crop-layers, or use --sampler grid",
            )
        coarse = grid_points(self.per_side // _COARSER, view.size_hw)
        if round_number == 0:
            return point_prompts(coarse)
        assert confident is not None, "there are masks of round 0"
        fine = between(coarse, self.per_side, view.size_hw)
        column, row = fine.astype(np.int64).T
        return point_prompts(fine[~confident[row, column]])


def between(coarse: FloatArray, per_side: int, size_hw: SizeHW) -> FloatArray:
    """The fine points around (N, 2) coarse ones: offsets of -1, 0, 1 and 2 strides on either axis,
    without the coarse points themselves and without points outside the image. (M, 2)."""
    height, width = size_hw
    stride = np.array([width // per_side, height // per_side])
    steps = np.arange(-1, 3)
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    offsets = offsets[(offsets != 0).any(axis=1)]
    fine = (coarse[:, None] + offsets * stride).reshape(-1, 2)
    inside = ((fine >= 0) & (fine < [width, height])).all(axis=1)
    return np.asarray(fine[inside], np.float64)
