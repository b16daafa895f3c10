"""HQ-SAM (Ke et al., 2023): the official ViT-B, ViT-L and ViT-H checkpoints, and Light HQ-SAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam


def _spec(
    size: str,
    display: str,
    *,
    published: str = "",
    extra: str = "",
    allow_unexpected: tuple[str, ...] = (),
) -> SystemSpec:
    file_name = f"sam_hq_vit_{size}.pth"
    return SystemSpec(
        name=f"sam-hq-vit-{size}",
        family="sam-hq",
        display=display,
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
            file_name=file_name,
            url=f"https://huggingface.co/lkeab/hq-sam/resolve/main/{file_name}",
            licence="Apache-2.0",
        ),
        training_data="SA-1B (SAM's parts, frozen); HQSeg-44K",
        upstream="https://github.com/SysCV/sam-hq",
        commit="fb181f8eff6d0c01b47921ced472e8cdaa69a71d",
        published=published,
        extra=extra,
        allow_unexpected=allow_unexpected,
        notes="two masks: SAM's token 0, and the multimask token with the highest predicted IoU,"
        " each with the HQ token's mask added; nobody has published the files' sha256",
    )


SPECS = (
    _spec("b", "HQ-SAM-B"),
    _spec("l", "HQ-SAM-L", published="hq-sam-l"),
    _spec("h", "HQ-SAM-H"),
    _spec(
        "tiny",
        "Light HQ-SAM",
        published="light-hq-sam",
        extra="family",
        # the classifier of ImageNet training, which no encoder uses
        allow_unexpected=(
            "image_encoder.norm_head.weight",
            "image_encoder.norm_head.bias",
            "image_encoder.head.weight",
            "image_encoder.head.bias",
        ),
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights."""
    from litesam_bench.family import sam_hq
    from litesam_bench.sam.image_encoder import VIT_B, VIT_H, VIT_L

    if spec.name == "sam-hq-vit-tiny":
        return sam_hq.build_sam_hq_tiny()
    return sam_hq.build_sam_hq_vit(
        {"sam-hq-vit-b": VIT_B, "sam-hq-vit-l": VIT_L, "sam-hq-vit-h": VIT_H}[spec.name]
    )


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        WeightsError: no checkpoint, or one that does not fit.
        UsageError: Light HQ-SAM without timm.
    """
    from litesam_bench.family.sam_hq import remap
    from litesam_bench.sam.checkpoint import load_official
    from litesam_bench.sam.segmenter import SamSegmenter

    model = load_official(spec, context, network, remap, initialised=spec.name == "sam-hq-vit-tiny")
    return SamSegmenter(model, spec.input, context, fast=False)
