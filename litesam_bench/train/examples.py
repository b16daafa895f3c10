"""From one stored pair to one training example: crop, augmentation, prompts, targets.

Everything is drawn from one generator, which the caller seeds with the example's position in the
stream. An example therefore depends on nothing else: not on the worker, the process or the number
of processes that make it, nor on where a run was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from litesam_bench.train.labels import PpnLabels, ppn_labels
from litesam_bench.train.shards import RawSample
from litesam_bench.types import ImageU8

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Rng = np.random.Generator

STRIDE = 16
"""Stride of the embedding; crops lie on this grid of the frame."""


@dataclass(frozen=True)
class DataConfig:
    """How examples are cut out of images. Lengths are pixels of the network's frame.

    frame: the input the model will be run at: the long side of an image is resized to it.
    crop: side of the square that is trained on; `frame` trains on whole images. Smaller crops
        show the objects at the scale that they will have at test time, at a fraction of the cost.
    scale: least and greatest factor on the image's size in the frame, drawn log-uniformly.
    prompts: masks drawn per example, with repetition where there are fewer; the first half is
        prompted by boxes, the second by points.
    max_masks: of an image with more masks, a random part of this size is decoded.
    copy_paste: probability that up to `paste_max` objects of another image are pasted.
    colour: probability of a change of brightness, contrast and colour.
    box_jitter: standard deviation of the moved sides of half of the box prompts, as a share of
        the box's sides (SAM: 0.1), at most 20 pixels.
    points: points drawn per prompt; a step uses the first 1 to 10 of them.
    inner_first: probability that the first point is the innermost pixel instead of a random one.
    region_grid, frame_stride: the quadrature of the loss, see `losses.py`.
    ppn_label: AutoPPN's point labels, the distance transform or CenterNet's box-centre Gaussian.
    """

    frame: int = 640
    crop: int = 320
    scale: tuple[float, float] = (0.5, 1.25)
    prompts: int = 16
    max_masks: int = 64
    min_area: int = 24
    flip: bool = True
    copy_paste: float = 0.5
    paste_max: int = 4
    colour: float = 0.5
    box_jitter: float = 0.05
    points: int = 10
    inner_first: float = 0.5
    region_grid: int = 32
    frame_stride: int = 8
    ppn_label: str = "distance"


class Example(NamedTuple):
    """One crop of side S with M prompts; coordinates are pixels of the crop.

    image: (3, S, S) uint8 RGB; what lies outside `valid_hw` is padding.
    origin_xy: (2,) where the crop lies in the frame.
    boxes: (M, 4) XYXY. points: (M, P, 2) xy, all in the foreground.
    regions: (M, 4) XYXY, the surroundings of each mask, in which the loss looks closely.
    region_targets: (M, R, R) 0/1 on a grid over the region.
    frame_targets: (M, G, G) 0/1 on a grid over the crop.
    ppn_*: AutoPPN's labels, see `labels.py`.
    """

    image: U8
    valid_hw: npt.NDArray[np.int64]
    origin_xy: F32
    boxes: F32
    points: F32
    regions: F32
    region_targets: U8
    frame_targets: U8
    ppn_heat: F32
    ppn_ltrb: F32
    ppn_weight: F32


@dataclass
class Scene:
    """A crop being made: image (S, S, 3), masks (K, S, S) 0/1, and the part that is image."""

    image: ImageU8
    masks: U8
    valid_hw: tuple[int, int]
    frame_area: float


def make_example(
    raw: RawSample, rng: Rng, config: DataConfig, donor: Callable[[Rng], RawSample | None]
) -> Example | None:
    """An example, or None where no crop of a few tries holds a mask that is large enough."""
    for _ in range(4):
        scene = cut(raw, rng, config)
        if rng.random() < config.copy_paste:
            paste(scene, donor(rng), rng, config)
        scene.masks = scene.masks[scene.masks.sum(axis=(1, 2), dtype=np.int64) >= config.min_area]
        if len(scene.masks):
            if rng.random() < config.colour:
                scene.image = recolour(scene.image, rng)
            return finish(scene, rng, config)
    return None


def decode_masks(raw: RawSample, rng: Rng, limit: int) -> U8:
    """(H, W, K) 0/1, K at most `limit`."""
    rles = list(raw.rles)
    if len(rles) > limit:
        rles = [rles[i] for i in rng.permutation(len(rles))[:limit]]
    if not rles:
        return np.zeros((*raw.image.shape[:2], 0), np.uint8)
    masks: U8 = coco_mask.decode(rles)
    return masks


def resize_to(array: ImageU8, size_wh: tuple[int, int], shrink: bool) -> ImageU8:
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return cv2.resize(array, size_wh, interpolation=method).astype(np.uint8, copy=False)


def cut(raw: RawSample, rng: Rng, config: DataConfig) -> Scene:
    """A random crop of the image at a random scale, around the middle of some mask."""
    height, width = raw.image.shape[:2]
    fit = config.frame / max(height, width)
    scale = fit * math.exp(rng.uniform(math.log(config.scale[0]), math.log(config.scale[1])))
    masks = decode_masks(raw, rng, config.max_masks)

    size = config.crop
    window_w = min(width, max(8, round(size / scale)))
    window_h = min(height, max(8, round(size / scale)))
    focus_x, focus_y = width / 2, height / 2
    if masks.shape[2]:
        box = coco_mask.toBbox(raw.rles[int(rng.integers(len(raw.rles)))])
        focus_x, focus_y = box[0] + box[2] / 2, box[1] + box[3] / 2
    left = _offset(focus_x, window_w, width, rng)
    top = _offset(focus_y, window_h, height, rng)
    rows, columns = slice(top, top + window_h), slice(left, left + window_w)

    out_w, out_h = min(size, round(window_w * scale)), min(size, round(window_h * scale))
    image = np.zeros((size, size, 3), np.uint8)
    part = raw.image[rows, columns]
    flip = config.flip and rng.random() < 0.5
    if flip:
        part = part[:, ::-1]
    image[:out_h, :out_w] = resize_to(np.ascontiguousarray(part), (out_w, out_h), scale < 1)

    parts = np.ascontiguousarray(masks[rows, columns].transpose(2, 0, 1))
    parts = parts[parts.any(axis=(1, 2))]
    out = np.zeros((len(parts), size, size), np.uint8)
    for target, mask in zip(out, parts, strict=True):
        mask = np.ascontiguousarray(mask[:, ::-1] if flip else mask) * np.uint8(255)
        resized = cv2.resize(mask, (out_w, out_h), interpolation=cv2.INTER_LINEAR)
        target[:out_h, :out_w] = resized >= 128
    return Scene(image, out, (out_h, out_w), height * width * fit * fit)


def _offset(focus: float, window: int, length: int, rng: Rng) -> int:
    """The start of a window that holds `focus` and stays inside, uniformly."""
    low = max(0, math.floor(focus - window) + 1)
    high = min(length - window, math.floor(focus))
    return (
        int(rng.integers(min(low, length - window), max(high, low, 0) + 1))
        if high > low
        else (min(max(low, 0), length - window))
    )


def paste(scene: Scene, donor: RawSample | None, rng: Rng, config: DataConfig) -> None:
    """Paste objects of another image into the scene; what they cover is taken from the others."""
    if donor is None or not donor.rles:
        return
    height, width = donor.image.shape[:2]
    fit = config.frame / max(height, width)
    valid_h, valid_w = scene.valid_hw
    count = min(int(rng.integers(1, config.paste_max + 1)), len(donor.rles))
    for index in rng.permutation(len(donor.rles))[:count]:
        x, y, w, h = (int(v) for v in coco_mask.toBbox(donor.rles[int(index)]))
        longest = 0.8 * min(valid_h, valid_w)
        scale = fit * math.exp(rng.uniform(math.log(0.35), math.log(1.1)))
        scale = min(scale, longest / max(w, h, 1))
        out_w, out_h = round(w * scale), round(h * scale)
        if min(out_w, out_h) < 6:
            continue
        mask = coco_mask.decode(donor.rles[int(index)])[y : y + h, x : x + w] * np.uint8(255)
        cutout = resize_to(
            np.ascontiguousarray(donor.image[y : y + h, x : x + w]), (out_w, out_h), scale < 1
        )
        alpha = resize_to(np.ascontiguousarray(mask), (out_w, out_h), scale < 1)
        if rng.random() < 0.5:
            cutout, alpha = cutout[:, ::-1], alpha[:, ::-1]
        left = int(rng.integers(0, valid_w - out_w + 1))
        top = int(rng.integers(0, valid_h - out_h + 1))
        rows, columns = slice(top, top + out_h), slice(left, left + out_w)
        # a soft edge, so that a cut-out is not told by its jaggedness
        blend = alpha[..., None].astype(np.float32) / 255
        target = scene.image[rows, columns]
        scene.image[rows, columns] = (target * (1 - blend) + cutout * blend + 0.5).astype(np.uint8)
        pasted = np.zeros(scene.masks.shape[1:], np.uint8)
        pasted[rows, columns] = alpha >= 128
        scene.masks &= 1 - pasted
        scene.masks = np.concatenate([scene.masks, pasted[None]])


def recolour(image: ImageU8, rng: Rng) -> ImageU8:
    """Another brightness, contrast and white point; now and then no colour, or the negative."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    shift = rng.uniform(-25, 25)
    ramp = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip((ramp - 128) * gain + 128 + shift, 0, 255).astype(np.uint8)
    out = cv2.LUT(image, table[:, None, :])
    if rng.random() < 0.25:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.1:  # microscopes and scans show dark on bright as well as bright on dark
        out = 255 - out
    return out.astype(np.uint8, copy=False)


