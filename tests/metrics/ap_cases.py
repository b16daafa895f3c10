"""Random detection problems in the three forms the evaluators take (shared by the AP tests)."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from litesam_bench.metrics import rle
from litesam_bench.types import GroundTruth, Instance

H, W = 48, 64


def random_mask(rng: np.random.Generator, h: int = H, w: int = W) -> np.ndarray:
    """Ellipse, rectangle (often sharing edges), noise, or (one in twelve) empty."""
    kind = rng.integers(12)
    mask = np.zeros((h, w), np.uint8)
    if kind == 0:
        return mask
    y, x = np.mgrid[:h, :w]
    cy, cx = rng.uniform(0, h), rng.uniform(0, w)
    ry, rx = rng.uniform(2, h / 2), rng.uniform(2, w / 2)
    if kind < 7:
        return (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1).astype(np.uint8)
    if kind < 11:  # a coarse lattice makes equal IoUs and areas common
        y0, x0 = 8 * rng.integers(0, h // 8), 8 * rng.integers(0, w // 8)
        mask[y0 : y0 + 8 * rng.integers(1, 5), x0 : x0 + 8 * rng.integers(1, 5)] = 1
        return mask
    return (rng.random((h, w)) < 0.3).astype(np.uint8)


def nudge(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """The mask moved by a few pixels, sometimes not at all."""
    return np.roll(mask, tuple(rng.integers(-3, 4, 2) * (rng.random() < 0.8)), (0, 1))


def encode(mask: np.ndarray) -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(mask))


def random_problem(
    seed: int, *, n_images: int = 9, n_categories: int = 5, dets_per_image: int = 12
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(dataset in COCO's JSON layout, results with segmentation and bbox).

    Has images without objects, without detections and without either; categories without objects;
    crowds; `ignore` keys; areas exactly on a bin's bound; empty masks; many equal scores.
    """
    rng = np.random.default_rng(seed)
    images = [{"id": int(i), "height": H, "width": W} for i in rng.permutation(50)[:n_images]]
    categories = [
        {"id": int(c), "name": f"c{c}", "frequency": "rcf"[i % 3]}
        for i, c in enumerate(rng.permutation(20)[:n_categories] + 1)
    ]
    used = [c["id"] for c in categories[: max(1, n_categories - 1)]]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for n, image in enumerate(images):
        truths: list[tuple[int, np.ndarray]] = []
        for _ in range(0 if n % 4 == 1 else int(rng.integers(1, 7))):
            mask, category = random_mask(rng), int(rng.choice(used))
            truths.append((category, mask))
            area = float(rng.choice([mask.sum(), 1024.0, 9216.0, 1023.5, 1e10, 400.0, 0.0]))
            annotation = {
                "id": 7 * len(annotations) + 1,
                "image_id": image["id"],
                "category_id": category,
                "segmentation": encode(mask),
                "bbox": coco_mask.toBbox(encode(mask)).tolist(),
                "area": area,
                "iscrowd": int(rng.random() < 0.2),
            }
            if rng.random() < 0.3:
                annotation["ignore"] = int(rng.random() < 0.5)
            annotations.append(annotation)
        image["neg_category_ids"] = [c["id"] for c in categories if rng.random() < 0.4]
        image["not_exhaustive_category_ids"] = [c["id"] for c in categories if rng.random() < 0.2]
        for _ in range(0 if n % 4 == 2 else int(rng.integers(1, dets_per_image + 1))):
            if truths and rng.random() < 0.75:
                category, mask = truths[rng.integers(len(truths))]
                mask = nudge(rng, mask)
            else:
                category, mask = int(rng.choice([c["id"] for c in categories])), random_mask(rng)
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": category,
                    "segmentation": encode(mask),
                    "bbox": (coco_mask.toBbox(encode(mask)) + rng.uniform(-1, 1, 4)).tolist(),
                    "score": float(rng.choice([rng.random(), 0.5, 0.25, 1.0, 0.0])),
                }
            )
    order = rng.permutation(len(results))
    dataset = {"images": images, "categories": categories, "annotations": annotations}
    return dataset, [results[i] for i in order]


def to_ground_truth(dataset: dict[str, Any], ignore_key: str = "iscrowd") -> list[GroundTruth]:
    """The harness's form of a dataset; `ignore_key` becomes `iscrowd`."""
    out = []
    for image in dataset["images"]:
        h, w = image["height"], image["width"]
        out.append(
            GroundTruth(
                image_id=image["id"],
                file_name="",
                path="",
                size_hw=(h, w),
                instances=tuple(
                    Instance(
                        id=a["id"],
                        category_id=a["category_id"],
                        rle=rle.from_ann(a["segmentation"], h, w),
                        bbox_xywh=tuple(a["bbox"]),
                        area_px=a["area"],
                        iscrowd=bool(a.get(ignore_key, 0)),
                    )
                    for a in dataset["annotations"]
                    if a["image_id"] == image["id"]
                ),
                neg_category_ids=tuple(image.get("neg_category_ids", ())),
                not_exhaustive_category_ids=tuple(image.get("not_exhaustive_category_ids", ())),
            )
        )
    return out


def without(results: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != key} for r in results]


def pycocotools_eval(
    dataset: dict[str, Any], results: list[dict[str, Any]], iou_type: str, **params: Any
) -> COCOeval:
    """COCOeval after evaluate, accumulate and (where it can) summarize."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(dataset)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), iou_type)
        for key, value in params.items():
            setattr(evaluator.params, key, value)
        evaluator.evaluate()
        evaluator.accumulate()
        if len(evaluator.params.maxDets) == 3:
            evaluator.summarize()
    return evaluator
