"""Run-length encoded masks: encode, decode, areas, IoU, and COCO's three spellings of a mask.

The format is COCO's: pixels are read column by column, runs alternate background and foreground
and start with background; "compressed" runs are the ASCII string of pycocotools. What this module
writes is byte for byte what `pycocotools.mask` writes. Encoding and IoU are compiled here because
they run once per mask in the harness; polygons are rasterised by pycocotools itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from litesam_bench.errors import DataError
from litesam_bench.metrics._jit import kernel
from litesam_bench.types import FloatArray, Rle

BoolMask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]
RunArray = npt.NDArray[np.int32]


class JsonRle(TypedDict):
    """An `Rle` as JSON can hold it: counts as an ASCII string."""

    size: list[int]  # [h, w]
    counts: str


class CorruptMaskError(DataError):
    """A mask cannot be read; `index` is its position in the list that was given."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True, slots=True)
class RunTable:
    """N decoded masks in flat arrays, the form the kernels take.

    runs: (R,) run lengths of all masks.
    starts, ends: (N,) mask i owns runs[starts[i]:ends[i]].
    size_hw: (N, 2).
    area_px: (N,) foreground pixels.
    extent: (N, 4) x0, y0, x1, y1 of the foreground in pixels, x1 and y1 exclusive; all 0 if empty.
    """

    runs: RunArray
    starts: IntArray
    ends: IntArray
    size_hw: IntArray
    area_px: IntArray
    extent: IntArray

    def __len__(self) -> int:
        return len(self.area_px)

    def take(self, rows: IntArray) -> RunTable:
        """Those masks, in that order; the runs are shared."""
        return RunTable(
            self.runs,
            self.starts[rows],
            self.ends[rows],
            self.size_hw[rows],
            self.area_px[rows],
            self.extent[rows],
        )


# ------------------------------------------------------------------------------------- encoding


@kernel
def _column_runs(mask: ByteArray, runs: RunArray) -> int:
    """Runs of one (h, w) mask in column-major order into `runs`; returns how many.

    Only the bounding box of the foreground is walked by columns: rows are searched first, in
    memory order, because most masks cover a small part of their image.
    """
    h, w = mask.shape
    top, bottom, left, right = h, -1, w, -1
    for y in range(h):
        row = mask[y]
        any_set = 0
        for x in range(w):  # without a branch, so that it compiles to vector instructions
            any_set |= row[x]
        if any_set == 0:
            continue
        top = min(top, y)
        bottom = y
        x = 0
        while x < left and row[x] == 0:
            x += 1
        left = x
        x = w - 1
        while x > right and row[x] == 0:
            x -= 1
        right = x
    if bottom < 0:
        runs[0] = h * w
        return 1
    n = 0
    run_start = 0  # column-major position where the current run began
    inside = False
    for x in range(left, right + 1):
        # Between two columns of the box lie the background pixels below and above the box.
        if inside and (top > 0 or bottom < h - 1):
            position = (x - 1) * h + bottom + 1
            runs[n] = position - run_start
            n += 1
            run_start = position
            inside = False
        for y in range(top, bottom + 1):
            if (mask[y, x] != 0) != inside:
                position = x * h + y
                runs[n] = position - run_start
                n += 1
                run_start = position
                inside = not inside
    if inside:
        position = right * h + bottom + 1
        runs[n] = position - run_start
        n += 1
        run_start = position
    if run_start < h * w:
        runs[n] = h * w - run_start
        n += 1
    return n


@kernel
def _compress(runs: RunArray, n: int, text: ByteArray) -> int:
    """Runs to COCO's string: from the fourth on the difference to the run two before, five bits a
    character, low bits first, bit 5 for "more follows", offset 48. Returns the length."""
    p = 0
    for i in range(n):
        value = int(runs[i])
        if i > 2:
            value -= int(runs[i - 2])
        more = True
        while more:
            character = value & 31
            value >>= 5
            more = value != -1 if character & 16 else value != 0
            if more:
                character |= 32
            text[p] = character + 48
            p += 1
    return p


