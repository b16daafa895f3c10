"""Average recall of class-agnostic proposals: AR@K for masks or boxes.

The definition is COCOeval's with `useCats=0` and `maxDets=[..., 1000]`, read from its recall array:
`summarize` prints -1 for limits other than its own. Categories are pooled, so LVIS needs no
federated rule (LVISEval cannot do this: it throws proposals of a dummy category away). Crowd
regions are ignored, areas are the annotation's own, and matching is one to one.

Two things that published scripts leave open are explicit: the ranking key, and that masks without
a pixel are dropped before ranking (their stability would be 0 / 0) and counted.

Images are scored in small groups and only counts are kept, so 5,000 images with 1,000 proposals
each need the memory of one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import coco_ap, rle
from litesam_bench.metrics.matching import (
    COCO_AREA_RANGES,
    COCO_IOU_THRESHOLDS,
    AreaRange,
    mean_or_nan,
)
from litesam_bench.types import FloatArray, GroundTruth, Rle

RankKey = Literal["mean", "iou", "stability", "area"]
IouType = Literal["segm", "bbox"]

_IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class ImageProposals:
    """The N proposals of one image, in the order that decides ties."""

    masks: Sequence[Rle]
    predicted_iou: Sequence[float]
    stability: Sequence[float]


@dataclass(frozen=True)
class ProposalRecall:
    """Recall over a whole set: every ground truth counts once (micro average).

    limits: the K's, ascending. recall: (T, A, K) recall per IoU threshold, area range and limit;
        -1 where a range has no ground truth. n_truths: (A,) ground truths per area range.
    n_proposals: masks that took part. n_empty: masks without a pixel, dropped. n_images.
    """

    limits: tuple[int, ...]
    recall: FloatArray
    n_truths: npt.NDArray[np.int64]
    n_proposals: int
    n_empty: int
    n_images: int
    area_ranges: tuple[AreaRange, ...] = COCO_AREA_RANGES

    @property
    def stats(self) -> dict[str, float]:
        """`ar10`, `ar100`, `ar1000`, and by size at the largest limit `ar1000_s`, `_m`, `_l`.

        Fractions; NaN where there is no ground truth.
        """
        found = {f"ar{k}": mean_or_nan(self.recall[:, 0, i]) for i, k in enumerate(self.limits)}
        for a, area in enumerate(self.area_ranges[1:], start=1):
            name = f"ar{self.limits[-1]}_{area.label[0]}"
            found[name] = mean_or_nan(self.recall[:, a, -1])
        return found


def rank_scores(proposals: ImageProposals, key: RankKey) -> FloatArray:
    """(N,) scores to rank by: `mean` of predicted IoU and stability, either alone, or mask area.

    Raises DataError for a NaN, naming its index: a NaN key would put the masks in no order at all.
    """
    if key not in get_args(RankKey):
        raise UsageError(
            f"unknown ranking key {key!r}", fix=f"use one of {', '.join(get_args(RankKey))}"
        )
    if key == "area":
        return rle.unpack(proposals.masks).area_px.astype(np.float64)
    iou = np.asarray(proposals.predicted_iou, np.float64)
    stable = np.asarray(proposals.stability, np.float64)
    scores = {"mean": (iou + stable) / 2, "iou": iou, "stability": stable}[key]
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        raise DataError(f"proposal {bad[0]} has a ranking key ({key}) of NaN")
    return scores


def proposal_recall(
    images: Iterable[tuple[GroundTruth, ImageProposals]],
    *,
    limits: Sequence[int] = (10, 100, 1000),
    iou_type: IouType = "segm",
    rank_key: RankKey = "mean",
    iou_thresholds: FloatArray = COCO_IOU_THRESHOLDS,
    area_ranges: Sequence[AreaRange] = COCO_AREA_RANGES,
) -> ProposalRecall:
    """AR@K over all images.

    Args:
        images: every image once, with its proposals (possibly none); consumed as it comes. Images
            without ground truth add nothing.
        limits: proposals per image that count.
        iou_type: `segm`, or `bbox` for the boxes around the masks against `bbox_xywh`.

    Raises:
        DataError: a corrupt mask, one of another size than its image, or a NaN ranking key.
        UsageError: a limit below 1 or an unknown ranking key.
    """
    limits = sorted(limits)
    matched = np.zeros((len(iou_thresholds), len(area_ranges), len(limits)), np.int64)
    n_truths = np.zeros(len(area_ranges), np.int64)
    n_proposals = n_empty = n_images = 0
    for group in _groups(images):
        truths = [truth for truth, _ in group]
        categories = sorted({i.category_id for truth in truths for i in truth.instances}) or [0]
        results: list[coco_ap.Result] = []
        for truth, proposals in group:
            found = _results(truth, proposals, rank_key, iou_type, categories[0])
            n_empty += len(proposals.masks) - len(found)
            results += found
        n_proposals += len(results)
        n_images += len(group)
        recall = coco_ap.evaluate(
            truths,
            results,
            category_ids=categories,
            iou_type=iou_type,
            iou_thresholds=iou_thresholds,
            recall_thresholds=np.zeros(1),  # only the end of each curve is read
            area_ranges=area_ranges,
            max_dets=limits,
            use_cats=False,
        ).recall[:, 0]
        counted = np.array([_count(truths, area) for area in area_ranges])
        n_truths += counted
        # recall is matched / counted, so this product is a whole number but for its rounding
        matched += np.rint(np.maximum(recall, 0) * counted[:, None]).astype(np.int64)
    recall = np.divide(
        matched, n_truths[:, None], out=np.full(matched.shape, -1.0), where=n_truths[:, None] > 0
    )
    return ProposalRecall(
        tuple(limits), recall, n_truths, n_proposals, n_empty, n_images, tuple(area_ranges)
    )


def _groups(
    images: Iterable[tuple[GroundTruth, ImageProposals]],
) -> Iterator[list[tuple[GroundTruth, ImageProposals]]]:
    iterator = iter(images)
    while group := list(islice(iterator, _IMAGES_AT_ONCE)):
        yield group


def _results(
    truth: GroundTruth,
    proposals: ImageProposals,
    rank_key: RankKey,
    iou_type: IouType,
    category_id: int,
) -> list[coco_ap.Result]:
    """COCO results of the masks that have a pixel, in their order."""
    try:
        table = rle.unpack(proposals.masks)
    except rle.CorruptMaskError as error:
        raise DataError(
            f"image {truth.image_id}, proposal {error.index}: {error.message}"
        ) from error
    rows = np.flatnonzero(table.area_px > 0).tolist()
    solid = ImageProposals(
        [proposals.masks[i] for i in rows],
        [proposals.predicted_iou[i] for i in rows],
        [proposals.stability[i] for i in rows],
    )
    scores = rank_scores(solid, rank_key).tolist()
    common = {"image_id": truth.image_id, "category_id": category_id}
    if iou_type == "segm":
        return [
            {**common, "score": score, "segmentation": mask}
            for score, mask in zip(scores, solid.masks, strict=True)
        ]
    corners = table.extent[rows]
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    return [
        {**common, "score": score, "bbox": box} for score, box in zip(scores, boxes, strict=True)
    ]


def _count(truths: Sequence[GroundTruth], area: AreaRange) -> int:
    """Ground truths that count in an area range."""
    return sum(
        not instance.iscrowd and area.lo_px <= instance.area_px <= area.hi_px
        for truth in truths
        for instance in truth.instances
    )
