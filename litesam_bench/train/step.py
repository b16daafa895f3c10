"""One forward pass of training: images and prompts in, one loss and its parts out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litesam_bench.lite_sam.model import LiteSam
from litesam_bench.train.data import Batch
from litesam_bench.train.losses import (
    LossConfig,
    Quadrature,
    mask_loss,
    ppn_loss,
    quadrature,
    sample_logits,
)

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def normalise(
    image: Tensor,
    valid_hw: Tensor,
    mean_rgb: tuple[float, float, float] = MEAN,
    std_rgb: tuple[float, float, float] = STD,
) -> Tensor:
    """(B, 3, S, S) uint8 to float32, normalised; padding is 0 afterwards, as at test time."""
    mean = torch.tensor(mean_rgb, device=image.device).view(3, 1, 1)
    std = torch.tensor(std_rgb, device=image.device).view(3, 1, 1)
    cells = torch.arange(image.shape[-1], device=image.device)
    rows = cells < valid_hw[:, 0, None]
    columns = cells < valid_hw[:, 1, None]
    valid = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
    pixels = (image.to(torch.float32) - mean) / std * valid
    return pixels.contiguous(memory_format=torch.channels_last)


class TrainStep(nn.Module):
    """The model with its losses; DistributedDataParallel wraps this."""

    def __init__(self, model: LiteSam, loss: LossConfig, frame: int, frame_stride: int) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.frame_hw = (frame, frame)
        self.frame_stride = frame_stride

    def forward(
        self, batch: Batch, points: int, clicks: bool, draws: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch (see `Example`) and its parts, detached.

        Args:
            points: how many points each point prompt has.
            clicks: whether the point prompts get a second round.
            draws: (B, M) uniform in [0, 1): they choose the second round's clicks.
        """
        size = batch["image"].shape[-1]
        half = batch["boxes"].shape[1] // 2
        origin = batch["origin_xy"]
        features = self.model.encode(normalise(batch["image"], batch["valid_hw"]))
        maps = self.model.autoppn(features.embedding)

        parts: dict[str, Tensor] = {}
        boxes = batch["boxes"][:, :half].flatten(0, 1)
        logits, iou = self.model.decode(features, self.frame_hw, boxes=boxes, origin_xy=origin)
        truth = self._truth(batch, slice(0, half))
        box = mask_loss(logits, iou, truth, size, self.loss)
        total = box.total
        parts |= {
            "box": box.total,
            "box_iou": box.reached[:, 0].mean(),
            "box_best": box.reached[:, 1:].amax(1).mean(),
        }

        xy = batch["points"][:, half:, :points].flatten(0, 1)
        labels = torch.ones(xy.shape[:2], dtype=torch.long, device=xy.device)
        logits, iou = self.model.decode(
            features, self.frame_hw, points=xy, labels=labels, origin_xy=origin
        )
        truth = self._truth(batch, slice(half, None))
        point = mask_loss(logits, iou, truth, size, self.loss)
        total = total + point.total
        parts |= {
            "point": point.total,
            "point_iou": point.reached[:, 0].mean(),
            "point_best": point.reached[:, 1:].amax(1).mean(),
            "iou_error": (box.iou + point.iou) / 2,
        }

        if clicks:
            best = point.reached[:, 1:].argmax(1) + 1
            previous = logits[torch.arange(len(logits)), best].detach().unsqueeze(1)
            xy, labels = self._click(previous, truth, xy, labels, size, draws[:, half:].flatten())
            logits, iou = self.model.decode(
                features,
                self.frame_hw,
                points=xy,
                labels=labels,
                masks=previous.clamp(-20, 20).float(),
                origin_xy=origin,
            )
            second = mask_loss(logits, iou, truth, size, self.loss)
            total = total + second.total
            parts |= {"click": second.total, "click_iou": second.reached[:, 0].mean()}

        peaks, sides = ppn_loss(
            maps.logits,
            maps.ltrb,
            batch["ppn_heat"],
            batch["ppn_ltrb"],
            batch["ppn_weight"],
            self.loss,
        )
        total = total + self.loss.ppn * (peaks + sides)
        parts |= {"ppn_point": peaks, "ppn_box": sides, "loss": total}
        return total, {name: value.detach() for name, value in parts.items()}

    def _truth(self, batch: Batch, part: slice) -> Quadrature:
        regions = batch["regions"][:, part]
        return quadrature(
            regions.flatten(0, 1),
            batch["region_targets"][:, part].flatten(0, 1),
            batch["frame_targets"][:, part].flatten(0, 1),
            batch["valid_hw"].repeat_interleave(regions.shape[1], 0),
            self.frame_stride,
        )

    @staticmethod
    @torch.no_grad()
    def _click(
        previous: Tensor, truth: Quadrature, xy: Tensor, labels: Tensor, size: int, draws: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add one point of the error region, drawn with probability proportional to area.

        (N, 1, h, w) logits, (N, P, 2) points and (N, P) labels to P + 1 points and labels.
        """
        predicted = sample_logits(previous, truth.xy, size).squeeze(1) > 0
        wrong = (predicted != truth.targets.bool()) * truth.weights
        wrong = wrong + 1e-6 * truth.weights  # a perfect mask gets a click anywhere
        edges = wrong.cumsum(1)
        index = torch.searchsorted(edges, (draws * edges[:, -1])[:, None]).clamp(
            max=edges.shape[1] - 1
        )
        chosen = truth.xy.gather(1, index.unsqueeze(2).expand(-1, -1, 2))
        label = truth.targets.gather(1, index).long()
        return torch.cat([xy, chosen], 1), torch.cat([labels, label], 1)
