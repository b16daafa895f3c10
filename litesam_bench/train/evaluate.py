"""How good a model is on pairs that it was not trained on.

These numbers choose between recipes and watch a run; they are not benchmark results, which come
from protocols and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from litesam_bench.errors import UsageError
from litesam_bench.lite_sam.model import LiteSam
from litesam_bench.prompts.clicks import first_click
from litesam_bench.sam.geometry import Frame, preprocess, restore_masks
from litesam_bench.spec import InputSpec
from litesam_bench.train.checkpoint import load_checkpoint
from litesam_bench.train.data import Indices
from litesam_bench.train.examples import tight_box
from litesam_bench.train.loop import autocast, build_model, read_sources, split
from litesam_bench.train.recipes import from_json
from litesam_bench.train.shards import ShardSet, open_shards

MASKS_PER_IMAGE = 24
PROPOSALS = 256


@dataclass(frozen=True)
class HeldOut:
    """Means over the masks of held-out images, in [0, 1].

    box, point: mIoU with one box, or one point farthest from the boundary, as prompt; of the three
        multimask tokens the one that the model rates highest.
    box_single, point_single: of the single-mask token.
    box_oracle, point_oracle: of the best of the three.
    ellipse: mIoU of the ellipse inside the box, which knows nothing of the image.
    point_recall: share of masks that hold one of AutoPPN's 256 points.
    box_recall: share of masks whose box one of AutoPPN's 256 boxes overlaps by 0.5.
    """

    images: int
    masks: int
    box: float
    box_single: float
    box_oracle: float
    point: float
    point_single: float
    point_oracle: float
    ellipse: float
    point_recall: float
    box_recall: float


@torch.inference_mode()
def evaluate(
    model: LiteSam, shards: ShardSet, indices: Indices, frame_size: int, precision: str
) -> HeldOut:
    """Evaluate on whole images, padded to `frame_size`, at most 24 masks of each."""
    rule = InputSpec(size=frame_size, rule="pad")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    sums: dict[str, list[npt.NDArray[np.float64]]] = {}
    images = 0
    for index in indices:
        raw = shards.read(int(index))
        if not raw.rles:
            continue
        images += 1
        truth = coco_mask.decode(list(raw.rles[:MASKS_PER_IMAGE])).transpose(2, 0, 1)
        truth = truth[truth.any(axis=(1, 2))]
        frame = Frame.of((raw.image.shape[0], raw.image.shape[1]), rule)
        boxes = np.stack([tight_box(mask) for mask in truth]).astype(np.float64)
        points = np.array([first_click(mask) for mask in truth], np.float64)[:, None]

        pixels = preprocess(raw.image, frame, rule).to(device)
        with autocast(device, precision):
            features = model.encode(pixels.contiguous(memory_format=torch.channels_last))
            proposed = model.autoppn.propose(
                features.embedding, frame.network_hw, valid_hw=frame.resized_hw, k=PROPOSALS
            )
            with_boxes = model.decode(
                features, frame.network_hw, boxes=_tensor(frame.to_network(boxes), device)
            )
            with_points = model.decode(
                features,
                frame.network_hw,
                points=_tensor(frame.to_network(points), device),
                labels=torch.ones(len(truth), 1, dtype=torch.long, device=device),
            )
        scores = _scores("box", *with_boxes, truth, frame)
        scores |= _scores("point", *with_points, truth, frame)
        scores["ellipse"] = _iou(_ellipses(boxes, truth.shape[1:])[:, None], truth)[:, 0]

        xy = frame.to_original(proposed.points[0].cpu().double().numpy()).astype(np.int64)
        x = xy[:, 0].clip(0, truth.shape[2] - 1)
        y = xy[:, 1].clip(0, truth.shape[1] - 1)
        scores["point_recall"] = truth[:, y, x].any(1).astype(np.float64)
        found = frame.to_original(proposed.boxes[0].cpu().double().numpy())
        scores["box_recall"] = (_box_iou(boxes, found).max(1) >= 0.5).astype(np.float64)
        for name, values in scores.items():
            sums.setdefault(name, []).append(values)
    model.train(was_training)
    means = {name: round(float(np.concatenate(v).mean()), 4) for name, v in sums.items()}
    masks = sum(len(v) for v in sums.get("box", []))
    return HeldOut(images=images, masks=masks, **means)


def evaluate_run(
    out: Path, folders: Sequence[str | Path], device: str, precision: str, limit: int
) -> HeldOut:
    """Evaluate the averaged weights of a run on `limit` pairs, evenly spaced among those that its
    recipe holds out.

    Raises:
        UsageError: no run in `out`, or its recipe holds nothing out.
    """
    state = load_checkpoint(out)
    if state is None:
        raise UsageError(f"{out} holds no run", fix="train first, or give another --out")
    recipe = from_json(state["recipe"])
    if recipe.encoder:
        raise UsageError(
            f"{out} trained AutoPPN alone, which this evaluation does not know",
            fix="measure it with litesam-bench segevery and a baseline file that joins the two",
        )
    shards = open_shards(folders)
    indices = split(shards, read_sources(folders), recipe).held_out
    if not len(indices):
        raise UsageError(
            f"recipe {recipe.name} holds nothing out of {', '.join(map(str, folders))}",
            fix="evaluate with litesam-bench zeroshot instead",
        )
    model = build_model(recipe).to(memory_format=torch.channels_last)
    model.load_state_dict(state["ema"])
    spaced = np.linspace(0, len(indices) - 1, min(limit, len(indices))).round().astype(np.int64)
    return evaluate(model.to(device), shards, indices[spaced], recipe.data.frame, precision)


def _tensor(array: npt.NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32, device=device)


def _scores(
    name: str, logits: Tensor, iou: Tensor, truth: npt.NDArray[np.uint8], frame: Frame
) -> dict[str, npt.NDArray[np.float64]]:
    count, tokens = iou.shape
    masks = restore_masks(logits.float().flatten(0, 1), frame) > 0
    reached = _iou(torch.unflatten(masks, 0, (count, tokens)).cpu().numpy(), truth)
    rated = 1 + iou[:, 1:].argmax(1).cpu().numpy()
    return {
        name: reached[np.arange(count), rated],
        f"{name}_single": reached[:, 0],
        f"{name}_oracle": reached[:, 1:].max(1),
    }


def _iou(masks: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(N, T, H, W) against (N, H, W): (N, T)."""
    target = truth[:, None].astype(bool)
    both = (masks & target).sum((2, 3))
    either = (masks | target).sum((2, 3))
    return np.asarray(both / either, np.float64)


def _ellipses(boxes: npt.NDArray[np.float64], size_hw: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The filled ellipse inside each box, (N, H, W)."""
    y, x = (np.arange(n) + 0.5 for n in size_hw)
    left, top, right, bottom = boxes.T[:, :, None]
    u = (x - (left + right) / 2) / ((right - left) / 2)
    v = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    return np.asarray(u[:, None, :] ** 2 + v[:, :, None] ** 2 <= 1)


def _box_iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(N, 4) and (K, 4) XYXY to (N, K)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), -1)
    area_a, area_b = (np.prod(c[:, 2:] - c[:, :2], -1) for c in (a, b))
    return np.asarray(both / np.maximum(area_a[:, None] + area_b - both, 1e-9), np.float64)