def encode(mask: npt.NDArray[Any]) -> Rle:
    """Encode one (H, W) mask, bool or 0/1 of any dtype (non-zero is foreground)."""
    return encode_many(mask[None])[0]


def encode_many(masks: npt.NDArray[Any]) -> list[Rle]:
    """Encode (N, H, W) masks, bool or 0/1 of any dtype (non-zero is foreground).

    Fastest for C-contiguous bool or uint8, which are not copied.
    """
    if masks.dtype == np.bool_:
        pixels = masks.view(np.uint8)
    elif masks.dtype == np.uint8:
        pixels = masks
    else:
        pixels = (masks != 0).view(np.uint8)
    n, h, w = pixels.shape
    runs = np.empty(h * w + 2, np.int32)
    text = np.empty(0, np.uint8)
    out: list[Rle] = []
    for i in range(n):
        n_runs = _column_runs(pixels[i], runs)
        if len(text) < 7 * n_runs:  # a 32-bit run takes at most seven characters
            text = np.empty(14 * n_runs, np.uint8)
        length = _compress(runs, n_runs, text)
        out.append({"size": [h, w], "counts": text[:length].tobytes()})
    return out


# ------------------------------------------------------------------------------------- decoding


@kernel
def _decompress(
    text: ByteArray, ends: IntArray, size_hw: IntArray, runs: RunArray, starts: IntArray,
    area_px: IntArray, extent: IntArray,
) -> int:  # fmt: skip
    """Fill a RunTable from joined strings. Returns the index of the first corrupt mask, or -1."""
    p = 0
    r = 0
    for i in range(len(ends)):
        h = size_hw[i, 0]
        w = size_hw[i, 1]
        starts[i] = r
        first = r
        total = 0
        area = 0
        x, y = 0, 0  # column-major position
        x0, y0, x1, y1 = w, h, 0, 0
        while p < ends[i]:
            value = 0
            shift = 0
            more = True
            while more:
                if p == ends[i] or shift > 30:
                    return i
                character = int(text[p]) - 48
                if character < 0 or character > 63:
                    return i
                value |= (character & 31) << shift
                more = (character & 32) != 0
                p += 1
                shift += 5
                if not more and character & 16:
                    value |= -1 << shift
            if r - first > 2:
                value += int(runs[r - 2])
            if value < 0 or total + value > h * w:
                return i
            foreground = (r - first) % 2 == 1
            runs[r] = value
            r += 1
            total += value
            if foreground and value > 0:
                area += value
                x0 = min(x0, x)
                y0 = min(y0, y)
                if y + value <= h:
                    y1 = max(y1, y + value)
                    x1 = max(x1, x + 1)
                else:  # goes on into the next column: it touches the bottom and the top
                    y0 = 0
                    y1 = h
                    x1 = max(x1, x + (y + value - 1) // h + 1)
            y += value
            if y >= h:
                if y < 2 * h:  # the usual case, without a division
                    y -= h
                    x += 1
                else:
                    x += y // h
                    y %= h
        if total != h * w:
            return i
        area_px[i] = area
        if area > 0:
            extent[i, 0] = x0
            extent[i, 1] = y0
            extent[i, 2] = x1
            extent[i, 3] = y1
    starts[len(ends)] = r
    return -1


def unpack(rles: Sequence[Rle | JsonRle]) -> RunTable:
    """Decode the runs of N masks at once.

    Raises:
        CorruptMaskError: a mask is not compressed RLE, or its runs do not add up to h * w.
    """
    n = len(rles)
    try:
        sizes = np.array([rle["size"] for rle in rles], np.int64).reshape(n, 2)
        texts = [
            counts if isinstance(counts, bytes) else counts.encode("ascii")
            for counts in (rle["counts"] for rle in rles)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        bad = next((i for i, rle in enumerate(rles) if not _is_compressed(rle)), 0)
        raise CorruptMaskError(
            bad, f"not a compressed RLE with 'size' [h, w] and 'counts': {rles[bad]!r:.80}"
        ) from error
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, n))
    text = np.frombuffer(b"".join(texts), np.uint8)
    runs = np.empty(len(text), np.int32)  # every run takes at least one character
    starts = np.zeros(n + 1, np.int64)
    area_px = np.zeros(n, np.int64)
    extent = np.zeros((n, 4), np.int64)
    bad = _decompress(text, ends, sizes, runs, starts, area_px, extent)
    if bad >= 0:
        h, w = sizes[bad]
        raise CorruptMaskError(bad, f"corrupt RLE: its runs do not add up to {h} x {w} pixels")
    # A view: the unused rest of the buffer was never written, so it takes no memory.
    return RunTable(runs[: starts[n]], starts[:-1], starts[1:], sizes, area_px, extent)


