"""Prompts that a person gave."""

from __future__ import annotations

from dataclasses import dataclass

from litesam_bench.everything.proposals import BoolMask, View
from litesam_bench.types import Prompts


@dataclass(frozen=True)
class Given:
    """The same prompts for every image, in original pixels; for whole images only."""

    given: Prompts
    rounds: int = 1
    confident_logit: float | None = None
    name: str = "given"

    def prompts(self, view: View, round_number: int, confident: BoolMask | None) -> Prompts:
        """What was given."""
        assert view.layer == 0, "crops have other coordinates"
        return self.given
