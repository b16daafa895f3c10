"""Writing any dataset in the layouts of COCO, LVIS, BSDS500 and SA-1B.

With generated scenes, every command that reads one of these formats has data to run on. What is
written opens with this package and with the official tools (pycocotools, lvis, MATLAB's `load`).
Images are written as JPEG at quality 95, like photographs in those sets; masks are exact.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from litesam_bench.edges.maps import label_boundaries
from litesam_bench.errors import UsageError
from litesam_bench.metrics import rle
from litesam_bench.prompts.clicks import first_click
from litesam_bench.records.files import write_atomic
from litesam_bench.types import Dataset, GroundTruth, ImageU8, Instance

_JPEG_QUALITY = 95


def export(dataset: Dataset, data_root: Path, layout: str, *, split: str | None = None) -> Path:
    """Write a dataset under `data_root`, where the readers of this package look for it.

    Args:
        layout: a key of `LAYOUTS`.
        split: name of the split, or of SA-1B's folder; by default "test" for BSDS500, whose
            readers know no other names, and the dataset's name elsewhere, so that generated scenes
            are not taken for val2017.

    Returns:
        The annotation file, or the folder of annotation files.

    Raises:
        UsageError: no such layout.
        StorageError: a file cannot be written.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"no layout {layout!r} to export", fix=f"use one of {', '.join(LAYOUTS)}")
    usual_split = "test" if layout == "bsds500" else dataset.info.name
    return LAYOUTS[layout](dataset, data_root, split or usual_split)


def export_coco(dataset: Dataset, data_root: Path, split: str) -> Path:
    """`coco/annotations/instances_<split>.json` and `coco/<split>/<12 digits>.jpg`."""
    images = _write_images(dataset, data_root / "coco" / split)
    document = {
        "info": _description(dataset),
        "licenses": [{"id": 1, "name": dataset.info.licence, "url": ""}],
        "images": [{**image, "license": 1} for image in images],
        "annotations": [
            {**_annotation(truth, instance), "iscrowd": int(instance.iscrowd)}
            for truth in _truths(dataset)
            for instance in truth.instances
        ],
        "categories": [
            {"id": category.id, "name": category.name, "supercategory": ""}
            for category in dataset.categories
        ],
    }
    path = data_root / "coco" / "annotations" / f"instances_{split}.json"
    return _write_json(path, document)


def export_lvis(dataset: Dataset, data_root: Path, split: str) -> Path:
    """`lvis/annotations/lvis_v1_<split>.json` and `lvis/<split>/<12 digits>.jpg`.

    Federated fields of a federated dataset are kept. Of any other, whose annotations are complete,
    every category that an image lacks is one of its negatives, and none is "not exhaustive".
    Frequencies follow LVIS's rule on the number of images: rare up to 10, common up to 100.
    """
    images = _write_images(dataset, data_root / "lvis" / split)
    category_ids = {category.id for category in dataset.categories}
    in_images: Counter[int] = Counter()
    in_instances: Counter[int] = Counter()
    for entry, truth in zip(images, _truths(dataset), strict=True):
        present = {instance.category_id for instance in truth.instances}
        in_images.update(present)
        in_instances.update(instance.category_id for instance in truth.instances)
        negative = truth.neg_category_ids if dataset.info.federated else category_ids - present
        entry["coco_url"] = f"http://images.cocodataset.org/{split}/{entry.pop('file_name')}"
        entry["neg_category_ids"] = sorted(negative)
        entry["not_exhaustive_category_ids"] = sorted(truth.not_exhaustive_category_ids)
    document = {
        "info": _description(dataset),
        "licenses": [{"id": 1, "name": dataset.info.licence, "url": ""}],
        "images": images,
        "annotations": [
            _annotation(truth, instance)
            for truth in _truths(dataset)
            for instance in truth.instances
        ],
        "categories": [
            {
                "id": category.id,
                "name": category.name,
                "synset": f"{category.name}.n.01",
                "synonyms": [category.name],
                "def": category.name,
                "frequency": category.frequency or _frequency(in_images[category.id]),
                "image_count": in_images[category.id],
                "instance_count": in_instances[category.id],
            }
            for category in dataset.categories
        ],
    }
    return _write_json(data_root / "lvis" / "annotations" / f"lvis_v1_{split}.json", document)


