"""EfficientViT-SAM (Zhang et al., 2024): SAM's decoder behind EfficientViT, at 512 or 1024 pixels.

The L variants see 512 x 512 pixels and the XL variants 1024 x 1024; both take their prompts and
give their masks in SAM's frame of 1024 pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.family import require
from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

_URL = "https://huggingface.co/mit-han-lab/efficientvit-sam/resolve/main/"
_FP16 = (
    "the authors' code overflows in fp16 (its issue 142: the last LayerNorm squares in half "
    "precision); normalisation, linear attention and resizing are float32 here in every precision, "
    "but that the convolutions stay in range was not tried with the official weights"
)


def _spec(variant: str, size: int, sha256: str, size_bytes: int = 0, notes: str = "") -> SystemSpec:
    file_name = f"efficientvit_sam_{variant}.pt"
    return SystemSpec(
        name=f"efficientvit-sam-{variant}",
        family="efficientvit-sam",
        display=f"EfficientViT-SAM-{variant.upper()}",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            mask_prompt=True,
            single_mask=True,  # half of the training steps use token 0
            multimask=True,
            predicted_iou=True,
        ),
        input=InputSpec(size=size, rule="pad"),
        weights=Weights(
            file_name=file_name,
            url=_URL + file_name,
            sha256=sha256,
            size_bytes=size_bytes,
            licence="Apache-2.0",
        ),
        training_data="SA-1B",
        upstream="https://github.com/mit-han-lab/efficientvit",
        commit="de7d7733cc0329f391b33f1f459271562ec27bd5",
        published=f"efficientvit-sam-{variant}",
        extra="family",
        overflows_in=("fp16",),
        notes="; ".join(note for note in (_FP16, notes) if note),
    )


SPECS = (
    _spec("l0", 512, "c4f994b01a16d48bcf2fbbb089448cfbf58fae5811edfa8113c953b8b8cc64b8"),
    _spec("l1", 512, "fa151df2b9b96896accd505470755cdd293a4c50cdabac95478f3fbd86d9152b"),
    _spec(
        "l2",
        512,
        "f087f8287d5b3791020be8b0346a35dae0849dd191bf165178bf947e0df868cc",
        245_724_244,
        "the hash is that of the upload of 2023",
    ),
    _spec("xl0", 1024, "9bc2f87bd23d6e6d1f7b5beff910f98835c7c333fac73e695bac0bec685968f8"),
    _spec("xl1", 1024, "10f42277679427c1183dcff19758e536aa86bcc4304e4b387ff48865784be05c"),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights.

    Raises:
        UsageError: timm is not installed.
    """
    require("timm")
    from litesam_bench.family.efficientvit_sam import build

    return build(spec.name.rpartition("-")[2])


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    require("timm")
    from litesam_bench.family.efficientvit_sam import EfficientVitSamSegmenter, remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap)
    return EfficientVitSamSegmenter(model, spec.input, context)
