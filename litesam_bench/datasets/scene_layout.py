"""What is where in a generated scene: shapes, their order in depth, and exact visible masks.

Masks are a function of (split, seed, index, size) alone, the same on every platform: random
numbers are raw 53-bit draws of PCG64, outlines are rounded to 1/16 pixel and filled by OpenCV's
integer scanline code. Pixels are the renderer's concern (`scene_rendering.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from litesam_bench.types import FloatArray, SizeHW

LAYOUT_VERSION = 1  # part of every scene's digest; raise it when masks change

KINDS = ("ellipse", "polygon", "blob", "bar", "ring", "box")
MIN_OBJECTS, MAX_OBJECTS = 3, 15
MIN_VISIBLE_PX = 64
MIN_VISIBLE_FRACTION = 0.15  # of the part that lies in the frame; less is no fair object
# Areas are drawn log-uniformly within COCO's bins, for a frame of 640x480.
AREA_BINS_PX = ((160, 1024), (1024, 9216), (9216, 70_000))
BIN_SHARES = (0.36, 0.34, 0.30)
REFERENCE_PX = 640 * 480
_SUBPIXEL_BITS = 4

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shape:
    """One object. Outlines are closed polygons, (K, 2) xy in pixels; a second one is a hole."""

    kind: str
    outlines: tuple[FloatArray, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Objects from the farthest to the nearest, and which of them each pixel shows.

    labels: (H, W); 0 is background, k is `shapes[k - 1]`. Every shape is visible somewhere.
    """

    shapes: tuple[Shape, ...]
    labels: Labels


