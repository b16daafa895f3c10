"""Pixels for a scene layout: backgrounds, surfaces, light, shadows, lens and sensor.

Everything is float32 in linear light (0..1) until the last step. The aim is not realism but the
statistics that make photographs hard to segment: 1/f texture on both sides of every boundary,
contrast within objects that exceeds the contrast between them, soft shadows that are no objects,
defocus and noise.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from litesam_bench.datasets.scene_layout import Draws, Layout, Shape, fill
from litesam_bench.types import ImageU8, SizeHW

Plane: TypeAlias = npt.NDArray[np.float32]  # (h, w)
Colours: TypeAlias = npt.NDArray[np.float32]  # (h, w, 3) or (n, 3)


def render(draws: Draws, layout: Layout) -> ImageU8:
    """Render a layout to (H, W, 3) RGB uint8."""
    size_hw = layout.labels.shape
    height, width = size_hw
    noise = _NoiseBank(draws, (height, width))
    angle = draws.uniform(0, 2 * math.pi)
    light = _Light(math.cos(angle), math.sin(angle), draws.uniform(0.45, 0.8))
    canvas = _background(draws, noise, (height, width))
    palette = _palette(draws)
    for number, shape in enumerate(layout.shapes, start=1):
        if draws.chance(0.5):  # neighbours often share colours; contrast must not give all away
            palette = _palette(draws)
        depth = number / len(layout.shapes)
        _add_object(draws, noise, canvas, shape, palette, light, depth)
    return _expose(draws, noise, canvas)


class _Light:
    """Direction towards the light in the image plane (unit vector) and its share of elevation."""

    def __init__(self, x: float, y: float, elevation: float) -> None:
        flat = math.sqrt(1 - elevation**2)
        self.x, self.y, self.z = x * flat, y * flat, elevation


# --------------------------------------------------------------------------------------------
# Noise and colour


class _NoiseBank:
    """A few fields of multi-octave noise per scene, from which all textures are cut."""

    def __init__(self, draws: Draws, size_hw: SizeHW) -> None:
        self.size_hw = size_hw
        self._fields = [_fractal(draws, size_hw, roughness) for roughness in (0.5, 0.7, 0.9)]
        self._draws = draws

    def cut(
        self, size_hw: SizeHW, roughness: int, zoom: float = 1.0, stretch: float = 1.0
    ) -> Plane:
        """A random piece of a field, (h, w), about 0 on average with a deviation of about 1.

        roughness: 0 smooth to 2 rough. zoom: magnification. stretch: more along x than along y.
        """
        draws, (height, width) = self._draws, size_hw
        field = self._fields[roughness]
        if draws.chance(0.5):
            field = field.T
        rows = min(field.shape[0], max(4, int(height / zoom * stretch)))
        columns = min(field.shape[1], max(4, int(width / zoom)))
        top = draws.integer(0, field.shape[0] - rows)
        left = draws.integer(0, field.shape[1] - columns)
        piece = field[top : top + rows, left : left + columns]
        piece = piece[:: -1 if draws.chance(0.5) else 1, :: -1 if draws.chance(0.5) else 1]
        if piece.shape == size_hw:
            return np.ascontiguousarray(piece)
        return _resize(piece, size_hw)


def _fractal(draws: Draws, size_hw: SizeHW, roughness: float) -> Plane:
    """Noise whose octaves lose amplitude by `roughness` each; zero mean, unit deviation."""
    height, width = size_hw
    total = np.zeros(size_hw, np.float32)
    amplitude, cell = 1.0, max(size_hw) / 2.5
    while cell >= 1.0:
        rows, columns = int(height / cell) + 3, int(width / cell) + 3
        total += _resize(draws.grid(rows, columns), size_hw) * np.float32(amplitude)
        amplitude *= roughness
        cell /= 2.0
    total -= total.mean()
    return np.asarray(total / (total.std() + np.float32(1e-6)), np.float32)


def _resize(plane: Plane, size_hw: SizeHW) -> Plane:
    shrinking = plane.shape[0] > 1.5 * size_hw[0]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(plane), size_hw[::-1], interpolation=how)
    return np.asarray(resized, np.float32)


def _hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """Linear RGB of a colour given as hue (turns), saturation and display value."""

    def channel(offset: float) -> float:
        k = (offset + hue * 6) % 6
        return (value * (1 - saturation * max(0.0, min(k, 4 - k, 1.0)))) ** 2

    return channel(5), channel(3), channel(1)


def _palette(draws: Draws, vivid_share: float = 0.25) -> Colours:
    """2 to 4 related colours from dark to light, (n, 3) linear: mostly the muted ones of photos."""
    hue = draws.uniform()
    if draws.chance(0.5):  # skin, wood, soil, stone, straw
        hue = draws.uniform(0.02, 0.14)
    vivid = draws.chance(vivid_share)
    saturation = draws.uniform(0.55, 0.9) if vivid else draws.uniform(0.04, 0.45)
    dark = draws.uniform(0.08, 0.5)
    light = min(0.98, dark + draws.uniform(0.12, 0.5))
    n = draws.integer(2, 4)
    colours = [
        _hsv(
            (hue + draws.uniform(-0.05, 0.05)) % 1.0,
            min(1.0, max(0.0, saturation * draws.uniform(0.7, 1.25))),
            dark + (light - dark) * k / (n - 1),
        )
        for k in range(n)
    ]
    return np.array(colours, np.float32)


def _colour(field: Plane, palette: Colours) -> Colours:
    """Colours (h, w, 3) along the palette, for a field of which 0..1 spans it."""
    steps = np.linspace(0, len(palette) - 1, 256)
    lower = np.minimum(steps.astype(int), len(palette) - 2)
    part = (steps - lower)[:, None]
    table = (palette[lower] * (1 - part) + palette[lower + 1] * part).astype(np.float32)
    level = np.clip(field * np.float32(255), 0, 255).astype(np.uint8)
    return np.asarray(table[level], np.float32)


# --------------------------------------------------------------------------------------------
# Backgrounds


def _background(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    kind = draws.pick((0.3, 0.25, 0.3, 0.15))
    makers = (_landscape, _room, _clutter, _surface)
    return np.ascontiguousarray(makers[kind](draws, noise, size_hw))


def _landscape(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    """Sky or haze above a textured ground that recedes to a horizon."""
    height, width = size_hw
    horizon = int(draws.uniform(0.15, 0.5) * height)
    haze = _palette(draws, 0.04)
    sky_top = _hsv(draws.uniform(0.52, 0.62), draws.uniform(0.1, 0.5), draws.uniform(0.55, 0.9))
    fade = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None]
    sky = np.array(sky_top, np.float32) * (1 - fade) + fade * (0.5 + 0.4 * haze[-1])
    clouds = np.clip(
        noise.cut((horizon, width), 0, 1.2, 2.0) * 0.5 - draws.uniform(-0.2, 0.6), 0, 1
    )
    sky = sky * (1 - clouds[:, :, None]) + clouds[:, :, None] * np.float32(0.8)

    ground = _ground(draws, noise, (height - horizon, width))
    # Things far away take the colour of the haze.
    far = np.linspace(draws.uniform(0.3, 0.8), 0, height - horizon, dtype=np.float32)
    far = (far**2)[:, None, None]
    ground = ground * (1 - far) + far * (0.5 * haze[-1] + 0.2)
    canvas = np.concatenate([sky, ground]).astype(np.float32)

    ridge = noise.cut((1, width), 1)[0] * draws.uniform(4, 22) + draws.uniform(0, 14)
    rows = np.arange(height, dtype=np.float32)[:, None]
    trees = np.clip(rows - (horizon - np.abs(ridge)[None]), 0, 1) * np.clip(
        horizon + 1 - rows, 0, 1
    )
    dark = _colour(0.5 + 0.3 * noise.cut(size_hw, 2), haze * np.float32(0.35))
    canvas = canvas * (1 - trees[:, :, None]) + dark * trees[:, :, None]
    return _defocus(canvas, draws.uniform(0.0, 1.8))


def _ground(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    """Texture of a plane seen at a low angle: ever finer and flatter towards its upper edge."""
    height, width = size_hw
    texture = noise.cut(noise.size_hw, draws.integer(1, 2))
    near = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.06 * height)
    distance = np.float32(height * draws.uniform(0.5, 0.9)) / near
    across = np.arange(width, dtype=np.float32)[None] - np.float32(width / 2)
    tall, wide = texture.shape
    # Reflection at the borders tiles the plane without seams.
    u = np.abs((across * distance + np.float32(wide)) % (2 * wide) - wide)
    v = np.abs((distance * np.float32(0.6 * tall)) % (2 * tall) - tall) + np.zeros_like(across)
    u, v = np.minimum(u, wide - 1), np.minimum(v, tall - 1)
    field = cv2.remap(texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    field = field * (near / near[-1]) ** np.float32(0.3)
    field = field + np.float32(0.5) * noise.cut(size_hw, 0, 1.0, 3.0)
    field = field + np.float32(0.6) * noise.cut(size_hw, 2)
    return _colour(0.5 + 0.22 * field, _palette(draws, 0.04))


def _room(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    """A wall above a table or floor, with light that falls off."""
    height, width = size_hw
    edge = int(draws.uniform(0.3, 0.75) * height)
    wall = _texture(draws, noise, (edge, width), _palette(draws, 0.04), calm=True)
    floor = _texture(draws, noise, (height - edge, width), _palette(draws, 0.04), calm=False)
    canvas = np.concatenate([wall, floor])
    canvas *= np.clip(1 + np.float32(0.15) * noise.cut(size_hw, 2), 0.2, 2)[:, :, None]
    crease = np.exp(-np.abs(np.arange(height, dtype=np.float32) - edge) / np.float32(6))
    canvas *= (1 - np.float32(0.5) * crease)[:, None, None]
    x = np.arange(width, dtype=np.float32)[None] / width - np.float32(draws.uniform())
    y = np.arange(height, dtype=np.float32)[:, None] / height - np.float32(draws.uniform(0, 0.7))
    canvas *= (np.float32(0.45) + np.float32(0.75) / (1 + 4 * (x * x + y * y)))[:, :, None]
    return _defocus(canvas, draws.uniform(0.0, 2.4))


def _clutter(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    """Foliage, rubble or a crowded shelf: many overlapping things of all sizes, out of focus."""
    height, width = size_hw
    palettes = [_palette(draws, 0.12) for _ in range(draws.integer(1, 3))]
    canvas = _colour(0.5 + 0.25 * noise.cut(size_hw, 1), palettes[0])
    count = draws.integer(90, 240)
    unit = math.sqrt(height * width)
    for _ in range(count):
        palette = palettes[draws.integer(0, len(palettes) - 1)]
        colour = palette[draws.integer(0, len(palette) - 1)] * draws.uniform(0.4, 1.15)
        reach = unit * 0.012 / draws.uniform(0.04, 1.0) ** 0.8
        axes = (max(1, int(reach)), max(1, int(reach * draws.uniform(0.25, 0.9))))
        centre = (draws.integer(0, width), draws.integer(0, height))
        turn = draws.uniform(0, 360)
        cv2.ellipse(canvas, centre, axes, turn, 0, 360, tuple(map(float, colour)), -1)
    canvas *= np.clip(1 + np.float32(0.22) * noise.cut(size_hw, 1), 0.2, 2)[:, :, None]
    canvas *= np.clip(1 + np.float32(0.3) * noise.cut(size_hw, 0), 0.2, 2)[:, :, None]
    return _defocus(canvas, draws.uniform(2.0, 6.0))


def _surface(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Colours:
    """One flat or folded surface seen from above: cloth, planks, gravel, a desk."""
    canvas = _texture(draws, noise, size_hw, _palette(draws, 0.04), calm=False)
    canvas *= np.clip(1 + np.float32(0.2) * noise.cut(size_hw, 2), 0.2, 2)[:, :, None]
    folds = noise.cut(size_hw, 0, draws.uniform(0.8, 2.0), draws.uniform(1.0, 3.0))
    canvas *= np.clip(1 + np.float32(draws.uniform(0.05, 0.3)) * folds, 0.2, 2)[:, :, None]
    return _defocus(canvas, draws.uniform(0.2, 1.2))


def _defocus(canvas: Colours, sigma: float) -> Colours:
    """Gaussian blur; wide ones at half resolution, where they cost a quarter."""
    if sigma < 0.3:
        return canvas
    if sigma < 2:
        return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma), np.float32)
    height, width = canvas.shape[:2]
    small = cv2.resize(canvas, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 2)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


# --------------------------------------------------------------------------------------------
# Surfaces


def _texture(
    draws: Draws, noise: _NoiseBank, size_hw: SizeHW, palette: Colours, *, calm: bool
) -> Colours:
    """Colours (h, w, 3) of a surface: plain, mottled, grained, striped, woven or speckled."""
    kind = draws.pick(
        (0.5, 0.25, 0.15, 0.05, 0.0, 0.05) if calm else (0.2, 0.27, 0.2, 0.13, 0.1, 0.1)
    )
    rough = draws.integer(0, 2)
    if kind == 0:  # plain
        field = np.float32(draws.uniform(0.2, 0.8)) + np.float32(0.1) * noise.cut(size_hw, 2)
    elif kind == 1:  # mottled
        field = 0.5 + np.float32(draws.uniform(0.15, 0.4)) * noise.cut(
            size_hw, rough, draws.uniform(0.6, 2.0)
        )
    elif kind == 2:  # grained, like wood or brushed metal
        warp = noise.cut(size_hw, 1, 1.0, draws.uniform(4, 10))
        if draws.chance(0.5):
            warp = noise.cut(size_hw[::-1], 1, 1.0, draws.uniform(4, 10)).T
        field = 0.5 + np.float32(0.28) * warp + np.float32(0.06) * noise.cut(size_hw, 2)
    elif kind == 3:  # striped
        field = _waves(draws, noise, size_hw)
    elif kind == 4:  # woven: two sets of stripes
        field = 0.5 * (_waves(draws, noise, size_hw) + _waves(draws, noise, size_hw))
    else:  # speckled
        grain = noise.cut(size_hw, 2, draws.uniform(1.0, 3.0))
        field = np.where(grain > draws.uniform(0.3, 1.2), 0.9, 0.25).astype(np.float32)
        field = field + np.float32(0.08) * noise.cut(size_hw, 2)
    return _colour(field.astype(np.float32), palette)


def _waves(draws: Draws, noise: _NoiseBank, size_hw: SizeHW) -> Plane:
    """Soft stripes 0..1 of random pitch and direction, bent a little, worn a little."""
    height, width = size_hw
    turn, pitch = draws.uniform(0, math.pi), draws.log_uniform(6, 50)
    x = np.arange(width, dtype=np.float32)[None] * np.float32(2 * math.pi * math.cos(turn) / pitch)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(
        2 * math.pi * math.sin(turn) / pitch
    )
    bent = noise.cut(size_hw, 0) * np.float32(draws.uniform(0.2, 1.5))
    stripes = np.sin(x + y + bent) * np.float32(draws.uniform(1.0, 4.0))
    worn = np.float32(0.12) * noise.cut(size_hw, 2)
    return np.asarray(np.clip(0.5 + 0.5 * stripes, 0, 1) * 0.8 + 0.1 + worn, np.float32)


# --------------------------------------------------------------------------------------------
# Objects


def _add_object(
    draws: Draws,
    noise: _NoiseBank,
    canvas: Colours,
    shape: Shape,
    palette: Colours,
    light: _Light,
    depth: float,
) -> None:
    """Cast the object's shadow on what is behind it, then draw it."""
    height, width = canvas.shape[:2]
    points = shape.outlines[0]
    margin = 4
    left, top = (int(v) for v in np.floor(points.min(axis=0)) - margin)
    right, bottom = (int(v) for v in np.ceil(points.max(axis=0)) + margin + 1)
    reach = 0.12 * min(right - left, bottom - top)
    _shadow(draws, canvas, shape, light, reach)

    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    size_hw = (bottom - top, right - left)
    moved = Shape(shape.kind, tuple(o - np.array([left, top]) for o in shape.outlines))
    mask = fill(moved, size_hw).view(np.uint8)
    colours = _texture(draws, noise, size_hw, palette, calm=draws.chance(0.4))
    shade, gloss = _shading(draws, noise, mask, light)
    colours = colours * shade[:, :, None] + gloss[:, :, None]
    if draws.chance(0.25):
        colours = _defocus(colours, draws.uniform(0.4, 1.5))
    # The lens spreads every edge over about a pixel; the mask itself stays exact.
    softness = draws.uniform(0.45, 0.8) + max(0.0, 0.5 - depth) * draws.uniform(0, 1.0)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness)[:, :, None]
    region = canvas[top:bottom, left:right]
    region *= 1 - alpha
    region += colours * alpha


