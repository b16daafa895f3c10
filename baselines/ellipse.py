"""Ellipse: the ellipse inscribed in the prompt box is the mask.

What is known about an object from its box and nothing else: a model that takes a box prompt has to
pass it. Needs no weights. Defined here; no published source.
"""

from __future__ import annotations

import numpy as np

from litesam_bench.adapters import binary_batch
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
        name="ellipse",
        family="ellipse",
        display="Inscribed ellipse",
        capabilities=Capabilities(boxes=True, single_mask=True),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        notes="fills the ellipse inscribed in the prompt box; no weights",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Nothing to load."""
    return Ellipse()


class Ellipse:
    """Marks the pixels whose centres lie in the ellipse that touches the four sides of the box."""

    def embed(self, image: ImageU8) -> SizeHW:
        """Only the image's size matters."""
        return image.shape[0], image.shape[1]

    def segment(self, embedding: SizeHW, prompts: Prompts) -> MaskBatch:
        """Boxes (N, 4) to N masks at original-image size; a box without area gives no pixel."""
        assert prompts.boxes is not None, "the SPEC declares boxes only"
        height, width = embedding
        x0, y0, x1, y1 = prompts.boxes.T[:, :, None]  # each (N, 1)
        x = np.arange(width) + 0.5  # pixel centres
        y = np.arange(height) + 0.5
        half_height = np.maximum((y1 - y0) / 2, np.finfo(np.float64).tiny)
        from_axis = (y - (y0 + y1) / 2) / half_height  # (N, H), within -1..1 inside the box
        # The chord of each row: two comparisons per pixel instead of a quadratic form.
        half_chord = (x1 - x0) / 2 * np.sqrt(np.clip(1 - from_axis**2, 0, None))
        half_chord[np.abs(from_axis) >= 1] = -1
        left, right = (x0 + x1) / 2 - half_chord, (x0 + x1) / 2 + half_chord  # (N, H)
        return binary_batch((left[:, :, None] <= x) & (x <= right[:, :, None]))
