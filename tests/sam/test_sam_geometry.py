"""Frames: the resize rule, and the way of prompts and masks there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litesam_bench.sam.geometry import (
    Frame,
    long_side_size,
    preprocess,
    resize_image,
    restore_masks,
)
from litesam_bench.spec import InputSpec

SIDES = st.integers(min_value=1, max_value=3000)


@pytest.mark.parametrize(
    ("original", "at_1024", "at_640"),
    [  # from upstream's ResizeLongestSide.get_preprocess_shape
        ((427, 640), (683, 1024), (427, 640)),
        ((640, 427), (1024, 683), (640, 427)),
        ((1, 1000), (1, 1024), (1, 640)),
        ((333, 500), (682, 1024), (426, 640)),
        ((480, 481), (1022, 1024), (639, 640)),
        ((1365, 2048), (683, 1024), (427, 640)),
        ((3, 7), (439, 1024), (274, 640)),
        ((1, 2999), (1, 1024), (1, 640)),  # ours: upstream rounds to 0
    ],
)
def test_long_side_is_upstreams(
    original: tuple[int, int], at_1024: tuple[int, int], at_640: tuple[int, int]
) -> None:
    assert long_side_size(original, 1024) == at_1024
    assert long_side_size(original, 640) == at_640


@given(SIDES, SIDES, st.sampled_from(["pad", "stretch", "none"]))
def test_prompts_return_where_they_came_from(height: int, width: int, rule: str) -> None:
    frame = Frame.of((height, width), InputSpec(size=640, rule=rule))  # type: ignore[arg-type]
    boxes = np.array([[0.0, 0.0, width, height], [0.3 * width, 0.1, 0.9 * width, 0.7 * height]])
    there = frame.to_network(boxes)
    np.testing.assert_allclose(frame.to_original(there), boxes, atol=1e-9 * max(height, width))
    # the image's corner is the corner of its resized self
    np.testing.assert_allclose(there[0, 2:], frame.resized_hw[::-1])
    np.testing.assert_array_equal(frame.to_network(boxes[:, 2:]), there[:, 2:])


@pytest.mark.parametrize("size_hw", [(333, 500), (500, 333), (97, 640), (640, 31), (64, 64)])
@pytest.mark.parametrize("rule", ["pad", "stretch"])
def test_a_box_survives_the_round_trip(size_hw: tuple[int, int], rule: str) -> None:
    """A box drawn in the decoder's frame lands on the same box of the image, to a decoder cell."""
    frame = Frame.of(size_hw, InputSpec(size=256, rule=rule))  # type: ignore[arg-type]
    height, width = size_hw
    box = np.array([0.25 * width, 0.25 * height, 0.75 * width, 0.5 * height])
    x0, y0, x1, y1 = frame.to_network(box) / 4
    centre = torch.arange(64) + 0.5
    inside = ((centre > y0) & (centre < y1))[:, None] & ((centre > x0) & (centre < x1))
    restored = restore_masks(torch.where(inside, 1.0, -1.0)[None], frame)[0]
    assert restored.shape == size_hw
    assert restored.dtype == torch.float32
    ys, xs = torch.nonzero(restored > 0, as_tuple=True)
    cell_x, cell_y = 4 / np.array(frame.scale_xy) + 1
    assert abs(xs.min() - box[0]) <= cell_x
    assert abs(xs.max() + 1 - box[2]) <= cell_x
    assert abs(ys.min() - box[1]) <= cell_y
    assert abs(ys.max() + 1 - box[3]) <= cell_y


def test_padding_never_reaches_the_image() -> None:
    frame = Frame.of((32, 64), InputSpec(size=64, rule="pad"))
    logits = torch.full((1, 16, 16), 5.0)
    # in the network frame the image ends at row 32, which is row 8 of the logits
    logits[:, 9:] = -1000.0
    restored = restore_masks(logits, frame)
    assert restored.shape == (1, 32, 64)
    assert (restored[:, :30] == 5.0).all()


def test_preprocess_normalises_then_pads_with_zeros() -> None:
    rule = InputSpec(size=64, rule="pad")
    image = np.full((20, 40, 3), 200, dtype=np.uint8)
    pixels = preprocess(image, Frame.of((20, 40), rule), rule)
    assert pixels.shape == (1, 3, 64, 64)
    for channel in range(3):
        expected = (200 - rule.mean[channel]) / rule.std[channel]
        torch.testing.assert_close(
            pixels[0, channel, :32], torch.full((32, 64), expected), atol=1e-6, rtol=1e-6
        )
    assert (pixels[0, :, 32:] == 0).all()


def test_resize_averages_when_it_shrinks() -> None:
    """PIL's bilinear widens its kernel when it shrinks; a plain bilinear would alias."""
    checkerboard = np.indices((64, 64)).sum(0) % 2 * 255
    image = np.repeat(checkerboard[:, :, None], 3, axis=2).astype(np.uint8)
    small = resize_image(image, (16, 16))
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 2
    assert resize_image(image, (64, 64)) is image
