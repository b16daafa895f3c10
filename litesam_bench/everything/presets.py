"""Samplers and configurations by name, as the command line and records write them."""

from __future__ import annotations

import re
from typing import Literal

from litesam_bench.errors import UsageError
from litesam_bench.everything.autoppn import AutoPpnSampler
from litesam_bench.everything.grid import Grid
from litesam_bench.everything.hierarchical import Hierarchical
from litesam_bench.everything.proposals import GeneratorConfig, Sampler
from litesam_bench.types import Capabilities

AMG = GeneratorConfig()
"""SAM's automatic mask generator as it is shipped."""

UNFILTERED = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=0.9)
"""SAM's proposal experiment: no quality filters, NMS at 0.9 (SAM paper, D.3)."""

EDGES = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0)
"""SAM's edge experiment: no quality filters, NMS at 0.7 (SAM paper, D.2)."""

OBJECT_AWARE = GeneratorConfig(
    points_per_batch=320, tokens="single", pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1
)
"""MobileSAMv2: one mask per box, nothing filtered."""

_SAMPLER = re.compile(r"(grid|hierarchical|autoppn)(?::([0-9]+))?(?:-(points|boxes|both))?")
_FIX = "use grid[:32], hierarchical[:32], autoppn[:256][-points|-boxes|-both] or object-aware"


def default_sampler(can: Capabilities) -> str:
    """A system's own prompts where it proposes some, else SAM's grid."""
    return "autoppn:256-points" if can.propose else "grid:32"


def parse_sampler(text: str) -> Sampler:
    """`grid:32`, `hierarchical:32`, `autoppn:256-boxes`; numbers may be left out.

    `object-aware` needs a boxes file and is made by the command that reads it.

    Raises:
        UsageError: another word, or a number that makes no prompts.
    """
    match = _SAMPLER.fullmatch(text)
    if match is None or (match[3] and match[1] != "autoppn"):
        raise UsageError(f"unknown sampler {text!r}", fix=_FIX)
    number = int(match[2]) if match[2] else None
    if match[1] == "grid":
        return Grid(32 if number is None else number)
    if match[1] == "hierarchical":
        return Hierarchical(32 if number is None else number)
    kinds: dict[str, Literal["points", "boxes", "both"]] = {
        "points": "points",
        "boxes": "boxes",
        "both": "both",
    }
    return AutoPpnSampler(256 if number is None else number, kinds[match[3] or "points"])
