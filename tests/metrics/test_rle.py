"""Run-length encoding against pycocotools, byte for byte."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from litesam_bench.errors import DataError
from litesam_bench.metrics import rle

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
mask_pairs = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda hw: st.tuples(hnp.arrays(np.bool_, hw), hnp.arrays(np.bool_, hw))
)


def blob(h: int, w: int, seed: int) -> np.ndarray:
    """A filled ellipse with a ragged edge, somewhere in the frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    cy, cx = rng.uniform(0, h), rng.uniform(0, w)
    ry, rx = rng.uniform(1, h / 2), rng.uniform(1, w / 2)
    edge = rng.normal(1, 0.05, (h, w))
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < edge


def reference(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_four_pixels_by_hand() -> None:
    # Column-major: column 0 is (0, 1), column 1 is (1, 1): one background, three foreground.
    mask = np.array([[0, 1], [1, 1]], np.bool_)
    assert rle.encode(mask) == {"size": [2, 2], "counts": b"13"}
    assert rle.area(rle.encode(mask)) == 3
    assert rle.encode(np.ones((2, 2), np.bool_))["counts"] == b"04"
    assert rle.encode(np.zeros((2, 2), np.bool_))["counts"] == b"4"


@settings(max_examples=300, deadline=None)
@given(masks)
def test_encode_equals_pycocotools_and_decodes(mask: np.ndarray) -> None:
    encoded = rle.encode(mask)
    assert encoded == reference(mask)
    assert np.array_equal(rle.decode(encoded), mask)
    assert rle.area(encoded) == mask.sum()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_encode_many_of_image_size(dtype: type) -> None:
    stack = np.stack([blob(97, 131, seed) for seed in range(12)]).astype(dtype)
    assert rle.encode_many(stack) == [reference(mask) for mask in stack]
    strided = np.asfortranarray(stack)
    assert rle.encode_many(strided) == rle.encode_many(stack)
    assert rle.encode_many(stack[:0]) == []


@settings(max_examples=200, deadline=None)
@given(masks)
def test_extent_is_the_tight_box(mask: np.ndarray) -> None:
    x0, y0, x1, y1 = rle.unpack([rle.encode(mask)]).extent[0]
    if not mask.any():
        assert (x0, y0, x1, y1) == (0, 0, 0, 0)
        return
    y, x = np.nonzero(mask)
    assert (x0, y0, x1, y1) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


@settings(max_examples=300, deadline=None)
@given(mask_pairs)
def test_iou_is_exact(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    value = rle.iou_pair(rle.encode(a), rle.encode(b))
    union = int((a | b).sum())
    if union == 0:
        assert np.isnan(value)
        assert rle.iou_pair(rle.encode(a), rle.encode(b), eps=1e-7) == 0.0
    else:
        assert value == int((a & b).sum()) / union
        assert value == coco_mask.iou([reference(a)], [reference(b)], [0])[0, 0]
        assert rle.iou_pair(rle.encode(a), rle.encode(b), eps=0.5) == (a & b).sum() / (union + 0.5)


def test_runs_of_length_zero_are_read() -> None:
    odd = rle.from_ann({"size": [2, 3], "counts": [2, 0, 1, 2, 0, 1]}, 2, 3)
    same = rle.encode(np.array([[0, 0, 1], [0, 1, 1]], np.bool_))
    assert rle.iou_pair(odd, same) == 1.0
    assert rle.iou_pair(same, odd) == 1.0


def test_aligned_pairs_of_unequal_size_are_refused() -> None:
    small, large = rle.encode(np.ones((2, 2), np.bool_)), rle.encode(np.ones((2, 3), np.bool_))
    with pytest.raises(DataError, match=r"pair 1: the prediction is \[2, 2\].*\[2, 3\]"):
        rle.iou_aligned([small, small], [small, large])
    with pytest.raises(ValueError, match="1 predictions for 2 truths"):
        rle.iou_aligned([small], [small, small])


def test_three_spellings_of_one_mask() -> None:
    polygon = [2.0, 1.0, 8.0, 1.5, 6.5, 7.0, 1.0, 6.0]
    from_polygon = rle.from_ann([polygon], 10, 12)
    assert from_polygon == coco_mask.merge(coco_mask.frPyObjects([polygon], 10, 12))
    flat = rle.decode(from_polygon).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(np.int8)])))
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).astype(int).tolist()
    assert rle.from_ann({"size": [10, 12], "counts": runs}, 10, 12) == from_polygon
    as_json = rle.to_json(from_polygon)
    assert rle.from_ann(as_json, 10, 12) == from_polygon
    assert rle.from_json(json.loads(json.dumps(as_json))) == from_polygon


def test_polygon_parts_are_united_and_out_of_frame_is_empty() -> None:
    left, right = [0, 0, 4, 0, 4, 4, 0, 4], [6, 0, 10, 0, 10, 4, 6, 4]
    both = rle.from_ann([left, right], 8, 12)
    assert rle.area(both) == rle.area(rle.from_ann([left], 8, 12)) * 2
    assert rle.area(rle.from_ann([[100, 100, 110, 100, 110, 110]], 8, 12)) == 0


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "empty list"),
        ([[1, 1, 5, 5]], "polygon 0 has 4 coordinates"),
        ([[0, 0, 4, 0, 4, 4], []], "polygon 1 has 0 coordinates"),
        ([[0, 0, 4, 0, 4, 4, 1]], "odd number"),
        ([[0, 0, 4, 0, 4, float("nan")]], "not finite"),
        ([[0, 0, 4, 0, 4, None]], "not finite"),
        ([3, 4, 5], "polygon 0 is not a list"),
        (None, "neither polygons nor RLE"),
        ({"counts": [4]}, "neither polygons nor RLE"),
        ({"size": [3, 2], "counts": [6]}, r"RLE is \[3, 2\] \(h, w\), its image is \[2, 3\]"),
        ({"size": [2, 3], "counts": [4]}, "add up to 4, not to 2 x 3 = 6"),
        ({"size": [2, 3], "counts": [7, -1]}, "integers of at least 0"),
        ({"size": [2, 3], "counts": [6.0]}, "integers of at least 0"),
        ({"size": [2, 3], "counts": 6}, "neither a list nor a string"),
        ({"size": [2, 3], "counts": "5"}, "corrupt RLE"),
        ({"size": [2, 3], "counts": "7"}, "corrupt RLE"),
        ({"size": [2, 3], "counts": "\x01"}, "corrupt RLE"),
        ({"size": [2, 3], "counts": "ooooooooo"}, "corrupt RLE"),
        ({"size": [2, 3], "counts": ""}, "corrupt RLE"),
    ],
)
def test_malformed_segmentations(segmentation: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rle.from_ann(segmentation, 2, 3)


def test_unpack_names_the_bad_mask() -> None:
    good = rle.encode(np.eye(3, dtype=np.bool_))
    with pytest.raises(rle.CorruptMaskError) as caught:
        rle.unpack([good, {"size": [3, 3], "counts": good["counts"][:-1]}])
    assert caught.value.index == 1
    with pytest.raises(rle.CorruptMaskError) as caught:
        rle.unpack([good, good, [1, 2, 3, 4, 5, 6]])  # type: ignore[list-item]
    assert caught.value.index == 2


def test_take_shares_runs_and_keeps_order() -> None:
    stack = [blob(20, 30, seed) for seed in range(5)]
    table = rle.unpack(rle.encode_many(np.stack(stack)))
    part = table.take(np.array([3, 1]))
    assert len(part) == 2
    assert part.area_px.tolist() == [int(stack[3].sum()), int(stack[1].sum())]
    assert part.runs is table.runs
