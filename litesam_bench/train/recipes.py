"""Recipes: everything that decides what a training run does, by name.

A recipe is a function without arguments that returns a `Recipe`; its docstring says what it is
for, what it takes and what to expect, and `litesam-bench train --help` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from litesam_bench.errors import UsageError
from litesam_bench.train.examples import DataConfig
from litesam_bench.train.losses import LossConfig


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and the schedule.

    batch: images per step over all processes and accumulations.
    accumulate: forward passes per step in each process.
    lr: highest learning rate, reached after `warmup` steps and brought to 0 by a cosine.
    minutes: where not 0, the schedule runs over this training time instead of over `steps`,
        so that a run on shared hardware is always annealed when its time is up.
    ema: decay of the moving average of the weights, which is what is exported.
    click_rounds: share of the steps with a second round of clicks, from the error of the first.
    checkpoint_minutes, log_steps: how often.
    """

    batch: int = 8
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    steps: int = 10_000
    minutes: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    click_rounds: float = 0.1
    checkpoint_minutes: float = 3.0
    log_steps: int = 20


@dataclass(frozen=True)
class Recipe:
    """One training run.

    folder: where the data lie below the data root, unless said otherwise.
    backbone: a name of `lite_sam.configs.BACKBONES`.
    ppn_stem, ppn_grouped: AutoPPN's variants (poster, Table 2).
    source_weights: how often images of a source come, relative to the others; sources are read
        from an `index.csv` beside the images, where there is one.
    hold_out: one in so many images of a source is never trained on; "" is the rule for the others,
        0 holds nothing out.
    """

    name: str
    folder: str = "train-pack"
    backbone: str = "litevit"
    ppn_stem: str = "mspm"
    ppn_grouped: bool = True
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    source_weights: Mapping[str, float] = field(default_factory=dict)
    hold_out: Mapping[str, int] = field(default_factory=dict)
    workers: int = 2
    seed: int = 0


RECIPES: dict[str, Callable[[], Recipe]] = {}


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a recipe under the name it gives itself."""
    name = function().name
    assert name not in RECIPES, f"two recipes are called {name}"
    RECIPES[name] = function
    return function


@recipe
def pack() -> Recipe:
    """The shipped weights: 2,600 images, 2 CPU cores, 75 minutes.

    Crops of 256 pixels at the scale of a 640-pixel input, prompts that start from their drawn
    prior, copy-paste between images, and a schedule that follows the clock.
    `torchrun --nproc-per-node 2 -m litesam_bench train pack --data train-pack`, two processes of
    one thread each, because two threads that wait for each other lose to every other program.
    """
    return Recipe(
        name="pack",
        data=DataConfig(crop=256, prompts=12),
        loss=LossConfig(focal=1.0, focal_gamma=0.0, dice=2.0),
        optim=OptimConfig(batch=6, lr=8e-4, minutes=75.0),
        source_weights={
            "coco-train2017": 3.0,
            "coco-panoptic-train2017": 2.0,
            "clothing-co-parsing": 0.5,
            "animals": 0.7,
            "weizmann": 0.7,
            "voc2007": 1.5,
        },
        hold_out={"coco-train2017": 6, "coco-panoptic-train2017": 6, "": 40},
        workers=1,
    )


def get_recipe(name: str) -> Recipe:
    """Raises UsageError naming the recipes there are."""
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe {name!r}", fix=f"choose one of: {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name]()


def override(recipe: Recipe, setting: str) -> Recipe:
    """A recipe with one field changed, `data.crop=320`; values are JSON, or plain text.

    Raises:
        UsageError: there is no such field, or the value has another type.
    """
    path, separator, text = setting.partition("=")
    if not separator:
        raise UsageError(f"--set {setting}: no value", fix="write --set key=value")
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError:
        value = text
    changed: Recipe = _replace(recipe, path.split("."), value, setting)
    return changed


def _replace(config: Any, path: list[str], value: Any, setting: str) -> Any:
    name, rest = path[0], path[1:]
    names = [f.name for f in fields(config)]
    if name not in names:
        raise UsageError(
            f"--set {setting}: {type(config).__name__} has no field {name!r}",
            fix=f"choose one of: {', '.join(names)}",
        )
    current = getattr(config, name)
    if rest and is_dataclass(current):
        return replace(config, **{name: _replace(current, rest, value, setting)})
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(current, tuple) and isinstance(value, list):
        value = tuple(value)
    if rest or is_dataclass(current) or type(value) is not type(current):
        raise UsageError(
            f"--set {setting}: {name} is a {type(current).__name__}",
            fix=f"the recipe has {name}={current!r}",
        )
    return replace(config, **{name: value})


def to_json(recipe: Recipe) -> str:
    """A recipe as canonical JSON: what a checkpoint holds and a resumed run must agree with."""
    return json.dumps(asdict(recipe), sort_keys=True)
