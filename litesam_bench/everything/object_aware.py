"""Object-aware sampling: a detector's boxes as prompts, as in MobileSAMv2.

MobileSAMv2 asks for one mask per box (token 0) and filters nothing afterwards; `OBJECT_AWARE` in
`presets.py` has these choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from litesam_bench.errors import UsageError
from litesam_bench.everything.proposals import BoolMask, View
from litesam_bench.types import Prompts

SNAP_PX = 20
"""Box sides this near to the image's edge, in a frame with a long side of 1024, move to it."""


@dataclass(frozen=True)
class ObjectAware:
    """The boxes of one image from a detector.

    boxes: image id to prompts with boxes in original pixels.
    source: what names the boxes in records: the file's sha256.
    """

    boxes: Callable[[int], Prompts] = field(repr=False)
    source: str
    rounds: int = 1
    confident_logit: float | None = None

    @property
    def name(self) -> str:
        """`object-aware:1f2e3d4c`, with the beginning of the source's hash."""
        return f"object-aware:{self.source[:8]}"

    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """All boxes of the image. Raises UsageError for crops, and without an image id."""
        if view.layer > 0 or view.image_id is None:
            what = "crops" if view.layer > 0 else "images outside a dataset"
            raise UsageError(
                f"the object-aware sampler has no boxes for {what}",
                fix="use --sampler grid, or give boxes with --boxes",
            )
        prompts = self.boxes(view.image_id)
        if prompts.boxes is None or len(prompts) == 0:
            return prompts
        height, width = view.size_hw
        near = SNAP_PX * max(height, width) / 1024
        high = np.array([width, height, width, height], np.float64)
        boxes = np.where(prompts.boxes < near, 0.0, prompts.boxes)
        return Prompts(ids=prompts.ids, boxes=np.where(boxes > high - near, high, boxes))
