"""From one image to all its masks: the steps of SAM's automatic mask generator.

    for every crop:    embed -> for every round: sampler -> prompts
        for every batch:   segment -> predicted IoU -> stability -> box -> cut by the crop? -> RLE
        box NMS by predicted IoU
    box NMS between crops (small crops win) -> holes and islands

Differences from upstream, none of which moves a result under the default filters: masks without a
pixel are always dropped, since with the filters off their stability would be 0 / 0; full-size
masks exist only for a few candidates at a time; and prompts come from any sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from litesam_bench.adapters import select_above
from litesam_bench.dialogue import PhaseClock, checked, stability
from litesam_bench.errors import BenchError, ModelOutputError
from litesam_bench.everything.crops import Crop, crops, cut_by_crop
from litesam_bench.everything.nms import box_nms
from litesam_bench.everything.proposals import (
    BoolMask,
    Box,
    Everything,
    Funnel,
    GeneratorConfig,
    Proposal,
    Sampler,
    View,
)
from litesam_bench.everything.regions import without_small_regions
from litesam_bench.everything.restore import threshold_masks
from litesam_bench.metrics import rle
from litesam_bench.types import (
    Embedding,
    FilteringSegmenter,
    ImageU8,
    Prompts,
    Rle,
    Segmenter,
    SelectedMasks,
    SizeHW,
)

if TYPE_CHECKING:
    from torch import Tensor

    from litesam_bench.sam.geometry import Restore, Taps

# Mask pixels restored at once. On a CPU a few masks that stay in the cache are fastest; a GPU wants
# large launches, and 64 M float32 pixels are 256 MiB.
_RESTORE_PIXELS = {"cpu": 2**21, "cuda": 2**26}


class Clock(Protocol):
    """What measures the phases: preprocess, encode, prompts, decode, filter, rle and nms."""

    def phase(self, name: str) -> AbstractContextManager[None]: ...


@runtime_checkable
class _TwoSteps(Protocol):
    """A segmenter whose `embed` is `encode(preprocess(image))`: then both are phases."""

    def preprocess(self, image: ImageU8) -> Any: ...
    def encode(self, preprocessed: Any) -> Embedding: ...


def generate(
    segmenter: Segmenter,
    image: ImageU8,
    sampler: Sampler,
    config: GeneratorConfig,
    *,
    image_id: int | None = None,
    clock: Clock | None = None,
    notify: Callable[[str], None] = lambda message: None,
    keep_logits: bool = False,
) -> Everything:
    """All masks of an image, best first.

    Args:
        image: (H, W, 3) RGB uint8.
        image_id: for samplers that look prompts up.
        notify: is told when the batch had to be halved.
        keep_logits: keep every mask's logits at the decoder's resolution, for `Everything.logits`.

    Raises:
        ModelOutputError: NaN or infinite outputs, or shapes that do not fit.
        BenchError: not even one prompt fits into the memory.
    """
    import torch

    height, width = image.shape[:2]
    run = _Run(segmenter, sampler, config, clock or PhaseClock(), notify, keep_logits)
    views = crops((height, width), config.crop_n_layers, config.crop_overlap_ratio)
    with torch.inference_mode():
        for crop in views:
            run.crop(image, crop, image_id)
        found = run.found
        if len(views) > 1:
            with run.clock.phase("nms"):
                scores = [1 / (crop_area(p.crop)) for p, _ in found]
                found = run.nms(found, scores, config.crop_nms_thresh, "crop NMS")
        if config.min_mask_region_area_px > 0:
            with run.clock.phase("nms"):
                found = run.clean_regions(found, (height, width))
    logits = None
    if keep_logits:
        logits = partial(_full_logits, [keep for _, keep in found], (height, width))
    return Everything(
        (height, width), tuple(p for p, _ in found), run.funnel, run.batch, logits=logits
    )


def crop_area(crop: Box) -> int:
    """Pixels of a crop."""
    return (crop[2] - crop[0]) * (crop[3] - crop[1])


_Kept = tuple["Tensor", Callable[["Tensor"], "Tensor"], Box]
"""One mask's (h, w) logits, how to bring them to the crop's size, and the crop."""
_Found = list[tuple[Proposal, _Kept | None]]


class _Run:
    """The state of one `generate` call: what was found, what was dropped, the batch that fits."""

    def __init__(
        self,
        segmenter: Segmenter,
        sampler: Sampler,
        config: GeneratorConfig,
        clock: Clock,
        notify: Callable[[str], None],
        keep_logits: bool,
    ) -> None:
        self.segmenter = segmenter
        self.sampler = sampler
        self.config = config
        self.clock = clock
        self.notify = notify
        self.keep_logits = keep_logits
        self.batch = config.points_per_batch
        self.restore_at_once: int | None = None  # masks; known once the memory has run out
        self.funnel = Funnel()
        self.found: _Found = []
        self._known_taps: tuple[tuple[Restore, SizeHW], tuple[Taps, Taps]] | None = None

    def crop(self, image: ImageU8, crop: Crop, image_id: int | None) -> None:
        """Add the masks of one crop."""
        x0, y0, x1, y1 = crop.box
        embedding = embed(self.segmenter, np.ascontiguousarray(image[y0:y1, x0:x1]), self.clock)
        view = View(crop.size_hw, crop.layer, self.segmenter, embedding, image_id)
        size_hw = (image.shape[0], image.shape[1])
        found: _Found = []
        confident = None
        for round_number in range(self.sampler.rounds):
            with self.clock.phase("prompts"):
                prompts = self.sampler.prompts(view, round_number, confident)
            if self.sampler.confident_logit is not None and confident is None:
                confident = np.zeros(crop.size_hw, bool)
            self.funnel.prompts += len(prompts)
            for part, masks in self._batches(embedding, prompts):
                found += self._finish(masks, part, crop, size_hw, confident)
        with self.clock.phase("nms"):
            scores = [p.predicted_iou for p, _ in found]
            self.found += self.nms(found, scores, self.config.box_nms_thresh, "box NMS")

    def nms(self, found: _Found, scores: Sequence[float], threshold: float, reason: str) -> _Found:
        """What stays of `found`, best score first."""
        if threshold >= 1:
            order = np.argsort(-np.asarray(scores), kind="stable")
        else:
            order = box_nms([p.box for p, _ in found], scores, threshold)
        self.funnel.drop(reason, len(found) - len(order))
        return [found[i] for i in order.tolist()]

    def clean_regions(self, found: _Found, size_hw: SizeHW) -> _Found:
        """Fill holes and drop islands; of masks that this made alike, unchanged ones stay."""
        unchanged: list[float] = []
        cleaned: _Found = []
        for proposal, kept in found:
            mask, changed = without_small_regions(
                rle.decode(proposal.rle), self.config.min_mask_region_area_px
            )
            if changed:
                if not mask.any():
                    self.funnel.drop("empty", 1)
                    continue
                code = rle.encode(mask)
                area, boxes = areas_and_boxes([code])
                proposal = replace(proposal, rle=code, area_px=area[0], box=boxes[0])
            unchanged.append(float(not changed))
            cleaned.append((proposal, kept))
        threshold = max(self.config.box_nms_thresh, self.config.crop_nms_thresh)
        return self.nms(cleaned, unchanged, threshold, "region NMS")

    def _batches(
        self, embedding: Embedding, prompts: Prompts
    ) -> Iterator[tuple[Prompts, SelectedMasks]]:
        """Segment the prompts batch by batch; a batch that does not fit is halved and repeated."""
        begin = 0
        while begin < len(prompts):
            part = prompts[begin : begin + self.batch]
            try:
                with self.clock.phase("decode"):
                    masks = self._select(embedding, part)
            except (RuntimeError, MemoryError) as error:
                self._halve(error)
                continue
            yield part, masks
            begin += len(part)

    def _halve(self, error: Exception) -> None:
        """Halve the batch if `error` says that the memory ran out; raise it otherwise."""
        if not out_of_memory(error):
            raise error
        if self.batch == 1:
            raise BenchError(
                "the device ran out of memory with a single prompt",
                fix="use --device cpu, --dtype bf16, or a smaller system",
            ) from error
        self.notify(f"out of memory with {self.batch} prompts a batch: going on with half of them")
        self.batch //= 2

    def _restore_less(self, error: Exception, masks: int) -> None:
        """The same for bringing `masks` masks to the image's size."""
        if not out_of_memory(error):
            raise error
        if masks == 1:
            raise BenchError(
                "the device ran out of memory with a single mask at the image's size",
                fix="use --device cpu, or a smaller image",
            ) from error
        self.notify(f"out of memory with {masks} masks at the image's size: going on with half")
        self.restore_at_once = masks // 2

    def _select(self, embedding: Embedding, prompts: Prompts) -> SelectedMasks:
        """The masks of a batch whose predicted IoU passes."""
        multimask, iou_thresh = self.config.tokens == "multimask", self.config.pred_iou_thresh
        if isinstance(self.segmenter, FilteringSegmenter):
            masks = self.segmenter.segment_above(
                embedding, prompts, multimask=multimask, iou_thresh=iou_thresh
            )
        else:
            batch = checked(self.segmenter.segment(embedding, prompts), len(prompts))
            masks = select_above(batch, multimask=multimask, iou_thresh=iou_thresh)
        self.funnel.candidates += masks.considered
        self.funnel.drop("predicted IoU", masks.considered - len(masks))
        return masks

    def _finish(
        self,
        masks: SelectedMasks,
        prompts: Prompts,
        crop: Crop,
        size_hw: SizeHW,
        confident: BoolMask | None,
    ) -> _Found:
        """Stability, boxes and RLE of a batch, a few full-size masks at a time."""
        found: _Found = []
        crop_h, crop_w = crop.size_hw
        pixels = _RESTORE_PIXELS.get(masks.logits.device.type, _RESTORE_PIXELS["cpu"])
        begin = 0
        while begin < len(masks):
            step = self.restore_at_once or max(1, pixels // (crop_h * crop_w))
            part = slice(begin, min(begin + step, len(masks)))
            try:
                with self.clock.phase("filter"):
                    rows, stable, binary = self._stable(masks, part, confident)
            except (RuntimeError, MemoryError) as error:
                self._restore_less(error, part.stop - part.start)
                continue
            begin = part.stop
            with self.clock.phase("filter"):
                if binary.shape[1:] != (crop_h, crop_w):
                    raise ModelOutputError(
                        f"masks of {binary.shape[1:]} for an image of {(crop_h, crop_w)}"
                    )
            with self.clock.phase("rle"):
                codes = rle.encode_many(_uncrop(binary, crop, size_hw))
                areas, boxes = areas_and_boxes(codes)
            with self.clock.phase("filter"):
                empty = np.asarray(areas, np.int64) == 0
                cut = cut_by_crop(np.asarray(boxes).reshape(-1, 4), crop, size_hw) & ~empty
                self.funnel.drop("empty", int(empty.sum()))
                self.funnel.drop("cut by the crop", int(cut.sum()))
                iou = masks.iou[rows].tolist()
                position = masks.prompts[rows].tolist()
                tokens = masks.tokens[rows].tolist()
                for i in np.flatnonzero(~(empty | cut)).tolist():
                    proposal = Proposal(
                        rle=codes[i],
                        area_px=areas[i],
                        box=boxes[i],
                        predicted_iou=iou[i],
                        stability=stable[i],
                        prompt_id=prompts.ids[position[i]],
                        token=tokens[i],
                        point=_first_point(prompts, position[i], crop),
                        crop=crop.box,
                    )
                    kept = None
                    if self.keep_logits:
                        logits = masks.logits[int(rows[i])].cpu() - masks.threshold
                        kept = (logits, masks.to_image, crop.box)
                    found.append((proposal, kept))
        return found

    def _stable(
        self, masks: SelectedMasks, part: slice, confident: BoolMask | None
    ) -> tuple[Tensor, list[float], BoolMask]:
        """Of a few candidates, those that pass: row in `masks`, stability, mask (k, h, w)."""
        import torch

        from litesam_bench.sam.geometry import Restore

        config = self.config
        to_image = masks.to_image
        full = None
        on_cpu = masks.logits.device.type == "cpu"
        if isinstance(to_image, Restore) and on_cpu and confident is None:
            low = masks.logits[part].float().numpy()
            binary, stable = threshold_masks(
                low, *self._taps(to_image, low.shape[1:]), masks.threshold, config.stability_offset
            )
        else:
            full = to_image(masks.logits[part].float()) - masks.threshold
            stable = stability(full, config.stability_offset).double().cpu().numpy()
            binary = (full > 0).cpu().numpy()
        rows = np.arange(len(masks))[part]
        unstable = 0
        if config.stability_thresh > 0:
            keep = stable >= config.stability_thresh
            unstable = int((~keep).sum())
            rows, stable, binary = rows[keep], stable[keep], binary[keep]
            full = None if full is None else full[torch.as_tensor(keep, device=full.device)]
        sure_logit = self.sampler.confident_logit
        if confident is not None and sure_logit is not None and full is not None and len(full):
            sure = (full > sure_logit).any(dim=0)
            np.logical_or(confident, sure.cpu().numpy(), out=confident)
        self.funnel.drop("stability", unstable)  # nothing can fail any more
        return torch.as_tensor(rows), stable.tolist(), binary

    def _taps(self, to_image: Restore, low_hw: SizeHW) -> tuple[Taps, Taps]:
        """The restoring maps of a frame, made once per crop."""
        if self._known_taps is None or self._known_taps[0] != (to_image, low_hw):
            self._known_taps = ((to_image, low_hw), to_image.taps(low_hw))
        return self._known_taps[1]


def embed(segmenter: Segmenter, image: ImageU8, clock: Clock) -> Embedding:
    """Encode an image. Raises BenchError when even that does not fit into the memory."""
    try:
        if not isinstance(segmenter, _TwoSteps):
            with clock.phase("encode"):
                return segmenter.embed(image)
        with clock.phase("preprocess"):
            preprocessed = segmenter.preprocess(image)
        with clock.phase("encode"):
            return segmenter.encode(preprocessed)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise BenchError(
            f"the device ran out of memory while encoding an image of {image.shape[:2]}",
            fix="use --device cpu, --dtype bf16, or a smaller system",
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on an accelerator or on the CPU."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def _uncrop(masks: BoolMask, crop: Crop, size_hw: SizeHW) -> BoolMask:
    """(k, h, w) of the crop to (k, H, W) of the image."""
    if crop.size_hw == size_hw:
        return masks
    x0, y0, x1, y1 = crop.box
    full = np.zeros((len(masks), *size_hw), np.bool_)
    full[:, y0:y1, x0:x1] = masks
    return full


def areas_and_boxes(codes: Sequence[Rle]) -> tuple[list[int], list[Box]]:
    """Area and tight box (maxima inclusive; 0, 0, 0, 0 for an empty mask) of each mask."""
    table = rle.unpack(codes)
    boxes = table.extent - np.where(table.area_px[:, None] > 0, [0, 0, 1, 1], 0)
    return table.area_px.tolist(), [(b[0], b[1], b[2], b[3]) for b in boxes.tolist()]


def _first_point(prompts: Prompts, i: int, crop: Crop) -> tuple[float, float] | None:
    """The first point of prompt i in original pixels."""
    if prompts.points is None or prompts.points.shape[1] == 0:
        return None
    x, y = prompts.points[i, 0].tolist()
    return x + crop.box[0], y + crop.box[1]


def _full_logits(kept: Sequence[_Kept | None], size_hw: SizeHW, i: int) -> Tensor:
    """`Everything.logits`."""
    import torch

    one = kept[i]
    assert one is not None, "kept because generate was asked to"
    logits, to_image, (x0, y0, x1, y1) = one
    full = torch.full(size_hw, -torch.inf)
    full[y0:y1, x0:x1] = to_image(logits[None])[0]
    return full