def finish(scene: Scene, rng: Rng, config: DataConfig) -> Example:
    """Prompts and targets of a scene."""
    size, total = config.crop, len(scene.masks)
    boxes = np.stack([tight_box(mask) for mask in scene.masks])
    distances = [_inner_distance(mask, box) for mask, box in zip(scene.masks, boxes, strict=True)]
    labels: PpnLabels = ppn_labels(
        scene.masks, boxes, distances, scene.frame_area, config.frame, config.ppn_label
    )

    half = config.prompts // 2
    chosen = np.concatenate([_draw(total, half, rng), _draw(total, config.prompts - half, rng)])
    prompts = np.stack([_jitter(boxes[i], size, rng, config.box_jitter) for i in chosen])
    points = np.stack(
        [_points(scene.masks[i], boxes[i], distances[i], rng, config) for i in chosen]
    )
    regions = np.stack([_region(boxes[i]) for i in chosen])
    region_targets = np.stack(
        [
            _sample(scene.masks[i], r, config.region_grid)
            for i, r in zip(chosen, regions, strict=True)
        ]
    )
    start, step = config.frame_stride // 2, config.frame_stride
    frame_targets = scene.masks[chosen, start::step, start::step]

    # the crop's place in the frame decides its positional encodings; on the embedding's grid
    room = (config.frame - config.crop) // STRIDE
    origin = rng.integers(0, room + 1, 2) * STRIDE
    return Example(
        image=np.ascontiguousarray(scene.image.transpose(2, 0, 1)),
        valid_hw=np.array(scene.valid_hw),
        origin_xy=origin.astype(np.float32),
        boxes=prompts.astype(np.float32),
        points=points.astype(np.float32),
        regions=regions.astype(np.float32),
        region_targets=region_targets,
        frame_targets=np.ascontiguousarray(frame_targets),
        ppn_heat=labels.heat,
        ppn_ltrb=labels.ltrb,
        ppn_weight=labels.weight,
    )


