"""Box-fill: the prompt box itself is the mask.

The weakest sensible answer to a box prompt, and the floor of every box-prompted table: a model
below it does not segment. Needs no weights. Defined here; no published source.
"""

from __future__ import annotations

import numpy as np

from litesam_bench.adapters import binary_batch, touched_pixels
from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import (
    Capabilities,
    ImageU8,
    LoadContext,
    MaskBatch,
    Prompts,
    Segmenter,
    SizeHW,
)

SPECS = (
    SystemSpec(
        name="box-fill",
        family="box-fill",
        display="Box fill",
        capabilities=Capabilities(boxes=True, single_mask=True),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        notes="fills the prompt box; no weights",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Nothing to load."""
    return BoxFill()


class BoxFill:
    """Marks every pixel that the prompt box touches."""

    def embed(self, image: ImageU8) -> SizeHW:
        """Only the image's size matters."""
        return image.shape[0], image.shape[1]

    def segment(self, embedding: SizeHW, prompts: Prompts) -> MaskBatch:
        """Boxes (N, 4) to N masks at original-image size."""
        assert prompts.boxes is not None, "the SPEC declares boxes only"
        height, width = embedding
        x0, x1 = touched_pixels(prompts.boxes[:, 0], prompts.boxes[:, 2], width)
        y0, y1 = touched_pixels(prompts.boxes[:, 1], prompts.boxes[:, 3], height)
        masks = np.zeros((len(prompts), height, width), dtype=np.bool_)
        for mask, left, right, top, bottom in zip(masks, x0, x1, y0, y1, strict=True):
            mask[top:bottom, left:right] = True
        return binary_batch(masks)
