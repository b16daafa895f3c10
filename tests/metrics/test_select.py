"""Which of a prompt's masks counts."""

from __future__ import annotations

import pytest

from litesam_bench.metrics.select import choose, multimask

PREDICTED = [0.99, 0.2, 0.7, 0.7]
STABILITY = [0.1, 0.3, 0.2, 0.9]


def pick(rule: str, tokens: tuple[int, ...], **options: object) -> int:
    n = len(tokens)
    return choose(rule, tokens, PREDICTED[:n], lambda: STABILITY[:n], **options)  # type: ignore[arg-type]


def test_multimask_tokens_or_all() -> None:
    assert multimask((0, 1, 2, 3)) == [1, 2, 3]
    assert multimask((3, 0)) == [0]
    assert multimask((0,)) == [0]


def test_highest_predicted_iou_leaves_token_zero_out_and_ties_go_to_the_first() -> None:
    assert pick("pred-iou", (0, 1, 2, 3)) == 2
    assert pick("pred-iou", (1, 2, 3)) == 0
    assert pick("pred-iou", (0,)) == 0


def test_other_rules() -> None:
    assert pick("stability", (0, 1, 2, 3)) == 3
    assert pick("token0", (1, 2, 3, 0)) == 3
    assert pick("token0", (7,)) == 0  # a system with one mask has nothing to choose
    assert pick("oracle", (0, 1, 2, 3), true_iou=[0.9, 0.1, 0.2, 0.15].__getitem__) == 2


def test_stability_is_computed_only_when_it_decides() -> None:
    def never() -> list[float]:
        raise AssertionError("not needed")

    assert choose("pred-iou", (1, 2), [0.1, 0.2], never) == 1
    with pytest.raises(AssertionError, match="not needed"):
        choose("stability", (1, 2), [0.1, 0.2], never)
