"""Segment Anything (Kirillov et al., 2023): the official ViT-B, ViT-L and ViT-H checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

_URL = "https://dl.fbaipublicfiles.com/segment_anything/"


def _spec(size: str, file_name: str, size_bytes: int, sha256: str) -> SystemSpec:
    return SystemSpec(
        name=f"sam-vit-{size}",
        family="sam",
        display=f"SAM-{size.upper()}",
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
            size_bytes=size_bytes,
            licence="Apache-2.0",
        ),
        training_data="SA-1B",
        upstream="https://github.com/facebookresearch/segment-anything",
        commit="dca509fe793f601edb92606367a655c15ac00fdf",
        published=f"sam-{size}",
    )


SPECS = (
    _spec(
        "b",
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _spec(
        "l",
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _spec(
        "h",
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
)


def network(spec: SystemSpec) -> Sam:
    """The model without weights."""
    from litesam_bench.sam.image_encoder import VIT_B, VIT_H, VIT_L
    from litesam_bench.sam.model import build_sam

    return build_sam({"sam-vit-b": VIT_B, "sam-vit-l": VIT_L, "sam-vit-h": VIT_H}[spec.name])


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official weights, loaded strictly.

    Raises:
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.sam.checkpoint import load_official
    from litesam_bench.sam.segmenter import SamSegmenter

    model = load_official(spec, context, network)
    return SamSegmenter(model, spec.input, context)
