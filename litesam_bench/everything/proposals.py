"""The nouns of segment-everything: configuration, samplers, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from litesam_bench.types import Embedding, Prompts, Rle, Segmenter, SizeHW

if TYPE_CHECKING:
    from torch import Tensor

BoolMask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""XYXY in original pixels."""


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Every choice of SAM's automatic mask generator, with its defaults. Part of every record.

    points_per_batch: prompts per call of the segmenter; halved when the memory does not suffice.
    tokens: `multimask` takes the three masks for ambiguous prompts, `single` token 0.
    pred_iou_thresh: masks whose predicted IoU is not above it are dropped; 0 switches this off.
    stability_thresh: masks whose stability is below it are dropped; 0 switches this off.
    stability_offset: stability is the area at +offset over the area at -offset (logits).
    box_nms_thresh: of two masks of a crop whose boxes overlap more (IoU), the one with the lower
        predicted IoU goes; 1 switches this off.
    crop_n_layers: layer i cuts the image into 2^i x 2^i overlapping crops, each encoded on its own.
    crop_overlap_ratio: overlap of layer 1 as a part of the short side; halved with each layer.
    crop_nms_thresh: the same between crops, where the mask of the smaller crop stays.
    min_mask_region_area_px: holes and islands smaller than this are filled and removed; 0: none.
    """

    points_per_batch: int = 64
    tokens: Literal["multimask", "single"] = "multimask"
    pred_iou_thresh: float = 0.88
    stability_thresh: float = 0.95
    stability_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_nms_thresh: float = 0.7
    min_mask_region_area_px: int = 0

    def knobs(self) -> dict[str, Any]:
        """All fields, for records."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One mask of a segment-everything run.

    box: tight around the mask, (min x, min y, max x, max y) in pixel indices. The maxima belong to
        the mask, so the box is one pixel short of continuous XYXY, as in SAM's generator.
    predicted_iou, stability: the model's own; a system without them says 1.
    prompt_id, token: the sampler's number of the prompt, and the output token.
    point: the prompt's first point in original pixels, or None.
    crop: the part of the image that was encoded, XYXY.
    """

    rle: Rle
    area_px: int
    box: Box
    predicted_iou: float
    stability: float
    prompt_id: int
    token: int
    point: tuple[float, float] | None
    crop: Box


@dataclass
class Funnel:
    """How many masks each step dropped; `describe` is what a user reads when none is left."""

    prompts: int = 0
    candidates: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str, n: int) -> None:
        """Count `n` masks that went for `reason`."""
        if n:
            self.dropped[reason] = self.dropped.get(reason, 0) + n

    def describe(self) -> str:
        """`1024 prompts, 3072 masks; dropped: predicted IoU 2000, stability 600, box NMS 400`."""
        steps = ", ".join(f"{reason} {n}" for reason, n in self.dropped.items())
        return (
            f"{self.prompts} prompts, {self.candidates} masks; dropped: {steps or 'none'}"
            if self.prompts
            else "the sampler proposed no prompts"
        )


@dataclass(frozen=True)
class Everything:
    """What segment-everything returns for one image, best first.

    batch: prompts per call that the memory allowed; what was asked for, unless it ran out.
    logits: the i-th proposal's logits at original size, (H, W) float32, where the caller asked to
        keep them; outside the proposal's crop they are -inf.
    """

    size_hw: SizeHW
    proposals: tuple[Proposal, ...]
    funnel: Funnel
    batch: int
    logits: Callable[[int], Tensor] | None = None


@dataclass(frozen=True)
class View:
    """One crop of one image, as a sampler sees it.

    size_hw: of the crop. layer: 0 is the whole image. image_id: None outside datasets.
    """

    size_hw: SizeHW
    layer: int
    segmenter: Segmenter
    embedding: Embedding
    image_id: int | None = None


class Sampler(Protocol):
    """Where prompts come from: one file of this folder per rule.

    `rounds` is 1 unless later prompts depend on the masks of earlier ones. Then `confident_logit`
    says how sure a pixel of a kept mask must be to count as segmented.
    """

    @property
    def name(self) -> str:
        """What records call it, with what changes its prompts: `grid:32`."""
        ...

    @property
    def rounds(self) -> int: ...
    @property
    def confident_logit(self) -> float | None: ...
    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """The prompts of a round (the first is 0), in pixels of the crop.

        Args:
            confident: (h, w) pixels that masks of earlier rounds cover for sure; None in round 0.
        """
        ...