def export_bsds500(dataset: Dataset, data_root: Path, split: str) -> Path:
    """`bsds500/data/groundTruth/<split>/<id>.mat` and `bsds500/data/images/<split>/<id>.jpg`.

    Each `.mat` has the nested form of the official files, with one annotator:
    `groundTruth{1}.Segmentation` (uint16, regions from 1) and `.Boundaries` (uint8, by `seg2bdry`).
    Where instances overlap, the later one is in front.
    """
    from scipy.io import savemat

    base = data_root / "bsds500" / "data"
    folder = base / "groundTruth" / split
    for truth in _truths(dataset):
        labels = np.ones(truth.size_hw, np.uint16)
        for number, instance in enumerate(truth.instances, start=2):
            labels[rle.decode(instance.rle)] = number
        cell = np.empty((1, 1), object)
        cell[0, 0] = {
            "Segmentation": labels,
            "Boundaries": label_boundaries(labels).astype(np.uint8),
        }
        buffer = io.BytesIO()
        savemat(buffer, {"groundTruth": cell}, do_compression=True)
        write_atomic(folder / f"{truth.image_id}.mat", buffer.getvalue())
        image = dataset.sample(truth.image_id).image
        write_atomic(base / "images" / split / f"{truth.image_id}.jpg", _jpeg(image))
    return folder


def export_sa1b(dataset: Dataset, data_root: Path, split: str, *, first_id: int = 1) -> Path:
    """`<split>/sa_<id>.jpg` beside `<split>/sa_<id>.json`, masks as compressed RLE; and
    `index.csv`, which names the source of each pair for recipes that weigh sources.

    Args:
        first_id: what image 1 is called; pairs of one training set need different names.
    """
    folder = data_root / split
    names = []
    for truth in _truths(dataset):
        height, width = truth.size_hw
        image_id = truth.image_id + first_id - 1
        name = f"sa_{image_id}"
        names.append(name)
        document = {
            "image": {
                "image_id": image_id,
                "file_name": f"{name}.jpg",
                "height": height,
                "width": width,
            },
            "annotations": [
                {
                    "id": instance.id,
                    "segmentation": rle.to_json(instance.rle),
                    "bbox": list(instance.bbox_xywh),
                    "area": instance.area_px,
                    "predicted_iou": 1.0,
                    "stability_score": 1.0,
                    "crop_box": [0, 0, width, height],
                    "point_coords": [list(map(float, first_click(rle.decode(instance.rle))))],
                }
                for instance in truth.instances
            ],
        }
        _write_json(folder / f"{name}.json", document)
        write_atomic(folder / f"{name}.jpg", _jpeg(dataset.sample(truth.image_id).image))
    rows = [f"{name},{dataset.info.name}" for name in names]
    write_atomic(folder / "index.csv", "\n".join(["file,source", *rows]) + "\n")
    return folder


LAYOUTS: dict[str, Callable[[Dataset, Path, str], Path]] = {
    "coco": export_coco,
    "lvis": export_lvis,
    "bsds500": export_bsds500,
    "sa1b": export_sa1b,
}


def _truths(dataset: Dataset) -> list[GroundTruth]:
    return [dataset.truth(image_id) for image_id in dataset.image_ids]


def _annotation(truth: GroundTruth, instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "image_id": truth.image_id,
        "category_id": instance.category_id,
        "segmentation": rle.to_json(instance.rle),
        "bbox": list(instance.bbox_xywh),
        "area": instance.area_px,
    }


def _write_images(dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Write all images; returns the `images` entries that COCO and LVIS share."""
    entries = []
    for image_id in dataset.image_ids:
        sample = dataset.sample(image_id)
        height, width = sample.truth.size_hw
        name = f"{image_id:012d}.jpg"
        write_atomic(folder / name, _jpeg(sample.image))
        entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
    return entries


def _description(dataset: Dataset) -> dict[str, Any]:
    info = dataset.info
    return {"description": info.footnote or info.name, "version": "1", "digest": info.digest}


def _frequency(n_images: int) -> str:
    return "r" if n_images <= 10 else "c" if n_images <= 100 else "f"


def _jpeg(image: ImageU8 | npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _write_json(path: Path, document: dict[str, Any]) -> Path:
    write_atomic(path, json.dumps(document).encode())
    return path
