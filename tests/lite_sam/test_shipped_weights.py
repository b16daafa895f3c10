"""The weights that come with the package: there, whole, described, and better than none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from litesam_bench import registry, weights
from litesam_bench.types import LoadContext, Prompts, Segmenter

Grid = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SYSTEM = registry.resolve("lite-sam-640")[0]


def load(trained: bool) -> Segmenter:
    found = weights.require(SYSTEM.spec)
    assert found is not None and found.verified
    return SYSTEM.load(SYSTEM.spec, LoadContext(weights=str(found.path) if trained else None))


def test_they_come_with_the_package_and_say_what_they_are() -> None:
    assert weights.state(SYSTEM.spec) == "verified"
    assert SYSTEM.spec.weights is not None
    card = weights.model_card(SYSTEM.spec)
    assert card is not None
    assert card["sha256"] == SYSTEM.spec.weights.sha256
    path = weights.path_of(SYSTEM.spec.weights)
    assert path.stat().st_size == card["size_bytes"] == SYSTEM.spec.weights.size_bytes
    assert path.stat().st_size < 9_000_000
    for told in ("data", "licence", "training", "held_out", "bad_at"):
        assert card[told], told
    assert set(card["not_zero_shot_on"]) == set(SYSTEM.spec.not_zero_shot_on)


def test_both_input_sizes_use_them() -> None:
    (large,) = registry.resolve("lite-sam-1024")
    assert large.spec.weights == SYSTEM.spec.weights


def half_disc(y: Grid, x: Grid) -> Mask:
    return ((x - 150) ** 2 + (y - 120) ** 2 < 70**2) & (x > 150)


def square(y: Grid, x: Grid) -> Mask:
    return (x > 90) & (x < 190) & (y > 60) & (y < 160)


@pytest.mark.parametrize("shape", [half_disc, square])
def test_they_find_a_plain_object(shape: Callable[[Grid, Grid], Mask]) -> None:
    """Bright on dark noise: an untrained model draws an ellipse, or a small disc at the point."""
    image = np.random.default_rng(0).integers(20, 60, (240, 320, 3)).astype(np.uint8)
    y, x = np.mgrid[:240, :320]
    truth = shape(y, x)
    image[truth] = (220, 170, 40)
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float64)
    middle = np.array([[[x[truth].mean(), y[truth].mean()]]])
    by_box = Prompts(ids=(0,), boxes=box)
    by_point = Prompts(ids=(0,), points=middle, labels=np.ones((1, 1), np.int64))

    def reached(system: Segmenter, prompts: Prompts) -> float:
        batch = system.segment(system.embed(image), prompts)
        best = 1 + int(batch.iou[0, 1:].argmax())
        mask = (batch.to_image(batch.logits[0, best, None]) > batch.threshold)[0].numpy()
        return float((mask & truth).sum() / (mask | truth).sum())

    trained, untrained = load(trained=True), load(trained=False)
    assert reached(trained, by_box) > max(0.8, reached(untrained, by_box) + 0.03)
    assert reached(trained, by_point) > max(0.6, reached(untrained, by_point) + 0.3)
