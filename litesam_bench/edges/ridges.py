"""Edge non-maximum suppression: keep the ridges of an edge map.

How the SAM paper thinned its maps is not published and no two reproductions agree, so each way has
a name, which stands in the protocol id:

| name | rule |
|---|---|
| `dollar-r1`, `dollar-r2` | `edgesNms` of Dollar's structured-edge toolbox, radius 1 or 2 |
| `canny` | Canny's: no neighbour along the gradient of the winning mask is stronger |
| `none` | the map as it is |
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt

from litesam_bench.errors import UsageError

FloatMap = npt.NDArray[np.float64]

PRESETS = ("dollar-r1", "dollar-r2", "canny", "none")

# The toolbox's own choices: how much a pixel is favoured over its neighbours, and the ramp at
# the border, where orientations cannot be trusted.
_FAVOUR = 1.01
_RAMP_PX = 5


def check_preset(preset: str) -> None:
    """Raise UsageError unless `preset` is one of PRESETS."""
    if preset not in PRESETS:
        raise UsageError(f"unknown edge NMS {preset!r}", fix=f"use one of {', '.join(PRESETS)}")


def suppress(strength: FloatMap, preset: str, normal: FloatMap | None = None) -> FloatMap:
    """Keep ridges only.

    Args:
        strength: (H, W) in [0, 1].
        preset: one of PRESETS.
        normal: (H, W) radians, the direction across the edge, x to the right and y down. `canny`
            needs it; the toolbox estimates its own from the map.

    Returns:
        (H, W) in [0, 1], zero off the ridges.
    """
    check_preset(preset)
    if preset == "none":
        return strength
    if preset == "canny":
        assert normal is not None, "canny needs the direction of the gradient"
        return _suppress(strength, normal, 1, 1.0, 0)
    smooth = triangle_filter(strength, 1)
    return _suppress(smooth, _normal_of(smooth), int(preset[-1]), _FAVOUR, _RAMP_PX)


def triangle_filter(values: FloatMap, radius: int) -> FloatMap:
    """The toolbox's `convTri`: weights 1, 2, ..., r+1, ..., 2, 1 both ways, borders mirrored."""
    import cv2

    kernel = np.concatenate([np.arange(1, radius + 2), np.arange(radius, 0, -1)]).astype(np.float64)
    kernel /= kernel.sum()
    filtered = cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(filtered, np.float64)


def _normal_of(strength: FloatMap) -> FloatMap:
    """Direction across the edge from second derivatives of the smoothed map, in [0, pi)."""
    dy, dx = np.gradient(triangle_filter(strength, 4))
    dxx = np.gradient(dx, axis=1)
    dyy, dxy = np.gradient(dy)
    below = dxx + 1e-5
    below[below == 0] = 1e-5  # a flat region has no direction; any will do
    normal: FloatMap = np.mod(np.arctan(dyy * np.sign(-dxy) / below), np.pi)
    return normal


@nb.njit(cache=True, nogil=True)
def _suppress(
    strength: FloatMap, normal: FloatMap, radius: int, favour: float, ramp: int
) -> FloatMap:
    """Zero where a sample within `radius` along the normal exceeds `favour` times the pixel."""
    height, width = strength.shape
    kept = strength.copy()
    for y in range(height):
        for x in range(width):
            if strength[y, x] == 0:
                continue
            own = strength[y, x] * favour
            step_x, step_y = math.cos(normal[y, x]), math.sin(normal[y, x])
            for d in range(-radius, radius + 1):
                if d != 0 and own < _sample(strength, x + d * step_x, y + d * step_y):
                    kept[y, x] = 0
                    break
    ramp = min(ramp, min(height, width) // 2)
    for k in range(ramp):
        share = k / ramp
        kept[k, :] *= share
        kept[height - 1 - k, :] *= share
        kept[:, k] *= share
        kept[:, width - 1 - k] *= share
    return kept


@nb.njit(cache=True, nogil=True)
def _sample(values: FloatMap, x: float, y: float) -> float:
    """Bilinear; outside, the nearest value inside."""
    height, width = values.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = values[y0, x0] * (1 - fx) + values[y0, x1] * fx
    bottom = values[y1, x0] * (1 - fx) + values[y1, x1] * fx
    return float(top * (1 - fy) + bottom * fy)
