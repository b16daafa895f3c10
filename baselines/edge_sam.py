"""EdgeSAM (Zhou et al., 2023): SAM distilled into RepViT-M1, prompts in the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

_URL = "https://huggingface.co/spaces/chongzhou/EdgeSAM/resolve/main/weights/"


def _spec(name: str, display: str, share: str, file_name: str, sha256: str) -> SystemSpec:
    return SystemSpec(
        name=name,
        family="edge-sam",
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
            url=_URL + file_name,
            sha256=sha256,
            size_bytes=38_807_540,
            licence="S-Lab License 1.0",
            restriction="non-commercial use only",
        ),
        training_data=f"SA-1B ({share})",
        upstream="https://github.com/chongzhou96/EdgeSAM",
        commit="b53372c0f5fb25bc1fb76eb583f77348b00854b2",
        code_licence="S-Lab License 1.0",
        published=name,
        extra="family",
        notes="The rating of a mask is its stability, as its authors choose masks: the IoU head was"
        " not distilled.",
    )


SPECS = (
    _spec(
        "edge-sam",
        "EdgeSAM",
        "1%",
        "edge_sam.pth",
        "439b086a20ab6fba90c12cba32e0001ba3aa726da5791ff8738acdd440330991",
    ),
    _spec(
        "edge-sam-3x",
        "EdgeSAM-3x",
        "3%",
        "edge_sam_3x.pth",
        "5a3e3261da9e2f4c8154410885689ae57d09cbf4cf5d0c848b9d80b6df336ece",
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights. Raises UsageError without timm."""
    from litesam_bench.family.edge_sam import build_edge_sam

    return build_edge_sam()


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.edge_sam import EdgeSamSegmenter, remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap)
    return EdgeSamSegmenter(model, spec.input, context)
