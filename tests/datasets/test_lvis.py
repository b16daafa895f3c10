"""LVIS loading: image paths, federated fields, frequencies, and agreement with lvis-api."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litesam_bench.datasets.lvis import count_frequencies, image_file_name, open_lvis
from litesam_bench.errors import DataError, UsageError

Document = dict[str, Any]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"coco_url": "http://x/train2017/000000000009.jpg"}, "train2017/000000000009.jpg"),
        (
            {
                "coco_url": "http://images.cocodataset.org/val2017/000000266409.jpg",
                "file_name": "COCO_val2014_000000266409.jpg",
            },
            "val2017/000000266409.jpg",
        ),
        ({"file_name": "COCO_train2014_000000000009.jpg"}, "train2017/000000000009.jpg"),
        ({"file_name": "mine/picture.jpg"}, "mine/picture.jpg"),
    ],
)  # fmt: skip
def test_image_file_name(entry: Document, expected: str) -> None:
    assert image_file_name(entry) == expected


@pytest.fixture
def lvis_root(tmp_path: Path, document: Document, folder_of: Callable[[Document], Path]) -> Path:
    """A data root with the small set as LVIS v1 val."""
    folder = folder_of(document)
    (tmp_path / "coco").mkdir()
    (folder / "images").rename(tmp_path / "coco" / "val2017")
    for image in document["images"]:
        image["coco_url"] = f"http://x/val2017/{image.pop('file_name')}"
        image["neg_category_ids"] = [3] if image["id"] == 2 else []
        image["not_exhaustive_category_ids"] = [7]
    for category in document["categories"]:
        category |= {"frequency": "c", "image_count": 50}
    for annotation in document["annotations"]:
        del annotation["iscrowd"]
    _write(tmp_path, document)
    return tmp_path


def _write(root: Path, document: Document) -> None:
    path = root / "lvis" / "annotations" / "lvis_v1_val.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_federated_fields(lvis_root: Path) -> None:
    dataset = open_lvis(lvis_root)
    assert dataset.info.federated
    assert dataset.info.name == "lvis-v1-val"
    assert dataset.info.footnote == "lvis-v1-val subset, 2 images"
    assert dataset.truth(1).neg_category_ids == ()
    assert dataset.truth(2).neg_category_ids == (3,)
    assert dataset.truth(2).not_exhaustive_category_ids == (7,)
    assert {category.frequency for category in dataset.categories} == {"c"}
    assert count_frequencies(dataset) == {"c": 2}
    assert not dataset.truth(2).instances[0].iscrowd
    assert dataset.sample(1).truth.path == str(lvis_root / "coco" / "val2017" / "a.png")


def test_federated_fields_are_in_the_digest(lvis_root: Path, document: Document) -> None:
    before = open_lvis(lvis_root).info.digest
    document["images"][0]["neg_category_ids"] = []
    _write(lvis_root, document)
    assert open_lvis(lvis_root).info.digest != before


@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_missing_federated_field(lvis_root: Path, document: Document, key: str) -> None:
    del document["images"][1][key]
    _write(lvis_root, document)
    with pytest.raises(DataError, match=rf"images\[1\] has no '{key}'"):
        open_lvis(lvis_root)


def test_unknown_frequency(lvis_root: Path, document: Document) -> None:
    document["categories"][0]["frequency"] = "often"
    _write(lvis_root, document)
    with pytest.raises(DataError, match="'often', which is not r, c or f"):
        open_lvis(lvis_root)


def test_url_cannot_leave_the_folder(lvis_root: Path, document: Document) -> None:
    document["images"][0]["coco_url"] = "http://x/../secret.jpg"
    _write(lvis_root, document)
    with pytest.raises(DataError, match="leaves the image folder"):
        open_lvis(lvis_root)


def test_available_only(lvis_root: Path) -> None:
    (lvis_root / "coco" / "val2017" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png .* does not exist"):
        open_lvis(lvis_root).sample(1)
    dataset = open_lvis(lvis_root, available_only=True)
    assert list(dataset.image_ids) == [2]
    assert dataset.info.footnote == "lvis-v1-val subset, 1 images"


def test_missing_files_name_places_and_download(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_lvis(tmp_path)
    assert str(tmp_path / "lvis" / "annotations" / "lvis_v1_val.json") in caught.value.message
    assert "https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip" in caught.value.fix


def test_unknown_version(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'v2'"):
        open_lvis(tmp_path, "v2")


@pytest.mark.data
def test_real_file_agrees_with_lvis_api(data_root: Path) -> None:
    from lvis import LVIS

    path = data_root / "lvis" / "annotations" / "lvis_v0.5_val_100.json"
    dataset = open_lvis(data_root, "v0.5", ann_file=path)
    reference = LVIS(str(path))
    assert dataset.info.n_images == len(reference.imgs) == 100
    assert dataset.info.n_instances == 977
    assert dataset.info.footnote == "lvis-v0.5-val subset, 100 images"
    counts = count_frequencies(dataset)
    assert sum(counts.values()) == len(reference.cats) == 1230
    for letter in "rcf":
        expected = sum(c["frequency"] == letter for c in reference.cats.values())
        assert counts[letter] == expected
    for image_id in dataset.image_ids:
        truth = dataset.truth(image_id)
        entry = reference.imgs[image_id]
        assert list(truth.neg_category_ids) == entry["neg_category_ids"]
        assert list(truth.not_exhaustive_category_ids) == entry["not_exhaustive_category_ids"]
        for instance in truth.instances:
            assert instance.rle == reference.ann_to_rle(reference.anns[instance.id])


@pytest.mark.data
def test_nine_images_are_at_hand(data_root: Path) -> None:
    path = data_root / "lvis" / "annotations" / "lvis_v0.5_val_100.json"
    dataset = open_lvis(
        data_root, "v0.5", ann_file=path, image_dir=data_root / "lvis", available_only=True
    )
    mini = data_root / "lvis" / "annotations" / "lvis_v0.5_val_mini.json"
    ids = sorted(image["id"] for image in json.loads(mini.read_text())["images"])
    assert list(dataset.image_ids) == ids
    for image_id in ids:
        assert dataset.sample(image_id).image.shape[:2] == dataset.truth(image_id).size_hw
