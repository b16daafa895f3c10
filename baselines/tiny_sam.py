"""TinySAM (Shu et al., 2023): MobileSAM's architecture, distilled in all stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

SPECS = (
    SystemSpec(
        name="tiny-sam",
        family="tiny-sam",
        display="TinySAM",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            mask_prompt=True,
            single_mask=False,
            multimask=True,
            predicted_iou=True,
        ),
        weights=Weights(
            file_name="tinysam_42.3.pth",
            url="https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
            licence="Apache-2.0",
        ),
        training_data="SA-1B, 1 % of its images, with SAM ViT-H's outputs as targets",
        upstream="https://github.com/xinghaochen/TinySAM",
        commit="11589bc1d98c16cff046c31d5ad4cd90a30f0897",
        published="tiny-sam",
        extra="family",
        # the classifier of ImageNet training, which no encoder uses
        allow_unexpected=(
            "image_encoder.norm_head.weight",
            "image_encoder.norm_head.bias",
            "image_encoder.head.weight",
            "image_encoder.head.bias",
        ),
        notes="only the multimask tokens count, as in its authors' code; Q-TinySAM, the quantized "
        "variant, is not here: its file needs its authors' own layers",
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights."""
    from litesam_bench.family.tiny_vit import build_tiny_vit_sam

    return build_tiny_vit_sam()


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly but for the unused classifier.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.some_tokens import SomeTokensSegmenter
    from litesam_bench.family.tiny_vit import remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap, initialised=True)
    return SomeTokensSegmenter(model, spec.input, context, tokens=(1, 2, 3))
