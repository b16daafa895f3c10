"""MobileSAMv2 (Zhang et al., 2023): segment everything from the boxes of an object detector.

Its authors publish two files per variant: the prompt-guided decoder, which all variants share, and
an image encoder. The encoder is taken from the checkpoint of the system that it comes from. Boxes
come from the object-aware sampler: `segevery --sampler object-aware --boxes boxes.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from torch import Tensor

    from litesam_bench.sam.model import Sam

_COMMIT = "34bbbfdface3c18e5221aa7de6032d7220c6c6a1"
_REPOSITORY = "https://github.com/ChaoningZhang/MobileSAM"
_DECODER = Weights(
    file_name="Prompt_guided_Mask_Decoder.pt",
    url=f"{_REPOSITORY}/raw/{_COMMIT}/MobileSAMv2/PromptGuidedDecoder/Prompt_guided_Mask_Decoder.pt",
    licence="Apache-2.0",
)


def _spec(
    encoder: str, display: str, file: Weights, published: str = "", unused: tuple[str, ...] = ()
) -> SystemSpec:
    return SystemSpec(
        name=f"mobile-sam-v2-{encoder}",
        family="mobile-sam-v2",
        display=f"MobileSAMv2 ({display})",
        capabilities=Capabilities(boxes=True, single_mask=True, predicted_iou=True),
        weights=_DECODER,
        companions=(file,),
        training_data="SA-1B",
        upstream=_REPOSITORY,
        commit=_COMMIT,
        published=published,
        extra="" if encoder == "sam-vit-h" else "family",
        allow_unexpected=unused,
        notes="for segment-everything: one mask per box of a detector (--sampler object-aware); "
        f"two files: {_DECODER.file_name} and, for the encoder, {file.file_name}; its authors' "
        "detector is not among them (a Drive archive without a published hash)",
    )


SPECS = (
    _spec(
        "tiny-vit",
        "TinyViT",
        Weights(
            file_name="mobile_sam.pt",
            url=f"{_REPOSITORY}/raw/{_COMMIT}/weights/mobile_sam.pt",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            licence="Apache-2.0",
        ),
        published="mobile-sam-v2",
        # the classifier of ImageNet training, which no encoder uses
        unused=(
            "image_encoder.norm_head.weight",
            "image_encoder.norm_head.bias",
            "image_encoder.head.weight",
            "image_encoder.head.bias",
        ),
    ),
    _spec(
        "efficientvit-l2",
        "EfficientViT-L2",
        Weights(
            file_name="efficientvit_sam_l2.pt",
            url="https://huggingface.co/mit-han-lab/efficientvit-sam/resolve/main/"
            "efficientvit_sam_l2.pt",
            sha256="f087f8287d5b3791020be8b0346a35dae0849dd191bf165178bf947e0df868cc",
            size_bytes=245_724_244,
            licence="Apache-2.0",
        ),
    ),
    _spec(
        "sam-vit-h",
        "SAM ViT-H",
        Weights(
            file_name="sam_vit_h_4b8939.pth",
            url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size_bytes=2_564_550_879,
            licence="Apache-2.0",
        ),
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights. Raises UsageError when timm is not installed."""
    from litesam_bench.family.mobile_sam_v2 import build

    return build(_encoder_of(spec))


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly but for an unused classifier.

    Raises:
        UsageError: timm is not installed.
        WeightsError: a file is missing, or does not fit.
    """
    from functools import partial

    from litesam_bench.family.mobile_sam_v2 import remap
    from litesam_bench.family.some_tokens import SomeTokensSegmenter
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(
        spec,
        context,
        network,
        partial(remap, encoder=_encoder_of(spec)),
        read=partial(_both_files, spec),
        initialised=_encoder_of(spec) == "tiny-vit",
    )
    return SomeTokensSegmenter(model, spec.input, context, tokens=(0,))


def _both_files(spec: SystemSpec, decoder: str) -> dict[str, Tensor]:
    """The parameters of decoder and encoder; the encoder's file lies beside the decoder's.

    A single file with both is taken as well.
    """
    from litesam_bench.family.mobile_sam_v2 import encoder_part
    from litesam_bench.sam.checkpoint import load_state_dict_file

    state = load_state_dict_file(decoder)
    if encoder_part(state):
        return state
    return state | encoder_part(
        load_state_dict_file(Path(decoder).with_name(spec.companions[0].file_name))
    )


def _encoder_of(spec: SystemSpec) -> str:
    return spec.name.removeprefix("mobile-sam-v2-")
