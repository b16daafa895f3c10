"""SLIC superpixels merged by colour: proposals without weights.

What it computes is in `litesam_bench.everything.slic`. 500 superpixels give about 1,000 regions, as
many as AR@1000 looks at; 5, 10 and 20 for the compactness made no difference beyond noise on 50
images of the training pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import Capabilities, LoadContext

if TYPE_CHECKING:
    from litesam_bench.everything.slic import SlicMerges

SPECS = (
    SystemSpec(
        name="slic",
        family="slic",
        display="SLIC merges",
        capabilities=Capabilities(everything=True),
        input=InputSpec(size=0, rule="none"),
        training="not-applicable",
        notes="500 superpixels, merged by Ward's criterion until one region is left; all regions "
        "are proposals, the last merges first",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> SlicMerges:
    """Nothing to load."""
    from litesam_bench.everything.slic import SlicMerges

    return SlicMerges()
