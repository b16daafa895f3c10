"""A `Segmenter` for any model with SAM's interface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from litesam_bench.errors import ModelOutputError
from litesam_bench.sam.geometry import Frame, preprocess, restore_masks
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
    SizeHW,
)

TORCH_DTYPES: dict[DType, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True)
class SamEmbedding:
    """One encoded image: its features, and how it lies in the network's frame."""

    features: Features
    frame: Frame


class SamSegmenter:
    """Preprocessing, encoding and decoding of one image at a time.

    Weights and activations have the context's precision; coordinates, and the logits and IoUs that
    come out, are float32. Every token is returned: which mask counts is the protocol's choice.
    """

    def __init__(self, model: Sam, rule: InputSpec, context: LoadContext) -> None:
        self.device = torch.device(context.device)
        self.dtype = TORCH_DTYPES[context.dtype]
        self.model = model.to(device=self.device, dtype=self.dtype).eval()
        self.rule = rule

    @torch.inference_mode()
    def embed(self, image: ImageU8) -> SamEmbedding:
        """Encode an image, (H, W, 3) RGB uint8."""
        height, width = image.shape[:2]
        frame = Frame.of((height, width), self.rule)
        pixels = preprocess(image, frame, self.rule).to(device=self.device, dtype=self.dtype)
        return SamEmbedding(self.model.encode(pixels), frame)

    @torch.inference_mode()
    def segment(self, embedding: SamEmbedding, prompts: Prompts) -> MaskBatch:
        """All tokens of all prompts.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        frame = embedding.frame
        logits, iou = self.model.decode(
            embedding.features,
            frame.network_hw,
            points=self._coordinates(prompts.points, frame),
            labels=self._tensor(prompts.labels),
            boxes=self._coordinates(prompts.boxes, frame),
            masks=self._tensor(prompts.low_res_logits),
        )
        if not (torch.isfinite(logits).all() and torch.isfinite(iou).all()):
            raise ModelOutputError(
                "the mask decoder returned NaN or infinite values",
                fix="check the weights, or run with --dtype fp32",
            )
        return MaskBatch(
            logits=logits.float(),
            iou=iou.float(),
            tokens=tuple(range(iou.shape[1])),
            to_image=partial(restore_masks, frame=frame),
        )

    def _coordinates(self, xy: npt.NDArray[np.float64] | None, frame: Frame) -> Tensor | None:
        return None if xy is None else self._tensor(frame.to_network(xy).astype(np.float32))

    def _tensor(self, array: npt.NDArray[np.generic] | None) -> Tensor | None:
        return None if array is None else torch.as_tensor(array, device=self.device)


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
