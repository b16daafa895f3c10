"""Edges from a promptable model's masks, as in the SAM paper (appendix D.2).

    grid of points -> masks, no quality filter, box NMS -> probability maps -> Sobel magnitude
    -> kept on each mask's own outline -> maximum over masks -> scaled to [0, 1] -> edge NMS

The paper leaves open how edges are thinned and what happens at the image border, where every mask
that touches it ends in a false edge; both are choices with a name here. Steps in order: scaling,
edge NMS, border.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from litesam_bench.edges.ridges import check_preset, suppress
from litesam_bench.types import ImageU8, Segmenter

FloatMap = npt.NDArray[np.float64]
FloatMap32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MaskEdges:
    """How maps are made of masks.

    sampler: where prompts come from, as `--sampler` takes it ("grid:16").
    nms: a preset of `ridges`.
    border_px: width of the frame that is blanked.
    batch: prompts per call.
    """

    sampler: str = "grid:16"
    nms: str = "dollar-r1"
    border_px: int = 0
    batch: int = 64

    def __post_init__(self) -> None:
        from litesam_bench.everything.presets import parse_sampler

        check_preset(self.nms)
        parse_sampler(self.sampler)

    @property
    def variant(self) -> str:
        """As it stands in a protocol id."""
        border = f"-border{self.border_px}" if self.border_px else ""
        return f"{self.sampler}-{self.nms}{border}"

    def knobs(self) -> dict[str, Any]:
        """What changes the maps."""
        from litesam_bench.everything.presets import EDGES

        return {
            "sampler": self.sampler,
            "nms": self.nms,
            "border_px": self.border_px,
            "generator": EDGES.knobs(),
        }


def edges_from_masks(segmenter: Segmenter, how: MaskEdges) -> MaskEdgeDetector:
    """An edge detector around a segmenter that takes points and returns several masks."""
    return MaskEdgeDetector(segmenter, how)


class MaskEdgeDetector:
    """An `EdgeDetector`: see the module's docstring."""

    def __init__(self, segmenter: Segmenter, how: MaskEdges) -> None:
        self._segmenter = segmenter
        self._how = how

    def edge_map(self, image: ImageU8) -> FloatMap:
        """(H, W, 3) RGB uint8 to (H, W) float64 in [0, 1]."""
        import torch

        from litesam_bench.everything.generator import generate
        from litesam_bench.everything.presets import EDGES, parse_sampler

        found = generate(
            self._segmenter,
            image,
            parse_sampler(self._how.sampler),
            replace(EDGES, points_per_batch=self._how.batch),
            keep_logits=True,
        )
        assert found.logits is not None, "they were asked for"
        edges = StrongestEdges(image.shape[:2])
        with torch.inference_mode():
            for i in range(len(found.proposals)):
                edges.add(found.logits(i).float().cpu().numpy())
        return edges.finish(self._how.nms, self._how.border_px)


class StrongestEdges:
    """The maximum over masks of each mask's edges, and the direction across the strongest."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self._strength = np.zeros(size_hw, np.float32)
        self._normal = np.zeros(size_hw, np.float32)

    def add(self, logits: FloatMap32) -> None:
        """One mask's logits at image size, (H, W) float32; foreground where > 0."""
        import cv2

        # exp may overflow to infinity or underflow to 0: probability 0 or 1, as it should be
        with np.errstate(over="ignore", under="ignore"):
            probability: FloatMap32 = np.float32(1) / (np.float32(1) + np.exp(-logits))
        gx, gy = _sobel(probability)
        # Faint waves far from the mask would add up over hundreds of masks.
        outline_x, outline_y = _sobel((logits > 0).astype(np.float32))
        magnitude = cv2.magnitude(gx, gy)
        magnitude[(outline_x == 0) & (outline_y == 0)] = 0
        stronger = magnitude > self._strength
        self._strength[stronger] = magnitude[stronger]
        self._normal[stronger] = np.arctan2(gy[stronger], gx[stronger])

    def finish(self, nms: str, border_px: int) -> FloatMap:
        """Scale linearly so that the weakest pixel is 0 and the strongest 1, thin, blank the frame.

        An image without any mask has no edges.
        """
        strength = self._strength.astype(np.float64)
        low, high = strength.min(), strength.max()
        if high > low:
            strength = (strength - low) / (high - low)
        ridges = suppress(strength, nms, self._normal.astype(np.float64))
        if border_px:
            inside = np.zeros(ridges.shape, bool)
            inside[border_px:-border_px, border_px:-border_px] = True
            ridges = np.where(inside, ridges, 0)
        return ridges


def _sobel(values: FloatMap32) -> tuple[FloatMap32, FloatMap32]:
    """Derivatives with zeros outside, as the paper's reproductions do."""
    import cv2

    gx = cv2.Sobel(values, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.Sobel(values, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(gx, np.float32), np.asarray(gy, np.float32)
