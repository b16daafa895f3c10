"""Named ways to measure segment-everything: how masks are made, ranked and matched.

A protocol id is `name/sampler@version`, for example `ar-sam/grid:32@1`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from litesam_bench.errors import UsageError
from litesam_bench.everything.presets import AMG, OBJECT_AWARE, UNFILTERED
from litesam_bench.everything.proposals import GeneratorConfig
from litesam_bench.metrics.proposal_recall import IouType, RankKey


@dataclass(frozen=True, kw_only=True)
class SegEveryProtocol:
    """Every choice that changes an AR@K.

    config: the generator's choices; a system with its own way to segment everything ignores them.
    rank_key: what orders the proposals of an image before the K best are taken.
    limits: the K's. iou_type: masks, or boxes around them.
    ground_truth: `instances`: one set of annotations per image, crowds ignored. `annotators`: every
        annotator of an image is a set of its own. Proposals are matched to each set anew, one to
        one inside it, and all objects of all sets count once; so that a proposal may serve several
        annotators who agree, and duplicates among them are no handicap.
    """

    name: str
    version: int = 1
    summary: str
    source: str
    config: GeneratorConfig
    rank_key: RankKey = "mean"
    limits: tuple[int, ...] = (10, 100, 1000)
    iou_type: IouType = "segm"
    ground_truth: Literal["instances", "annotators"] = "instances"

    def id(self, sampler: str) -> str:
        """The name that every number carries; systems with a way of their own have `own`."""
        return f"{self.name}/{sampler}@{self.version}"

    def knobs(self) -> dict[str, Any]:
        """All fields, for records."""
        return asdict(self)


PRESETS = {
    preset.name: preset
    for preset in (
        SegEveryProtocol(
            name="ar-sam",
            summary="SAM's proposal experiment: no quality filters, box NMS at 0.9, ranked by the "
            "mean of predicted IoU and stability",
            source="SAM paper D.3 and facebookresearch/segment-anything issue 205; SAM used a "
            "64 x 64 grid on LVIS",
            config=UNFILTERED,
        ),
        SegEveryProtocol(
            name="ar-sam-iou",
            summary="ar-sam ranked by predicted IoU alone: no absolute threshold anywhere, so a "
            "system whose predicted IoU is low but in the right order loses nothing",
            source="ours; the same masks as ar-sam, so that the ranking key's part is visible",
            config=UNFILTERED,
            rank_key="iou",
        ),
        SegEveryProtocol(
            name="ar-default-amg",
            summary="SAM's automatic mask generator as shipped, ranked the same way",
            source="facebookresearch/segment-anything automatic_mask_generator.py",
            config=AMG,
        ),
        SegEveryProtocol(
            name="ar-object-aware",
            summary="one mask per detector box, nothing filtered, ranked by predicted IoU",
            source="ChaoningZhang/MobileSAM, MobileSAMv2/Inference.py",
            config=OBJECT_AWARE,
            rank_key="iou",
        ),
        SegEveryProtocol(
            name="ar-bsds",
            summary="ar-sam on the segments of all annotators of BSDS500",
            source="ours: BSDS500's segmentations cover the image, so no region goes unannotated",
            config=UNFILTERED,
            ground_truth="annotators",
        ),
    )
}


def get(name: str) -> SegEveryProtocol:
    """A preset by `name` or `name@version`. Raises UsageError for others."""
    head, _, version = name.partition("@")
    preset = PRESETS.get(head)
    if preset is None or (version and version != str(preset.version)):
        raise UsageError(
            f"unknown segment-everything protocol {name!r}", fix=f"use {', '.join(PRESETS)}"
        )
    return preset
