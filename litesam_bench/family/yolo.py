"""YOLOv8 networks for the systems and detectors that are built on them.

The network itself is the package `ultralytics` (AGPL-3.0), which is imported when one is built and
not before. Only its layers are used: letterbox, suppression and mask assembly are written here,
after `ultralytics/yolo` 8.0 as FastSAM ships it, so that results do not follow its releases.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.errors import WeightsError
from litesam_bench.family import require
from litesam_bench.sam.checkpoint import load_state_dict_file
from litesam_bench.types import ImageU8, SizeHW

_STRIDE = 32
_GREY = (114, 114, 114)
# What an official checkpoint mentions besides tensors. `getattr` is how a pickle spells a method.
_INERT_PREFIXES = ("ultralytics.", "torch.nn.modules.", "pathlib.", "types.SimpleNamespace")
_INERT_NAMES = ("builtins.getattr", "__builtin__.getattr")


def build_yolo(config: str, *, classes: int, reg_max: int = 16) -> nn.Module:
    """A YOLOv8 network with random weights, in evaluation mode, always on the CPU.

    Args:
        config: a configuration of ultralytics, such as `yolov8x-seg`.
        reg_max: bins of the distance from an anchor to a side of its box.

    Raises:
        UsageError: ultralytics is not installed.
    """
    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_OFFLINE", "True")  # importing it must not call home
    # Whatever device is the default: importing it makes tensors that all its networks share, and
    # building one measures its strides by a forward pass.
    with torch.device("cpu"):
        tasks = require("ultralytics.nn.tasks", "ultralytics")
        kind = tasks.SegmentationModel if config.endswith("-seg") else tasks.DetectionModel
        described = tasks.yaml_model_load(f"{config}.yaml") | {"reg_max": reg_max}
        model: nn.Module = kind(described, nc=classes, verbose=False)
    return model.eval()


class _Inert:
    """Stands for whatever a checkpoint names: it can be made and given a state, and does nothing.

    The names are those of classes and functions in the file; none of them is ever looked up.
    """

    def __new__(cls, *args: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: object) -> None: ...


def load_yolo_state(path: str | Path) -> dict[str, Tensor]:
    """The parameters in an official checkpoint, by name.

    Ultralytics saves whole modules instead of state dicts, and reading one as it is meant to be
    read runs what the file says. Here `weights_only=True` stays on, every class that the file names
    becomes an inert object, and the tensors are collected from what those objects hold. A plain
    state dict is read as it is.

    Raises:
        WeightsError: missing or corrupt file, or one that names anything but modules.
    """
    path = Path(path)
    names = _names_in(path)
    if not names:
        return load_state_dict_file(path)
    strange = [n for n in names if not n.startswith(_INERT_PREFIXES) and n not in _INERT_NAMES]
    if strange:
        raise WeightsError(
            f"{path} names {strange[0]}, which no YOLOv8 checkpoint needs; nothing in it was run",
            fix="use the official checkpoint: litesam-bench weights pull",
        )
    stand_ins: list[Any] = []
    for name in names:
        module, _, own = name.rpartition(".")
        stand_ins.append(type(own, (_Inert,), {"__module__": module}))
    with torch.serialization.safe_globals(stand_ins):
        content = torch.load(path, map_location="cpu", weights_only=True)
    root = content.get("ema") or content.get("model") if isinstance(content, dict) else None
    found: dict[str, Tensor] = {}
    if isinstance(root, _Inert):
        _collect(root, "", found)
    if not found:
        raise WeightsError(
            f"{path} holds no YOLOv8 network",
            fix="use the official checkpoint: litesam-bench weights pull",
        )
    return found


def _names_in(path: Path) -> list[str]:
    """What a checkpoint names besides tensors and plain containers."""
    if path.suffix == ".safetensors" or not path.is_file():
        return []  # the reader of state dicts has the words for a missing file
    try:
        return list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (RuntimeError, EOFError, OSError, ValueError, KeyError):
        return []  # so is it for a corrupt one


def _collect(module: Any, prefix: str, found: dict[str, Tensor]) -> None:
    """The parameters and persistent buffers of a module that is no module any more."""
    held = vars(module)
    passing = held.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, tensor in held.get(kind, {}).items():
            if isinstance(tensor, Tensor) and name not in passing:
                found[prefix + name] = tensor.detach()
    for name, child in held.get("_modules", {}).items():
        if child is not None:
            _collect(child, f"{prefix}{name}.", found)


@dataclass(frozen=True)
class Letterbox:
    """How an image lies in the network's frame: in the middle, at one scale, grey around it.

    `scale` is network pixels per original pixel; `left` and `top` are the border's width.
    """

    original_hw: SizeHW
    network_hw: SizeHW
    scale: float
    left: int
    top: int

    @classmethod
    def of(cls, original_hw: SizeHW, size: int) -> Letterbox:
        """The smallest frame with sides divisible by 32 for a long side of `size`."""
        height, width = _resized(original_hw, size)
        short_h, short_w = (size - height) % _STRIDE, (size - width) % _STRIDE
        network_hw = (height + short_h, width + short_w)
        return cls(
            original_hw=original_hw,
            network_hw=network_hw,
            scale=min(network_hw[0] / original_hw[0], network_hw[1] / original_hw[1]),
            left=round(short_w / 2 - 0.1),
            top=round(short_h / 2 - 0.1),
        )

    def boxes_to_original(self, boxes: Tensor) -> Tensor:
        """XYXY (N, 4) in network pixels to original pixels, clipped to the image.

        The border is taken from the scale here and from the padding when the image is placed, as
        upstream; the two may differ by a pixel.
        """
        height, width = self.original_hw
        left = round((self.network_hw[1] - width * self.scale) / 2 - 0.1)
        top = round((self.network_hw[0] - height * self.scale) / 2 - 0.1)
        moved = (boxes - boxes.new_tensor([left, top, left, top])) / self.scale
        return moved.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _resized(original_hw: SizeHW, size: int) -> SizeHW:
    scale = size / max(original_hw)
    return max(1, round(original_hw[0] * scale)), max(1, round(original_hw[1] * scale))


def preprocess(image: ImageU8, size: int) -> tuple[Tensor, Letterbox]:
    """The network's input, (1, 3, H, W) float32 RGB in [0, 1], and where the image lies in it."""
    frame = Letterbox.of((image.shape[0], image.shape[1]), size)
    height, width = _resized(frame.original_hw, size)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    bottom = frame.network_hw[0] - height - frame.top
    right = frame.network_hw[1] - width - frame.left
    placed = cv2.copyMakeBorder(
        image, frame.top, bottom, frame.left, right, cv2.BORDER_CONSTANT, value=_GREY
    )
    tensor = torch.from_numpy(np.ascontiguousarray(placed.transpose(2, 0, 1)))
    return tensor.unsqueeze(0).to(torch.float32) / 255, frame


