"""Recipes: everything that decides what a training run does, by name.

Each says what it is for, what it takes and what to expect; `litesam-bench train --list` prints it.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from litesam_bench.errors import UsageError
from litesam_bench.lite_sam.configs import BACKBONES
from litesam_bench.train.examples import DataConfig
from litesam_bench.train.losses import LossConfig


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and the schedule.

    batch: images per step over all processes and accumulations.
    accumulate: forward passes per step in each process.
    lr: highest learning rate, reached after `warmup` steps and brought to 0 by a cosine.
    epochs: where not 0, the steps are as many as this many passes over the data take.
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
    epochs: float = 0.0
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
    teacher: a registered system whose masks replace those of the data (`distill.py`); "" is none.
    encoder: a registered system on whose frozen encoder AutoPPN alone is trained; "" trains all.
    backbone: a name of `lite_sam.configs.BACKBONES` or `family.backbones.LIBRARY_BACKBONES`.
    ppn_stem, ppn_grouped: AutoPPN's variants (poster, Table 2).
    late: examples of another kind from the share `late_from` of the schedule on: larger crops,
        which cost more, where they matter.
    share: part of the pairs that is used, a random one that depends on the seed alone.
    source_weights: how often images of a source come, relative to the others; sources are read
        from an `index.csv` beside the images, where there is one.
    hold_out: one in so many images of a source is never trained on; "" is the rule for the others,
        0 holds nothing out.
    calibrate: training images to which the predicted IoU is fitted at the end, see `calibrate.py`.
    """

    name: str
    folder: str = "train-pack"
    teacher: str = ""
    encoder: str = ""
    backbone: str = "litevit"
    ppn_stem: str = "mspm"
    ppn_grouped: bool = True
    data: DataConfig = field(default_factory=DataConfig)
    late: DataConfig | None = None
    late_from: float = 0.5
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    share: float = 1.0
    source_weights: Mapping[str, float] = field(default_factory=dict)
    hold_out: Mapping[str, int] = field(default_factory=dict)
    calibrate: int = 0
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """A recipe and what it is for."""

    recipe: Recipe
    about: str


RECIPES: dict[str, Entry] = {}


def add(recipe: Recipe, about: str) -> None:
    """Register a recipe under its name."""
    assert recipe.name not in RECIPES, f"two recipes are called {recipe.name}"
    RECIPES[recipe.name] = Entry(recipe, inspect.cleandoc(about))


