"""A SAM descendant with prompt proposals of its own: "SAM-B + AutoPPN" of the Lite-SAM poster.

AutoPPN is trained on the frozen encoder, then this file joins the two (copy it for other systems):

    litesam-bench train ppn-sam-b --freeze encoder --model sam-vit-b --data sa-1b --device cuda
    litesam-bench segevery --model baselines/_with_autoppn.py --sampler autoppn:256 --dataset coco
    litesam-bench segevery-time --model baselines/_with_autoppn.py --sampler grid:32,autoppn:256

Files with a leading underscore are not registered; they run by path. Records name AutoPPN's weights
by their sha256.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from litesam_bench.registry import systems
from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import LoadContext, Segmenter

BASE = systems().get("sam-vit-b")  # any system that answers as SAM does
AUTOPPN = Path("runs/ppn-sam-b/weights.safetensors")  # what `train` has written

SPECS = (
    replace(
        BASE.spec,
        name=f"{BASE.spec.name}-autoppn",
        display=f"{BASE.spec.display} + AutoPPN",
        capabilities=replace(BASE.spec.capabilities, propose=True),
        weights=Weights(file_name=str(AUTOPPN.resolve()), url=""),
        companions=(),
        allow_missing=(),
        allow_unexpected=(),
        notes="AutoPPN trained here; encoder and decoder with their official weights",
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """The official system, and AutoPPN with the weights that were trained on its encoder.

    Raises:
        WeightsError: either checkpoint is missing or does not fit.
    """
    from litesam_bench.lite_sam.autoppn import AutoPpn, AutoPpnConfig
    from litesam_bench.sam.checkpoint import load_official
    from litesam_bench.sam.segmenter import ProposingSamSegmenter, SamSegmenter
    from litesam_bench.weights import require

    official = require(BASE.spec)
    base = BASE.load(BASE.spec, replace(context, weights=str(official.path) if official else None))
    assert isinstance(base, SamSegmenter), f"{BASE.spec.name} has no embedding like SAM's"
    dim = base.model.prompt_encoder.config.dim
    ppn = load_official(
        spec, context, lambda _: AutoPpn(dim, AutoPpnConfig()), initialised=True
    ).eval()
    ppn.to(next(base.model.parameters()))  # its device and precision
    return ProposingSamSegmenter(base.model, ppn, spec.input, context)
