"""AutoPPN sampling: the prompts that a proposal network finds in the image's own embedding.

Works with every segmenter that has `propose`: Lite-SAM, or a SAM descendant whose embedding an
AutoPPN was trained on (Lite-SAM, Table 3: "SAM-B + AutoPPN").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from litesam_bench.errors import CapabilityError, UsageError
from litesam_bench.everything.grid import point_prompts
from litesam_bench.everything.proposals import BoolMask, View
from litesam_bench.types import Prompts, ProposingSegmenter


@dataclass(frozen=True)
class AutoPpnSampler:
    """The `count` best proposals; each as its point, its box, or both in one prompt.

    Fillers (score 0), which a network adds where it finds fewer, are not prompts.
    """

    count: int = 256
    kind: Literal["points", "boxes", "both"] = "points"
    rounds: int = 1
    confident_logit: float | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"AutoPPN with {self.count} prompts", fix="--sampler autoppn:256")

    @property
    def name(self) -> str:
        """`autoppn:256-points`."""
        return f"autoppn:{self.count}-{self.kind}"

    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """Raises CapabilityError for a segmenter without `propose`."""
        if not isinstance(view.segmenter, ProposingSegmenter):
            raise CapabilityError(
                f"{type(view.segmenter).__name__} has no prompt proposals of its own",
                fix="use --sampler grid:32, or a system with AutoPPN such as lite-sam",
            )
        proposed = view.segmenter.propose(view.embedding, self.count)
        real = np.flatnonzero(proposed.scores[: self.count] > 0)
        points, boxes = proposed.points[real], proposed.boxes[real]
        ids = tuple(real.tolist())
        if self.kind == "boxes":
            return Prompts(ids=ids, boxes=boxes)
        pointed = point_prompts(points)
        return Prompts(
            ids=ids,
            points=pointed.points,
            labels=pointed.labels,
            boxes=boxes if self.kind == "both" else None,
        )
