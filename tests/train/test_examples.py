"""Crops, prompts and targets agree with the masks they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from litesam_bench.train.examples import (
    DataConfig,
    Scene,
    cut,
    finish,
    make_example,
    paste,
    tight_box,
)
from litesam_bench.train.shards import RawSample, open_shards

CONFIG = DataConfig(frame=128, crop=96, prompts=6, box_jitter=0.0, copy_paste=0.0, colour=0.0)


def _disc_scene() -> Scene:
    y, x = np.mgrid[:96, :96] + 0.5
    mask = ((x - 40) ** 2 + (y - 50) ** 2 < 20**2).astype(np.uint8)
    return Scene(np.zeros((96, 96, 3), np.uint8), mask[None], (96, 96), 128.0 * 96)


def test_an_example_depends_on_its_seed_alone(pairs: Path) -> None:
    shards = open_shards([pairs])
    config = replace(CONFIG, copy_paste=1.0, colour=1.0, box_jitter=0.1)

    def donor(rng: np.random.Generator) -> RawSample:
        return shards.read(int(rng.integers(8)))

    first, again, other = (
        make_example(shards.read(0), np.random.default_rng(seed), config, donor)
        for seed in (1, 1, 2)
    )
    assert first is not None and again is not None and other is not None
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.image, other.image)


def test_prompts_lie_on_the_masks() -> None:
    scene = _disc_scene()
    example = finish(scene, np.random.default_rng(0), CONFIG)
    assert np.array_equal(example.boxes, np.tile([20, 30, 60, 70], (6, 1)))
    x, y = example.points.astype(int).reshape(-1, 2).T
    assert scene.masks[0, y, x].all()
    # the first point is the innermost pixel about half the time
    innermost = (np.abs(example.points[:, 0] - [40, 50]).max(1) <= 1).mean()
    assert 0 < innermost < 1


def test_targets_sample_the_mask_where_the_loss_will_look() -> None:
    scene = _disc_scene()
    example = finish(scene, np.random.default_rng(0), CONFIG)
    assert np.array_equal(example.frame_targets[0], scene.masks[0, 4::8, 4::8])
    left, top, right, bottom = example.regions[0]
    assert (left, top, right, bottom) == (10, 20, 70, 80)  # the box and a quarter all round
    area = example.region_targets[0].mean() * (right - left) * (bottom - top)
    assert area == pytest.approx(np.pi * 20**2, rel=0.02)


def test_a_region_beyond_the_crop_has_no_mask_there() -> None:
    scene = _disc_scene()
    scene.masks[:] = 1
    example = finish(scene, np.random.default_rng(0), CONFIG)
    grid = CONFIG.region_grid
    steps = example.regions[0, 0] + (np.arange(grid) + 0.5) / grid * (
        example.regions[0, 2] - example.regions[0, 0]
    )
    inside = (steps >= 0) & (steps < 96)
    assert np.array_equal(example.region_targets[0].astype(bool), inside[:, None] & inside)


def test_cutting_keeps_image_and_masks_together(pairs: Path) -> None:
    """The ellipses are brighter than the noise around them, in every crop."""
    shards = open_shards([pairs])
    for index in range(8):
        scene = cut(shards.read(index), np.random.default_rng(index), CONFIG)
        covered = scene.masks.any(0)
        brightness = scene.image.max(-1)
        height, width = scene.valid_hw
        assert not covered[height:].any() and not covered[:, width:].any()
        assert not scene.image[height:].any() and not scene.image[:, width:].any()
        if covered.sum() > 50:
            assert (
                brightness[covered].mean()
                > brightness[:height, :width][~covered[:height, :width]].mean() + 50
            )


def test_pasting_adds_an_object_and_takes_what_it_covers() -> None:
    scene = _disc_scene()
    before = scene.masks.copy()
    mask = np.ones((96, 128), np.uint8)
    rle = coco_mask.encode(np.asfortranarray(mask))
    donor = RawSample("donor", np.full((96, 128, 3), 200, np.uint8), (rle,))
    paste(scene, donor, np.random.default_rng(0), replace(CONFIG, paste_max=1))
    assert len(scene.masks) == 2
    old, new = scene.masks
    assert new.any()
    assert not (old & new).any()
    assert np.array_equal(old | (before[0] & new), before[0])
    assert (scene.image[new > 0] > 90).all()
    assert (scene.image[new == 0] < 110).all()


def test_nothing_to_prompt_gives_none() -> None:
    empty = RawSample("empty", np.zeros((96, 128, 3), np.uint8), ())
    assert make_example(empty, np.random.default_rng(0), CONFIG, lambda rng: None) is None


def test_tight_box_is_half_open() -> None:
    mask = np.zeros((5, 6), np.uint8)
    mask[1:3, 2:5] = 1
    assert tight_box(mask).tolist() == [2, 1, 5, 3]
