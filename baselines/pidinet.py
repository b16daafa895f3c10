"""PiDiNet (Su et al., ICCV 2021): official checkpoints, trained on BSDS500 and PASCAL Context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam_bench.spec import InputSpec, SystemSpec, Weights
from litesam_bench.types import Capabilities, LoadContext

if TYPE_CHECKING:
    from litesam_bench.edges.learned import NetworkEdges

_COMMIT = "36f6506df68e46260d4424446ceb9da3aa267598"
_WIDTHS = {"pidinet": 60, "pidinet-small": 30, "pidinet-tiny": 20}


def _spec(name: str, display: str, size_bytes: int, sha256: str) -> SystemSpec:
    file_name = f"table5_{name}.pth"
    return SystemSpec(
        name=name,
        family="pidinet",
        display=display,
        capabilities=Capabilities(edges=True),
        input=InputSpec(size=0, rule="none"),
        weights=Weights(
            file_name=file_name,
            url=f"https://github.com/hellozhuo/pidinet/raw/{_COMMIT}/trained_models/{file_name}",
            sha256=sha256,
            size_bytes=size_bytes,
            licence="MIT text with a research-only clause",
            restriction="research only; commercial use by agreement with the authors",
        ),
        training_data="BSDS500 train and val, PASCAL Context",
        not_zero_shot_on=("bsds500",),
        upstream="https://github.com/hellozhuo/pidinet",
        commit=_COMMIT,
        code_licence="MIT text with a research-only clause",
    )


SPECS = (
    _spec(
        "pidinet",
        "PiDiNet",
        2_871_148,
        "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c",
    ),
    _spec(
        "pidinet-small",
        "PiDiNet-Small",
        765_036,
        "55740e3a0e6c4c3f82a921902851a86be6ad5a144db29add4ab57e1a22007f76",
    ),
    _spec(
        "pidinet-tiny",
        "PiDiNet-Tiny",
        368_492,
        "e32b23fff6c1cb9bd4385a1d615023346fc2e3f2f3a8db7f78cc4ce95a14730c",
    ),
    _spec(
        "pidinet-l",
        "PiDiNet-L",
        2_462_360,
        "14ee1cc0d20f787e25bd4105a74cf14fd4dba28aec75ba77dfb7ba1bc5e6bd12",
    ),
    _spec(
        "pidinet-small-l",
        "PiDiNet-Small-L",
        652_568,
        "3063a52926f5bf7f02c09bfe3c7b20c2408f8cdfe64ef44a3eccb7510e317cf8",
    ),
    _spec(
        "pidinet-tiny-l",
        "PiDiNet-Tiny-L",
        310_808,
        "21b5a975737017676f240dcb7158f6874340f5541ce06ccdb900d8b353a9ab93",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> NetworkEdges:
    """The official weights, loaded strictly, differences converted to ordinary convolutions.

    Raises:
        WeightsError: no checkpoint, or one that does not fit.
    """
    from litesam_bench.edges.learned import NetworkEdges
    from litesam_bench.edges.pidinet import PiDiNet, convert
    from litesam_bench.sam.checkpoint import load_official

    width, refined = _WIDTHS[spec.name.removesuffix("-l")], not spec.name.endswith("-l")
    model = load_official(
        spec, context, lambda _: PiDiNet(width, refined=refined), convert, initialised=True
    )
    return NetworkEdges(model, spec, context)
