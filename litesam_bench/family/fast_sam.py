"""FastSAM (Zhao et al., 2023): YOLOv8-seg finds everything first, prompts choose among it.

Upstream: `fastsam/predict.py` and `fastsam/prompt.py` of github.com/CASIA-IVA-Lab/FastSAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from litesam_bench.adapters import BoolArray, binary_batch
from litesam_bench.errors import ModelOutputError
from litesam_bench.everything.own import proposals_of
from litesam_bench.everything.proposals import Proposal
from litesam_bench.family.yolo import build_yolo, detect, native_masks, preprocess
from litesam_bench.metrics.rle import encode
from litesam_bench.sam.segmenter import TORCH_DTYPES
from litesam_bench.types import (
    FloatArray,
    GroundTruth,
    ImageU8,
    LoadContext,
    MaskBatch,
    Prompts,
    SizeHW,
)

SCORE_THRESH = 0.4
NMS_IOU = 0.9
LIMIT = 300
"""Upstream's defaults for prompts and for everything, `max_det` included."""

_SNAP_PX = 20.0
_FULL_IOU = 0.9


class FastSamNetwork(nn.Module):
    """YOLOv8-seg with one class. All of it is the encoder; there is no decoder to count."""

    def __init__(self, config: str, reg_max: int) -> None:
        super().__init__()
        self.image_encoder = build_yolo(config, classes=1, reg_max=reg_max)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to candidates (B, 5 + C, anchors) and prototypes (B, C, H / 4, W / 4)."""
        outputs = self.image_encoder(images)
        candidates, prototypes = outputs[0], outputs[1]
        if not isinstance(candidates, Tensor):  # ((candidates, prototypes), …): ultralytics 8.4
            candidates, prototypes = candidates
        elif isinstance(prototypes, tuple):  # (candidates, (…, prototypes)): before
            prototypes = prototypes[-1]
        return candidates, prototypes


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official parameter names to those of `FastSamNetwork`."""
    return {f"image_encoder.{name}": tensor for name, tensor in state.items()}


@dataclass(frozen=True)
class FoundMasks:
    """Everything in an image, best first: masks (N, H, W) bool and scores (N,)."""

    masks: BoolArray
    scores: FloatArray

    @property
    def size_hw(self) -> SizeHW:
        return self.masks.shape[1], self.masks.shape[2]


class FastSamSegmenter:
    """Finds everything when an image is embedded; `segment` only chooses."""

    def __init__(self, model: FastSamNetwork, size: int, context: LoadContext) -> None:
        self.device = torch.device(context.device)
        self.dtype = TORCH_DTYPES[context.dtype]
        self.model = model.to(device=self.device, dtype=self.dtype).eval()
        self.size = size

    @torch.inference_mode()
    def embed(self, image: ImageU8) -> FoundMasks:
        """All masks of an image, (H, W, 3) RGB uint8.

        Raises:
            ModelOutputError: the network returned NaN or infinities.
        """
        pixels, frame = preprocess(image, self.size)
        candidates, prototypes = self.model(pixels.to(device=self.device, dtype=self.dtype))
        if not bool(torch.isfinite(candidates).all() and torch.isfinite(prototypes).all()):
            raise ModelOutputError(
                "the network returned NaN or infinite values",
                fix="check the weights, or run with --dtype fp32",
            )
        found = detect(candidates[0], 1, score_thresh=SCORE_THRESH, nms_iou=NMS_IOU, limit=LIMIT)
        boxes = frame.boxes_to_original(snap_to_border(found.boxes, frame.network_hw))
        masks = native_masks(prototypes[0], found.coefficients, boxes, frame.original_hw)
        return FoundMasks(masks.numpy(), found.scores.double().cpu().numpy())

    def segment(self, embedding: FoundMasks, prompts: Prompts) -> MaskBatch:
        """One of the masks per box, or a union of masks per set of points; empty if none fits.

        Where a prompt has both, the box decides alone, as in upstream's script.
        """
        chosen = np.zeros((len(prompts), *embedding.size_hw), dtype=bool)
        for i, answer in enumerate(chosen):
            if prompts.boxes is not None:
                answer |= mask_of_box(embedding.masks, prompts.boxes[i])
            elif prompts.points is not None and prompts.labels is not None:
                answer |= mask_of_points(embedding.masks, prompts.points[i], prompts.labels[i])
        return binary_batch(chosen)

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        """All masks of an image that have a pixel, best first."""
        found = self.embed(image)
        kept = found.masks.any(axis=(1, 2))
        codes = [encode(mask) for mask in found.masks[kept]]
        return proposals_of(codes, found.scores[kept].tolist(), found.size_hw)


def snap_to_border(boxes: Tensor, network_hw: SizeHW) -> Tensor:
    """Boxes (N, 4) XYXY whose sides within 20 px of the frame's lie on it.

    A box that then covers more than 0.9 of the frame becomes the frame. (Upstream fails where
    there are several such boxes, and returns nothing for the image; here each becomes the frame.)
    """
    height, width = network_hw
    x1, y1, x2, y2 = boxes.unbind(1)
    x1 = torch.where(x1 < _SNAP_PX, torch.zeros_like(x1), x1)
    y1 = torch.where(y1 < _SNAP_PX, torch.zeros_like(y1), y1)
    x2 = torch.where(x2 > width - _SNAP_PX, torch.full_like(x2, width), x2)
    y2 = torch.where(y2 > height - _SNAP_PX, torch.full_like(y2, height), y2)
    inside_w = (x2.clamp(max=width) - x1.clamp(min=0)).clamp(min=0)
    inside_h = (y2.clamp(max=height) - y1.clamp(min=0)).clamp(min=0)
    inside = inside_w * inside_h
    iou = inside / (height * width + (x2 - x1) * (y2 - y1) - inside)
    snapped = torch.stack([x1, y1, x2, y2], dim=1)
    frame = boxes.new_tensor([0, 0, width, height])
    return torch.where((iou > _FULL_IOU).unsqueeze(1), frame, snapped)


def mask_of_box(masks: BoolArray, box: FloatArray) -> BoolArray:
    """The mask (H, W) with the highest IoU with the box's area; the first one on ties.

    Args:
        masks: (N, H, W), N may be 0. box: (4,) XYXY in pixels; its sides are rounded.
    """
    height, width = masks.shape[1:]
    if not len(masks):
        return np.zeros((height, width), dtype=bool)
    x1, y1, x2, y2 = np.rint(box).astype(int)
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    inside = masks[:, y1:y2, x1:x2].sum(axis=(1, 2))
    union = (x2 - x1) * (y2 - y1) + masks.sum(axis=(1, 2)) - inside
    best: BoolArray = masks[int(np.argmax(inside / np.maximum(union, 1)))]
    return best


def mask_of_points(
    masks: BoolArray, points: FloatArray, labels: npt.NDArray[np.int64]
) -> BoolArray:
    """Masks with a foreground point, painted from large to small; those with a background point
    erase. May be empty.

    Args:
        masks: (N, H, W). points: (P, 2) xy in pixels. labels: (P,) 1, 0, or -1 for none.
    """
    height, width = masks.shape[1:]
    painted = np.zeros((height, width), dtype=bool)
    columns = np.clip(points[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points[:, 1].astype(int), 0, height - 1)
    areas = masks.sum(axis=(1, 2))
    for i in np.argsort(-areas, kind="stable"):
        for row, column, label in zip(rows, columns, labels, strict=True):
            if masks[i, row, column] and label >= 0:
                painted[masks[i]] = label == 1
    return painted
