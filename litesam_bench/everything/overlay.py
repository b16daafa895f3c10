"""Masks over their image, for a person to look at."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from litesam_bench.metrics import rle
from litesam_bench.types import ImageU8, Rle

_ALPHA = 0.5
_GOLDEN = 0.618034  # steps of the hue that keep neighbours far apart, for any number of masks


def overlay(image: ImageU8, masks: Sequence[Rle]) -> ImageU8:
    """The image with every mask tinted in a colour of its own and outlined.

    Large masks are painted first, so that small ones stay visible. The colours depend on the order
    of the masks alone.
    """
    painted = image.copy()
    areas = [rle.area(mask) for mask in masks]
    for i in sorted(range(len(masks)), key=lambda i: -areas[i]):
        mask = rle.decode(masks[i])
        colour = np.array(colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.8, 1.0), np.float32) * 255
        # over the image, not over larger masks: what lies below stays recognisable
        tinted = (1 - _ALPHA) * image[mask].astype(np.float32) + _ALPHA * colour
        painted[mask] = tinted.round().astype(np.uint8)
        painted[outline(mask)] = colour.round().astype(np.uint8)
    return painted


def outline(
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Pixels of the mask with a neighbour (of four) outside it; the image border is outside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside
