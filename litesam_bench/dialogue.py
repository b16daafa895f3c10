"""One image's dialogue with a segmenter: first prompts, the masks they give, further rounds.

    prompts -> segment -> (choose a mask -> next click or mask prompt -> segment)* -> masks

Only predict-side protocol fields matter here. All masks that a model offers are kept, with the
token they came from, its predicted IoU and its stability: which of them counts is decided when
scoring.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam_bench.errors import BenchError, ModelOutputError
from litesam_bench.metrics import rle
from litesam_bench.metrics.select import choose
from litesam_bench.prompts import clicks, gt_boxes
from litesam_bench.records.journal import Candidate, Prediction
from litesam_bench.types import ImageU8, Instance, MaskBatch, Prompts, Rle, Segmenter

if TYPE_CHECKING:
    from torch import Tensor

    from litesam_bench.protocols import Protocol

STABILITY_OFFSET = 1.0
"""SAM's stability score: area at threshold + 1 over area at threshold - 1 (logits)."""

# Mask pixels restored at once. On a CPU a few masks that stay in the cache are fastest; a GPU wants
# large launches, and 64 M float32 pixels are 256 MiB.
_RESTORE_PIXELS = {"cpu": 2**21, "cuda": 2**26}


@dataclass
class PhaseClock:
    """Wall seconds per phase of an accuracy run. Informative: a GPU is not synchronised for it;
    timing tables come from `litesam_bench.timing`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True)
class Request:
    """What one image is asked: first prompts, and the truth that clicks react to (same order)."""

    prompts: Prompts
    truths: tuple[Rle, ...]


def request_for(instances: Sequence[Instance], protocol: Protocol) -> Request:
    """First prompts for ground-truth instances: their boxes, or one point each by the rule."""
    truths = tuple(instance.rle for instance in instances)
    if protocol.prompt == "box":
        return Request(gt_boxes.from_instances(instances), truths)
    first = _FIRST_POINT[protocol.point_rule]
    points = np.array([first(rle.decode(truth)) for truth in truths], np.float64).reshape(-1, 1, 2)
    labels = np.ones((len(truths), 1), np.int64)
    ids = tuple(instance.id for instance in instances)
    return Request(Prompts(ids=ids, points=points, labels=labels), truths)


_FIRST_POINT = {
    "edt-max": clicks.first_click,
    "samfast-center": clicks.samfast_center,
    "edgesam-center": clicks.edgesam_center,
}


def predict_image(
    segmenter: Segmenter,
    image: ImageU8,
    request: Request,
    protocol: Protocol,
    *,
    batch: int,
    clock: PhaseClock,
) -> tuple[Prediction, ...]:
    """All masks for all prompts of one image.

    Args:
        image: (H, W, 3) RGB uint8.
        batch: prompts per call of the segmenter.

    Raises:
        ModelOutputError: NaN or infinite logits or predicted IoU, or shapes that do not fit.
        BenchError: the device ran out of memory.
    """
    import torch

    if len(request.prompts) == 0:
        return ()
    height, width = image.shape[:2]
    predictions: list[Prediction] = []
    with torch.inference_mode(), _out_of_memory(batch):
        with clock.phase("embed"):
            embedding = segmenter.embed(image)
        for begin in range(0, len(request.prompts), batch):
            part = slice(begin, begin + batch)
            prompts, truths = request.prompts[part], request.truths[part]
            with clock.phase("segment"):
                masks = checked(segmenter.segment(embedding, prompts), len(prompts))
            for round_number in range(1, rounds(protocol)):
                with clock.phase("prompts"):
                    prompts = next_prompts(
                        prompts, masks, truths, protocol, round_number, (height, width)
                    )
                with clock.phase("segment"):
                    masks = checked(segmenter.segment(embedding, prompts), len(prompts))
            predictions += finish(masks, prompts, (height, width), clock)
    return tuple(predictions)


def rounds(protocol: Protocol) -> int:
    """Calls of the segmenter per prompt."""
    return max(protocol.n_clicks, 1) + protocol.refine_iter


def next_prompts(
    prompts: Prompts,
    masks: MaskBatch,
    truths: Sequence[Rle],
    protocol: Protocol,
    round_number: int,
    size_hw: tuple[int, int],
) -> Prompts:
    """The prompts of round `round_number` (the first is 0), from the masks of the one before.

    A mask prompt carries the chosen mask's logits. A click is added to all earlier ones; refinement
    clicks of prompts with nothing left to correct are null points.
    """
    import torch

    def pick(n: int) -> int:
        return choose(
            protocol.dialogue_select,
            masks.tokens,
            masks.iou[n].tolist(),
            lambda: stability(masks.to_image(masks.logits[n].float())).tolist(),
        )

    picks = torch.as_tensor([pick(n) for n in range(len(masks))])
    rows = torch.arange(len(masks))
    chosen = masks.logits[rows, picks]  # (N, h, w)
    if protocol.mask_feedback or protocol.refine_rule == "mask-feedback":
        prompts = replace(prompts, low_res_logits=chosen[:, None].float().cpu().numpy())
    if protocol.refine_rule == "mask-feedback":
        return prompts
    new = np.zeros((len(prompts), 1, 2))
    labels = np.full((len(prompts), 1), clicks.NULL_LABEL, np.int64)
    for n in range(len(prompts)):
        full = masks.to_image(chosen[n : n + 1].float())[0] > masks.threshold
        predicted, truth = full.cpu().numpy(), rle.decode(truths[n]).astype(bool)
        if protocol.refine_rule == "random-error-pixel":
            click = clicks.random_error_pixel(truth, predicted, prompts.ids[n], round_number)
        else:
            click = clicks.next_click(truth, predicted, _clicked(prompts, n, size_hw))
        if click is not None:
            new[n, 0], labels[n, 0] = click[:2], click[2]
    if prompts.points is None or prompts.labels is None:
        return replace(prompts, points=new, labels=labels)
    return replace(
        prompts,
        points=np.concatenate([prompts.points, new], axis=1),
        labels=np.concatenate([prompts.labels, labels], axis=1),
    )


def _clicked(prompts: Prompts, n: int, size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels that have been clicked for prompt n; they are not clicked again."""
    clicked = np.zeros(size_hw, bool)
    if prompts.points is not None:
        x, y = prompts.points[n].astype(int).T
        clicked[y, x] = True
    return clicked


def checked(masks: MaskBatch, n: int) -> MaskBatch:
    """The batch itself, if it keeps the contract. Raises ModelOutputError otherwise."""
    import torch

    expected = (n, len(masks.tokens))
    if tuple(masks.logits.shape[:2]) != expected or tuple(masks.iou.shape) != expected:
        raise ModelOutputError(
            f"logits {tuple(masks.logits.shape)} and iou {tuple(masks.iou.shape)} do not begin "
            f"with (prompts, tokens) = {expected}"
        )
    for name, value in (("logits", masks.logits), ("predicted IoU", masks.iou)):
        if not bool(torch.isfinite(value).all()):
            raise ModelOutputError(f"NaN or infinity in the model's {name}")
    return masks


def stability(logits: Tensor, offset: float = STABILITY_OFFSET) -> Tensor:
    """SAM's stability score of (..., H, W) logits at threshold 0; 0 where the mask is empty at both
    offsets, so that a filter drops it (upstream: 0/0 = NaN, which every comparison drops)."""
    inner = (logits > offset).sum(dim=(-2, -1))
    outer = (logits > -offset).sum(dim=(-2, -1))
    return inner / outer.clamp(min=1)


def finish(
    masks: MaskBatch, prompts: Prompts, size_hw: tuple[int, int], clock: PhaseClock
) -> list[Prediction]:
    """Bring all masks to image size, threshold and encode them."""
    n, m = masks.logits.shape[:2]
    pixels = _RESTORE_PIXELS.get(masks.logits.device.type, _RESTORE_PIXELS["cpu"])
    step = max(1, pixels // (m * size_hw[0] * size_hw[1]))
    predictions = []
    for begin in range(0, n, step):
        part = range(begin, min(begin + step, n))
        with clock.phase("restore"):
            logits = masks.logits[part.start : part.stop].flatten(0, 1)
            full = masks.to_image(logits.float()) - masks.threshold  # (k * M, H, W)
            if tuple(full.shape[-2:]) != size_hw:
                raise ModelOutputError(f"masks of {tuple(full.shape[-2:])} for an image {size_hw}")
            stable = stability(full).tolist()
            binary = (full > 0).cpu().numpy()
        with clock.phase("encode"):
            counts = [code["counts"].decode("ascii") for code in rle.encode_many(binary)]
        for row, k in enumerate(part):
            iou = masks.iou[k].float().tolist()
            predictions.append(
                Prediction(
                    id=prompts.ids[k],
                    masks=tuple(
                        Candidate(
                            token,
                            round(iou[j], 6),
                            round(stable[row * m + j], 6),
                            counts[row * m + j],
                        )
                        for j, token in enumerate(masks.tokens)
                    ),
                    points=_dialogue_points(prompts, k),
                )
            )
    return predictions


def _dialogue_points(prompts: Prompts, n: int) -> tuple[tuple[float, float, int], ...]:
    if prompts.points is None or prompts.labels is None:
        return ()
    return tuple(
        (float(x), float(y), int(label))
        for (x, y), label in zip(prompts.points[n], prompts.labels[n], strict=True)
    )


@contextmanager
def _out_of_memory(batch: int) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BenchError(
            f"the device ran out of memory with {batch} prompts a batch",
            fix=f"run the same command with --batch {max(1, batch // 2)}; finished images are kept "
            "only for an equal batch size",
        ) from error
