"""Systems that segment everything in a way of their own, without prompts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from litesam_bench.everything.generator import areas_and_boxes
from litesam_bench.everything.proposals import Proposal
from litesam_bench.metrics.labels import segment_masks
from litesam_bench.types import GroundTruth, ImageU8, Rle, SizeHW


@runtime_checkable
class OwnEverything(Protocol):
    """A system with `Capabilities.everything`: FastSAM, segmentation hierarchies, the oracle."""

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        """All proposals of an image, (H, W, 3) RGB uint8, best first.

        `truth` is given to systems that declare `needs_ground_truth` only, else None.
        """
        ...


def proposals_of(
    codes: Iterable[Rle], scores: Iterable[float], size_hw: SizeHW
) -> tuple[Proposal, ...]:
    """Masks and one score each as proposals; stability is the score as well, so that every ranking
    key orders them alike."""
    codes = list(codes)
    areas, boxes = areas_and_boxes(codes)
    return tuple(
        Proposal(
            rle=code,
            area_px=area,
            box=box,
            predicted_iou=score,
            stability=score,
            prompt_id=i,
            token=0,
            point=None,
            crop=(0, 0, size_hw[1], size_hw[0]),
        )
        for i, (code, area, box, score) in enumerate(zip(codes, areas, boxes, scores, strict=True))
    )


def segments_of_hierarchy(levels: Iterable[npt.NDArray[np.int32]], limit: int = 1000) -> list[Rle]:
    """The segments of several segmentations, coarsest level first, each region once.

    Args:
        levels: label maps (H, W), fine to coarse.
        limit: most segments; what is left out is the finest.
    """
    found: dict[bytes, Rle] = {}
    for labels in reversed(list(levels)):
        for code in segment_masks(labels):
            found.setdefault(code["counts"], code)
            if len(found) == limit:
                return list(found.values())
    return list(found.values())
