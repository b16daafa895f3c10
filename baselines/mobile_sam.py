"""MobileSAM (Zhang et al., 2023): SAM with its image encoder distilled into TinyViT-5M."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

_COMMIT = "34bbbfdface3c18e5221aa7de6032d7220c6c6a1"

SPECS = (
    SystemSpec(
        name="mobile-sam",
        family="mobile-sam",
        display="MobileSAM",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            mask_prompt=True,
            single_mask=True,
            multimask=True,
            predicted_iou=True,
        ),
        weights=Weights(
            file_name="mobile_sam.pt",
            url=f"https://github.com/ChaoningZhang/MobileSAM/raw/{_COMMIT}/weights/mobile_sam.pt",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            licence="Apache-2.0",
        ),
        training_data="SA-1B, 1 % of its images, with SAM ViT-H's embeddings as targets",
        upstream="https://github.com/ChaoningZhang/MobileSAM",
        commit=_COMMIT,
        published="mobile-sam",
        extra="family",
        # the classifier of ImageNet training, which no encoder uses
        allow_unexpected=(
            "image_encoder.norm_head.weight",
            "image_encoder.norm_head.bias",
            "image_encoder.head.weight",
            "image_encoder.head.bias",
        ),
        notes="prompt encoder and mask decoder are SAM ViT-H's, not trained further",
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
    from litesam_bench.family.tiny_vit import remap
    from litesam_bench.sam.checkpoint import load_official
    from litesam_bench.sam.segmenter import SamSegmenter

    model = load_official(spec, context, network, remap, initialised=True)
    return SamSegmenter(model, spec.input, context)
