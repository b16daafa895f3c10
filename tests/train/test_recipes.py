"""Recipes: each can be made, says what it is for, and can be changed field by field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from litesam_bench.errors import UsageError
from litesam_bench.lite_sam.configs import BACKBONES
from litesam_bench.train.loop import build_model
from litesam_bench.train.recipes import RECIPES, from_json, get_recipe, override, to_json


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = get_recipe("paper")
    assert (recipe.optim.batch, recipe.optim.lr, recipe.optim.epochs) == (256, 4e-5, 4)
    assert (recipe.share, recipe.data.frame, recipe.data.crop) == (0.18, 640, 640)
    assert recipe.optim.weight_decay == 0  # AdamW without decay is Adam
    assert recipe.loss.focal / recipe.loss.dice == 20
    assert recipe.data.prompts == 64


def test_every_row_of_the_ablations_has_a_recipe() -> None:
    assert {f"table1-{name}" for name in BACKBONES} <= set(RECIPES)
    rows = [name for name in RECIPES if name.startswith("table2-")]
    variants = {
        (r.ppn_stem, r.data.ppn_label, r.loss.ppn_loss, r.ppn_grouped)
        for r in (RECIPES[name].recipe for name in rows)
    }
    assert len(rows) == len(variants) == 8
    steps = {RECIPES[name].recipe.optim.steps for name in rows}
    assert len(steps) == 1  # the same schedule for all


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is_for_and_makes_a_model(name: str) -> None:
    entry = RECIPES[name]
    assert entry.recipe.name == name
    assert len(entry.about) > 40
    assert from_json(to_json(entry.recipe)) == entry.recipe
    with torch.device("meta"):
        model = build_model(entry.recipe)
    assert model.autoppn.group_count == (3 if entry.recipe.ppn_grouped else 1)


def test_fields_can_be_changed() -> None:
    recipe = get_recipe("pack")
    assert recipe.late is not None
    for setting in ("data.crop=320", "optim.lr=1", "data.scale=[0.5, 2.0]", "backbone=litevit-2x"):
        recipe = override(recipe, setting)
    assert recipe.data.crop == 320
    assert isinstance(recipe.optim.lr, float)
    assert recipe.data.scale == (0.5, 2.0)
    assert recipe.backbone == "litevit-2x"
    assert override(recipe, "late.crop=512").late == replace(get_recipe("pack").late, crop=512)  # type: ignore[type-var]
    assert override(recipe, "late=null").late is None
    assert get_recipe("pack").data.crop == 256
    assert json.loads(to_json(recipe))["data"]["crop"] == 320


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.crops=320", "no field 'crops'"),
        ("data.crop", "no value"),
        ("data.crop=wide", "crop is a int"),
        ("data=3", "data is a DataConfig"),
        ("data=null", "data is a DataConfig"),
        ("data.crop.x=3", "crop is a int"),
    ],
)
def test_a_wrong_setting_is_explained(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(get_recipe("pack"), setting)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no recipe 'pak'") as error:
        get_recipe("pak")
    assert "pack" in error.value.fix
