"""Detectors as prompt sources: boxes written once in COCO's results format, then `--boxes`.

A detector is not a system under test: its boxes are an input that every system gets alike, so they
live in a file with a hash. ViTDet's boxes are such a file already; YOLOv8 and Grounding DINO make
one here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError, UsageError
from litesam_bench.types import Category, Dataset, FloatArray, ImageU8

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_NAMES = tuple(_NAMES.split(","))
"""COCO's 80 categories in the order of its ids, which is the order of a YOLOv8's classes."""


@dataclass(frozen=True)
class DetectedBoxes:
    """N boxes of one image, best first.

    boxes: (N, 4) XYXY in original pixels. scores: (N,) in [0, 1]. category_ids: (N,) int64.
    """

    boxes: FloatArray
    scores: FloatArray
    category_ids: npt.NDArray[np.int64]


class Detector(Protocol):
    """Finds boxes of a dataset's categories in one image, (H, W, 3) RGB uint8."""

    def __call__(self, image: ImageU8) -> DetectedBoxes: ...


@dataclass(frozen=True)
class DetectorSettings:
    """What a box file depends on besides the weights.

    score_thresh, nms_iou, limit: as ultralytics validates on COCO. Grounding DINO has no
    suppression and keeps the `limit` best.
    """

    score_thresh: float = 0.001
    nms_iou: float = 0.7
    limit: int = 300
    device: str = "cpu"


def results(detector: Detector, dataset: Dataset, image_ids: Iterable[int]) -> list[dict[str, Any]]:
    """The entries of a box file, image by image: pixels to 1/1000, scores to 1/100000."""
    entries: list[dict[str, Any]] = []
    for image_id in image_ids:
        found = detector(dataset.sample(image_id).image)
        for box, score, category_id in zip(
            found.boxes, found.scores, found.category_ids, strict=True
        ):
            x1, y1, x2, y2 = (round(float(side), 3) for side in box)
            width, height = round(x2 - x1, 3), round(y2 - y1, 3)
            if width > 0 and height > 0:  # a box may lie outside the image altogether
                entries.append(
                    {
                        "image_id": image_id,
                        "category_id": int(category_id),
                        "bbox": [x1, y1, width, height],
                        "score": round(float(score), 5),
                    }
                )
    return entries


def open_detector(
    name: str, weights: Path, categories: Sequence[Category], settings: DetectorSettings
) -> Detector:
    """A detector by its name in `DETECTORS`.

    Raises:
        UsageError: unknown name, or an extra that is not installed.
        DataError: the dataset has none of the detector's categories.
        WeightsError: missing or unfitting weights.
    """
    if name not in DETECTORS:
        raise UsageError(f"unknown detector {name!r}", fix=f"known: {', '.join(DETECTORS)}")
    return DETECTORS[name](name, weights, categories, settings)


class _Yolo:
    """YOLOv8, trained on COCO, at ultralytics' 640 pixels."""

    size = 640

    def __init__(
        self,
        name: str,
        weights: Path,
        categories: Sequence[Category],
        settings: DetectorSettings,
    ) -> None:
        import torch

        from litesam_bench.family.yolo import build_yolo, load_yolo_state
        from litesam_bench.sam.checkpoint import load_strict

        ids = {category.name: category.id for category in categories}
        self.ids = np.array([ids.get(known, -1) for known in COCO_NAMES], dtype=np.int64)
        if (self.ids < 0).all():
            raise DataError(
                f"{name} knows COCO's 80 categories, and this dataset has none of them",
                fix="use --dataset coco, or --detector grounding-dino",
            )
        self.settings = settings
        self.model = build_yolo(name.replace("-", ""), classes=len(COCO_NAMES))
        load_strict(self.model, load_yolo_state(weights), source=str(weights))
        self.model.to(settings.device).float()
        self.inference = torch.inference_mode

    def __call__(self, image: ImageU8) -> DetectedBoxes:
        from litesam_bench.family.yolo import detect, preprocess

        pixels, frame = preprocess(image, self.size)
        with self.inference():
            outputs = self.model(pixels.to(self.settings.device))
            found = detect(
                outputs[0][0],
                len(COCO_NAMES),
                score_thresh=self.settings.score_thresh,
                nms_iou=self.settings.nms_iou,
                limit=self.settings.limit,
            )
            boxes = frame.boxes_to_original(found.boxes)
        category_ids = self.ids[found.classes.cpu().numpy()]
        known = category_ids >= 0
        return DetectedBoxes(
            boxes.double().cpu().numpy()[known],
            found.scores.double().cpu().numpy()[known],
            category_ids[known],
        )


