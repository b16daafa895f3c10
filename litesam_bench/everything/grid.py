"""Grid sampling: n x n points at the centres of equal cells, as in SAM's generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litesam_bench.errors import UsageError
from litesam_bench.everything.proposals import BoolMask, View
from litesam_bench.types import FloatArray, Prompts, SizeHW


def grid_points(n: int, size_hw: SizeHW) -> FloatArray:
    """(n * n, 2) xy pixels: ((k + 1/2) / n of the width, of the height), row by row."""
    steps = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(steps * size_hw[1], steps * size_hw[0])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def point_prompts(points: FloatArray) -> Prompts:
    """One foreground point per prompt, from (N, 2) xy."""
    return Prompts(
        ids=tuple(range(len(points))),
        points=points.reshape(-1, 1, 2),
        labels=np.ones((len(points), 1), np.int64),
    )


@dataclass(frozen=True)
class Grid:
    """`per_side` points per side of the image; crops of layer i have per_side / downscale^i."""

    per_side: int = 32
    downscale: int = 1
    rounds: int = 1
    confident_logit: float | None = None

    def __post_init__(self) -> None:
        if self.per_side < 1 or self.downscale < 1:
            raise UsageError(
                f"a grid of {self.per_side} points a side, downscaled by {self.downscale}, "
                "has no points",
                fix="use at least 1 for both: --sampler grid:32",
            )

    @property
    def name(self) -> str:
        """`grid:32`, and `grid:32/2` where crops get coarser grids."""
        return f"grid:{self.per_side}" + (f"/{self.downscale}" if self.downscale > 1 else "")

    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """The grid of the view's layer."""
        per_side = int(self.per_side / self.downscale**view.layer)
        return point_prompts(grid_points(per_side, view.size_hw))