def register(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register what a function returns, with its docstring."""
    add(function(), function.__doc__ or "")
    return function


_PACK_SOURCES = {
    "coco-train2017": 3.0,
    "coco-panoptic-train2017": 2.0,
    "clothing-co-parsing": 0.5,
    "animals": 0.7,
    "weizmann": 0.7,
    "voc2007": 1.5,
}
_PACK_HOLD_OUT = {"coco-train2017": 6, "coco-panoptic-train2017": 6, "": 40}


@register
def pack() -> Recipe:
    """The shipped weights: 2,600 images, 2 CPU cores, 76 minutes.

    Crops at the scale of a 640-pixel input, of 256 pixels in the first half of the schedule and of
    448 in the second; prompts that start from their drawn prior; copy-paste between images; a
    schedule that follows the clock. NOTES.md says what each choice did, and at which minute of the
    shipped run it was made; the model card of the weights says what to expect.

    torchrun --nproc-per-node 2 -m litesam_bench train pack --data train-pack

    Two processes of one thread each, with OMP_NUM_THREADS=1: two threads that wait for each other
    lose to every other program on the machine. On one idle core of an AMD EPYC with AVX512-BF16:
    7 images/s with the small crops; the loop waits for data 1 % of the time.
    """
    small = DataConfig(crop=256, prompts=12)
    return Recipe(
        name="pack",
        data=small,
        late=replace(small, crop=448, prompts=8, scale=(0.5, 1.15), box_jitter=0.02),
        late_from=0.48,
        loss=LossConfig(focal=1.0, focal_gamma=0.0, dice=2.0, iou=4.0, ppn=4.0),
        optim=OptimConfig(batch=6, lr=8e-4, minutes=76.0),
        source_weights=_PACK_SOURCES,
        hold_out=_PACK_HOLD_OUT,
        calibrate=300,
        workers=1,
    )


@register
def pack_more() -> Recipe:
    """The shipped weights, second part: what `pack` ended with, for another 80 minutes of one core.

    Crops of 448 pixels throughout, and objects up to half again as large as in a 640-pixel input,
    so that a 1024-pixel input is not a foreign country; a warm restart at three quarters of the
    first part's learning rate.

    litesam-bench data scenes scenes-train --images 250 --seed 1
    litesam-bench train pack-more --data train-pack --data scenes-train --from runs/train-pack
    """
    base = pack()
    assert base.late is not None
    return replace(
        base,
        name="pack-more",
        data=replace(base.late, scale=(0.5, 1.5)),
        late=None,
        optim=replace(base.optim, lr=6e-4, minutes=80.0, warmup=50),
        source_weights={**_PACK_SOURCES, "scenes-train": 1.0},
        seed=1,
    )


@register
def paper() -> Recipe:
    """Lite-SAM (r640) of the poster: 18 % of SA-1B, Adam, 4e-5, batch 256, 4 epochs, from scratch.

    The poster's time is 50 hours on 128 A40; its numbers are a COCO 1-box mIoU of 0.748 and AP of
    55.8. Decision (ours): EfficientViT-SAM's mixture of boxes and 1 to 10 points for 64 masks an
    image, horizontal flips only, and a cosine to zero; the poster names neither. The prompts are
    half boxes and half points of every image, in place of a coin thrown per image.

    torchrun --nnodes 16 --nproc-per-node 8 -m litesam_bench train paper --data sa-1b --device cuda

    With more memory than time, add --set optim.accumulate=4. For 1024-pixel inputs:
    --set data.frame=1024 --set data.crop=1024.
    """
    return Recipe(
        name="paper",
        folder="sa-1b",
        data=DataConfig(
            frame=640, crop=640, scale=(1.0, 1.0), prompts=64, copy_paste=0.0, colour=0.0,
            max_masks=256,
        ),
        loss=LossConfig(focal=20.0, dice=1.0, focal_gamma=2.0, focal_area="image"),
        optim=OptimConfig(
            batch=256, lr=4e-5, weight_decay=0.0, betas=(0.9, 0.999), warmup=250, epochs=4.0,
            ema=0.9999, click_rounds=0.25, checkpoint_minutes=20.0,
        ),
        share=0.18,
        workers=8,
    )  # fmt: skip


@register
def paper_gpu() -> Recipe:
    """A first Lite-SAM from one GPU in a day: the pack's tricks on a twentieth of SA-1B.

    Crops, drawn priors and region losses as in `pack`, the data of `paper`. Never run so far;
    expect it between the two.

    litesam-bench train paper-gpu --data sa-1b --device cuda
    """
    base = pack()
    return replace(
        base,
        name="paper-gpu",
        folder="sa-1b",
        data=replace(base.data, crop=384, prompts=32, copy_paste=0.0, max_masks=128),
        late=None,
        optim=replace(
            base.optim, batch=64, minutes=0.0, epochs=4.0, warmup=1000, checkpoint_minutes=10.0
        ),
        share=0.05,
        source_weights={},
        hold_out={},
        workers=12,
    )


@register
def ppn_sam_b() -> Recipe:
    """ "SAM-B + AutoPPN" of the poster's Table 3: AutoPPN alone on SAM's frozen encoder.

    The data and schedule of `paper`. The same for any SAM descendant:

    litesam-bench train ppn-sam-b --freeze encoder --model sam-vit-l --data sa-1b --device cuda
    """
    base = paper()
    return replace(
        base,
        name="ppn-sam-b",
        encoder="sam-vit-b",
        data=replace(base.data, frame=1024, crop=1024, prompts=2),
        optim=replace(base.optim, lr=1e-3),
    )


def _short(name: str) -> Recipe:
    """The schedule that all rows of an ablation share: `pack` for 1,000 steps, small crops."""
    base = pack()
    optim = replace(base.optim, minutes=0.0, steps=1000, click_rounds=0.0)
    return replace(base, name=name, optim=optim, late=None)


for _backbone in BACKBONES:
    add(
        replace(_short(f"table1-{_backbone}"), backbone=_backbone),
        f"""The row {_backbone} of the poster's Table 1, scaled down.

        1,000 steps of `pack`; only the order of the rows can be compared with the poster's. In
        full: litesam-bench train paper --set backbone={_backbone}
        """,
    )

for _stem, _labels, _groups in itertools.product((False, True), repeat=3):
    _parts = [n for n, on in (("mspm", _stem), ("labels", _labels), ("groups", _groups)) if on]
    _base = _short("table2-" + ("-".join(_parts) or "baseline"))
    _label, _loss = ("distance", "quality") if _labels else ("center", "focal-l1")
    add(
        replace(
            _base,
            ppn_stem="mspm" if _stem else "conv",
            ppn_grouped=_groups,
            data=replace(_base.data, ppn_label=_label),
            loss=replace(_base.loss, ppn_loss=_loss),
        ),
        f"""A row of the poster's Table 2, scaled down. New here: {", ".join(_parts) or "nothing"}.

        1,000 steps of `pack`; take three seeds: --set seed=1. In full: litesam-bench train paper
        --set ppn_stem={"mspm" if _stem else "conv"} --set ppn_grouped={str(_groups).lower()}
        --set data.ppn_label={_label} --set loss.ppn_loss={_loss}
        """,
    )

for _name, _share in (("1m", 0.09), ("5m", 0.45), ("11m", 1.0)):
    add(
        replace(paper(), name=f"paper-{_name}", share=_share),
        f"The poster's data-size study: `paper` on {_name.upper()} images of SA-1B ({_share:.0%}).",
    )


def get_recipe(name: str) -> Recipe:
    """Raises UsageError naming the recipes there are."""
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe {name!r}", fix=f"choose one of: {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name].recipe


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
    names = {f.name: str(f.type) for f in fields(config)}
    if name not in names:
        raise UsageError(
            f"--set {setting}: {type(config).__name__} has no field {name!r}",
            fix=f"choose one of: {', '.join(names)}",
        )
    current = getattr(config, name)
    if not rest and value is None and names[name].endswith("| None"):
        return replace(config, **{name: None})
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


def from_json(text: str) -> Recipe:
    """The recipe that `to_json` wrote; fields that it lacks take their defaults."""
    values = json.loads(text)
    kinds = (
        ("data", DataConfig),
        ("late", DataConfig),
        ("loss", LossConfig),
        ("optim", OptimConfig),
    )
    for name, kind in kinds:
        if values.get(name) is None:
            continue
        part: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values[name].items()
        }
        values[name] = kind(**part)
    return Recipe(**values)