def tight_box(mask: U8) -> F32:
    """(4,) XYXY around a mask that is not empty; the right and lower sides are exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _inner_distance(mask: U8, box: F32) -> F32:
    """L2 distance to the outside, within the box (h, w); the border of the crop is outside."""
    left, top, right, bottom = (int(v) for v in box)
    part = np.pad(mask[top:bottom, left:right], 1)
    return cv2.distanceTransform(part, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32)


def _draw(total: int, count: int, rng: Rng) -> npt.NDArray[np.int64]:
    """`count` of `total` indices, each as often as any other give or take one."""
    rounds = [rng.permutation(total) for _ in range(-(-count // total))]
    return np.concatenate(rounds)[:count]


def _jitter(box: F32, size: int, rng: Rng, sigma: float) -> F32:
    if rng.random() < 0.5:
        return box
    w, h = box[2] - box[0], box[3] - box[1]
    noise = np.clip(rng.normal(0, sigma, 4) * [w, h, w, h], -20, 20)
    moved = np.clip(box + noise, 0, size).astype(np.float32)
    return moved if min(moved[2] - moved[0], moved[3] - moved[1]) >= 2 else box


def _points(mask: U8, box: F32, distance: F32, rng: Rng, config: DataConfig) -> F32:
    """(P, 2) pixels of a mask, xy, at random; the first may be the innermost."""
    left, top = int(box[0]), int(box[1])
    inside = np.flatnonzero(distance > 0)
    picked = inside[rng.integers(0, len(inside), config.points)]
    if rng.random() < config.inner_first:
        picked[0] = int(distance.argmax())
    y, x = np.divmod(picked, distance.shape[1])
    return np.stack([x + left, y + top], axis=1).astype(np.float32)


def _region(box: F32) -> F32:
    """The box, larger by a quarter of its sides all round and by at least 4 pixels."""
    w, h = box[2] - box[0], box[3] - box[1]
    pad_x, pad_y = max(4.0, 0.25 * w), max(4.0, 0.25 * h)
    return np.array([box[0] - pad_x, box[1] - pad_y, box[2] + pad_x, box[3] + pad_y], np.float32)


def _sample(mask: U8, region: F32, grid: int) -> U8:
    """(grid, grid) 0/1: the mask at the centres of the region's cells; 0 outside of the crop."""
    steps = (np.arange(grid) + 0.5) / grid
    x = np.floor(region[0] + steps * (region[2] - region[0])).astype(np.int64)
    y = np.floor(region[1] + steps * (region[3] - region[1])).astype(np.int64)
    height, width = mask.shape
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    cells: U8 = np.where(inside, mask[y.clip(0, height - 1)[:, None], x.clip(0, width - 1)], 0)
    return cells
