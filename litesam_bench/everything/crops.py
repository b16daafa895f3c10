"""The crops of SAM's generator, and which masks a crop has cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from litesam_bench.everything.proposals import Box
from litesam_bench.types import SizeHW

EDGE_TOLERANCE_PX = 20


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the image, XYXY in integer pixels, and its layer (0: the whole image)."""

    box: Box
    layer: int

    @property
    def size_hw(self) -> SizeHW:
        """Height and width."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


def crops(size_hw: SizeHW, n_layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image, then layer i as 2^i x 2^i overlapping crops, column by column.

    A crop that would be empty (an image smaller than its number of crops) is left out.
    """
    height, width = size_hw
    found = [Crop((0, 0, width, height), 0)]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(size_hw) * (2 / n))
        crop_w = math.ceil((overlap * (n - 1) + width) / n)
        crop_h = math.ceil((overlap * (n - 1) + height) / n)
        for i, j in product(range(n), range(n)):
            x0, y0 = (crop_w - overlap) * i, (crop_h - overlap) * j
            x1, y1 = min(x0 + crop_w, width), min(y0 + crop_h, height)
            if x1 > x0 and y1 > y0:
                found.append(Crop((x0, y0, x1, y1), layer))
    return found


def cut_by_crop(boxes: npt.NDArray[np.int64], crop: Crop, size_hw: SizeHW) -> npt.NDArray[np.bool_]:
    """Which (N, 4) mask boxes, in original pixels, end at a crop's edge that is not the image's.

    Such a mask is probably a part of an object that goes on outside the crop.
    """
    image_box = np.array([0, 0, size_hw[1], size_hw[0]])
    near_crop = np.abs(boxes - np.array(crop.box)) <= EDGE_TOLERANCE_PX
    near_image = np.abs(boxes - image_box) <= EDGE_TOLERANCE_PX
    return np.asarray((near_crop & ~near_image).any(axis=1))
