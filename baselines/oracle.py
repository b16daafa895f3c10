"""Oracle: returns the ground truth of each prompt.

Proves that every metric reaches its maximum: where the oracle scores below 1, the protocol and not
a model is the cause (an annotation without pixels, ground truth that is resampled, ties in AP).
Needs no weights. Defined here; no published source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam_bench.adapters import binary_batch
from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import (
    Capabilities,
    GroundTruth,
    ImageU8,
    LoadContext,
    MaskBatch,
    Prompts,
    Segmenter,
    SizeHW,
)

if TYPE_CHECKING:
    from litesam_bench.everything.proposals import Proposal

SPECS = (
    SystemSpec(
        name="oracle",
        family="oracle",
        display="Oracle",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            mask_prompt=True,
            single_mask=True,
            everything=True,
            needs_ground_truth=True,
        ),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        notes="returns the ground truth; the ceiling of every metric, not a result",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Nothing to load."""
    return Oracle()


class Oracle:
    """Decodes `prompts.targets`, whatever the prompts say."""

    def embed(self, image: ImageU8) -> SizeHW:
        """Only the image's size matters."""
        return image.shape[0], image.shape[1]

    def segment(self, embedding: SizeHW, prompts: Prompts) -> MaskBatch:
        """Targets, N encodings of (H, W), to N masks at original-image size."""
        from pycocotools import mask as coco_mask

        assert prompts.targets is not None, "the SPEC declares needs_ground_truth"
        masks = np.ascontiguousarray(  # pycocotools stacks along the last axis: (H, W, N)
            coco_mask.decode(list(prompts.targets)).transpose(2, 0, 1).astype(np.bool_)
        )
        assert masks.shape[1:] == embedding, "targets and image have the same size"
        return binary_batch(masks)

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        """Every annotated object that counts, crowds excluded; all have the same score."""
        from litesam_bench.everything.own import proposals_of

        assert truth is not None, "the SPEC declares needs_ground_truth"
        codes = [instance.rle for instance in truth.instances if not instance.iscrowd]
        return proposals_of(codes, [1.0] * len(codes), truth.size_hw)
