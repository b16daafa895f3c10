"""FastSAM (Zhao et al., 2023): the official YOLOv8x-seg and YOLOv8s-seg checkpoints.

Needs the package `ultralytics`, which is AGPL-3.0 and not part of any default installation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext

if TYPE_CHECKING:
    from litesam_bench.family.fast_sam import FastSamNetwork, FastSamSegmenter


def _spec(
    variant: str, file_name: str, drive_id: str, *, size_bytes: int, sha256: str, published: str
) -> SystemSpec:
    return SystemSpec(
        name=f"fast-sam-{variant}",
        family="fast-sam",
        display="FastSAM" if variant == "x" else "FastSAM-s",
        capabilities=Capabilities(
            points=True,
            negative_points=True,
            boxes=True,
            single_mask=True,
            everything=True,
        ),
        input=InputSpec(size=1024, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
        weights=Weights(
            file_name=file_name,
            # the README's link, without the page that asks before a large file is sent
            url="https://drive.usercontent.google.com/download?export=download&confirm=t"
            f"&id={drive_id}",
            sha256=sha256,
            size_bytes=size_bytes,
            licence="AGPL-3.0",
            restriction="AGPL-3.0 by the repository's licence file; its README says Apache-2.0",
        ),
        training_data="SA-1B, 2 % of its images",
        upstream="https://github.com/CASIA-IVA-Lab/FastSAM",
        commit="b4ed20c2fed75eadc5aa7d8b09fedd137b873b52",
        code_licence="AGPL-3.0",
        published=published,
        extra="ultralytics",
        notes="no mask decoder: everything is found first (letterbox to 1024, score above 0.4, NMS"
        " 0.9, at most 300), and a prompt chooses among it; with a box, points are ignored; needs"
        " ultralytics, which is AGPL-3.0",
    )


SPECS = (
    _spec(
        "x",
        "FastSAM.pt",
        "1m1sjY4ihXBU1fZXdQ-Xdj-mDltW-2Rqv",
        size_bytes=144_943_063,
        sha256="c0be4e7ddbe4c15333d15a859c676d053c486d0a746a3be6a7a9790d52a9b6d7",
        published="fast-sam",
    ),
    _spec(
        "s",
        "FastSAM-s.pt",
        "10XmSj6mmpmRb8NhXbtiuO9cTTBwR_9SV",
        size_bytes=0,
        sha256="",
        published="",
    ),
)


def network(spec: SystemSpec) -> FastSamNetwork:
    """The model without weights. The large one has 26 bins per side of a box instead of 16."""
    from litesam_bench.family.fast_sam import FastSamNetwork

    if spec.name == "fast-sam-s":
        return FastSamNetwork("yolov8s-seg", reg_max=16)
    return FastSamNetwork("yolov8x-seg", reg_max=26)


def load(spec: SystemSpec, context: LoadContext) -> FastSamSegmenter:
    """The official weights, loaded strictly, without running what the checkpoint contains.

    Raises:
        UsageError: ultralytics is not installed.
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.family.fast_sam import FastSamSegmenter, remap
    from litesam_bench.family.yolo import load_yolo_state
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, network, remap, read=load_yolo_state, initialised=True)
    return FastSamSegmenter(model, spec.input.size, context)
