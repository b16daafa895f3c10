"""Edge detectors without weights: Sobel, Canny, Felzenszwalb and Huttenlocher's segmentation.

The settings in use, and how they were chosen on BSDS500's train and val splits, are in
`baselines/edges_classical.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba as nb
import numpy as np
import numpy.typing as npt

from litesam_bench.edges.maps import label_boundaries
from litesam_bench.edges.ridges import suppress
from litesam_bench.types import GroundTruth, ImageU8

if TYPE_CHECKING:
    from litesam_bench.everything.proposals import Proposal

FloatMap = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

_FULL_STEP = 4 * 255  # Sobel's answer to a step from black to white


@dataclass(frozen=True)
class Sobel:
    """Gradient magnitude by 3 x 3 Sobel filters; nothing is smoothed first.

    colour: take the strongest of the three channels at each pixel, else luminance.
    nms: keep only ridges across the gradient, as Canny does.
    per_image: divide by the image's largest magnitude, else by that of a step from black to white,
        so that one threshold means one contrast in all images.
    """

    colour: bool
    nms: bool
    per_image: bool

    def edge_map(self, image: ImageU8) -> FloatMap:
        """(H, W, 3) RGB uint8 to strength, (H, W) float64 in [0, 1]."""
        channels = np.moveaxis(image.astype(np.float64), 2, 0) if self.colour else [_grey(image)]
        gradients = np.array([_gradient(channel) for channel in channels])  # (C, 2, H, W)
        strongest = np.hypot(gradients[:, 0], gradients[:, 1]).argmax(0)
        gx, gy = np.take_along_axis(gradients, strongest[None, None], axis=0)[0]
        magnitude = np.hypot(gx, gy)
        top = magnitude.max() if self.per_image else _FULL_STEP
        strength = np.minimum(magnitude / top, 1) if top > 0 else magnitude
        return suppress(strength, "canny", np.arctan2(gy, gx)) if self.nms else strength


@dataclass(frozen=True)
class Canny:
    """Canny's detector at all thresholds at once.

    The upper threshold of the hysteresis is swept over `levels` values from high to low, the lower
    one follows at a fixed ratio. A pixel's strength is the highest upper threshold at which the
    detector still marks it: thresholding the map at t is running Canny at t.

    sigma: of the Gaussian, in pixels. ratio: lower threshold over upper threshold.
    gain: upper thresholds run from 0 to 1 / gain of a full step's magnitude.
    """

    sigma: float
    ratio: float
    gain: float
    levels: int = 99

    def edge_map(self, image: ImageU8) -> FloatMap:
        """(H, W, 3) RGB uint8 to strength, (H, W) float64 in [0, 1]."""
        import cv2

        # cv2.Canny takes 16-bit derivatives: use their range for the magnitudes that count.
        limit = np.iinfo(np.int16).max
        top = limit / 2
        smooth = _blur(_grey(image), self.sigma)
        derivatives = [g * (top * self.gain / _FULL_STEP) for g in _gradient(smooth)]
        dx, dy = (np.rint(np.clip(g, -limit, limit)).astype(np.int16) for g in derivatives)
        strength = np.zeros(image.shape[:2], np.float64)
        for k in range(self.levels, 0, -1):
            level = k / (self.levels + 1)
            marked = cv2.Canny(dx, dy, top * level * self.ratio, top * level, L2gradient=True) > 0
            strength[marked & (strength == 0)] = level
        return strength


@dataclass(frozen=True)
class FelzHutt:
    """Boundaries of Felzenszwalb and Huttenlocher's segmentation over a sweep of scales.

    A pixel's strength is the rank of the largest scale at which it is still a boundary, over the
    number of scales plus one.

    sigma, min_size_px: see `felzenszwalb_segmentations`. scales: ascending.
    """

    sigma: float
    min_size_px: int
    scales: tuple[float, ...] = tuple(50.0 * 10 ** (k / 8) for k in range(20))

    def edge_map(self, image: ImageU8) -> FloatMap:
        """(H, W, 3) RGB uint8 to strength, (H, W) float64 in [0, 1]."""
        labels = felzenszwalb_segmentations(
            image, self.scales, sigma=self.sigma, min_size_px=self.min_size_px
        )
        strength = np.zeros(image.shape[:2], np.float64)
        for rank, segments in enumerate(labels, start=1):
            strength[label_boundaries(segments)] = rank / (len(self.scales) + 1)
        return strength

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        """The segments of all scales as proposals: coarse scales first, each region once."""
        from litesam_bench.everything.own import proposals_of, segments_of_hierarchy

        levels = felzenszwalb_segmentations(
            image, self.scales, sigma=self.sigma, min_size_px=self.min_size_px
        )
        codes = segments_of_hierarchy(levels)
        ranks = [1 - i / len(codes) for i in range(len(codes))]
        return proposals_of(codes, ranks, (image.shape[0], image.shape[1]))


ClassicalDetector = Sobel | Canny | FelzHutt


def felzenszwalb_segmentations(
    image: ImageU8, scales: Sequence[float], *, sigma: float, min_size_px: int
) -> list[Labels]:
    """Felzenszwalb and Huttenlocher's graph segmentation at several scales.

    One label map, (H, W) int32, per scale. The image graph has edges to the 8 neighbours, weighted
    by the distance of smoothed RGB colours in [0, 255]; they are sorted once for all scales.

    Args:
        scales: the paper's k: larger values give larger segments.
        sigma: of the Gaussian that smooths first (the authors use 0.8), in pixels.
        min_size_px: smaller segments are merged into their most similar neighbour, in pixels.

    Source: Felzenszwalb, Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
    """
    height, width = image.shape[:2]
    smooth = _blur(image.astype(np.float64), sigma)
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    weights, ends_a, ends_b = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        here = (slice(max(0, -dy), height - max(0, dy)), slice(0, width - dx))
        there = (slice(max(0, dy), height + min(0, dy)), slice(dx, width))
        weights.append(np.sqrt(((smooth[here] - smooth[there]) ** 2).sum(-1)).ravel())
        ends_a.append(index[here].ravel())
        ends_b.append(index[there].ravel())
    weight, a, b = np.concatenate(weights), np.concatenate(ends_a), np.concatenate(ends_b)
    order = np.argsort(weight, kind="stable")
    weight, a, b = weight[order], a[order], b[order]
    return [
        _merge(weight, a, b, height * width, float(scale), min_size_px).reshape(height, width)
        for scale in scales
    ]


@nb.njit(cache=True, nogil=True)
def _merge(
    weight: FloatMap,
    a: npt.NDArray[np.int32],
    b: npt.NDArray[np.int32],
    n_pixels: int,
    scale: float,
    min_size_px: int,
) -> Labels:
    """Merge along edges by ascending weight. Labels are the pixel that represents a segment."""
    parent = np.arange(n_pixels).astype(np.int32)
    size = np.ones(n_pixels, np.int32)
    # The largest weight inside a segment plus scale / size: what another edge may weigh at most.
    limit = np.full(n_pixels, scale, np.float64)
    for phase in range(2):  # by the paper's criterion, then whatever is still too small
        for e in range(len(weight)):
            x, y = _root(parent, a[e]), _root(parent, b[e])
            if x == y:
                continue
            if phase == 0:
                join = weight[e] <= min(limit[x], limit[y])
            else:
                join = min(size[x], size[y]) < min_size_px
            if join:
                if size[x] < size[y]:
                    x, y = y, x
                parent[y] = x
                size[x] += size[y]
                limit[x] = weight[e] + scale / size[x]
    for p in range(n_pixels):
        parent[p] = _root(parent, p)
    return parent


@nb.njit(cache=True, nogil=True)
def _root(parent: npt.NDArray[np.int32], x: int) -> int:
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


def _grey(image: ImageU8) -> FloatMap:
    """Luminance (Rec. 601), (H, W) in [0, 255]."""
    luminance: FloatMap = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    return luminance


def _gradient(values: FloatMap) -> tuple[FloatMap, FloatMap]:
    """Derivatives to the right and down by Sobel filters; borders replicated."""
    import cv2

    gx = cv2.Sobel(values, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Sobel(values, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(gx, np.float64), np.asarray(gy, np.float64)


def _blur(values: FloatMap, sigma: float) -> FloatMap:
    import cv2

    if sigma == 0:
        return values
    side = 2 * math.ceil(4 * sigma) + 1
    blurred = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float64)
