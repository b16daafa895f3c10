"""EdgeSAM (Zhou et al., 2023): SAM's decoder on RepViT-M1, whose last two stages are fused.

Upstream: chongzhou96/EdgeSAM, `edge_sam/modeling/rep_vit.py` and `edge_sam/predictor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.adapters import select_above
from litesam_bench.dialogue import stability
from litesam_bench.family.repvit import rename, repvit_trunk, sam_neck, trunk_names
from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
from litesam_bench.sam.model import Sam
from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
from litesam_bench.sam.segmenter import SamEmbedding, SamSegmenter
from litesam_bench.types import MaskBatch, Prompts, SelectedMasks

DEPTHS = (2, 2, 14, 2)
"""RepViT-M1's blocks per stage, without those that timm counts to a downsampling."""


class EdgeSamEncoder(nn.Module):
    """(B, 3, S, S) to (B, 256, S / 16, S / 16), the sum of strides 16 and 32 through SAM's neck."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = repvit_trunk((48, 96, 192, 384), DEPTHS, legacy=True)
        # timm counts the last block at stride 16 to the stage at stride 32; here its output counts
        downsample = self.trunk.stages[-1].downsample
        self.last_fine_block = downsample.pre_block
        downsample.pre_block = nn.Identity()
        self.fuse_fine = nn.Conv2d(192, 256, kernel_size=1, bias=False)
        self.fuse_coarse = nn.Conv2d(384, 256, kernel_size=1, bias=False)
        self.neck = sam_neck(256)

    def forward(self, images: Tensor) -> Features:
        x = self.trunk.stem(images)
        for stage in self.trunk.stages[:-1]:
            x = stage(x)
        fine = self.last_fine_block(x)
        coarse = self.fuse_coarse(self.trunk.stages[-1](fine))
        coarse = F.interpolate(coarse, scale_factor=2, mode="bicubic", align_corners=False)
        return Features(self.neck(self.fuse_fine(fine) + coarse))


def build_edge_sam() -> Sam:
    """EdgeSAM with randomly initialised weights, in evaluation mode."""
    return Sam(
        EdgeSamEncoder(), PromptEncoder(PromptEncoderConfig()), MaskDecoder(MaskDecoderConfig())
    ).eval()


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official parameter names to ours."""
    pre_block = f"image_encoder.trunk.stages.{len(DEPTHS) - 1}.downsample.pre_block."
    prefixes = {
        theirs: ours.replace(pre_block, "image_encoder.last_fine_block.")
        for theirs, ours in trunk_names(DEPTHS).items()
    }
    prefixes["image_encoder.fuse_stage2."] = "image_encoder.fuse_fine."
    prefixes["image_encoder.fuse_stage3.op_list.0."] = "image_encoder.fuse_coarse."
    return rename(state, prefixes)


class EdgeSamSegmenter(SamSegmenter):
    """Masks are rated by their stability, on the low-resolution logits, as upstream's default.

    The IoU head was not distilled, and its authors advise against choosing masks by it.
    """

    @torch.inference_mode()
    def segment(self, embedding: SamEmbedding, prompts: Prompts) -> MaskBatch:
        """All tokens of all prompts; `iou` is the stability score.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        batch = super().segment(embedding, prompts)
        return replace(batch, iou=stability(batch.logits))

    @torch.inference_mode()
    def segment_above(
        self, embedding: SamEmbedding, prompts: Prompts, *, multimask: bool, iou_thresh: float
    ) -> SelectedMasks:
        """`FilteringSegmenter.segment_above`; a stability is known only once the mask is there.

        Raises:
            ModelOutputError: the model returned NaN or infinities.
        """
        batch = self.segment(embedding, prompts)
        return select_above(batch, multimask=multimask, iou_thresh=iou_thresh)
