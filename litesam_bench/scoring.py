"""Journaled masks -> metrics, under any protocol that agrees with how the masks were made.

Needs the dataset's annotations; neither images, model nor GPU. Everything is computed in the order
of image and annotation ids, so the same journal gives the same bytes however it was produced.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litesam_bench import protocols
from litesam_bench.metrics import coco_ap, lvis_ap, miou, rle
from litesam_bench.metrics.select import choose
from litesam_bench.prompts.detector import DetectorBoxes
from litesam_bench.protocols import Protocol
from litesam_bench.records.journal import Candidate, Entry, Prediction
from litesam_bench.records.schema import Metric
from litesam_bench.types import Dataset, Instance, Rle


def score(
    dataset: Dataset,
    image_ids: Sequence[int],
    entries: Mapping[int, Entry],
    protocol: Protocol,
    boxes: DetectorBoxes | None = None,
) -> dict[str, Metric]:
    """All metrics of a protocol and of its AP companion over finished images.

    Args:
        image_ids: images to score, ascending; each has an entry without error.
        boxes: the detector's boxes that were the prompts, for AP with a detector.
    """
    if protocol.metric == "ap":
        return _ap(dataset, image_ids, entries, protocol, boxes)
    metrics = _miou(dataset, image_ids, entries, protocol)
    companion = protocols.companion_of(protocol)
    if companion is not None:
        metrics |= _ap(dataset, image_ids, entries, companion, boxes)
    return metrics


def notes(dataset: Dataset, image_ids: Sequence[int], protocol: Protocol) -> list[str]:
    """What no system can reach on this data, so that the oracle's distance from 1 is explained."""
    companion = protocols.companion_of(protocol)
    ap = companion if companion is not None else protocol
    if ap.metric != "ap" or dataset.info.federated:
        return []
    beyond = 0
    for image_id in image_ids:
        instances = dataset.truth(image_id).instances
        counts = Counter(i.category_id for i in instances if not i.iscrowd)
        beyond += sum(max(0, count - ap.max_dets) for count in counts.values())
    if not beyond:
        return []
    return [
        f"AP keeps {ap.max_dets} detections per image and category: "
        f"{beyond} annotations beyond them cannot be found by any system"
    ]


# --- mIoU ----------------------------------------------------------------------------------------


def _miou(
    dataset: Dataset, image_ids: Sequence[int], entries: Mapping[int, Entry], protocol: Protocol
) -> dict[str, Metric]:
    scores = [
        miou.InstanceScore(image_id, instance.id, instance.area_px, iou)
        for image_id in image_ids
        for instance, iou in _instance_ious(dataset, entries[image_id], protocol)
    ]
    result = miou.mean_iou(scores, area_bins=protocol.area_bins)

    means = {
        "miou_s": result.small,
        "miou_m": result.medium,
        "miou_l": result.large,
        "miou_per_image": result.per_image,
    }
    return {
        "miou": _metric(protocol, result.all.value, result.all.n, result.low, result.high),
        **{name: _metric(protocol, mean.value, mean.n) for name, mean in means.items()},
    }


def _metric(
    protocol: Protocol, value: float, n: int, low: float | None = None, high: float | None = None
) -> Metric:
    """A fraction of which more is better; a mean over nothing has no value."""
    return Metric(
        value=None if math.isnan(value) else value,
        unit="fraction",
        higher_is_better=True,
        n=n,
        protocol=protocol.id,
        low=low,
        high=high,
    )


def _instance_ious(
    dataset: Dataset, entry: Entry, protocol: Protocol
) -> Iterator[tuple[Instance, float]]:
    predictions = {p.id: p for p in entry.predictions}
    for instance in dataset.truth(entry.image_id).instances:
        if protocol.crowd == "drop" and instance.iscrowd:
            continue
        if instance.area_px < protocol.min_area_px:
            continue
        prediction = predictions[instance.id]
        masks = _rles(prediction, entry.size_hw)
        if protocol.gt_res == "original":
            truth = instance.rle
        else:
            truth = rle.encode(miou.gt_roundtrip(rle.decode(instance.rle)))
        chosen = _chosen(
            prediction,
            protocol,
            lambda k, masks=masks, truth=truth: rle.iou_pair(masks[k], truth, protocol.iou_eps),
        )
        yield instance, rle.iou_pair(masks[chosen], truth, protocol.iou_eps)


def chosen_rle(prediction: Prediction, size_hw: tuple[int, int], protocol: Protocol) -> Rle:
    """The mask that a protocol takes for a prompt's answer, without looking at the truth."""
    return _rles(prediction, size_hw)[_chosen(prediction, protocol)]


def _rles(prediction: Prediction, size_hw: tuple[int, int]) -> list[Rle]:
    return [
        {"size": list(size_hw), "counts": mask.counts.encode("ascii")} for mask in prediction.masks
    ]


def _chosen(prediction: Prediction, protocol: Protocol, true_iou: Any = None) -> int:
    masks = prediction.masks
    return choose(
        protocol.mask_select,
        [m.token for m in masks],
        [m.pred_iou for m in masks],
        lambda: [m.stability for m in masks],
        true_iou,
    )


# --- AP ------------------------------------------------------------------------------------------


def _ap(
    dataset: Dataset,
    image_ids: Sequence[int],
    entries: Mapping[int, Entry],
    protocol: Protocol,
    boxes: DetectorBoxes | None,
) -> dict[str, Metric]:
    detections = [
        detection
        for image_id in image_ids
        for detection in _detections(dataset, entries[image_id], protocol, boxes)
    ]
    truths = [dataset.truth(image_id) for image_id in image_ids]
    evaluate = lvis_ap.evaluate_dataset if dataset.info.federated else coco_ap.evaluate_dataset
    stats = evaluate(
        truths,
        detections,
        dataset.categories,
        det_area=protocol.det_area,
        max_dets=protocol.max_dets_lvis if dataset.info.federated else protocol.max_dets,
    )
    return {name: _metric(protocol, value, len(detections)) for name, value in stats.items()}


def _detections(
    dataset: Dataset, entry: Entry, protocol: Protocol, boxes: DetectorBoxes | None
) -> Iterator[dict[str, Any]]:
    """COCO-results dicts with `segmentation`, in annotation or detection order."""
    if boxes is None:
        instances = {i.id: i for i in dataset.truth(entry.image_id).instances}
    for prediction in entry.predictions:
        if boxes is not None:
            category_id, prompt_score = boxes.category_and_score(prediction.id)
        else:
            instance = instances[prediction.id]
            if instance.iscrowd:
                continue
            category_id, prompt_score = instance.category_id, 1.0
        mask = _chosen(prediction, protocol)
        candidate = prediction.masks[mask]
        yield {
            "image_id": entry.image_id,
            "category_id": category_id,
            "segmentation": _rles(prediction, entry.size_hw)[mask],
            "score": _ap_score(protocol, prompt_score, candidate),
        }


def _ap_score(protocol: Protocol, prompt_score: float, candidate: Candidate) -> float:
    if protocol.ap_score == "pred-iou":
        return candidate.pred_iou
    if protocol.ap_score == "detector*pred-iou":
        return prompt_score * candidate.pred_iou
    return prompt_score
