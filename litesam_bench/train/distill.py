"""Learning from another system's masks instead of from people's.

The teacher is any registered system that takes boxes or points. It sees the same crop and the same
prompts; what it answers replaces the targets of the example. So a user who has SAM's weights can
train Lite-SAM on images without any masks of their own: random boxes and points would do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from litesam_bench.errors import UsageError
from litesam_bench.train.data import Batch
from litesam_bench.types import Capabilities, ImageU8, MaskBatch, Prompts, Segmenter


class Teacher:
    """A system whose masks are learned.

    Raises:
        UsageError: the system takes neither boxes nor points, or needs the ground truth.
    """

    def __init__(self, name: str, system: Segmenter, can: Capabilities) -> None:
        if can.needs_ground_truth or not (can.boxes or can.points):
            raise UsageError(
                f"{name} cannot teach: it must answer boxes or points without the ground truth",
                fix="litesam-bench models list shows what each system takes",
            )
        self.system = system
        self.can = can

    def relabel(self, batch: Batch) -> Batch:
        """The batch with the teacher's masks as targets of the prompts that it can take.

        Box prompts are the first half of an example's, point prompts the second; a point prompt is
        answered for its first point. AutoPPN's labels stay those of the data.
        """
        out = dict(batch)
        out["region_targets"] = batch["region_targets"].clone()
        out["frame_targets"] = batch["frame_targets"].clone()
        half = batch["boxes"].shape[1] // 2
        for i in range(len(batch["image"])):
            height, width = (int(v) for v in batch["valid_hw"][i])
            pixels: ImageU8 = batch["image"][i, :, :height, :width].permute(1, 2, 0).cpu().numpy()
            embedding = self.system.embed(np.ascontiguousarray(pixels))
            if self.can.boxes:
                boxes = batch["boxes"][i, :half].double().cpu().numpy()
                answer = self.system.segment(embedding, Prompts(ids=_ids(boxes), boxes=boxes))
                self._write(out, i, slice(0, half), chosen_masks(answer))
            if self.can.points:
                points = batch["points"][i, half:, :1].double().cpu().numpy()
                labels = np.ones(points.shape[:2], np.int64)
                prompts = Prompts(ids=_ids(points), points=points, labels=labels)
                answer = self.system.segment(embedding, prompts)
                self._write(out, i, slice(half, None), chosen_masks(answer))
        return out

    @staticmethod
    def _write(batch: Batch, image: int, prompts: slice, masks: Tensor) -> None:
        """Sample (N, h, w) bool masks on the grids of the targets."""
        grid = batch["region_targets"].shape[-1]
        size = batch["image"].shape[-1]
        full = masks.new_zeros(len(masks), size, size)
        full[:, : masks.shape[1], : masks.shape[2]] = masks
        stride = size // batch["frame_targets"].shape[-1]
        frame = full[:, stride // 2 :: stride, stride // 2 :: stride]
        batch["frame_targets"][image, prompts] = frame.to(batch["frame_targets"])

        regions = batch["regions"][image, prompts]
        steps = (torch.arange(grid, device=regions.device) + 0.5) / grid
        sides = regions[:, 2:] - regions[:, :2]
        x = (regions[:, 0:1] + steps * sides[:, 0:1]).floor().long()
        y = (regions[:, 1:2] + steps * sides[:, 1:2]).floor().long()
        inside = _within(y, size)[:, :, None] & _within(x, size)[:, None, :]
        number = torch.arange(len(full), device=regions.device)[:, None, None]
        full = full.to(regions.device)
        seen = full[number, y.clamp(0, size - 1)[:, :, None], x.clamp(0, size - 1)[:, None, :]]
        batch["region_targets"][image, prompts] = (seen & inside).to(batch["region_targets"])


def chosen_masks(answer: MaskBatch) -> Tensor:
    """Of each prompt's masks the one that the system rates highest, (N, H, W) bool."""
    best = answer.iou.argmax(1)
    logits = answer.logits[torch.arange(len(answer)), best]
    return answer.to_image(logits) > answer.threshold


def load_teacher(name: str, device: str) -> Teacher:
    """A registered system with its weights.

    Raises:
        UsageError: no such system, or it cannot teach.
        WeightsError: its checkpoint is missing.
    """
    from litesam_bench.registry import resolve
    from litesam_bench.types import LoadContext
    from litesam_bench.weights import require

    system = resolve(name)[0]
    weights = require(system.spec)
    context = LoadContext(device=device, weights=str(weights.path) if weights else None)
    return Teacher(name, system.load(system.spec, context), system.spec.capabilities)


def _ids(prompts: npt.NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(range(len(prompts)))


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
