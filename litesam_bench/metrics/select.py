"""Which of a prompt's masks counts.

SAM's decoder offers four: token 0 is trained for unambiguous prompts, tokens 1 to 3 for ambiguous
ones. Published numbers differ by up to 2.4 AP in this choice alone (protocols: `mask_select`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def multimask(tokens: Sequence[int]) -> list[int]:
    """Positions of the multimask tokens (1, 2, 3, ...); all positions if a system has none."""
    return [i for i, token in enumerate(tokens) if token > 0] or list(range(len(tokens)))


def choose(
    rule: str,
    tokens: Sequence[int],
    pred_iou: Sequence[float],
    stability: Callable[[], Sequence[float]],
    true_iou: Callable[[int], float] | None = None,
) -> int:
    """Position of the mask that counts; the first one on ties.

    Args:
        rule: `pred-iou` or `stability` (highest of the multimask tokens), `token0` (the
            single-mask token, or the only mask of a system that has none), `oracle` (highest true
            IoU of the multimask tokens).
        tokens: the output token of each mask.
        pred_iou: predicted IoU of each mask.
        stability: called for the stability scores only when the rule needs them.
        true_iou: true IoU of the mask at a position; needed by `oracle`.
    """
    positions = multimask(tokens)
    if rule == "token0":
        return tokens.index(0) if 0 in tokens else positions[0]
    if rule == "pred-iou":
        scores = [pred_iou[i] for i in positions]
    elif rule == "stability":
        values = stability()
        scores = [values[i] for i in positions]
    else:
        assert rule == "oracle" and true_iou is not None, rule
        scores = [true_iou(i) for i in positions]
    return positions[int(np.argmax(scores))]
