"""HED (Xie and Tu, ICCV 2015): the official weights in the public PyTorch checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext

if TYPE_CHECKING:
    from litesam_bench.edges.learned import NetworkEdges

_FILE = "network-bsds500.pytorch"

SPECS = (
    SystemSpec(
        name="hed",
        family="hed",
        display="HED",
        capabilities=Capabilities(edges=True),
        input=InputSpec(
            size=0,
            rule="none",
            mean=(122.67891434, 116.66876762, 104.00698793),
            std=(1.0, 1.0, 1.0),
        ),
        weights=Weights(
            file_name=_FILE,
            url=f"https://content.sniklaus.com/github/pytorch-hed/{_FILE}",
            licence="as the authors' HED release",
        ),
        training_data="BSDS500 train and val",
        not_zero_shot_on=("bsds500",),
        upstream="https://github.com/sniklaus/pytorch-hed",
        commit="d36b4506f0c0cb5c628f43db2697d9e0421d50bd",
        code_licence="GPL-3.0",
        published="hed",
        notes="reimplementation with the official weights; its author reports ODS .774, the paper "
        ".788 with more augmentation",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> NetworkEdges:
    """The checkpoint, loaded strictly.

    Raises:
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.edges.hed import Hed, convert
    from litesam_bench.edges.learned import NetworkEdges
    from litesam_bench.sam.checkpoint import load_official

    model = load_official(spec, context, lambda _: Hed(), convert, initialised=True)
    return NetworkEdges(model, spec, context, bgr=True)
