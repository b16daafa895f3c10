"""Semantic-SAM (Li et al., 2023): the official Swin-T and Swin-L checkpoints trained on SA-1B."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.family.semantic_sam import SemanticSam

_URL = "https://github.com/UX-Decoder/Semantic-SAM/releases/download/checkpoint/"


def _spec(size: str) -> SystemSpec:
    file_name = f"swin{size}_only_sam_many2many.pth"
    return SystemSpec(
        name=f"semantic-sam-swin-{size}",
        family="semantic-sam",
        display=f"Semantic-SAM-{size.upper()}",
        capabilities=Capabilities(points=True, max_points=1, multimask=True, predicted_iou=True),
        # the short side becomes 640, which none of the shared rules says; the adapter does it
        input=InputSpec(size=640, rule="none"),
        weights=Weights(file_name=file_name, url=_URL + file_name, licence="not stated"),
        training_data="SA-1B",
        upstream="https://github.com/UX-Decoder/Semantic-SAM",
        commit="e11f8b518539faea731e2744cc3e44c24572e30d",
        code_licence="MIT (file headers only)",
        published=f"semantic-sam-{size}",
        extra="family",
        allow_unexpected=("model.criterion.empty_weight",),  # the training loss's
        notes=(
            "Six masks per click, one per granularity, in upstream's order (not by size). "
            "Clicks only: upstream's released inference has no boxes, no background points and no "
            "second point. Input as in its demo, short side 640; its published COCO numbers are "
            "at 800/1333. Prompts are independent of one another; upstream's mask generator lets "
            "the clicks of a batch attend to each other. The repository has no LICENSE file and "
            "no hash of the checkpoints is published."
        ),
    )


SPECS = (_spec("t"), _spec("l"))


def network(spec: SystemSpec) -> SemanticSam:
    """The model without weights."""
    from litesam_bench.family.semantic_sam import SWIN_L, SWIN_T, SemanticSam

    return SemanticSam({"semantic-sam-swin-t": SWIN_T, "semantic-sam-swin-l": SWIN_L}[spec.name])


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        UsageError: torchvision or transformers is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.semantic_sam import SemanticSamSegmenter, remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap)
    return SemanticSamSegmenter(model, spec.input, context)
