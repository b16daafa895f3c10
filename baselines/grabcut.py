"""GrabCut: colour models and a graph cut inside the prompt box, without learning.

Rother, Kolmogorov, Blake, "GrabCut: interactive foreground extraction using iterated graph cuts"
(SIGGRAPH 2004), in OpenCV's implementation (`cv2.grabCut`, initialised by a rectangle, 5
iterations). What a box prompt gave before learned models. Needs no weights.

Decided here:

* the cut sees the box and a margin of half its sides around it (at least 8 pixels), not the whole
  image: background far away says little about the object, and the time falls with the area;
* the filled box is the answer where GrabCut has none: fewer than 2 pixels on a side, no background
  pixel in the window (the box covers the whole image), or an empty foreground after the cut;
* OpenCV's random generator, which seeds the colour clusters, is set before every box from
  `LoadContext.seed`, so that the answer does not depend on what ran before.
"""

from __future__ import annotations

import numpy as np

from litesam_bench.adapters import BoolArray, binary_batch, touched_pixels
from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import Capabilities, ImageU8, LoadContext, MaskBatch, Prompts, Segmenter

SPECS = (
    SystemSpec(
        name="grabcut",
        family="grabcut",
        display="GrabCut",
        capabilities=Capabilities(boxes=True, single_mask=True),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        upstream="https://github.com/opencv/opencv",
        notes="cv2.grabCut, 5 iterations, box plus margin; no weights",
    ),
)

ITERATIONS = 5
MARGIN = 0.5  # of the box's side, on each side
MIN_MARGIN_PX = 8
MIN_SIDE_PX = 2


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Nothing to load."""
    return GrabCut(seed=context.seed)


class GrabCut:
    """Cuts every box on its own; the embedding is the image."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def embed(self, image: ImageU8) -> ImageU8:
        return image

    def segment(self, embedding: ImageU8, prompts: Prompts) -> MaskBatch:
        """Boxes (N, 4) to N masks at original-image size."""
        assert prompts.boxes is not None, "the SPEC declares boxes only"
        height, width = embedding.shape[:2]
        x0, x1 = touched_pixels(prompts.boxes[:, 0], prompts.boxes[:, 2], width)
        y0, y1 = touched_pixels(prompts.boxes[:, 1], prompts.boxes[:, 3], height)
        masks = np.zeros((len(prompts), height, width), dtype=np.bool_)
        for mask, *box in zip(masks, x0, y0, x1, y1, strict=True):
            left, top, right, bottom = (int(edge) for edge in box)
            mask[top:bottom, left:right] = self._cut(embedding, left, top, right, bottom)
        return binary_batch(masks)

    def _cut(self, image: ImageU8, left: int, top: int, right: int, bottom: int) -> BoolArray:
        """Foreground within the box, (bottom - top, right - left)."""
        import cv2

        box_w, box_h = right - left, bottom - top
        filled = np.ones((box_h, box_w), dtype=np.bool_)
        margin_x = max(MIN_MARGIN_PX, round(MARGIN * box_w))
        margin_y = max(MIN_MARGIN_PX, round(MARGIN * box_h))
        window_x, window_y = max(0, left - margin_x), max(0, top - margin_y)
        window = np.ascontiguousarray(
            image[window_y : bottom + margin_y, window_x : right + margin_x]
        )
        if min(box_w, box_h) < MIN_SIDE_PX or window.shape[:2] == (box_h, box_w):
            return filled
        labels = np.zeros(window.shape[:2], dtype=np.uint8)
        cv2.setRNGSeed(self.seed)
        cv2.grabCut(
            window,
            labels,
            (left - window_x, top - window_y, box_w, box_h),
            np.zeros((1, 65)),  # colour models, 5 components of 13 numbers: OpenCV's work space
            np.zeros((1, 65)),
            ITERATIONS,
            cv2.GC_INIT_WITH_RECT,
        )
        inside = labels[top - window_y : bottom - window_y, left - window_x : right - window_x]
        foreground = (inside == cv2.GC_FGD) | (inside == cv2.GC_PR_FGD)
        return foreground if foreground.any() else filled
