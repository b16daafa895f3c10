"""Lite-SAM (Fu et al., ECCV 2024), implemented here: neither code nor weights are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam


def _spec(size: int) -> SystemSpec:
    return SystemSpec(
        name=f"lite-sam-{size}",
        family="lite-sam",
        display=f"Lite-SAM (r{size})",
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
        input=InputSpec(size=size, rule="pad"),
        training="untrained",
        upstream="https://arxiv.org/abs/2407.08965",
        published=f"lite-sam-r{size}",
        notes="random weights from the run's seed; its numbers are not results of Lite-SAM",
    )


SPECS = (_spec(640), _spec(1024))


def network(spec: SystemSpec) -> Sam:
    """The model without weights."""
    from litesam_bench.lite_sam.configs import LITE_SAM
    from litesam_bench.lite_sam.model import LiteSam

    return LiteSam(LITE_SAM)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Lite-SAM with `context.weights`, or with random weights drawn from `context.seed`."""
    import torch

    from litesam_bench.lite_sam.configs import LITE_SAM
    from litesam_bench.lite_sam.model import build
    from litesam_bench.sam.checkpoint import load_state_dict_file, load_strict
    from litesam_bench.sam.segmenter import ProposingSamSegmenter

    model = build(LITE_SAM, context.seed)
    if context.weights is not None:
        load_strict(model, load_state_dict_file(context.weights), source=context.weights)
    # convolutions on a CPU are three times faster so; torch's types do not know the argument
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ProposingSamSegmenter(model, model.autoppn, spec.input, context)
