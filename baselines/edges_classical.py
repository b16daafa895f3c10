"""Sobel, Canny and Felzenszwalb-Huttenlocher: edges without weights.

The floor of every edge table. What they compute is in `litesam_bench.edges.classical`; the settings
here were chosen on BSDS500's train and val splits alone, by `python -m litesam_bench.edges.tune`,
whose tables are `results/tuning/edges-*.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import Capabilities, LoadContext

if TYPE_CHECKING:
    from litesam_bench.edges.classical import ClassicalDetector


def _spec(name: str, display: str, notes: str, *, everything: bool = False) -> SystemSpec:
    return SystemSpec(
        name=name,
        family=name,
        display=display,
        capabilities=Capabilities(edges=True, everything=everything),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        published=name,
        notes=notes,
    )


SPECS = (
    _spec("sobel", "Sobel filter", "gradient magnitude; nothing is smoothed"),
    _spec("canny", "Canny", "upper threshold swept, lower at a fixed ratio"),
    _spec(
        "felz-hutt",
        "Felz-Hutt",
        "graph segmentation at 20 scales; an edge's strength is the largest scale that has it, and "
        "the segments of all scales are proposals, large ones first",
        everything=True,
    ),
)


def settings() -> dict[str, ClassicalDetector]:
    """The chosen settings by system."""
    from litesam_bench.edges.classical import Canny, FelzHutt, Sobel

    return {
        "sobel": Sobel(colour=True, nms=True, per_image=True),
        "canny": Canny(sigma=2.0, ratio=0.4, gain=2.0),
        "felz-hutt": FelzHutt(sigma=1.2, min_size_px=400),
    }


def load(spec: SystemSpec, context: LoadContext) -> ClassicalDetector:
    """Nothing to load."""
    return settings()[spec.name]
