"""A `Segmenter` for any model with SAM's interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from litesam_bench.adapters import select_above
from litesam_bench.errors import ModelOutputError
from litesam_bench.sam.fast_decoder import Decoded, FastMaskDecoder, ImageSide, Keep
from litesam_bench.sam.geometry import Frame, Restore, preprocess
from litesam_bench.sam.mask_decoder import Features
from litesam_bench.sam.model import Sam
from litesam_bench.spec import InputSpec
from litesam_bench.types import (
    DType,
    ImageU8,
    LoadContext,
    MaskBatch,
    Prompts,
    ProposedPrompts,
    SelectedMasks,
    SizeHW,
)

TORCH_DTYPES: dict[DType, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True)
class SamEmbedding:
    """One encoded image: its features, how it lies in the network's frame, and what the fast
    decoder shares between its prompts (None where the plain decoder is used)."""

    features: Features
    frame: Frame
    side: ImageSide | None = None


class SamSegmenter:
    """Preprocessing, encoding and decoding of one image at a time.

    Weights and activations have the context's precision; coordinates, and the logits and IoUs that
    come out, are float32. Every token is returned: which mask counts is the protocol's choice.

    Args:
        fast: decode by `FastMaskDecoder` where the model has no decoding of its own and the prompt
            is not a mask; the plain decoder is the reference.
    """

    def __init__(
        self, model: Sam, rule: InputSpec, context: LoadContext, *, fast: bool = True
    ) -> None:
        self.device = torch.device(context.device)
        self.dtype = TORCH_DTYPES[context.dtype]
        self.model = model.to(device=self.device, dtype=self.dtype).eval()
        self.rule = rule
        # a model that decodes in its own way must also say how to do it fast
        kind = type(self.model)
        able = kind.decode is Sam.decode or kind.decode_fast is not Sam.decode_fast
        self.fast = FastMaskDecoder(self.model.mask_decoder) if fast and able else None

    def embed(self, image: ImageU8) -> SamEmbedding:
        """Encode an image, (H, W, 3) RGB uint8."""
        return self.encode(self.preprocess(image))

    def preprocess(self, image: ImageU8) -> tuple[Tensor, Frame]:
        """The first step of `embed`: the encoder's input, (1, 3, H, W), and its frame."""
        height, width = image.shape[:2]
        frame = Frame.of((height, width), self.rule)
        pixels = preprocess(image, frame, self.rule)
        return pixels.to(device=self.device, dtype=self.dtype), frame

    @torch.inference_mode()
    def encode(self, pixels_and_frame: tuple[Tensor, Frame]) -> SamEmbedding:
        """The second step of `embed`."""
        pixels, frame = pixels_and_frame
        features = self.model.encode(pixels)
        side = None if self.fast is None else self.model.image_side(self.fast, features)
        return SamEmbedding(features, frame, side)

    @torch.inference_mode()
    def segment(self, embedding: SamEmbedding, prompts: Prompts) -> MaskBatch:
        """All tokens of all prompts.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        frame = embedding.frame
        if prompts.low_res_logits is None and embedding.side is not None:
            decoded = self._decode_fast(embedding, prompts)
            logits = torch.unflatten(decoded.logits, 0, (len(prompts), -1))
            iou = torch.unflatten(decoded.iou, 0, (len(prompts), -1))
        else:
            logits, iou = self.model.decode(
                embedding.features,
                frame.network_hw,
                points=self._coordinates(prompts.points, frame),
                labels=self._tensor(prompts.labels),
                boxes=self._coordinates(prompts.boxes, frame),
                masks=self._tensor(prompts.low_res_logits),
            )
        _check_finite(logits, iou)
        return MaskBatch(
            logits=logits.float(),
            iou=iou.float(),
            tokens=tuple(range(iou.shape[1])),
            to_image=Restore(frame),
        )

    @torch.inference_mode()
    def segment_above(
        self, embedding: SamEmbedding, prompts: Prompts, *, multimask: bool, iou_thresh: float
    ) -> SelectedMasks:
        """`FilteringSegmenter.segment_above`: dropped masks are never upscaled.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        if prompts.low_res_logits is not None or embedding.side is None:
            batch = self.segment(embedding, prompts)
            return select_above(batch, multimask=multimask, iou_thresh=iou_thresh)
        considered = 0

        def keep(iou: Tensor) -> Tensor:
            nonlocal considered
            wanted = torch.ones_like(iou, dtype=torch.bool)
            wanted[:, 0 if multimask else slice(1, None)] = False
            considered += int(wanted.sum())
            _check_finite(iou)  # NaN would be filtered away, and nobody would know
            return wanted & (iou > iou_thresh) if iou_thresh > 0 else wanted

        decoded = self._decode_fast(embedding, prompts, keep)
        _check_finite(decoded.logits)
        return SelectedMasks(
            logits=decoded.logits.float(),
            iou=decoded.iou.float(),
            prompts=decoded.prompts,
            tokens=decoded.tokens,
            considered=considered,
            to_image=Restore(embedding.frame),
        )

    def _decode_fast(
        self, embedding: SamEmbedding, prompts: Prompts, keep: Keep | None = None
    ) -> Decoded:
        assert self.fast is not None and embedding.side is not None
        frame = embedding.frame
        return self.model.decode_fast(
            self.fast,
            embedding.features,
            embedding.side,
            frame.network_hw,
            points=self._coordinates(prompts.points, frame),
            labels=self._tensor(prompts.labels),
            boxes=self._coordinates(prompts.boxes, frame),
            keep=keep,
        )

    def _coordinates(self, xy: npt.NDArray[np.float64] | None, frame: Frame) -> Tensor | None:
        return None if xy is None else self._tensor(frame.to_network(xy).astype(np.float32))

    def _tensor(self, array: npt.NDArray[np.generic] | None) -> Tensor | None:
        return None if array is None else torch.as_tensor(array, device=self.device)


