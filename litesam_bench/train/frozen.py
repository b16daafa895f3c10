"""AutoPPN alone, on the frozen encoder of another system (poster, Table 3: "SAM-B + AutoPPN").

The exported weights are AutoPPN's only. A baseline file joins the two for segment-everything:
`ProposingSamSegmenter(sam, ppn, spec.input, context)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litesam_bench.errors import UsageError
from litesam_bench.lite_sam.autoppn import AutoPpn, AutoPpnConfig
from litesam_bench.sam.model import Sam
from litesam_bench.spec import InputSpec
from litesam_bench.train.data import Batch
from litesam_bench.train.losses import LossConfig, ppn_loss
from litesam_bench.train.step import normalise


class FrozenEncoderStep(nn.Module):
    """An encoder that is only run, and an AutoPPN that learns; called as `TrainStep` is."""

    def __init__(self, sam: Sam, rule: InputSpec, ppn: AutoPpn, loss: LossConfig) -> None:
        super().__init__()
        self.sam = sam.eval().requires_grad_(False)
        self.rule = rule
        self.ppn = ppn
        self.loss = loss

    def train(self, mode: bool = True) -> FrozenEncoderStep:
        """The encoder stays in evaluation mode."""
        self.ppn.train(mode)
        return self

    def forward(
        self, batch: Batch, points: int, clicks: bool, draws: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """AutoPPN's loss of a batch and its parts, detached; the prompts play no part."""
        with torch.no_grad():
            images = normalise(batch["image"], batch["valid_hw"], self.rule.mean, self.rule.std)
            embedding = self.sam.encode(images).embedding
        maps = self.ppn(embedding)
        peaks, sides = ppn_loss(
            maps.logits,
            maps.ltrb,
            batch["ppn_heat"],
            batch["ppn_ltrb"],
            batch["ppn_weight"],
            self.loss,
        )
        total = self.loss.ppn * (peaks + sides)
        parts = {"ppn_point": peaks, "ppn_box": sides, "loss": total}
        return total, {name: value.detach() for name, value in parts.items()}


def frozen_step(
    system_name: str, frame: int, crop: int, config: AutoPpnConfig, loss: LossConfig, seed: int
) -> FrozenEncoderStep:
    """A step that trains AutoPPN on a registered system's encoder, on the CPU.

    Raises:
        UsageError: the system is unknown or no SAM descendant, or frame and crop are not its
            input, for which its positions were learned (Lite-SAM has none).
        WeightsError: its checkpoint is missing.
    """
    from litesam_bench.registry import resolve
    from litesam_bench.sam.segmenter import SamSegmenter
    from litesam_bench.types import LoadContext
    from litesam_bench.weights import require

    system = resolve(system_name)[0]
    rule = system.spec.input
    no_embedding = UsageError(
        f"{system_name} has no embedding that AutoPPN could look at",
        fix="choose a SAM descendant: litesam-bench models list",
    )
    if rule.rule == "none":
        raise no_embedding
    # Lite-SAM is made of convolutions and takes crops too; others have learned positions
    whole = (rule.size, rule.size)
    if (frame, crop) != whole and (system.spec.family != "lite-sam" or frame != rule.size):
        raise UsageError(
            f"{system_name} takes inputs of {rule.size} pixels, not crops of {crop} from {frame}",
            fix=f"--set data.frame={rule.size} --set data.crop={rule.size}",
        )
    weights = require(system.spec)
    context = LoadContext(weights=str(weights.path) if weights else None)
    segmenter = system.load(system.spec, context)
    if not isinstance(segmenter, SamSegmenter):
        raise no_embedding
    sam = segmenter.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ppn = AutoPpn(sam.prompt_encoder.config.dim, config)
    return FrozenEncoderStep(sam, rule, ppn, loss)
