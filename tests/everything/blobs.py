"""A segmenter whose answers follow from the prompt alone, at any image size."""

from __future__ import annotations

import numpy as np
import torch

from litesam_bench.types import ImageU8, MaskBatch, Prompts, ProposedPrompts, SizeHW


class Blobs:
    """Discs around the prompt: tokens 1, 2, 3 have radius 3, 6, 12; token 0 is token 2.

    A point in the image's leftmost eighth has a rough edge (low stability). The predicted IoU falls
    with the token and, a little, with the point's position.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory  # prompts per call before it runs out
        self.batches: list[int] = []

    def embed(self, image: ImageU8) -> SizeHW:
        return image.shape[0], image.shape[1]

    def segment(self, embedding: SizeHW, prompts: Prompts) -> MaskBatch:
        self.batches.append(len(prompts))
        if self.memory is not None and len(prompts) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        h, w = embedding
        y, x = np.mgrid[:h, :w] + 0.5
        if prompts.points is not None:
            centres = prompts.points[:, 0]
        else:
            assert prompts.boxes is not None
            centres = (prompts.boxes[:, :2] + prompts.boxes[:, 2:]) / 2
        logits = np.empty((len(prompts), 4, h, w), np.float32)
        iou = np.empty((len(prompts), 4), np.float32)
        for n, (cx, cy) in enumerate(centres):
            slope = 0.1 if cx < w / 8 else 4.0
            for token, radius in enumerate((6, 3, 6, 12)):
                logits[n, token] = slope * (radius - np.hypot(x - cx, y - cy))
                iou[n, token] = 1 - 0.05 * token - 1e-4 * (cx / w + cy / h)
        return MaskBatch(
            torch.from_numpy(logits), torch.from_numpy(iou), (0, 1, 2, 3), lambda low: low
        )

    def propose(self, embedding: SizeHW, count: int) -> ProposedPrompts:
        """Two real proposals and a filler."""
        points = np.array([[20.0, 10.0], [40.0, 30.0], [0.0, 0.0]])
        boxes = np.concatenate([points - 5, points + 5], axis=1)
        return ProposedPrompts(points, boxes, np.array([0.9, 0.5, 0.0]))


class Plain:
    """The same without `propose`."""

    def __init__(self) -> None:
        self.blobs = Blobs()

    def embed(self, image: ImageU8) -> SizeHW:
        return self.blobs.embed(image)

    def segment(self, embedding: SizeHW, prompts: Prompts) -> MaskBatch:
        return self.blobs.segment(embedding, prompts)


def blank(h: int, w: int) -> ImageU8:
    """An image without content."""
    return np.zeros((h, w, 3), np.uint8)