def _check_finite(*values: Tensor) -> None:
    """Raise ModelOutputError for NaN and infinities."""
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise ModelOutputError(
            "the mask decoder returned NaN or infinite values",
            fix="check the weights, or run with --dtype fp32",
        )


class NetworkProposals(Protocol):
    """Prompts in network pixels: points (B, K, 2), boxes (B, K, 4) XYXY, scores (B, K)."""

    @property
    def points(self) -> Tensor: ...
    @property
    def boxes(self) -> Tensor: ...
    @property
    def scores(self) -> Tensor: ...


class ProposalNetwork(Protocol):
    """What finds prompts in an embedding, such as AutoPPN."""

    def propose(
        self, embedding: Tensor, frame_hw: SizeHW, *, valid_hw: SizeHW | None, k: int
    ) -> NetworkProposals: ...


class ProposingSamSegmenter(SamSegmenter):
    """A `SamSegmenter` with a proposal network on its embedding (SAM-B + AutoPPN, Lite-SAM).

    `network` must already be on the context's device and in its precision; as a submodule of
    `model` it is.
    """

    def __init__(
        self, model: Sam, network: ProposalNetwork, rule: InputSpec, context: LoadContext
    ) -> None:
        super().__init__(model, rule, context)
        self.network = network

    @torch.inference_mode()
    def propose(self, embedding: SamEmbedding, count: int) -> ProposedPrompts:
        """The `count` best prompts of the image, or fewer, in original pixels."""
        frame = embedding.frame
        proposals = self.network.propose(
            embedding.features.embedding, frame.network_hw, valid_hw=frame.resized_hw, k=count
        )
        return ProposedPrompts(
            points=frame.to_original(_float64(proposals.points[0])),
            boxes=frame.to_original(_float64(proposals.boxes[0])),
            scores=_float64(proposals.scores[0]),
        )


def _float64(tensor: Tensor) -> npt.NDArray[np.float64]:
    return tensor.double().cpu().numpy()