def _is_compressed(rle: Any) -> bool:
    return (
        isinstance(rle, Mapping)
        and isinstance(rle.get("counts"), str | bytes)
        and isinstance(rle.get("size"), Sequence)
        and len(rle["size"]) == 2
        and all(isinstance(side, int | np.integer) for side in rle["size"])
    )


def decode(rle: Rle) -> BoolMask:
    """Decode to a C-contiguous (H, W) bool mask.

    Raises:
        DataError: the runs do not add up to the mask's size.
    """
    table = unpack([rle])
    h, w = rle["size"]
    mask = np.zeros((h, w), np.bool_)
    _paint(table.runs, mask)
    return mask


@kernel
def _paint(runs: RunArray, mask: BoolMask) -> None:
    """Set the foreground runs in a (h, w) mask that is all background."""
    h = mask.shape[0]
    position = 0
    for i in range(len(runs)):
        end = position + runs[i]
        if i % 2 == 1:
            x, y = position // h, position % h
            for _ in range(position, end):
                mask[y, x] = True
                y += 1
                if y == h:
                    x, y = x + 1, 0
        position = end


def area(rle: Rle) -> int:
    """Foreground pixels."""
    return int(unpack([rle]).area_px[0])


# ------------------------------------------------------------------------------------------ IoU


@kernel
def intersection_px(
    runs_a: RunArray, a: int, a_end: int, runs_b: RunArray, b: int, b_end: int
) -> int:
    """Pixels in both masks, by walking their runs side by side.

    Mask A is runs_a[a:a_end], mask B runs_b[b:b_end]; both must add up to the same size.
    """
    left_a = 0
    left_b = 0
    inside_a = True  # the first run is background
    inside_b = True
    inter = 0
    while True:
        while left_a == 0:
            if a == a_end:
                return inter
            left_a = int(runs_a[a])
            a += 1
            inside_a = not inside_a
        while left_b == 0:
            if b == b_end:
                return inter
            left_b = int(runs_b[b])
            b += 1
            inside_b = not inside_b
        step = min(left_a, left_b)
        if inside_a and inside_b:
            inter += step
        left_a -= step
        left_b -= step


@kernel
def _paired_intersections(runs: RunArray, starts: IntArray, ends: IntArray) -> IntArray:
    """Intersection of mask i with mask i + n, of 2 n masks."""
    n = len(starts) // 2
    out = np.empty(n, np.int64)
    for i in range(n):
        j = i + n
        out[i] = intersection_px(runs, starts[i], ends[i], runs, starts[j], ends[j])
    return out