@dataclass(frozen=True)
class Detections:
    """N boxes of one image, best first.

    boxes: (N, 4) XYXY in network pixels. scores: (N,). classes: (N,) int64.
    coefficients: (N, C) of the mask prototypes; C is 0 for a detector.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    coefficients: Tensor


def detect(
    prediction: Tensor, classes: int, *, score_thresh: float, nms_iou: float, limit: int
) -> Detections:
    """Candidates above the threshold, without those that overlap a better one of their class.

    Args:
        prediction: (4 + classes + C, anchors) of one image: centre x and y, width, height,
            a score per class, mask coefficients.
        limit: most boxes that are kept.
    """
    nms = require("torchvision.ops", "ultralytics").nms
    rows = prediction.float().t()
    scores, labels = rows[:, 4 : 4 + classes].max(dim=1)
    kept = scores > score_thresh
    rows, scores, labels = rows[kept], scores[kept], labels[kept]
    order = scores.argsort(descending=True)[:_MAX_CANDIDATES]
    rows, scores, labels = rows[order], scores[order], labels[order]
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    boxes = torch.cat([centre - half, centre + half], dim=1)
    apart = boxes + labels.unsqueeze(1) * _CLASS_OFFSET_PX  # classes do not suppress one another
    chosen = nms(apart, scores, nms_iou)[:limit]
    return Detections(boxes[chosen], scores[chosen], labels[chosen], rows[chosen, 4 + classes :])


_MAX_CANDIDATES = 30_000
_CLASS_OFFSET_PX = 7680
_MASKS_AT_ONCE = 16


def native_masks(
    prototypes: Tensor, coefficients: Tensor, boxes: Tensor, original_hw: SizeHW
) -> Tensor:
    """Masks at original-image size, cut to their boxes: (N, H, W) bool on the CPU.

    Args:
        prototypes: (C, h, w). coefficients: (N, C). boxes: (N, 4) XYXY in original pixels.
    """
    height, width = prototypes.shape[1:]
    scale = min(height / original_hw[0], width / original_hw[1])
    left, top = (width - original_hw[1] * scale) / 2, (height - original_hw[0] * scale) / 2
    rows = slice(int(top), int(height - top))
    columns = slice(int(left), int(width - left))
    y = torch.arange(original_hw[0], device=boxes.device).view(1, -1, 1)
    x = torch.arange(original_hw[1], device=boxes.device).view(1, 1, -1)
    prototypes = prototypes.float()
    found = torch.empty(len(boxes), *original_hw, dtype=torch.bool)
    for begin in range(0, len(boxes), _MASKS_AT_ONCE):  # logits at full size, for a few at a time
        part = slice(begin, begin + _MASKS_AT_ONCE)
        logits = torch.einsum("nc,chw->nhw", coefficients[part].float(), prototypes)
        logits = F.interpolate(
            logits[None, :, rows, columns], original_hw, mode="bilinear", align_corners=False
        )[0]
        x1, y1, x2, y2 = boxes[part].view(-1, 4, 1, 1).unbind(1)
        found[part] = (logits > 0) & (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    return found