class _GroundingDino:
    """Grounding DINO, asked for the dataset's category names; weights as transformers saves them.

    A category's score for a box is the mean over the tokens of its name, as in upstream's
    evaluation on COCO. Names that do not fit into one text are asked for in several.
    """

    def __init__(
        self,
        name: str,
        weights: Path,
        categories: Sequence[Category],
        settings: DetectorSettings,
    ) -> None:
        from litesam_bench.errors import WeightsError
        from litesam_bench.family import require

        transformers = require("transformers")
        if not (weights / "config.json").is_file():
            raise WeightsError(
                f"{weights} is not a folder of {name} weights",
                fix="give the folder that transformers' save_pretrained wrote: config.json, "
                "model.safetensors, tokenizer and preprocessor files",
            )
        self.settings = settings
        self.processor = transformers.AutoProcessor.from_pretrained(weights, local_files_only=True)
        self.model = transformers.GroundingDinoForObjectDetection.from_pretrained(
            weights, local_files_only=True, use_safetensors=True
        )
        self.model.to(settings.device).eval()
        self.texts = list(self._texts(categories))

    def _texts(self, categories: Sequence[Category]) -> Iterable[tuple[str, list[Category]]]:
        """Captions "cat. dog." of at most as many tokens as the model reads, with their names."""
        limit = int(self.model.config.max_text_len)
        part: list[Category] = []
        for category in categories:
            longer = _caption([*part, category])
            if part and len(self.processor.tokenizer(longer)["input_ids"]) > limit:
                yield _caption(part), part
                part = []
            part.append(category)
        if part:
            yield _caption(part), part

    def __call__(self, image: ImageU8) -> DetectedBoxes:
        import torch

        boxes, scores, ids = [], [], []
        height, width = image.shape[:2]
        for caption, categories in self.texts:
            inputs = self.processor(images=image, text=caption, return_tensors="pt")
            with torch.inference_mode():
                outputs = self.model(**inputs.to(self.settings.device))
            of_token = outputs.logits[0].float().sigmoid().cpu()  # (queries, tokens)
            of_name = of_token @ self._token_shares(caption, categories, of_token.shape[1])
            best = of_name.flatten().topk(min(self.settings.limit, of_name.numel()))
            query, name = best.indices // len(categories), best.indices % len(categories)
            centre, half = outputs.pred_boxes[0].float().cpu()[query].split(2, dim=1)
            sides = torch.cat([centre - half / 2, centre + half / 2], dim=1).clamp(0, 1)
            boxes.append((sides.double() * sides.new_tensor([width, height] * 2)).numpy())
            scores.append(best.values.double().numpy())
            ids.append(np.array([category.id for category in categories])[name.numpy()])
        all_scores = np.concatenate(scores)
        order = np.argsort(-all_scores, kind="stable")[: self.settings.limit]
        order = order[all_scores[order] > self.settings.score_thresh]
        return DetectedBoxes(
            np.concatenate(boxes)[order], all_scores[order], np.concatenate(ids)[order]
        )

    def _token_shares(self, caption: str, categories: list[Category], tokens: int) -> Tensor:
        """(tokens, names): each column adds up to 1 over the tokens of that name."""
        import torch

        offsets = self.processor.tokenizer(caption, return_offsets_mapping=True)["offset_mapping"]
        shares = torch.zeros(tokens, len(categories))
        begin = 0
        for column, category in enumerate(categories):
            end = begin + len(_spoken(category))
            for row, (first, last) in enumerate(offsets):
                if first < end and last > begin and last > first:
                    shares[row, column] = 1
            begin = end + len(". ")
        return shares / shares.sum(dim=0).clamp(min=1)


def _spoken(category: Category) -> str:
    return category.name.replace("_", " ").lower()


def _caption(categories: Sequence[Category]) -> str:
    return " ".join(f"{_spoken(category)}." for category in categories)


DETECTORS: dict[str, Callable[[str, Path, Sequence[Category], DetectorSettings], Detector]] = {
    **{f"yolov8-{size}": _Yolo for size in "nsmlx"},
    "grounding-dino": _GroundingDino,
}