def iou_aligned(preds: Sequence[Rle], truths: Sequence[Rle], eps: float = 0.0) -> FloatArray:
    """IoU of preds[i] with truths[i]: exact integer areas, i / (u + eps).

    Returns:
        (N,) float64. An empty union gives NaN when `eps` is 0 and 0 otherwise.

    Raises:
        DataError: the two masks of a pair differ in size.
    """
    if len(preds) != len(truths):
        raise ValueError(f"{len(preds)} predictions for {len(truths)} truths")
    n = len(preds)
    table = unpack([*preds, *truths])
    size_hw, area_px = table.size_hw, table.area_px
    unequal = np.flatnonzero((size_hw[:n] != size_hw[n:]).any(axis=1))
    if len(unequal):
        i = int(unequal[0])
        raise DataError(
            f"pair {i}: the prediction is {size_hw[i].tolist()} (h, w), "
            f"the ground truth {size_hw[n + i].tolist()}"
        )
    inter = _paired_intersections(table.runs, table.starts, table.ends)
    union = (area_px[:n] + area_px[n:] - inter) + eps
    out: FloatArray = np.full(len(inter), np.nan)
    np.divide(inter, union, out=out, where=union > 0)
    return out


def iou_pair(pred: Rle, truth: Rle, eps: float = 0.0) -> float:
    """IoU of two masks of one size; see `iou_aligned`."""
    return float(iou_aligned([pred], [truth], eps)[0])


# ------------------------------------------------------------------------- COCO's three spellings


def from_ann(segmentation: Any, h: int, w: int) -> Rle:
    """An annotation's `segmentation` as compressed RLE, rasterised as pycocotools' `annToRLE`.

    Args:
        segmentation: a list of polygons [x0, y0, x1, y1, ...]; or {"size", "counts"} with counts
            a list of runs, or a compressed string.
        h, w: image size in pixels.

    Raises:
        DataError: a polygon with fewer than three points, an odd number of coordinates or a value
            that is not finite; runs that do not add up to h * w; a size other than (h, w).
    """
    if isinstance(segmentation, list | tuple):
        for i, polygon in enumerate(segmentation):
            _check_polygon(i, polygon)
        if not segmentation:
            raise DataError("segmentation is an empty list: no polygon")
        polygons = [list(map(float, polygon)) for polygon in segmentation]
        merged: Rle = coco_mask.merge(coco_mask.frPyObjects(polygons, h, w))
        return merged
    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        raise DataError(f"segmentation is neither polygons nor RLE: {segmentation!r:.60}")
    if list(segmentation["size"]) != [h, w]:
        raise DataError(f"RLE is {list(segmentation['size'])} (h, w), its image is {[h, w]}")
    counts = segmentation["counts"]
    if isinstance(counts, list | tuple):
        return _from_runs(counts, h, w)
    if not isinstance(counts, str | bytes):
        raise DataError(f"RLE counts are neither a list nor a string: {counts!r:.60}")
    rle = Rle(size=[h, w], counts=counts.encode("ascii") if isinstance(counts, str) else counts)
    unpack([rle])
    return rle


def _check_polygon(i: int, polygon: Any) -> None:
    if not isinstance(polygon, list | tuple):
        raise DataError(f"polygon {i} is not a list of coordinates: {polygon!r:.60}")
    if len(polygon) < 6:
        raise DataError(f"polygon {i} has {len(polygon)} coordinates; three points need six")
    if len(polygon) % 2:
        raise DataError(f"polygon {i} has an odd number of coordinates ({len(polygon)})")
    for value in polygon:
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise DataError(f"polygon {i} has a coordinate that is not finite: {value!r}")


def _from_runs(counts: Iterable[Any], h: int, w: int) -> Rle:
    values = list(counts)
    if not all(isinstance(value, int | np.integer) and value >= 0 for value in values):
        raise DataError("RLE counts must be integers of at least 0")
    if sum(values) != h * w:
        raise DataError(f"RLE counts add up to {sum(values)}, not to {h} x {w} = {h * w}")
    text = np.empty(7 * len(values), np.uint8)
    length = _compress(np.array(values, np.int32), len(values), text)
    return {"size": [h, w], "counts": text[:length].tobytes()}


def to_json(rle: Rle) -> JsonRle:
    """The same mask with counts as `str`, which JSON can hold."""
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def from_json(value: JsonRle) -> Rle:
    """Inverse of `to_json`; does not check the runs (`unpack` does)."""
    return {"size": list(value["size"]), "counts": value["counts"].encode("ascii")}
