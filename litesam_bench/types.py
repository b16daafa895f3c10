"""The nouns of the data flow: dataset -> prompts -> segmenter -> masks -> metric -> record.

All are frozen. Frames and units:

* images are RGB uint8, shape (H, W, 3);
* boxes are XYXY in original-image pixels, continuous (x1 is the right edge, not the last pixel),
  unless the name says otherwise (`bbox_xywh` is COCO's annotation box);
* points are (x, y) in original-image pixels, x to the right;
* masks are COCO run-length encodings at original-image size.

This module never imports torch: tensors appear in annotations only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

ImageU8 = npt.NDArray[np.uint8]  # (H, W, 3) RGB
FloatArray = npt.NDArray[np.float64]
SizeHW = tuple[int, int]


class Rle(TypedDict):
    """Compressed COCO run-length encoding as pycocotools takes it (counts as bytes)."""

    size: list[int]  # [h, w]
    counts: bytes


@dataclass(frozen=True, slots=True)
class Category:
    """One category; `frequency` is LVIS's r, c or f and empty elsewhere."""

    id: int
    name: str
    frequency: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated object.

    `rle` is the annotation rasterised at image size as pycocotools' `annToRLE` does it.
    `area_px` is the annotation's own `area` (it defines the S/M/L bins), not the mask's.
    """

    id: int
    category_id: int
    rle: Rle
    bbox_xywh: tuple[float, float, float, float]
    area_px: float
    iscrowd: bool = False


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Everything known about one image without decoding it.

    `neg_category_ids` and `not_exhaustive_category_ids` are LVIS's federated fields.
    `path` is absolute; it lies inside the data root, which the dataset has checked.
    """

    image_id: int
    file_name: str
    path: str
    size_hw: SizeHW
    instances: tuple[Instance, ...]
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded image, (H, W, 3) RGB uint8 at `truth.size_hw`, with its ground truth."""

    image: ImageU8
    truth: GroundTruth


@dataclass(frozen=True)
class DatasetInfo:
    """What a record says about the data.

    `digest` is sha256 over the canonical JSON of what is scored (image ids, sizes, annotations),
    so that two files with the same content in another order agree. `footnote` states plainly what
    a reader must know ("subset, 124 images"). `skipped` counts annotations that could not be used,
    by reason, e.g. {"empty-mask": 2, "duplicate-id": 1}.
    """

    name: str
    digest: str
    n_images: int
    n_instances: int
    licence: str
    footnote: str = ""
    federated: bool = False
    skipped: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """A folder of images with instances. Implementations: coco, lvis, scenes."""

    @property
    def info(self) -> DatasetInfo: ...
    @property
    def image_ids(self) -> Sequence[int]:
        """Ascending, without duplicates."""
        ...

    @property
    def categories(self) -> Sequence[Category]: ...
    def truth(self, image_id: int) -> GroundTruth: ...
    def sample(self, image_id: int) -> Sample:
        """Decode one image. Raises DataError naming the file when it is missing or truncated."""
        ...


@dataclass(frozen=True)
class Prompts:
    """N prompts for one image, each with the same number of points.

    points: (N, P, 2) float64 xy in original pixels, or None.
    labels: (N, P) int64, 1 foreground, 0 background, -1 padding, -2 a null point (EdgeSAM's
        evaluation: an embedding of zeros; padding for systems without it), or None.
    boxes:  (N, 4) float64 XYXY in original pixels, or None.
    low_res_logits: (N, 1, h, w) float32 mask prompt at the decoder's resolution, or None.
    ids:    what each prompt was made from: annotation ids, or detection indices.
    targets: the ground truth of each prompt; set only for systems whose SPEC declares
        `needs_ground_truth` (the oracle), never for a system under test.
    """

    ids: tuple[int, ...]
    points: FloatArray | None = None
    labels: npt.NDArray[np.int64] | None = None
    boxes: FloatArray | None = None
    low_res_logits: npt.NDArray[np.float32] | None = None
    targets: tuple[Rle, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Prompts:
        """The prompts of a slice, for running them in batches."""
        return Prompts(
            ids=self.ids[part],
            points=None if self.points is None else self.points[part],
            labels=None if self.labels is None else self.labels[part],
            boxes=None if self.boxes is None else self.boxes[part],
            low_res_logits=None if self.low_res_logits is None else self.low_res_logits[part],
            targets=None if self.targets is None else self.targets[part],
        )


@dataclass(frozen=True)
class MaskBatch:
    """What a segmenter returns for N prompts with M masks each.

    logits: (N, M, h, w) at the decoder's resolution; foreground where > `threshold`
        after `to_image`.
    iou: (N, M) the model's own predicted IoU; NaN-free. Systems without one return 1.
    tokens: which output token each of the M masks came from; 0 is SAM's single-mask token,
        1..3 its multimask tokens. Systems with one mask use (0,).
    to_image: maps (K, h, w) logits to (K, H, W) float32 logits at original-image size, by the
        rule of the SPEC (for SAM: to the network frame, crop the padding, to the image).
    """

    logits: Tensor
    iou: Tensor
    tokens: tuple[int, ...]
    to_image: Callable[[Tensor], Tensor]
    threshold: float = 0.0

    def __len__(self) -> int:
        return int(self.logits.shape[0])


@dataclass(frozen=True)
class Capabilities:
    """What a system can be asked for; checked before weights load, rendered n/a when missing."""

    points: bool = False
    negative_points: bool = False
    boxes: bool = False
    mask_prompt: bool = False
    single_mask: bool = False  # token 0 is trained
    multimask: bool = False  # tokens 1..3
    predicted_iou: bool = False
    max_points: int | None = None  # None: any number
    propose: bool = False  # own prompt proposals (AutoPPN)
    everything: bool = False  # own segment-everything
    edges: bool = False  # own edge map (litesam_bench.edges.detectors.EdgeDetector)
    needs_ground_truth: bool = False  # only the oracle


Embedding = Any
"""Opaque to the harness: whatever `embed` returns and `segment` takes."""


@runtime_checkable
class Segmenter(Protocol):
    """A loaded system. Stateless: `embed` returns all that `segment` needs.

    `segment` accepts any N >= 1 prompts; the harness has already split them into batches.
    """

    def embed(self, image: ImageU8) -> Embedding: ...
    def segment(self, embedding: Embedding, prompts: Prompts) -> MaskBatch: ...


@dataclass(frozen=True)
class SelectedMasks:
    """K masks of one batch of prompts that passed a filter, in the order of prompts, then tokens.

    logits: (K, h, w) at the decoder's resolution. iou: (K,) predicted IoU.
    prompts: (K,) int64, the prompt's position in its batch. tokens: (K,) int64, as in `MaskBatch`.
    considered: how many masks there were before the filter.
    to_image, threshold: as in `MaskBatch`.
    """

    logits: Tensor
    iou: Tensor
    prompts: Tensor
    tokens: Tensor
    considered: int
    to_image: Callable[[Tensor], Tensor]
    threshold: float = 0.0

    def __len__(self) -> int:
        return int(self.iou.shape[0])


@runtime_checkable
class FilteringSegmenter(Segmenter, Protocol):
    """A segmenter that knows the predicted IoU before it has the masks, and then skips masks."""

    def segment_above(
        self, embedding: Embedding, prompts: Prompts, *, multimask: bool, iou_thresh: float
    ) -> SelectedMasks:
        """Masks whose predicted IoU is above `iou_thresh` (0 keeps all).

        Args:
            multimask: the multimask tokens (1, 2, ...), else token 0.
        """
        ...


@dataclass(frozen=True)
class ProposedPrompts:
    """What a proposal network suggests for one image, best first, in original pixels.

    points: (K, 2) xy. boxes: (K, 4) XYXY of the object at each point. scores: (K,) in [0, 1];
    0 marks a filler.
    """

    points: FloatArray
    boxes: FloatArray
    scores: FloatArray


@runtime_checkable
class ProposingSegmenter(Segmenter, Protocol):
    """A segmenter with its own prompt proposals (`Capabilities.propose`)."""

    def propose(self, embedding: Embedding, count: int) -> ProposedPrompts:
        """The `count` best prompts, or fewer."""
        ...


DType = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class LoadContext:
    """How a system is to be loaded. `weights` is a verified local file, or None without weights."""

    device: str = "cpu"
    dtype: DType = "fp32"
    weights: str | None = None
    seed: int = 0
