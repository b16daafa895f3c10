"""COCO loading: masks as pycocotools makes them, and one test per kind of broken file."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from litesam_bench.datasets.coco import CocoDataset, open_coco, open_folder
from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import rle
from litesam_bench.types import Dataset

Document = dict[str, Any]
FolderOf = Callable[[Document], Path]


def test_masks_boxes_and_order(document: Document, folder_of: FolderOf) -> None:
    dataset = open_folder(folder_of(document))
    assert isinstance(dataset, Dataset)
    assert list(dataset.image_ids) == [1, 2]
    assert [category.id for category in dataset.categories] == [3, 7]
    square, triangle = dataset.truth(1).instances
    assert (square.id, triangle.id) == (11, 12)
    expected = np.zeros((30, 40), bool)
    expected[3:11, 2:10] = True
    np.testing.assert_array_equal(rle.decode(square.rle), expected)
    assert square.bbox_xywh == (2, 3, 8, 8)
    assert square.area_px == 64
    assert not square.iscrowd
    (crowd,) = dataset.truth(2).instances
    expected = np.zeros((30, 40), bool)
    expected[:, :2] = True
    np.testing.assert_array_equal(rle.decode(crowd.rle), expected)
    assert crowd.iscrowd
    sample = dataset.sample(2)
    assert sample.image.shape == (30, 40, 3)
    assert (sample.image == 11).all()
    assert dataset.info.n_images == 2
    assert dataset.info.n_instances == 3
    assert dataset.info.skipped == {}
    assert dataset.info.footnote == ""


def test_compressed_and_plain_run_lengths_agree(document: Document, folder_of: FolderOf) -> None:
    plain = open_folder(folder_of(document))
    other = copy.deepcopy(document)
    encoded = coco_mask.frPyObjects(document["annotations"][2]["segmentation"], 30, 40)
    other["annotations"][2]["segmentation"]["counts"] = encoded["counts"].decode()
    compressed = open_folder(folder_of(other))
    assert compressed.truth(2) == plain.truth(2)
    assert compressed.info.digest == plain.info.digest


def test_polygon_parts_are_merged(document: Document, folder_of: FolderOf) -> None:
    parts = [[1, 1, 5, 1, 5, 5, 1, 5], [10, 10, 15, 10, 15, 15, 10, 15], [3, 3, 4, 4]]
    document["annotations"][1]["segmentation"] = parts
    dataset = open_folder(folder_of(document))
    mask = rle.decode(dataset.truth(1).instances[0].rle)
    assert mask.sum() == 16 + 25  # the part of two points has no inside
    assert mask[1, 1]
    assert mask[14, 14]


class TestDigest:
    def test_ignores_order_and_number_types(self, document: Document, folder_of: FolderOf) -> None:
        digest = open_folder(folder_of(document)).info.digest
        other = copy.deepcopy(document)
        for key in ("images", "annotations", "categories"):
            other[key].reverse()
        other["annotations"][1]["segmentation"] = [
            [float(v) for v in other["annotations"][1]["segmentation"][0]]
        ]
        other["info"] = {"description": "another text"}
        assert open_folder(folder_of(other)).info.digest == digest

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: d["annotations"][0]["segmentation"][0].__setitem__(0, 20.25),
            lambda d: d["annotations"][0].__setitem__("area", 51),
            lambda d: d["annotations"][0].__setitem__("category_id", 7),
            lambda d: d["annotations"][0]["bbox"].__setitem__(2, 10.5),
            lambda d: d["annotations"][0].__setitem__("iscrowd", 1),
            lambda d: d["annotations"].pop(),
            lambda d: d["images"][0].__setitem__("height", 31) or d["annotations"].pop(),
        ],
    )
    def test_notices_what_is_scored(
        self, document: Document, folder_of: FolderOf, change: Callable[[Document], Any]
    ) -> None:
        before = open_folder(folder_of(document)).info.digest
        change(document)
        assert open_folder(folder_of(document)).info.digest != before

    def test_covers_the_chosen_images_only(self, document: Document, folder_of: FolderOf) -> None:
        part = open_folder(folder_of(document)).subset([2]).info
        document["annotations"][0]["area"] = 999
        assert open_folder(folder_of(document)).subset([2]).info == part


class TestSubset:
    def test_footnote(self, document: Document, folder_of: FolderOf) -> None:
        dataset = open_folder(folder_of(document)).subset([2])
        assert list(dataset.image_ids) == [2]
        assert dataset.info.footnote == "mini subset, 1 images"
        assert dataset.info.n_instances == 1

    def test_unknown_image(self, document: Document, folder_of: FolderOf) -> None:
        with pytest.raises(UsageError, match="no image 5"):
            open_folder(folder_of(document)).subset([1, 5])


class TestSkips:
    """One unusable annotation is counted and left out; the rest of the set stays."""

    @pytest.fixture
    def skipped(self, document: Document, folder_of: FolderOf) -> Callable[..., dict[str, int]]:
        def apply(**fields: Any) -> dict[str, int]:
            document["annotations"].append({**document["annotations"][1], "id": 99, **fields})
            dataset = open_folder(folder_of(document))
            assert dataset.info.n_instances == 3
            assert [i.id for i in dataset.truth(1).instances] == [11, 12]
            return dataset.info.skipped

        return apply

    def test_duplicate_id(self, skipped: Any) -> None:
        assert skipped(id=11, area=1.0) == {"duplicate-id": 1}

    def test_unknown_image(self, skipped: Any) -> None:
        assert skipped(image_id=77) == {"unknown-image": 1}

    def test_unknown_category(self, skipped: Any) -> None:
        assert skipped(category_id=77) == {"unknown-category": 1}

    @pytest.mark.parametrize("polygon", [[], [[]], [[1, 1, 5, 5]]])
    def test_empty_polygon(self, skipped: Any, polygon: list[Any]) -> None:
        assert skipped(segmentation=polygon) == {"empty-polygon": 1}

    @pytest.mark.parametrize(
        "fields",
        [
            {"bbox": [math.nan, 0, 5, 5]},
            {"area": math.inf},
            {"segmentation": [[1, 1, 9, math.nan, 9, 9]]},
        ],
    )
    def test_not_finite(self, skipped: Any, fields: dict[str, Any]) -> None:
        assert skipped(**fields) == {"not-finite": 1}

    @pytest.mark.parametrize("box", [[1, 1, 0, 5], [1, 1, 5, 0], [1, 1, -2, 5]])
    def test_zero_area_box(self, skipped: Any, box: list[float]) -> None:
        assert skipped(bbox=box) == {"zero-area-box": 1}

    @pytest.mark.parametrize(
        "polygon",
        [
            [50, 40, 60, 40, 60, 50],  # right of and below the frame
            [-20, 5, -5, 5, -5, 20],  # left of it
            [5.0, 5.0, 5.1, 5.0, 5.1, 5.1],  # thinner than a pixel
        ],
    )
    def test_empty_mask(self, skipped: Any, polygon: list[float]) -> None:
        assert skipped(segmentation=[polygon]) == {"empty-mask": 1}

    def test_empty_run_lengths(self, skipped: Any) -> None:
        assert skipped(segmentation={"size": [30, 40], "counts": [1200]}) == {"empty-mask": 1}

    @pytest.mark.parametrize(
        "segmentation",
        [
            {"size": [30, 40], "counts": [0, 60]},
            {"size": [30, 40], "counts": [0, -5, 1205]},
            {"size": [40, 30], "counts": [0, 60, 1140]},
            {"size": [30, 40], "counts": "zzzz"},
            {"size": [30, 40], "counts": ""},
        ],
    )
    def test_bad_rle(self, skipped: Any, segmentation: Any) -> None:
        assert skipped(segmentation=segmentation) == {"bad-rle": 1}

    def test_polygon_across_the_border_is_clipped(
        self, document: Document, folder_of: FolderOf
    ) -> None:
        document["annotations"][1]["segmentation"] = [[-10, -10, 5, -10, 5, 4, -10, 4]]
        dataset = open_folder(folder_of(document))
        mask = rle.decode(dataset.truth(1).instances[0].rle)
        assert mask.sum() == 5 * 4
        assert mask[:4, :5].all()

    def test_skips_follow_the_subset(self, document: Document, folder_of: FolderOf) -> None:
        document["annotations"].append({**document["annotations"][1], "id": 99, "bbox": [0] * 4})
        dataset = open_folder(folder_of(document))
        assert dataset.subset([1]).info.skipped == {"zero-area-box": 1}
        assert dataset.subset([2]).info.skipped == {}


class TestBrokenFiles:
    def test_invalid_json(self, document: Document, folder_of: FolderOf) -> None:
        path = folder_of(document) / "annotations.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(DataError, match=r"annotations\.json is not valid JSON"):
            open_folder(path.parent)

    def test_a_list_is_no_annotation_file(self, document: Document, folder_of: FolderOf) -> None:
        path = folder_of(document) / "annotations.json"
        path.write_text("[]")
        with pytest.raises(DataError, match="holds a list"):
            open_folder(path.parent)

    @pytest.mark.parametrize("key", ["images", "annotations", "categories"])
    def test_missing_list(self, document: Document, folder_of: FolderOf, key: str) -> None:
        del document[key]
        with pytest.raises(DataError, match=f"has no list '{key}'"):
            open_folder(folder_of(document))

    @pytest.mark.parametrize(
        ("part", "key"),
        [
            ("images", "id"),
            ("images", "width"),
            ("images", "file_name"),
            ("categories", "name"),
            ("annotations", "id"),
            ("annotations", "image_id"),
            ("annotations", "category_id"),
            ("annotations", "bbox"),
            ("annotations", "area"),
            ("annotations", "segmentation"),
        ],
    )
    def test_missing_key(
        self, document: Document, folder_of: FolderOf, part: str, key: str
    ) -> None:
        del document[part][1][key]
        with pytest.raises(DataError, match=rf"{part}\[1\] has no '{key}'"):
            open_folder(folder_of(document))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("bbox", [1, 2, 3]),
            ("bbox", "1234"[:2]),
            ("area", None),
            ("segmentation", [[1, 1, 2, 2, "x", 3]]),
            ("segmentation", [[1, 1, 2, 2, 3, 3, 4]]),
            ("segmentation", None),
        ],
    )
    def test_wrong_type(
        self, document: Document, folder_of: FolderOf, key: str, value: Any
    ) -> None:
        document["annotations"][1][key] = value
        with pytest.raises(DataError, match=r"annotations\[1\] has a box, area or segmentation"):
            open_folder(folder_of(document))

    @pytest.mark.parametrize("part", ["images", "categories"])
    def test_duplicate_ids(self, document: Document, folder_of: FolderOf, part: str) -> None:
        document[part].append(document[part][0])
        with pytest.raises(DataError, match=rf"{part}\[2\] repeats"):
            open_folder(folder_of(document))

    def test_id_that_is_no_integer(self, document: Document, folder_of: FolderOf) -> None:
        document["images"][0]["id"] = "2"
        with pytest.raises(DataError, match="not an integer"):
            open_folder(folder_of(document))

    @pytest.mark.parametrize(
        "name",
        [
            "../a.png",
            "x/../../a.png",
            "/etc/a.png",
            "C:\\a.png",
            "x\\..\\..\\a.png",
            "",
            "\\\\h\\a",
        ],
    )
    def test_file_name_that_leaves_the_folder(
        self, document: Document, folder_of: FolderOf, name: str
    ) -> None:
        document["images"][0]["file_name"] = name
        with pytest.raises(DataError, match="leaves the image folder"):
            open_folder(folder_of(document))

    def test_link_out_of_the_folder(self, document: Document, folder_of: FolderOf) -> None:
        folder = folder_of(document)
        outside = folder.parent / "secret.png"
        (folder / "images" / "a.png").rename(outside)
        (folder / "images" / "a.png").symlink_to(outside)
        with pytest.raises(DataError, match="link out of its folder"):
            open_folder(folder).sample(1)

    def test_linked_image_folder_is_fine(self, document: Document, folder_of: FolderOf) -> None:
        folder = folder_of(document)
        (folder / "images").rename(folder.parent / "elsewhere")
        (folder / "images").symlink_to(folder.parent / "elsewhere")
        assert open_folder(folder).sample(1).image.shape == (30, 40, 3)

    def test_missing_image(self, document: Document, folder_of: FolderOf) -> None:
        folder = folder_of(document)
        (folder / "images" / "b.png").unlink()
        dataset = open_folder(folder)
        assert len(dataset.truth(2).instances) == 1  # scoring needs no pixels
        with pytest.raises(DataError, match=r"b\.png .* does not exist") as caught:
            dataset.sample(2)
        assert "litesam-bench data where" in caught.value.fix

    def test_truncated_jpeg(self, document: Document, folder_of: FolderOf) -> None:
        document["images"][0]["file_name"] = "c.jpg"
        folder = folder_of(document)
        pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        path = folder / "images" / "c.jpg"
        Image.fromarray(pixels).save(path)
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(DataError, match=r"c\.jpg cannot be decoded"):
            open_folder(folder).sample(2)

    def test_other_size_than_the_file_says(self, document: Document, folder_of: FolderOf) -> None:
        folder = folder_of(document)
        Image.new("RGB", (30, 40)).save(folder / "images" / "a.png")
        with pytest.raises(DataError, match=r"is 30x40, but .* says 40x30"):
            open_folder(folder).sample(1)


class TestLayout:
    def test_missing_coco_names_paths_and_downloads(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            open_coco(tmp_path)
        assert "instances_val2017.json" in caught.value.message
        assert "val2017" in caught.value.message
        assert "http://images.cocodataset.org/zips/val2017.zip" in caught.value.fix
        assert "annotations_trainval2017.zip" in caught.value.fix
        assert "litesam-bench data where" in caught.value.fix

    def test_official_layout_and_split(
        self, document: Document, folder_of: FolderOf, tmp_path: Path
    ) -> None:
        folder = folder_of(document)
        (tmp_path / "coco" / "annotations").mkdir(parents=True)
        (folder / "images").rename(tmp_path / "coco" / "train2017")
        (folder / "annotations.json").rename(
            tmp_path / "coco" / "annotations" / "instances_train2017.json"
        )
        dataset = open_coco(tmp_path, "train2017")
        assert dataset.info.name == "coco-train2017"
        assert dataset.info.footnote == "coco-train2017 subset, 2 images"
        assert dataset.sample(1).truth.path == str(tmp_path / "coco" / "train2017" / "a.png")

    def test_folder_with_several_files(self, document: Document, folder_of: FolderOf) -> None:
        folder = folder_of(document)
        (folder / "annotations").mkdir()
        text = (folder / "annotations.json").read_text()
        (folder / "annotations.json").unlink()
        with pytest.raises(DataError, match=r"neither annotations\.json nor"):
            open_folder(folder)
        (folder / "annotations" / "one.json").write_text(text)
        assert open_folder(folder).info.n_images == 2
        (folder / "annotations" / "two.json").write_text(text)
        with pytest.raises(DataError, match=r"one\.json, two\.json"):
            open_folder(folder)
        chosen = open_folder(folder, ann_file=folder / "annotations" / "two.json")
        assert chosen.info.n_images == 2


@pytest.mark.data
class TestRealData:
    @pytest.fixture
    def dataset(self, data_root: Path) -> CocoDataset:
        return open_coco(data_root)

    def test_every_mask_equals_pycocotools(self, dataset: CocoDataset, data_root: Path) -> None:
        path = data_root / "coco" / "annotations" / "instances_val2017.json"
        reference = COCO(path)
        instances = [i for image in dataset.image_ids for i in dataset.truth(image).instances]
        assert len(instances) == len(reference.anns)
        for instance in instances:
            annotation = reference.anns[instance.id]
            assert instance.rle == reference.annToRLE(annotation)
            assert list(instance.bbox_xywh) == annotation["bbox"]
            assert instance.area_px == annotation["area"]
            assert instance.iscrowd == bool(annotation["iscrowd"])

    def test_info_says_that_it_is_a_subset(self, dataset: CocoDataset) -> None:
        info = dataset.info
        assert (info.n_images, info.n_instances, info.skipped) == (124, 971, {})
        assert info.footnote == "coco-val2017 subset, 124 images"

    def test_first_and_last_images_decode(self, dataset: CocoDataset) -> None:
        for image_id in (dataset.image_ids[0], dataset.image_ids[-1]):
            sample = dataset.sample(image_id)
            assert sample.image.shape[:2] == sample.truth.size_hw

    def test_microscopy_folder(self, data_root: Path) -> None:
        dataset = open_folder(data_root / "dsb2018")
        document = json.loads((data_root / "dsb2018" / "annotations.json").read_text())
        assert dataset.info.n_instances == len(document["annotations"]) == 2949
        assert dataset.info.licence == "CC0"
        by_id = {a["id"]: a for a in document["annotations"]}
        for instance in dataset.truth(1).instances:
            assert rle.area(instance.rle) == by_id[instance.id]["area"]
