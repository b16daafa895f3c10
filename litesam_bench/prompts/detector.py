"""A detector's boxes as prompts, from a file in COCO's results format.

The format is a flat JSON list of `{"image_id", "category_id", "bbox": [x, y, w, h], "score"}`;
other keys are ignored. Every box of a known image and category is a prompt: there is no threshold
on the score, no suppression of overlaps and no limit per image (EfficientViT-SAM, TinySAM).

Mask AP from detector boxes depends on whose boxes they are, so a record carries the file's sha256
and its own box AP.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from litesam_bench.datasets.json_file import read_json
from litesam_bench.errors import DataError
from litesam_bench.metrics import coco_ap, lvis_ap
from litesam_bench.records.files import sha256_file
from litesam_bench.types import Dataset, FloatArray, Prompts

IntArray = npt.NDArray[np.int64]


class DetectorBoxes:
    """The usable boxes of one file for one dataset, in the order of the file.

    A box's id is its position in the file, whatever was skipped.

    Attributes:
        path: the file.
        sha256: of the file's bytes.
        skipped: boxes left out, by reason: `unknown-image`, `unknown-category`, `zero-area-box`.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        dataset: Dataset,
        skipped: dict[str, int],
        *,
        positions: IntArray,
        image_ids: IntArray,
        category_ids: IntArray,
        xywh: FloatArray,
        scores: FloatArray,
    ) -> None:
        self.path = path
        self.sha256 = sha256
        self.skipped = skipped
        self._dataset = dataset
        self._positions = positions  # ascending
        self._image_ids = image_ids
        self._category_ids = category_ids
        self._xywh = xywh
        self._scores = scores
        # Boxes grouped by image, in the order of the file within each.
        self._by_image = np.argsort(image_ids, kind="stable")
        self._sorted_images = image_ids[self._by_image]

    @classmethod
    def load(cls, path: str | Path, dataset: Dataset) -> DetectorBoxes:
        """Read and validate a results file.

        Raises:
            DataError: the file is missing, is not a JSON list, an entry lacks a key or has a value
                that is not a finite number (named by its index), or nothing in it fits the dataset.
        """
        path = Path(path)
        entries = read_json(path)
        if not isinstance(entries, list):
            raise DataError(
                f"{path} holds a {type(entries).__name__}, not a list of detections",
                fix="give a file in COCO's results format: [{image_id, category_id, bbox, score}]",
            )
        images = set(dataset.image_ids)
        categories = {category.id for category in dataset.categories}
        skipped: Counter[str] = Counter()
        # Columns instead of objects: the LVIS file of ViTDet has millions of boxes.
        heads = np.empty((len(entries), 3), np.int64)
        values = np.empty((len(entries), 5))
        n = 0
        for position, entry in enumerate(entries):
            image_id, category_id, box, score = _parse(entry, position, path)
            if image_id not in images:
                skipped["unknown-image"] += 1
            elif category_id not in categories:
                skipped["unknown-category"] += 1
            elif box[2] <= 0 or box[3] <= 0:
                skipped["zero-area-box"] += 1
            else:
                heads[n] = position, image_id, category_id
                values[n] = *box, score
                n += 1
            entries[position] = None
        if n == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            raise DataError(
                f"none of the {len(entries)} boxes in {path} fits {dataset.info.name}"
                + (f" ({reasons})" if reasons else ""),
                fix="use the boxes that were detected on this set, with its category ids",
            )
        return cls(
            path,
            sha256_file(path),
            dataset,
            dict(sorted(skipped.items())),
            positions=heads[:n, 0].copy(),
            image_ids=heads[:n, 1].copy(),
            category_ids=heads[:n, 2].copy(),
            xywh=values[:n, :4].copy(),
            scores=values[:n, 4].copy(),
        )

    def __len__(self) -> int:
        return len(self._positions)

    def prompts(self, image_id: int) -> Prompts:
        """The image's boxes (N, 4) XYXY float64, N may be 0; `ids` are positions in the file."""
        begin, end = np.searchsorted(self._sorted_images, [image_id, image_id + 1])
        rows = self._by_image[begin:end]
        xywh = self._xywh[rows]
        return Prompts(
            ids=tuple(self._positions[rows].tolist()),
            boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        )

    def category_and_score(self, detection_id: int) -> tuple[int, float]:
        """What the detector said about a box, by its id from `prompts`."""
        row = int(np.searchsorted(self._positions, detection_id))
        assert self._positions[row] == detection_id
        return int(self._category_ids[row]), float(self._scores[row])

    @cached_property
    def box_ap(self) -> dict[str, float]:
        """The file's own AP on the dataset's boxes, by the dataset's rules (COCO or LVIS)."""
        truths = [self._dataset.truth(image_id) for image_id in self._dataset.image_ids]
        results: list[dict[str, Any]] = [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, category_id, box, score in zip(
                self._image_ids.tolist(),
                self._category_ids.tolist(),
                self._xywh.tolist(),
                self._scores.tolist(),
                strict=True,
            )
        ]
        categories = self._dataset.categories
        if self._dataset.info.federated:
            return dict(
                lvis_ap.evaluate(truths, results, categories=categories, iou_type="bbox").stats
            )
        ids = [category.id for category in categories]
        return dict(coco_ap.evaluate(truths, results, category_ids=ids, iou_type="bbox").stats)

    def describe(self) -> dict[str, Any]:
        """What a record says about the boxes. AP is a fraction, None where it is undefined."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "n_boxes": len(self),
            "skipped": self.skipped,
            "box_ap": {
                name: None if math.isnan(value) else value
                for name, value in self.box_ap.items()
                if name.startswith("ap")
            },
        }


def _parse(entry: Any, position: int, path: Path) -> tuple[int, int, list[float], float]:
    def broken(problem: str) -> DataError:
        return DataError(f"{path}: detection {position} {problem}", fix="correct the file")

    if not isinstance(entry, dict):
        raise broken("is not an object")
    try:
        image_id, category_id = entry["image_id"], entry["category_id"]
        raw_box, raw_score = entry["bbox"], entry["score"]
    except KeyError as error:
        raise broken(f"has no {error}") from None
    if type(image_id) is not int or type(category_id) is not int:
        raise broken("has an image_id or category_id that is not an integer")
    try:
        box, score = [float(value) for value in raw_box], float(raw_score)
    except (TypeError, ValueError):
        raise broken("has a bbox or score that is not made of numbers") from None
    if len(box) != 4:
        raise broken(f"has a bbox of {len(box)} numbers instead of x, y, width, height")
    if not all(map(math.isfinite, (*box, score))):
        raise broken("has NaN or an infinity in its bbox or score")
    return image_id, category_id, box, score
