"""Lite-SAM with its image encoder replaced: the poster's comparison of lightweight backbones.

Nobody has published weights of these, and training one by the poster's recipe takes many GPUs, so
they are here to be counted, timed and trained: `litesam-bench profile --backbones`,
`litesam-bench train paper --set backbone=mobilenet-v2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.lite_sam.model import LiteSam

_PREFIX = "lite-sam-with-"


def _spec(backbone: str, display: str, extra: str = "family") -> SystemSpec:
    return SystemSpec(
        name=_PREFIX + backbone,
        family="lite-sam-with",
        display=f"Lite-SAM with {display}",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            mask_prompt=True,
            single_mask=True,
            multimask=True,
            predicted_iou=True,
            propose=True,
        ),
        input=InputSpec(size=640, rule="pad"),
        training="untrained",
        upstream="https://arxiv.org/abs/2407.08965",
        published=backbone,
        extra=extra,
        notes="no weights are public; the poster names the architecture, not its size",
    )


SPECS = (
    _spec("mobilenet-v2", "MobileNetV2"),
    _spec("shufflenet-v2", "ShuffleNetV2"),
    _spec("mobilevit", "MobileViT"),
    _spec("efficientvit", "EfficientViT"),
    _spec("fastvit", "FastViT"),
    _spec("tinyvit", "TinyViT"),
    _spec("poolformer-s12", "PoolFormer-S12", extra=""),
)


def network(spec: SystemSpec) -> LiteSam:
    """The model with random weights. Raises UsageError without the backbone's library."""
    return _network(spec, seed=0)


def _network(spec: SystemSpec, seed: int) -> LiteSam:
    from litesam_bench.family.backbones import backbone_config
    from litesam_bench.lite_sam.model import LiteSamConfig, build

    return build(LiteSamConfig(vit=backbone_config(spec.name.removeprefix(_PREFIX))), seed)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Random weights of `context.seed`. Raises UsageError without the backbone's library."""
    from litesam_bench.sam.segmenter import ProposingSamSegmenter

    model = _network(spec, context.seed)
    return ProposingSamSegmenter(model, model.autoppn, spec.input, context)
