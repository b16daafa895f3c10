"""Holes and islands: small connected regions of a mask or of its background."""

from __future__ import annotations

import cv2
import numpy as np

from litesam_bench.everything.proposals import BoolMask


def without_small_regions(mask: BoolMask, min_area_px: int) -> tuple[BoolMask, bool]:
    """Fill holes, then remove islands, smaller than `min_area_px`; (H, W), and whether it changed.

    Regions are 8-connected. Where every island is small, the largest stays.
    """
    filled, holes = _fill_holes(mask, min_area_px)
    cleaned, islands = _drop_islands(filled, min_area_px)
    return cleaned, holes or islands


def _regions(mask: BoolMask) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W), 0 outside, and the areas of labels 1, 2, ..."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, stats[1:, cv2.CC_STAT_AREA]


def _fill_holes(mask: BoolMask, min_area_px: int) -> tuple[BoolMask, bool]:
    labels, areas = _regions(~mask)
    small = np.flatnonzero(areas < min_area_px) + 1
    return mask | np.isin(labels, small), len(small) > 0


def _drop_islands(mask: BoolMask, min_area_px: int) -> tuple[BoolMask, bool]:
    labels, areas = _regions(mask)
    small = areas < min_area_px
    if not small.any():
        return mask, False
    large = np.flatnonzero(~small) + 1
    if len(large) == 0:
        large = np.array([np.argmax(areas) + 1])
    return np.isin(labels, large), True
