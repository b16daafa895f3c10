"""Lite-SAM (Fu et al., ECCV 2024), implemented and trained here: no code or weights are public.

The weights come with the package. They were trained on 2,507 images and 250 generated scenes on two
CPU cores, the paper's on two million images on 128 GPUs: `litesam-bench models show lite-sam`
prints their model card. Both input sizes use the same weights, which were trained for 640.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

WEIGHTS = Weights(
    file_name="lite-sam-pack.safetensors",
    url="",  # comes with the package
    sha256="21458932df4b4476827ce769470344cfedc99cd9294f1ef5a5ec52cc724b62e1",
    size_bytes=8_528_542,
    licence="research use",
    restriction="trained on BSDS500, Weizmann and VOC2007 images, which are for research use",
)


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
        weights=WEIGHTS,
        training="trained",
        training_data="pack of 2,507 images: COCO train2017 (336 images less those held out), "
        "BSDS500 train and val, clothing, animals, Weizmann, VOC2007; 250 generated scenes",
        not_zero_shot_on=("coco", "lvis", "bsds500", "scenes"),
        upstream="https://arxiv.org/abs/2407.08965",
        published=f"lite-sam-r{size}",
        notes="trained for two and a half hours on two CPU cores, not by the paper's recipe",
    )


SPECS = (_spec(640), _spec(1024))


def network(spec: SystemSpec) -> Sam:
    """The model without weights."""
    import torch

    from litesam_bench.lite_sam.configs import LITE_SAM
    from litesam_bench.lite_sam.model import LiteSam

    # convolutions on a CPU are three times faster so; torch's types do not know the argument
    model = LiteSam(LITE_SAM)
    return model.to(memory_format=torch.channels_last)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Lite-SAM with `context.weights`; without them random weights drawn from `context.seed`."""
    import torch

    from litesam_bench.lite_sam.configs import LITE_SAM
    from litesam_bench.lite_sam.model import build
    from litesam_bench.sam.checkpoint import load_state_dict_file, load_strict
    from litesam_bench.sam.segmenter import ProposingSamSegmenter

    model = build(LITE_SAM, context.seed)
    if context.weights is not None:
        load_strict(model, load_state_dict_file(context.weights), source=context.weights)
    # convolutions on a CPU are three times faster so; torch's types do not know the argument
    model.to(memory_format=torch.channels_last)
    return ProposingSamSegmenter(model, model.autoppn, spec.input, context)
