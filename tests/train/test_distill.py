"""A teacher's masks become the targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litesam_bench.errors import UsageError
from litesam_bench.train.data import collate
from litesam_bench.train.distill import load_teacher
from litesam_bench.train.examples import DataConfig, make_example
from litesam_bench.train.loop import train
from litesam_bench.train.recipes import get_recipe, override
from litesam_bench.train.shards import open_shards

CONFIG = DataConfig(
    frame=128, crop=96, prompts=4, min_area=4, copy_paste=0.0, box_jitter=0.0, scale=(1.0, 1.0)
)


def test_box_fill_teaches_boxes(pairs: Path) -> None:
    """It answers boxes only, by the box itself: a target that can be worked out."""
    shards = open_shards([pairs])
    examples = [
        make_example(shards.read(i), np.random.default_rng(i), CONFIG, lambda _: None)
        for i in (0, 1)
    ]
    batch = collate([e for e in examples if e is not None])
    taught = load_teacher("box-fill", "cpu").relabel(batch)

    centers = torch.arange(96 // 8) * 8 + 4
    for image in range(2):
        for prompt in range(2):
            left, top, right, bottom = batch["boxes"][image, prompt].tolist()
            rows = (centers >= top) & (centers < bottom)
            columns = (centers >= left) & (centers < right)
            expected = rows[:, None] & columns
            assert torch.equal(taught["frame_targets"][image, prompt].bool(), expected)
            region = batch["regions"][image, prompt]
            area = (region[2:] - region[:2]).prod() * taught["region_targets"][
                image, prompt
            ].float().mean()
            assert float(area) == pytest.approx((right - left) * (bottom - top), rel=0.1)
    # what it cannot answer, and everything else, stays
    assert torch.equal(taught["frame_targets"][:, 2:], batch["frame_targets"][:, 2:])
    assert torch.equal(taught["region_targets"][:, 2:], batch["region_targets"][:, 2:])
    assert not torch.equal(taught["region_targets"][:, :2], batch["region_targets"][:, :2])
    assert torch.equal(taught["ppn_heat"], batch["ppn_heat"])


def test_a_run_with_a_teacher(pairs: Path, tmp_path: Path) -> None:
    recipe = replace(get_recipe("pack"), late=None)
    for setting in (
        *("data.frame=128", "data.crop=64", "data.prompts=4", "data.min_area=4", "workers=0"),
        *("optim.batch=2", "optim.minutes=0", "optim.steps=1", "teacher=lite-sam-640"),
    ):
        recipe = override(recipe, setting)
    assert train(recipe, [pairs], tmp_path / "run").exists()


def test_the_oracle_cannot_teach() -> None:
    with pytest.raises(UsageError, match="cannot teach"):
        load_teacher("oracle", "cpu")
