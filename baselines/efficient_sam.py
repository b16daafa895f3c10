"""EfficientSAM (Xiong et al., 2023): ViT-Ti and ViT-S pretrained to reconstruct SAM's features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.family.efficient_sam import EfficientSam

_COMMIT = "d525f622e6f640acf5a0fc37c7ca1f243da5bde0"


def _spec(size: str, file_name: str, git_blob: str) -> SystemSpec:
    return SystemSpec(
        name=f"efficient-sam-{size}",
        family="efficient-sam",
        display=f"EfficientSAM-{size.capitalize()}",
        capabilities=Capabilities(
            points=True,
            boxes=True,
            multimask=True,
            predicted_iou=True,
            max_points=6,
        ),
        input=InputSpec(rule="stretch"),
        weights=Weights(
            file_name=file_name,
            url=f"https://github.com/yformer/EfficientSAM/raw/{_COMMIT}/weights/{file_name}",
            licence="Apache-2.0",
        ),
        training_data="ImageNet-1k, SA-1B",
        upstream="https://github.com/yformer/EfficientSAM",
        commit=_COMMIT,
        published=f"efficient-sam-{size}",
        extra="family",
        notes="The image is stretched to a square; a box counts as two of the six points; the"
        " authors' code never returns token 0. Nobody has published the checkpoint's sha256; as a"
        f" git object it is {git_blob}.",
    )


SPECS = (
    _spec("ti", "efficient_sam_vitt.pt", "af883c49e33c68f01107be52df0ecad26a48355f"),
    _spec("s", "efficient_sam_vits.pt.zip", "fa4e9f05f753e109dbde052f97d37903b833cf53"),
)


def network(spec: SystemSpec) -> EfficientSam:
    """The model without weights. Raises UsageError without timm."""
    from litesam_bench.family.efficient_sam import SMALL, TINY, build_efficient_sam

    return build_efficient_sam({"efficient-sam-ti": TINY, "efficient-sam-s": SMALL}[spec.name])


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.efficient_sam import EfficientSamSegmenter, remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap)
    return EfficientSamSegmenter(model, spec.input, context)
