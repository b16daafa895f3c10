"""Fitting the predicted IoU to whole images, after training.

Training sees crops, and points anywhere in an object; a benchmark asks for whole images with a
point in the middle. Which of the three masks is the best one depends on that, so the head that
predicts it is fitted once more, alone, to what the finished model reaches on whole training images.
Nothing else of the model changes, and no gradient passes the encoder or the decoder: the head's
inputs are computed once, the fit takes seconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

from litesam_bench.lite_sam.model import LiteSam
from litesam_bench.prompts.clicks import first_click
from litesam_bench.sam.geometry import Frame, preprocess
from litesam_bench.spec import InputSpec
from litesam_bench.train.data import Indices
from litesam_bench.train.examples import tight_box
from litesam_bench.train.loop import autocast
from litesam_bench.train.shards import ShardSet

MASKS_PER_IMAGE = 16


class Observed(NamedTuple):
    """What the head saw and what was reached: inputs (N, D) and IoU (N, tokens)."""

    inputs: Tensor
    reached: Tensor


@torch.no_grad()
def observe(
    model: LiteSam, shards: ShardSet, indices: Indices, frame_size: int, precision: str
) -> Observed:
    """Prompt whole images with their boxes and innermost points, and measure all tokens.

    IoU is measured at the decoder's resolution.
    """
    rule = InputSpec(size=frame_size, rule="pad")
    device = next(model.parameters()).device
    head = model.mask_decoder.iou_prediction_head
    inputs: list[Tensor] = []
    reached: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: inputs.append(args[0].float()))
    rng = np.random.default_rng(0)
    model.eval()
    try:
        for index in indices:
            raw = shards.read(int(index))
            chosen = rng.permutation(len(raw.rles))[:MASKS_PER_IMAGE]
            masks = coco_mask.decode([raw.rles[int(i)] for i in chosen]).transpose(2, 0, 1)
            masks = masks[masks.any(axis=(1, 2))]
            if not len(masks):
                continue
            frame = Frame.of((raw.image.shape[0], raw.image.shape[1]), rule)
            boxes = np.stack([tight_box(mask) for mask in masks]).astype(np.float64)
            points = np.array([first_click(mask) for mask in masks], np.float64)[:, None]
            pixels = preprocess(raw.image, frame, rule).to(device)
            truth = at_decoder(torch.from_numpy(masks).to(device), frame)
            with autocast(device, precision):
                features = model.encode(pixels.contiguous(memory_format=torch.channels_last))
                xy = torch.as_tensor(frame.to_network(points), dtype=torch.float32, device=device)
                sides = torch.as_tensor(frame.to_network(boxes), dtype=torch.float32, device=device)
                labels = torch.ones(len(masks), 1, dtype=torch.long, device=device)
                by_box, _ = model.decode(features, frame.network_hw, boxes=sides)
                by_point, _ = model.decode(features, frame.network_hw, points=xy, labels=labels)
            reached += [mask_iou(by_box > 0, truth), mask_iou(by_point > 0, truth)]
    finally:
        handle.remove()
    return Observed(torch.cat(inputs), torch.cat(reached))


def fit_iou_head(
    model: LiteSam, observed: Observed, *, steps: int = 200, lr: float = 3e-4
) -> float:
    """Fit the head to the observations, in place; returns the mean squared error after it.

    A light fit, 200 steps over random halves: more steps fit the training images better and
    held-out images worse (NOTES.md).
    """
    head = model.mask_decoder.iou_prediction_head
    optimiser = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    count = len(observed.inputs)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 - step / steps)
        part = torch.randperm(count, generator=generator)[: max(1, count // 2)]
        loss = F.mse_loss(head(observed.inputs[part]), observed.reached[part])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        return float(F.mse_loss(head(observed.inputs), observed.reached))


def at_decoder(masks: Tensor, frame: Frame) -> Tensor:
    """(N, H, W) 0/1 to (N, h, w) bool at the decoder's resolution, padding included."""
    height, width = frame.network_hw
    resized = F.interpolate(masks[:, None].float(), frame.resized_hw, mode="bilinear")
    bottom, right = height - frame.resized_hw[0], width - frame.resized_hw[1]
    padded = F.pad(resized, (0, right, 0, bottom))
    return F.interpolate(padded, (height // 4, width // 4), mode="area")[:, 0] > 0.5


def mask_iou(masks: Tensor, truth: Tensor) -> Tensor:
    """IoU of N x T masks with N others: (N, T, h, w) and (N, h, w) to (N, T)."""
    both = (masks & truth[:, None]).sum((2, 3))
    either = (masks | truth[:, None]).sum((2, 3))
    return both / either.clamp(min=1)
