"""Generated scenes: the same masks everywhere and for ever, and the variety that is promised."""

from __future__ import annotations

import hashlib
import math
import pickle
import time

import numpy as np
import pytest

from litesam_bench.datasets.scene_layout import (
    KINDS,
    MAX_OBJECTS,
    MIN_OBJECTS,
    MIN_VISIBLE_PX,
    Draws,
    Shape,
    fill,
    make_layout,
    paint,
)
from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.errors import UsageError
from litesam_bench.metrics import rle
from litesam_bench.types import Dataset

# A change here is a change of the benchmark: raise LAYOUT_VERSION with it.
PINNED = {
    ("scenes", 0): "a96efdd68c186a5021f2b5ac9080de58325efe8d067e89a21e0a9cc94a64aeda",
    ("scenes", 1): "d50c51be5a00d9ae8c61a09787677cc877694f11ef4bfd12e8681b3dd7fb8caf",
    ("scenes-train", 0): "d1a350efe3e7d81457ec5266876b81e52e3d81e152e7a0600001a078d6617769",
}


@pytest.fixture(scope="module")
def scenes() -> ScenesDataset:
    return ScenesDataset(32)


def _masks_sha256(dataset: ScenesDataset) -> str:
    digest = hashlib.sha256()
    for image_id in dataset.image_ids:
        digest.update(dataset.labels(image_id).tobytes())
        for instance in dataset.truth(image_id).instances:
            digest.update(instance.rle["counts"] + bytes([instance.category_id]))
    return digest.hexdigest()


@pytest.mark.parametrize(("split", "seed"), PINNED)
def test_masks_are_pinned(split: str, seed: int) -> None:
    assert _masks_sha256(ScenesDataset(8, seed, split=split)) == PINNED[split, seed]


def test_is_a_dataset(scenes: ScenesDataset) -> None:
    assert isinstance(scenes, Dataset)
    assert list(scenes.image_ids) == list(range(1, 33))
    assert [category.name for category in scenes.categories] == list(KINDS)
    info = scenes.info
    assert info.n_images == 32
    assert info.n_instances == sum(len(scenes.truth(i).instances) for i in scenes.image_ids)
    assert info.skipped == {}
    assert "generated" in info.footnote


def test_pictures_repeat() -> None:
    first, again = ScenesDataset(3).sample(3), ScenesDataset(64).sample(3)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.truth == again.truth


def test_crosses_processes() -> None:
    """Loader processes receive the dataset pickled."""
    dataset = ScenesDataset(2)
    dataset.truth(2)
    copied = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copied.sample(2).image, dataset.sample(2).image)


def test_pictures_differ(scenes: ScenesDataset) -> None:
    others = [
        scenes.sample(2).image,
        ScenesDataset(1, 1).sample(1).image,
        ScenesDataset(1, split="scenes-train").sample(1).image,
    ]
    image = scenes.sample(1).image
    assert all((other != image).mean() > 0.5 for other in others)


def test_pixels_are_an_image_of_the_asked_size() -> None:
    dataset = ScenesDataset(2, size_hw=(123, 211))
    sample = dataset.sample(2)
    assert sample.image.shape == (123, 211, 3)
    assert sample.image.dtype == np.uint8
    assert sample.truth.size_hw == (123, 211)
    assert sample.image.std() > 10


def test_digest_names_every_argument() -> None:
    variants = [
        ScenesDataset(2),
        ScenesDataset(3),
        ScenesDataset(2, 1),
        ScenesDataset(2, size_hw=(240, 320)),
        ScenesDataset(2, split="scenes-train"),
    ]
    assert len({dataset.info.digest for dataset in variants}) == len(variants)
    assert ScenesDataset(2).info == variants[0].info


def test_masks_are_the_visible_parts(scenes: ScenesDataset) -> None:
    for image_id in scenes.image_ids[:8]:
        labels = scenes.labels(image_id)
        instances = scenes.truth(image_id).instances
        assert set(np.unique(labels)) <= set(range(len(instances) + 1))
        for number, instance in enumerate(instances, start=1):
            mask = rle.decode(instance.rle)
            np.testing.assert_array_equal(mask, labels == number)
            assert instance.area_px == mask.sum() >= MIN_VISIBLE_PX
            x, y, w, h = (int(v) for v in instance.bbox_xywh)
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
            for edge in (mask[y, :], mask[y + h - 1, :], mask[:, x], mask[:, x + w - 1]):
                assert edge.any()


def test_number_of_objects_sizes_and_kinds(scenes: ScenesDataset) -> None:
    per_image = [len(scenes.truth(i).instances) for i in scenes.image_ids]
    assert min(per_image) >= MIN_OBJECTS
    assert max(per_image) <= MAX_OBJECTS
    instances = [i for image in scenes.image_ids for i in scenes.truth(image).instances]
    areas = np.array([instance.area_px for instance in instances])
    shares = [
        (areas < 1024).mean(),
        ((areas >= 1024) & (areas < 9216)).mean(),
        (areas >= 9216).mean(),
    ]
    assert min(shares) > 0.15, shares
    assert {instance.category_id for instance in instances} == set(range(1, len(KINDS) + 1))
    assert len({instance.id for instance in instances}) == len(instances)


def test_objects_occlude_each_other(scenes: ScenesDataset) -> None:
    occluded = 0
    for image_id in scenes.image_ids:
        layout = make_layout(scenes._draws(image_id, 0), (480, 640))
        np.testing.assert_array_equal(layout.labels, scenes.labels(image_id))
        for number, shape in enumerate(layout.shapes, start=1):
            occluded += fill(shape, (480, 640)).sum() > (layout.labels == number).sum()
    assert occluded / scenes.info.n_instances > 0.15


def test_painting_order_is_depth_order() -> None:
    square = np.array([[2.0, 2], [6, 2], [6, 6], [2, 6]])
    shapes = (Shape("box", (square,)), Shape("box", (square + 2,)))
    labels = paint(shapes, (12, 12))
    assert labels[3, 3] == 1
    assert labels[5, 5] == 2  # both are there; the later one is in front
    assert labels[8, 8] == 2
    assert labels[10, 10] == 0


def test_a_ring_has_a_hole() -> None:
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = fill(Shape("ring", (20 * circle + 25, 10 * circle + 25)), (50, 50))
    assert not mask[25, 25]
    assert mask[25, 40]
    assert abs(mask.sum() - math.pi * (20**2 - 10**2)) < 100


def test_draws_do_not_depend_on_the_version_of_numpy() -> None:
    draws = Draws(1, 2, 3)
    raw = np.random.PCG64(np.random.SeedSequence([1, 2, 3])).random_raw(2)
    expected = [(int(word) >> 11) * 2.0**-53 for word in raw]
    assert [draws.uniform(), draws.uniform()] == expected


def test_fast_enough() -> None:
    """Ten scenes a second on one free core; a quarter of that leaves room for a busy machine."""
    dataset = ScenesDataset(4, seed=5)
    dataset.sample(1)
    begin = time.process_time()
    for image_id in (2, 3, 4):
        dataset.sample(image_id)
    assert (time.process_time() - begin) / 3 < 0.4


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match="'scenes-test'"):
        ScenesDataset(split="scenes-test")
    for arguments in ({"n": 0}, {"seed": -1}, {"size_hw": (480, 8)}):
        with pytest.raises(UsageError, match="cannot make"):
            ScenesDataset(**arguments)
    with pytest.raises(UsageError, match="image ids are 1 to 2"):
        ScenesDataset(2).truth(3)
