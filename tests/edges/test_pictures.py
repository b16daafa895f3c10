"""The colours of a contact sheet, and which images it shows."""

from __future__ import annotations

import numpy as np

from litesam_bench.edges.collect import ImageCounts, collect, thresholds_of
from litesam_bench.edges.pictures import FALSE, MATCHED, MISSED, extremes, outcome_picture


def test_matched_missed_and_false_pixels() -> None:
    detected, one, other = (np.zeros((9, 9), bool) for _ in range(3))
    detected[1, 1] = one[1, 2] = True  # matched, one pixel off
    detected[7, 7] = True  # false
    one[1, 7] = other[1, 7] = True  # missed, and both drew it
    other[7, 1] = True  # missed, and one of two drew it
    picture = outcome_picture([one, other], detected, 2)
    assert tuple(picture[1, 1]) == MATCHED
    assert tuple(picture[1, 2]) == (255, 255, 255)
    assert tuple(picture[7, 7]) == FALSE
    assert tuple(picture[1, 7]) == MISSED
    assert tuple(picture[7, 1]) == tuple(round((255 + c) / 2) for c in MISSED)


def test_worst_and_best_by_turns() -> None:
    def image(name: str, matched: int) -> ImageCounts:
        total, hits = np.full(3, 10), np.full(3, matched)
        return ImageCounts(name, total, hits, total, hits)

    scores = collect(
        [image(c, k) for c, k in zip("abcde", (5, 9, 1, 7, 3), strict=True)], thresholds_of(3)
    )
    assert extremes(scores, 4) == ["c", "b", "e", "d"]
    assert extremes(scores, 99) == ["c", "b", "e", "d", "a"]
