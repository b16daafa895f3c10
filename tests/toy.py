"""A dataset small enough to reason about, and segmenters whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from litesam_bench.errors import DataError
from litesam_bench.metrics import rle
from litesam_bench.registry import System
from litesam_bench.spec import SystemSpec
from litesam_bench.types import (
    Capabilities,
    Category,
    DatasetInfo,
    GroundTruth,
    ImageU8,
    Instance,
    LoadContext,
    MaskBatch,
    Prompts,
    Sample,
)

SIZE_HW = (24, 32)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A (24, 32) mask, true inside the half-open rectangle."""
    mask = np.zeros(SIZE_HW, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@dataclass
class ToyDataset:
    """`n` images of 24 x 32 with two rectangles each; image 3's second is a crowd region.

    Images named in `broken` raise DataError when decoded.
    """

    n: int = 6
    broken: set[int] = field(default_factory=set)

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo(
            name="toy", digest=f"d{self.n}" * 8, n_images=self.n, n_instances=2 * self.n, licence=""
        )

    @property
    def image_ids(self) -> Sequence[int]:
        return range(1, self.n + 1)

    @property
    def categories(self) -> Sequence[Category]:
        return (Category(1, "left"), Category(2, "right"))

    def truth(self, image_id: int) -> GroundTruth:
        boxes = [(2, 3, 10 + image_id, 15), (18, 4, 30, 20)]
        instances = tuple(
            Instance(
                id=10 * image_id + k,
                category_id=k + 1,
                rle=rle.encode(rectangle(*box)),
                bbox_xywh=(box[0], box[1], box[2] - box[0], box[3] - box[1]),
                area_px=float((box[2] - box[0]) * (box[3] - box[1])),
                iscrowd=(image_id == 3 and k == 1),
            )
            for k, box in enumerate(boxes)
        )
        return GroundTruth(image_id, f"{image_id}.png", f"/toy/{image_id}.png", SIZE_HW, instances)

    def sample(self, image_id: int) -> Sample:
        if image_id in self.broken:
            raise DataError(f"{image_id}.png is truncated", fix="fetch it again")
        image = np.full((*SIZE_HW, 3), image_id, np.uint8)
        return Sample(image, self.truth(image_id))


class ToySegmenter:
    """Fills the prompt box (token 0), and offers tokens 1..3: shrunk, exact and full image.

    For points it answers with a 9 x 9 square around the latest point. Its predicted IoU prefers
    token 2. `calls` counts `embed` and `segment`.
    """

    def __init__(self, spoil: Callable[[MaskBatch, int], MaskBatch] | None = None) -> None:
        self.spoil = spoil
        self.calls = {"embed": 0, "segment": 0}
        self.seen: list[Prompts] = []

    def embed(self, image: ImageU8) -> int:
        self.calls["embed"] += 1
        return int(image[0, 0, 0])

    def segment(self, embedding: int, prompts: Prompts) -> MaskBatch:
        self.calls["segment"] += 1
        self.seen.append(prompts)
        logits = torch.full((len(prompts), 4, *SIZE_HW), -4.0)
        for n in range(len(prompts)):
            if prompts.boxes is not None:
                x0, y0, x1, y1 = prompts.boxes[n].astype(int).tolist()
            else:
                assert prompts.points is not None
                x, y = prompts.points[n, -1].astype(int).tolist()
                x0, y0, x1, y1 = max(x - 4, 0), max(y - 4, 0), x + 5, y + 5
            for token in (0, 2):
                logits[n, token, y0:y1, x0:x1] = 4.0
            logits[n, 1, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 4.0
            logits[n, 3] = 4.0
        iou = torch.tensor([0.7, 0.6, 0.9, 0.1]).repeat(len(prompts), 1)
        masks = MaskBatch(logits, iou, (0, 1, 2, 3), lambda low: low.float())
        return self.spoil(masks, embedding) if self.spoil else masks


ABILITIES = Capabilities(
    points=True,
    negative_points=True,
    boxes=True,
    mask_prompt=True,
    single_mask=True,
    multimask=True,
    predicted_iou=True,
)


def toy_system(
    segmenter: ToySegmenter | None = None, capabilities: Capabilities = ABILITIES
) -> System:
    """A registered-like system around one segmenter."""
    answer = segmenter or ToySegmenter()

    def load(spec: SystemSpec, context: LoadContext) -> ToySegmenter:
        return answer

    spec = SystemSpec(
        name="toy", family="toy", display="Toy", capabilities=capabilities, training="trained"
    )
    return System(spec=spec, source=Path(__file__), load=load)
