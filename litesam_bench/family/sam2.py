"""SAM 2.1 for single images (Ravi et al., 2024).

Upstream: `sam2/sam2_image_predictor.py` and `sam2/modeling` of github.com/facebookresearch/sam2.
The trunk is timm's Hiera; prompt encoder, transformer and upscaling are SAM's. What remembers a
video's earlier frames is in the official files and has no part here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.family import require
from litesam_bench.sam.geometry import Frame, Restore
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.segmenter import SamEmbedding, SamSegmenter
from litesam_bench.types import ImageU8, MaskBatch, Prompts, SizeHW

_DIM = 256
_STABILITY_OFFSET = 0.05
_STABLE = 0.98
_LOGIT_LIMIT = 32.0

_RENAMED = (
    (r"^image_encoder\.trunk\.(.*)\.mlp\.layers\.0\.", r"image_encoder.trunk.\1.mlp.fc1."),
    (r"^image_encoder\.trunk\.(.*)\.mlp\.layers\.1\.", r"image_encoder.trunk.\1.mlp.fc2."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"image_encoder.lateral.\1."),
    (r"^sam_mask_decoder\.(conv_s[01])\.", r"image_encoder.\1."),
    (r"^no_mem_embed$", "image_encoder.no_mem_embed"),
    (r"^sam_(mask_decoder|prompt_encoder)\.", r"\1."),
    (r"(\.transformer\.layers\.\d\.mlp)\.layers\.0\.", r"\1.lin1."),
    (r"(\.transformer\.layers\.\d\.mlp)\.layers\.1\.", r"\1.lin2."),
)


@dataclass(frozen=True)
class HieraConfig:
    """A Hiera trunk of four stages; the width doubles from one to the next.

    blocks: per stage. windows: their side in cells, per stage; `global_blocks` have none.
    position_grid: side of the position table that is stretched over the image.
    """

    dim: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    position_grid: int = 7


TINY = HieraConfig(dim=96, heads=1, blocks=(1, 2, 7, 2), global_blocks=(5, 7, 9))
SMALL = HieraConfig(dim=96, heads=1, blocks=(1, 2, 11, 2), global_blocks=(7, 10, 13))
BASE_PLUS = HieraConfig(
    dim=112, heads=2, blocks=(2, 3, 16, 3), global_blocks=(12, 16, 20), position_grid=14
)
LARGE = HieraConfig(
    dim=144, heads=2, blocks=(2, 6, 36, 4), global_blocks=(23, 33, 43), windows=(8, 4, 16, 8)
)


class HieraEncoder(nn.Module):
    """(B, 3, S, S) to an embedding of stride 16 and the features of strides 8 and 4.

    Raises:
        UsageError: timm is not installed.
    """

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        trunk = require("timm.models.hieradet_sam2").HieraDet(
            num_classes=0,
            embed_dim=config.dim,
            num_heads=config.heads,
            stages=config.blocks,
            global_att_blocks=config.global_blocks,
            window_spec=config.windows,
            global_pos_size=(config.position_grid, config.position_grid),
        )
        trunk.head = nn.Identity()  # the classifier's
        self.trunk = trunk
        widths = [config.dim * 2**stage for stage in range(4)]
        self.lateral = nn.ModuleList(nn.Conv2d(width, _DIM, 1) for width in reversed(widths))
        self.conv_s0 = nn.Conv2d(_DIM, _DIM // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(_DIM, _DIM // 4, kernel_size=1)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, _DIM))

    def forward(self, images: Tensor) -> Features:
        stages = self.trunk.forward_intermediates(images, intermediates_only=True)
        deepest, third, second, first = (
            convolution(x) for convolution, x in zip(self.lateral, reversed(stages), strict=True)
        )
        # only the last two stages are joined; nothing has been seen of a video yet
        embedding = third + F.interpolate(deepest, scale_factor=2.0, mode="nearest")
        embedding = embedding + self.no_mem_embed.view(1, -1, 1, 1)
        return Features(embedding, stride8=self.conv_s1(second), stride4=self.conv_s0(first))


class Sam2MaskDecoder(MaskDecoder):
    """SAM's decoder with a token for "is there an object", and a fallback for token 0."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__(config)
        self.obj_score_token = nn.Embedding(1, config.transformer.dim)

    def _output_tokens(self) -> Tensor:
        """As in `MaskDecoder`; the further token comes last, as the order means nothing."""
        return torch.cat([super()._output_tokens(), self.obj_score_token.weight])

    def forward(
        self, features: Features, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `MaskDecoder.forward`; predicted IoU is in [0, 1].

        Mask 0 is the single-mask token's where that is stable, else a copy of the multimask token's
        with the highest predicted IoU. Stable: its pixels above 0.05 are at least 0.98 of those
        above -0.05.
        """
        logits, iou = super().forward(features, image_pe, sparse, dense)
        iou = iou.sigmoid()
        single = logits[:, 0]
        inner = (single > _STABILITY_OFFSET).sum(dim=(1, 2)).float()
        outer = (single > -_STABILITY_OFFSET).sum(dim=(1, 2)).float()
        stable = torch.where(outer > 0, inner / outer, 1.0) >= _STABLE
        best = 1 + iou[:, 1:].argmax(dim=1)
        first = torch.where(stable, torch.zeros_like(best), best)
        rows = torch.arange(len(first), device=first.device)
        return (
            torch.cat([logits[rows, first].unsqueeze(1), logits[:, 1:]], dim=1),
            torch.cat([iou[rows, first].unsqueeze(1), iou[:, 1:]], dim=1),
        )


class Sam2(Sam):
    """SAM 2's way with prompts: a padding point joins boxes too, mask prompts are clipped."""

    def decode(
        self,
        features: Features,
        frame_hw: SizeHW,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Sam.decode`."""
        if boxes is not None:
            padding = boxes.new_zeros(len(boxes), 1, 2)
            none = torch.full((len(boxes), 1), -1, dtype=torch.int64, device=boxes.device)
            points = padding if points is None else torch.cat([points, padding], dim=1)
            labels = none if labels is None else torch.cat([labels, none], dim=1)
        if masks is not None:
            masks = masks.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
        return super().decode(features, frame_hw, points, labels, boxes, masks)


class Sam2Segmenter(SamSegmenter):
    """A `SamSegmenter` with SAM 2's resizing, of the image and of the masks."""

    def preprocess(self, image: ImageU8) -> tuple[Tensor, Frame]:
        """Stretched as floating-point numbers; SAM resizes before it leaves whole numbers."""
        frame = Frame.of((image.shape[0], image.shape[1]), self.rule)
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).to(torch.float32).unsqueeze(0)
        pixels = F.interpolate(
            pixels, frame.network_hw, mode="bilinear", align_corners=False, antialias=True
        )
        mean = torch.tensor(self.rule.mean).view(3, 1, 1)
        std = torch.tensor(self.rule.std).view(3, 1, 1)
        return ((pixels - mean) / std).to(device=self.device, dtype=self.dtype), frame

    def segment(self, embedding: SamEmbedding, prompts: Prompts) -> MaskBatch:
        """All tokens of all prompts; the masks go to original size in one step.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        batch = super().segment(embedding, prompts)
        height, width = batch.logits.shape[-2:]
        low = (int(height), int(width))
        return replace(batch, to_image=Restore(Frame(embedding.frame.original_hw, low, low)))


def build_sam2(config: HieraConfig) -> Sam2:
    """SAM 2.1 for images, with random weights, in evaluation mode."""
    sam = Sam2(
        HieraEncoder(config),
        PromptEncoder(PromptEncoderConfig()),
        Sam2MaskDecoder(MaskDecoderConfig()),
    )
    return sam.eval()


def remap(state: Mapping[str, Tensor], unused: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Official parameter names to those of `build_sam2`.

    Args:
        unused: beginnings of names that are left out: the parts for videos.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(unused):
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
