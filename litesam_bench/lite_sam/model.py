"""Lite-SAM: LiteViT, neck, AutoPPN, prompt encoder and mask decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from litesam_bench.lite_sam.autoppn import AutoPpn, AutoPpnConfig, ProposalMaps
from litesam_bench.lite_sam.neck import BackboneConfig, LiteSamEncoder, NeckConfig
from litesam_bench.lite_sam.prior import PromptPrior, bound_boxes, draw_boxes, draw_points
from litesam_bench.sam.fast_decoder import Decoded, FastMaskDecoder, ImageSide, Keep, in_chunks
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.transformer import TransformerConfig
from litesam_bench.types import SizeHW

FINE_STRIDE = 4
"""Pixels of the frame per cell of the decoder's logits."""

PRIOR_LOGIT = 4.0
"""The logit in the middle of a drawn box, where the drawn map itself is 1."""


@dataclass(frozen=True)
class LiteSamConfig:
    """Lite-SAM with any backbone.

    Decision (ours): the decoder is SAM's with an MLP of 512 instead of 2048 hidden units. SAM's
    alone has 4.06 M parameters, and 3.15 M of the difference between 4.2 M and LiteViT are left
    for everything else. The MLP acts on a handful of tokens and adds next to nothing to the
    arithmetic; the width of 256 and the hypernetworks stay, because every mask passes them.
    """

    vit: BackboneConfig
    neck: NeckConfig = field(default_factory=NeckConfig)
    ppn: AutoPpnConfig = field(default_factory=AutoPpnConfig)
    prompt: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    decoder: MaskDecoderConfig = field(
        default_factory=lambda: MaskDecoderConfig(TransformerConfig(mlp_dim=512))
    )
    prior: tuple[str, ...] = ("dense", "token", "output")


class _Prompted(NamedTuple):
    """N prompts: sparse (N, T, D), dense (N | 1, D, h, w | 1, 1), drawn (N, 4h, 4w) soft maps, and,
    for boxes, the upper bounds of their logits (N, 4h, 4w)."""

    sparse: Tensor
    dense: Tensor
    drawn: Tensor
    bound: Tensor | None


class LiteSam(Sam):
    """A `Sam` that can also propose its prompts; any input size divisible by 32."""

    def __init__(self, config: LiteSamConfig) -> None:
        super().__init__(
            LiteSamEncoder(config.vit, config.neck),
            PromptEncoder(config.prompt),
            MaskDecoder(config.decoder),
        )
        self.config = config
        self.autoppn = AutoPpn(config.neck.dim, config.ppn)
        self.prior = PromptPrior(config.neck.dim, config.decoder.multimask + 1)

    def decode(
        self,
        features: Features,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        origin_xy: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Sam.decode`, starting from the drawn prompts (see `prior.py`).

        Args:
            origin_xy: (B, 2) where the encoded images lie in the frame, multiples of 16, if they
                are crops of it: training on crops then uses the positions of whole images.
                Prompts are in pixels of the crop.
        """
        image_pe = self._image_pe(features, frame_hw, origin_xy)
        prompted = self._prompt(features, frame_hw, points, labels, boxes, masks, origin_xy)
        logits, iou = self.mask_decoder(features, image_pe, prompted.sparse, prompted.dense)
        if "output" in self.config.prior:
            logits = self.prior.add(logits, PRIOR_LOGIT * prompted.drawn)
        if prompted.bound is not None:
            logits = torch.minimum(logits, prompted.bound.unsqueeze(1).to(logits.dtype))
        return logits, iou

    def image_side(self, fast: FastMaskDecoder, features: Features) -> ImageSide:
        """As `Sam.image_side`; with drawn prompts every prompt has a dense embedding of its own."""
        if "dense" not in self.config.prior:
            return super().image_side(fast, features)
        image_pe = self._image_pe(features, (0, 0), None)
        return fast.image_side(features, image_pe, None)

    def decode_fast(
        self,
        fast: FastMaskDecoder,
        features: Features,
        side: ImageSide,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        keep: Keep | None = None,
    ) -> Decoded:
        """As `Sam.decode_fast`, with `decode`'s results."""

        def decode(part: slice) -> Decoded:
            prompted = self._prompt(
                features, frame_hw, _cut(points, part), _cut(labels, part), _cut(boxes, part)
            )
            own = prompted.dense if "dense" in config else None
            found = fast(side, prompted.sparse, own, keep)
            logits = found.logits
            if "output" in config:
                drawn = PRIOR_LOGIT * prompted.drawn[found.prompts]
                logits = self.prior.add_each(logits, drawn, found.tokens)
            if prompted.bound is not None:
                logits = torch.minimum(logits, prompted.bound[found.prompts].to(logits.dtype))
            return found._replace(logits=logits)

        config = self.config.prior
        given = points if points is not None else boxes
        assert given is not None
        return in_chunks(len(given), fast.chunk, decode)

    def _image_pe(self, features: Features, frame_hw: SizeHW, origin_xy: Tensor | None) -> Tensor:
        """(1 | B, D, h, w) positions of the embedding's cells."""
        height, width = features.embedding.shape[-2:]
        if origin_xy is None:
            return self.prompt_encoder.dense_pe((height, width))
        whole = self.prompt_encoder.dense_pe((frame_hw[0] // 16, frame_hw[1] // 16))
        return torch.cat(
            [
                whole[..., y : y + height, x : x + width]
                for x, y in (origin_xy // 16).long().tolist()
            ]
        )

    def _prompt(
        self,
        features: Features,
        frame_hw: SizeHW,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None = None,
        origin_xy: Tensor | None = None,
    ) -> _Prompted:
        """The prompts drawn and embedded; arguments as in `decode`."""
        height, width = features.embedding.shape[-2:]
        fine_hw = (height * 4, width * 4)
        bound = None
        if boxes is not None:
            drawn = draw_boxes(boxes, fine_hw, FINE_STRIDE)
            bound = bound_boxes(boxes, fine_hw, FINE_STRIDE)
        else:
            assert points is not None and labels is not None
            drawn = draw_points(points, labels, fine_hw, FINE_STRIDE)
        if origin_xy is not None:
            per_prompt = origin_xy.repeat_interleave(len(drawn) // len(origin_xy), 0)
            points = None if points is None else points + per_prompt[:, None]
            boxes = None if boxes is None else boxes + per_prompt.repeat(1, 2)
        config = self.config.prior
        if masks is None and "dense" in config:
            masks = PRIOR_LOGIT * drawn.unsqueeze(1)
        sparse, dense = self.prompt_encoder(frame_hw, points, labels, boxes, masks)
        if "token" in config:
            token = self.prior.region_token(features, drawn)
            sparse = torch.cat([sparse, token.to(sparse.dtype)], dim=1)
        return _Prompted(sparse, dense, drawn, bound)

    def forward(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, ProposalMaps]:
        """Everything once: what training computes and what the complexity table counts.

        Args:
            images: (B, 3, H, W) normalised.
            boxes: (B * M, 4) XYXY in network pixels, ordered image by image.

        Returns:
            logits (B * M, 4, H / 4, W / 4) and iou (B * M, 4) of all tokens, and AutoPPN's maps.
        """
        features = self.encode(images)
        height, width = images.shape[-2:]
        logits, iou = self.decode(features, (height, width), boxes=boxes)
        return logits, iou, self.autoppn(features.embedding)


def _cut(values: Tensor | None, part: slice) -> Tensor | None:
    return None if values is None else values[part]


def build(config: LiteSamConfig, seed: int) -> LiteSam:
    """Lite-SAM with random weights that depend on the seed alone, in evaluation mode.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LiteSam(config).eval()