def _shadow(draws: Draws, canvas: Colours, shape: Shape, light: _Light, reach: float) -> None:
    """Darken what lies away from the light; soft, so worked out at a quarter of the resolution."""
    height, width = canvas.shape[:2]
    distance = reach * draws.uniform(0.6, 2.0) + 2
    sigma = max(0.6, (0.35 * distance + 1) / 4)
    offset = np.array([-light.x, -light.y]) * distance
    outlines = tuple((outline + offset) / 4 for outline in shape.outlines)
    small = (height // 4 + 1, width // 4 + 1)
    points = outlines[0]
    pad = 3 * sigma + 2
    left, top = (max(0, int(v)) for v in points.min(axis=0) - pad)
    right, bottom = (int(v) + 1 for v in points.max(axis=0) + pad)
    right, bottom = min(right, small[1]), min(bottom, small[0])
    if right - left < 2 or bottom - top < 2:
        return
    moved = Shape(shape.kind, tuple(o - np.array([left, top]) for o in outlines))
    covered = fill(moved, (bottom - top, right - left)).astype(np.float32)
    soft = cv2.GaussianBlur(covered, (0, 0), sigma) * np.float32(draws.uniform(0.35, 0.75))
    dark = cv2.resize(soft, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    region = canvas[4 * top : 4 * bottom, 4 * left : 4 * right]
    region *= 1 - dark[: region.shape[0], : region.shape[1], None]


def _shading(
    draws: Draws, noise: _NoiseBank, mask: npt.NDArray[np.uint8], light: _Light
) -> tuple[Plane, Plane]:
    """Diffuse factor and highlight of a body that bulges towards the viewer, (h, w) each."""
    inside = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    thick = float(inside.max()) * draws.uniform(0.25, 1.0) + 1e-3
    rise = np.minimum(inside / np.float32(thick), 1)
    bulge = np.sqrt(np.maximum(2 * rise - rise * rise, 0)) * np.float32(
        thick * draws.uniform(0.3, 0.9)
    )
    bulge = cv2.GaussianBlur(bulge, (0, 0), 0.8 + 0.06 * thick)
    bulge += noise.cut(mask.shape, 1) * np.float32(draws.uniform(0.0, 0.5))
    dx = cv2.Sobel(bulge, cv2.CV_32F, 1, 0, scale=0.125)
    dy = cv2.Sobel(bulge, cv2.CV_32F, 0, 1, scale=0.125)
    length = np.sqrt(1 + dx * dx + dy * dy)
    facing = (np.float32(light.z) - dx * np.float32(light.x) - dy * np.float32(light.y)) / length
    ambient = draws.uniform(0.25, 0.5)
    shade = ambient + (1.25 - ambient) * np.maximum(facing, 0)
    # Light from the sky reaches the rim of a body less.
    shade *= 0.8 + 0.2 * rise
    gloss = np.zeros_like(shade)
    if draws.chance(0.3):
        # Half way between the light and the viewer, who looks along z.
        norm = math.sqrt(2 + 2 * light.z)
        half = (
            np.float32((light.z + 1) / norm)
            - dx * np.float32(light.x / norm)
            - dy * np.float32(light.y / norm)
        ) / length
        sharp = np.maximum(half, 0)
        for _ in range(draws.integer(4, 6)):  # powers of 16 to 64
            sharp = sharp * sharp
        gloss = sharp * np.float32(draws.uniform(0.15, 0.7))
    return shade.astype(np.float32), gloss.astype(np.float32)


# --------------------------------------------------------------------------------------------
# Camera


def _expose(draws: Draws, noise: _NoiseBank, canvas: Colours) -> ImageU8:
    """Uneven light, white balance, lens blur, exposure, sensor noise, display encoding."""
    height, width = canvas.shape[:2]
    canvas *= np.clip(1 + np.float32(0.1) * noise.cut((height, width), 0), 0.3, 2)[:, :, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    canvas *= (1 - np.float32(draws.uniform(0, 0.22)) * (x * x + y * y))[:, :, None]
    canvas *= np.array([draws.uniform(0.9, 1.1), 1.0, draws.uniform(0.88, 1.1)], np.float32)
    canvas = _defocus(canvas, draws.uniform(0.3, 0.75))
    level = np.float32(draws.uniform(0.2, 0.34) / (float(canvas.mean()) + 1e-3))
    canvas *= np.minimum(level, np.float32(2.5))
    grain = np.float32(draws.uniform(0.004, 0.022))
    bright = draws.grid(height, width) + draws.grid(height, width) - 1
    colour = cv2.resize(
        np.dstack([draws.grid(height // 2, width // 2) for _ in range(3)]) - np.float32(0.5),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    shown = np.sqrt(np.clip(canvas / (1 + np.float32(0.18) * canvas), 0, 1))
    shown += (grain * (bright[:, :, None] + colour)).astype(np.float32) * 2
    return np.asarray(np.clip(shown * 255 + np.float32(0.5), 0, 255), np.uint8)