class Draws:
    """Random numbers whose values do not depend on numpy's version or the platform."""

    def __init__(self, *entropy: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One draw from [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def log_uniform(self, low: float, high: float) -> float:
        """One draw from [low, high), uniform in its logarithm."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """One draw from low, ..., high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def pick(self, weights: tuple[float, ...]) -> int:
        """An index, drawn by weight."""
        point = self.uniform(0.0, sum(weights))
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return len(weights) - 1

    def grid(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """(height, width) draws from [0, 1)."""
        return self._generator.random((height, width), dtype=np.float32)


def make_layout(draws: Draws, size_hw: SizeHW) -> Layout:
    """Place 3 to 15 objects that occlude one another; objects hardly or not visible are dropped."""
    height, width = size_hw
    wanted = draws.integer(MIN_OBJECTS, MAX_OBJECTS)
    scale = math.sqrt(height * width / REFERENCE_PX)
    placed: list[tuple[float, Shape]] = []
    centres: list[tuple[float, float, float]] = []
    while True:
        while len(placed) < wanted:
            low, high = AREA_BINS_PX[draws.pick(BIN_SHARES)]
            radius = math.sqrt(draws.log_uniform(low, high) / math.pi) * scale
            x, y = _centre(draws, size_hw, radius, centres)
            centres.append((x, y, radius))
            # Large things tend to be behind small ones, but not always.
            depth = math.log(radius) + draws.uniform(-1.2, 1.2)
            placed.append((depth, _shape(draws, x, y, radius)))
        ordered = [shape for _, shape in sorted(placed, key=lambda item: -item[0])]
        kept = _visible(ordered, size_hw)
        if len(kept) >= MIN_OBJECTS:
            return Layout(shapes=tuple(kept), labels=paint(kept, size_hw))
        wanted = len(placed) + 1


def fill(shape: Shape, size_hw: SizeHW) -> Mask:
    """The whole shape, (H, W), as if nothing were in front of it."""
    canvas = np.zeros(size_hw, np.uint8)
    _fill_into(canvas, shape, 1)
    return canvas.view(np.bool_)


def paint(shapes: list[Shape] | tuple[Shape, ...], size_hw: SizeHW) -> Labels:
    """Label map of shapes painted from the farthest to the nearest."""
    labels = np.zeros(size_hw, np.uint8)
    for number, shape in enumerate(shapes, start=1):
        _fill_into(labels, shape, number)
    return labels


def _fill_into(canvas: Labels, shape: Shape, value: int) -> None:
    scale = 1 << _SUBPIXEL_BITS
    fixed = [np.rint(outline * scale).astype(np.int32) for outline in shape.outlines]
    cv2.fillPoly(canvas, fixed, value, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)


def _visible(shapes: list[Shape], size_hw: SizeHW) -> list[Shape]:
    """The shapes that can be seen well enough. Leaving some out only uncovers the others."""
    counts = np.bincount(paint(shapes, size_hw).ravel(), minlength=len(shapes) + 1)
    kept = []
    for number, shape in enumerate(shapes, start=1):
        in_frame = int(fill(shape, size_hw).sum())
        if counts[number] >= max(MIN_VISIBLE_PX, MIN_VISIBLE_FRACTION * in_frame):
            kept.append(shape)
    return kept


def _centre(
    draws: Draws, size_hw: SizeHW, radius: float, others: list[tuple[float, float, float]]
) -> tuple[float, float]:
    """A place in the frame, often beside an earlier object so that things occlude each other."""
    height, width = size_hw
    if others and draws.chance(0.45):
        x, y, other = others[draws.integer(0, len(others) - 1)]
        angle, reach = draws.uniform(0, 2 * math.pi), draws.uniform(0.3, 1.0) * (radius + other)
        x, y = x + reach * math.cos(angle), y + reach * math.sin(angle)
        return min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    # Photographs have more in their lower part.
    return draws.uniform(0.02, 0.98) * width, (1 - draws.uniform(0.02, 0.98) ** 1.25) * height


# --------------------------------------------------------------------------------------------
# Shapes: each maker returns outlines around the origin; `_shape` scales them to their area.


def _shape(draws: Draws, x: float, y: float, radius: float) -> Shape:
    kind = KINDS[draws.pick((0.17, 0.15, 0.26, 0.13, 0.11, 0.18))]
    outlines = _MAKERS[kind](draws)
    area = _area(outlines[0]) - sum(_area(hole) for hole in outlines[1:])
    size = radius * math.sqrt(math.pi / area)
    turn = draws.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    # Written out because a matrix product may be summed in another order on another machine.
    return Shape(
        kind,
        tuple(
            size * (points[:, :1] * rotation[0] + points[:, 1:] * rotation[1]) + np.array([x, y])
            for points in outlines
        ),
    )


def _area(points: FloatArray) -> float:
    x, y = points.T
    return abs(math.fsum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _circle(n: int) -> tuple[FloatArray, FloatArray]:
    angles = [2 * math.pi * k / n for k in range(n)]
    return np.array([math.cos(a) for a in angles]), np.array([math.sin(a) for a in angles])


def _ellipse(draws: Draws) -> list[FloatArray]:
    cosine, sine = _circle(72)
    return [np.stack([cosine, draws.uniform(0.45, 1.0) * sine], axis=1)]


def _ring(draws: Draws) -> list[FloatArray]:
    outer = _ellipse(draws)[0]
    return [outer, draws.uniform(0.5, 0.78) * outer]


def _polygon(draws: Draws) -> list[FloatArray]:
    n = draws.integer(3, 8)
    points = []
    for k in range(n):
        angle = 2 * math.pi * (k + draws.uniform(-0.3, 0.3)) / n
        reach = draws.uniform(0.6, 1.0)
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return [np.array(points)]


def _blob(draws: Draws) -> list[FloatArray]:
    """A smooth closed contour: a circle with a few Fourier terms, stretched."""
    n = 120
    terms = [
        (k, draws.uniform(0, 0.55) / k**1.15, draws.uniform(0, 2 * math.pi)) for k in range(2, 8)
    ]
    stretch = draws.uniform(0.6, 1.0)
    points = []
    for step in range(n):
        angle = 2 * math.pi * step / n
        reach = 1 + sum(size * math.cos(k * angle + phase) for k, size, phase in terms)
        reach = max(reach, 0.25)
        points.append((reach * math.cos(angle), stretch * reach * math.sin(angle)))
    return [np.array(points)]


def _bar(draws: Draws) -> list[FloatArray]:
    """A thin strip along a bent axis, tapered."""
    length, bend = draws.uniform(7, 18), draws.uniform(-0.12, 0.12)
    first, last = 1.0, draws.uniform(0.45, 1.0)
    upper, lower = [], []
    for step in range(17):
        t = step / 16
        along, middle = (t - 0.5) * length, bend * length * 4 * t * (1 - t)
        half = 0.5 * (first + (last - first) * t)
        upper.append((along, middle + half))
        lower.append((along, middle - half))
    return [np.array(upper + lower[::-1])]


def _box(draws: Draws) -> list[FloatArray]:
    """A rectangle with rounded corners."""
    wide, high = 1.0, draws.uniform(0.4, 1.0)
    corner = draws.uniform(0.02, 0.35) * high
    points = []
    for quarter, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        for step in range(7):
            angle = (quarter + step / 6) * math.pi / 2
            points.append(
                (
                    sx * (wide - corner) + corner * math.cos(angle),
                    sy * (high - corner) + corner * math.sin(angle),
                )
            )
    return [np.array(points)]


_MAKERS = {
    "ellipse": _ellipse,
    "polygon": _polygon,
    "blob": _blob,
    "bar": _bar,
    "ring": _ring,
    "box": _box,
}
