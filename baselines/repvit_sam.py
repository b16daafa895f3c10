"""RepViT-SAM (Wang et al., 2023): SAM's decoder on RepViT-M2.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

SPECS = (
    SystemSpec(
        name="repvit-sam",
        family="repvit-sam",
        display="RepViT-SAM",
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
            file_name="repvit_sam.pt",
            url="https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_sam.pt",
            licence="Apache-2.0",
        ),
        training_data="SA-1B",
        upstream="https://github.com/THU-MIG/RepViT",
        commit="298f42075eda5d2e6102559fad260c970769d34e",
        published="repvit-sam",
        extra="family",
        notes="Nobody has published the checkpoint's sha256.",
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights. Raises UsageError without timm."""
    from litesam_bench.family.repvit import build_repvit_sam

    return build_repvit_sam()


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.repvit import remap
    from litesam_bench.sam.checkpoint import load_official
    from litesam_bench.sam.segmenter import SamSegmenter

    model = load_official(spec, context, network, remap)
    return SamSegmenter(model, spec.input, context)
