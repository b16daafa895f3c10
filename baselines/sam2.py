"""SAM 2.1 (Ravi et al., 2024) on single images: the four official Hiera checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.family.sam2 import Sam2

_URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"


# the memory of a video, and whether the object is in the frame
_VIDEO_PARTS = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "mask_downsample.",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "sam_mask_decoder.pred_obj_score_head.",
)


def _spec(variant: str, display: str, sha256: str, size_bytes: int = 0) -> SystemSpec:
    file_name = f"sam2.1_hiera_{variant.replace('-', '_')}.pt"
    return SystemSpec(
        name=f"sam2.1-{variant}",
        family="sam2.1",
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
        input=InputSpec(rule="stretch"),
        weights=Weights(
            file_name=file_name,
            url=_URL + file_name,
            sha256=sha256,
            size_bytes=size_bytes,
            licence="Apache-2.0",
        ),
        training_data="SA-1B, SA-V and an internal set of videos",
        upstream="https://github.com/facebookresearch/sam2",
        commit="2b90b9f5ceec907a1c18123530e92e794ad901a4",
        extra="family",
        allow_unexpected=_VIDEO_PARTS,
        notes="images only: the published parameters include a video memory, which is neither"
        " loaded nor counted; token 0 gives way to the best multimask token where it is unstable,"
        " as upstream's predictor does",
    )


SPECS = (
    _spec("tiny", "SAM 2.1-T", "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _spec("small", "SAM 2.1-S", "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _spec(
        "base-plus",
        "SAM 2.1-B+",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        323_606_802,
    ),
    _spec(
        "large",
        "SAM 2.1-L",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        898_083_611,
    ),
)


def network(spec: SystemSpec) -> Sam2:
    """The model without weights."""
    from litesam_bench.family.sam2 import BASE_PLUS, LARGE, SMALL, TINY, build_sam2

    return build_sam2(
        {
            "sam2.1-tiny": TINY,
            "sam2.1-small": SMALL,
            "sam2.1-base-plus": BASE_PLUS,
            "sam2.1-large": LARGE,
        }[spec.name]
    )


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly but for the parts that only videos need.

    Raises:
        UsageError: timm is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from functools import partial

    from litesam_bench.family.sam2 import Sam2Segmenter, remap
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, partial(remap, unused=spec.allow_unexpected))
    return Sam2Segmenter(model, spec.input, context, fast=False)
