"""Exports open with our readers and with the official ones, with the same masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from litesam_bench.datasets.coco import open_coco
from litesam_bench.datasets.export import LAYOUTS, export
from litesam_bench.datasets.lvis import open_lvis
from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.errors import UsageError
from litesam_bench.metrics import rle
from litesam_bench.types import Dataset


@pytest.fixture(scope="module")
def scenes() -> ScenesDataset:
    return ScenesDataset(3, seed=2, size_hw=(120, 160))


def _assert_same(read: Dataset, written: Dataset) -> None:
    assert list(read.image_ids) == list(written.image_ids)
    for image_id in written.image_ids:
        truth = read.truth(image_id)
        assert truth.instances == written.truth(image_id).instances
        difference = read.sample(image_id).image.astype(int) - written.sample(image_id).image
        assert np.abs(difference).mean() < 6  # JPEG


def test_coco(scenes: ScenesDataset, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = export(scenes, tmp_path, "coco")
    assert path == tmp_path / "coco" / "annotations" / "instances_scenes.json"
    dataset = open_coco(tmp_path, "scenes")
    _assert_same(dataset, scenes)
    assert [c.name for c in dataset.categories] == [c.name for c in scenes.categories]
    reference = COCO(path)
    for image_id in scenes.image_ids:
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=image_id))
        for annotation, instance in zip(annotations, scenes.truth(image_id).instances, strict=True):
            np.testing.assert_array_equal(
                reference.annToMask(annotation).astype(bool), rle.decode(instance.rle)
            )


def test_lvis(scenes: ScenesDataset, tmp_path: Path) -> None:
    from lvis import LVIS

    path = export(scenes, tmp_path, "lvis")
    dataset = open_lvis(tmp_path, "v1", "scenes")
    _assert_same(dataset, scenes)
    reference = LVIS(str(path))
    everything = {category.id for category in scenes.categories}
    for image_id in scenes.image_ids:
        truth = dataset.truth(image_id)
        present = {instance.category_id for instance in truth.instances}
        assert set(truth.neg_category_ids) == everything - present
        assert truth.not_exhaustive_category_ids == ()
        for instance in truth.instances:
            mask = reference.ann_to_mask(reference.anns[instance.id])
            np.testing.assert_array_equal(mask.astype(bool), rle.decode(instance.rle))
    for category in reference.cats.values():
        holding = sum(
            any(i.category_id == category["id"] for i in scenes.truth(image).instances)
            for image in scenes.image_ids
        )
        assert category["image_count"] == holding
        assert category["frequency"] == "r"  # three images in all


def test_bsds500(scenes: ScenesDataset, tmp_path: Path) -> None:
    folder = export(scenes, tmp_path, "bsds500")
    assert folder == tmp_path / "bsds500" / "data" / "groundTruth" / "test"
    for image_id in scenes.image_ids:
        cells = loadmat(folder / f"{image_id}.mat")["groundTruth"]
        assert cells.shape == (1, 1)
        labels = cells[0, 0]["Segmentation"][0, 0]
        boundaries = cells[0, 0]["Boundaries"][0, 0]
        np.testing.assert_array_equal(labels, scenes.labels(image_id).astype(int) + 1)
        assert (labels.dtype, boundaries.dtype) == (np.uint16, np.uint8)
        # By the definition of seg2bdry: any difference within the 2x2 block to the lower right.
        blocks = np.stack([labels[:-1, :-1], labels[1:, :-1], labels[:-1, 1:], labels[1:, 1:]])
        np.testing.assert_array_equal(boundaries[:-1, :-1], (blocks != blocks[0]).any(axis=0))
        with Image.open(
            tmp_path / "bsds500" / "data" / "images" / "test" / f"{image_id}.jpg"
        ) as image:
            assert image.size == (160, 120)


@pytest.mark.data
def test_bsds500_is_nested_like_the_official_files(
    scenes: ScenesDataset, tmp_path: Path, data_root: Path
) -> None:
    official = loadmat(data_root / "bsds500" / "data" / "groundTruth" / "test" / "100007.mat")[
        "groundTruth"
    ]
    ours = loadmat(export(scenes, tmp_path, "bsds500") / "1.mat")["groundTruth"]
    assert ours.dtype == official.dtype
    assert ours.ndim == official.ndim
    assert ours[0, 0].dtype == official[0, 0].dtype
    assert ours[0, 0].shape == official[0, 0].shape
    for field in ("Segmentation", "Boundaries"):
        assert ours[0, 0][field][0, 0].dtype == official[0, 0][field][0, 0].dtype


def test_sa1b(scenes: ScenesDataset, tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    folder = export(scenes, tmp_path, "sa1b", split="shapes")
    assert folder == tmp_path / "shapes"
    for image_id in scenes.image_ids:
        document = json.loads((folder / f"sa_{image_id}.json").read_text())
        with Image.open(folder / document["image"]["file_name"]) as image:
            assert image.size == (document["image"]["width"], document["image"]["height"])
        truth = scenes.truth(image_id)
        for annotation, instance in zip(document["annotations"], truth.instances, strict=True):
            mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
            np.testing.assert_array_equal(mask, rle.decode(instance.rle))
            assert annotation["area"] == mask.sum()
            ((x, y),) = annotation["point_coords"]
            assert mask[int(y), int(x)]


def test_unknown_layout(scenes: ScenesDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'voc'") as caught:
        export(scenes, tmp_path, "voc")
    assert all(layout in caught.value.fix for layout in LAYOUTS)
