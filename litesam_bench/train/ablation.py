"""The poster's ablations (Tables 1 and 2) at a scale that a CPU allows.

All rows of a study share data, schedule and seeds; each row and seed is a run of its own, kept in
its own folder and resumed there, and ends as one record. What is compared is whether the order of
the rows holds, not the numbers: the poster trains each row on SA-1B.

* `table1`: Lite-SAM from scratch with each backbone; measured by the mIoU of box prompts.
* `table2`: AutoPPN's eight variants on the frozen encoder of the shipped Lite-SAM, so that nothing
  but AutoPPN differs; measured by the recall of the masks that Lite-SAM's decoder makes of its
  points.

Both are measured on the held-out part of the training data, never on a benchmark's images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from litesam_bench.errors import UsageError
from litesam_bench.lite_sam.autoppn import AutoPpn
from litesam_bench.lite_sam.model import LiteSam
from litesam_bench.metrics.matching import COCO_IOU_THRESHOLDS
from litesam_bench.records.provenance import cpu_name, environment
from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.records.store import record_path, write_record
from litesam_bench.sam.geometry import Frame, preprocess
from litesam_bench.sam.mask_decoder import Features
from litesam_bench.spec import InputSpec
from litesam_bench.train.calibrate import at_decoder, mask_iou
from litesam_bench.train.checkpoint import load_checkpoint
from litesam_bench.train.data import Indices
from litesam_bench.train.evaluate import evaluate
from litesam_bench.train.loop import autocast, build_model, read_sources, split, train
from litesam_bench.train.recipes import RECIPES, Recipe, to_json
from litesam_bench.train.shards import ShardSet, open_shards

PROMPTS = 64
"""AutoPPN's points per image in `table2`."""

MASKS_PER_IMAGE = 64
ENCODER = "lite-sam"


@dataclass(frozen=True)
class Study:
    """One table of the poster. `rows` are names of recipes; `prepare` scales a recipe down."""

    name: str
    about: str
    rows: tuple[str, ...]
    steps: int
    seeds: int
    prepare: Callable[[Recipe], Recipe]


def _from_scratch(recipe: Recipe) -> Recipe:
    return recipe


def _on_frozen_encoder(recipe: Recipe) -> Recipe:
    """Crops of 384 pixels: a large object must fit for its group to be learned at all."""
    data = replace(recipe.data, crop=384, prompts=2)
    optim = replace(recipe.optim, lr=2e-3, batch=8)
    return replace(recipe, encoder=ENCODER, data=data, optim=optim)


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="table1",
            about="LiteViT's attention blocks and widths (poster, Table 1)",
            rows=tuple(name for name in RECIPES if name.startswith("table1-")),
            steps=200,
            seeds=1,
            prepare=_from_scratch,
        ),
        Study(
            name="table2",
            about="AutoPPN's stem, labels with loss, and groups (poster, Table 2)",
            rows=tuple(name for name in RECIPES if name.startswith("table2-")),
            steps=200,
            seeds=3,
            prepare=_on_frozen_encoder,
        ),
    )
}


@dataclass(frozen=True)
class Trial:
    """One run of a study."""

    study: Study
    row: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Folder and system name."""
        return f"{self.row}-seed{self.seed}"


def trials(
    study: Study, *, steps: int | None = None, seeds: int | None = None, rows: Sequence[str] = ()
) -> list[Trial]:
    """The runs of a study, seed by seed, so that an interrupted study has whole rounds.

    Raises:
        UsageError: a row that the study does not have.
    """
    unknown = sorted(set(rows) - set(study.rows))
    if unknown:
        raise UsageError(
            f"{study.name} has no row {unknown[0]!r}", fix=f"choose from {', '.join(study.rows)}"
        )
    found = []
    for seed in range(seeds or study.seeds):
        for row in rows or study.rows:
            recipe = study.prepare(RECIPES[row].recipe)
            count = steps or study.steps
            optim = replace(
                recipe.optim,
                steps=count,
                minutes=0.0,
                warmup=max(count // 10, 1),
                log_steps=min(recipe.optim.log_steps, max(count // 10, 1)),
                ema=min(recipe.optim.ema, 1 - 5 / count) if count > 5 else 0.0,
            )
            found.append(Trial(study, row, seed, replace(recipe, optim=optim, seed=seed)))
    return found


def run_study(
    plan: Sequence[Trial],
    folders: Sequence[str | Path],
    out: Path,
    results: Path,
    *,
    device: str = "cpu",
    precision: str = "bf16",
    images: int = 40,
    limit: int = 0,
) -> Iterator[tuple[Trial, Record]]:
    """Train and measure trials one after the other; those whose record is there are read from it.

    Args:
        out: takes a folder per trial.
        results: where records go.
        images: held-out images that are measured, evenly spaced.
        limit: train on this many pairs only, 0 for all.

    Raises:
        UsageError: nothing is held out of the data.
        DataError, ModelOutputError, StorageError, WeightsError: as `train`.
    """
    shards = open_shards(folders)
    held_out = split(shards, read_sources(folders), plan[0].recipe).held_out
    if not len(held_out):
        raise UsageError(
            "nothing is held out of these data, so that nothing can be measured",
            fix='add --set hold_out={"":10}, or give the training pack with its index.csv',
        )
    spaced = np.linspace(0, len(held_out) - 1, min(images, len(held_out))).round()
    indices = held_out[spaced.astype(np.int64)]
    measure = _PointRecall(shards, indices, device, precision)
    for trial in plan:
        wanted = _record(trial, shards, indices, device, precision, {})
        path = record_path(results, wanted)
        found = _finished(path, wanted)
        if found is None:
            folder = out / trial.name
            train(
                trial.recipe,
                folders,
                folder,
                device=device,
                precision=precision,
                resume=True,
                limit=limit,
            )
            state = load_checkpoint(folder)
            assert state is not None, folder
            weights = state["ema"]
            if trial.recipe.encoder:
                numbers = measure(_autoppn(trial.recipe, weights))
            else:
                model = build_model(trial.recipe)
                model.load_state_dict(weights)
                frame = trial.recipe.data.frame
                reached = evaluate(model.to(device), shards, indices, frame, precision)
                numbers = {
                    name: value
                    for name, value in asdict(reached).items()
                    if name not in ("images", "masks")
                }
            found = _record(trial, shards, indices, device, precision, numbers)
            write_record(results, found)
        yield trial, found


def _finished(path: Path, wanted: Record) -> Record | None:
    from litesam_bench.records.schema import parse_record

    if not path.is_file():
        return None
    found = parse_record(path.read_text(), path)
    same = found.protocol == wanted.protocol and found.data == wanted.data
    return found if same else None


def _autoppn(recipe: Recipe, weights: dict[str, Tensor]) -> AutoPpn:
    from litesam_bench.train.loop import ppn_config

    ppn = AutoPpn(build_model(recipe).prompt_encoder.config.dim, ppn_config(recipe))
    ppn.load_state_dict(weights)
    return ppn


class _PointRecall:
    """Recall of the masks that the shipped Lite-SAM makes of an AutoPPN's points.

    The encoder is the same for all variants: it runs once per image.
    """

    def __init__(self, shards: ShardSet, indices: Indices, device: str, precision: str) -> None:
        self.shards, self.indices = shards, indices
        self.device, self.precision = torch.device(device), precision
        self._encoded: list[tuple[Frame, Features, Tensor]] | None = None
        self._model: LiteSam | None = None

    @torch.inference_mode()
    def __call__(self, ppn: AutoPpn) -> dict[str, float]:
        """`ar`: the mean over COCO's IoU thresholds of the share of masks that some proposed mask
        meets; `best_iou`: the mean IoU of the best one; `point_recall`: the share of masks that
        hold a point. IoU is that of the decoder's resolution."""
        ppn = ppn.to(self.device).eval()
        best, hit = [], []
        for frame, features, truth in self._images():
            assert self._model is not None
            with autocast(self.device, self.precision):
                found = ppn.propose(
                    features.embedding, frame.network_hw, valid_hw=frame.resized_hw, k=PROMPTS
                )
            points = found.points[0][:, None].float()
            labels = torch.ones(len(points), 1, dtype=torch.long, device=self.device)
            with autocast(self.device, self.precision):
                logits, _ = self._model.decode(
                    features, frame.network_hw, points=points, labels=labels
                )
            masks = (logits[:, 1:].flatten(0, 1) > 0)[None].expand(len(truth), -1, -1, -1)
            best.append(mask_iou(masks, truth).amax(1))
            rows, columns = (points[:, 0] / 4).long().clamp(min=0).unbind(1)[::-1]
            size = truth.shape[-2:]
            hit.append(truth[:, rows.clamp(max=size[0] - 1), columns.clamp(max=size[1] - 1)].any(1))
        reached = torch.cat(best).cpu().double().numpy()
        return {
            "ar": float(np.mean([(reached >= t).mean() for t in COCO_IOU_THRESHOLDS])),
            "best_iou": float(reached.mean()),
            "point_recall": float(torch.cat(hit).double().mean()),
        }

    def _images(self) -> list[tuple[Frame, Features, Tensor]]:
        if self._encoded is None:
            self._encoded = list(self._encode())
        return self._encoded

    def _encode(self) -> Iterator[tuple[Frame, Features, Tensor]]:
        self._model = model = _shipped(self.device)
        rule = InputSpec(size=640, rule="pad")
        for index in self.indices:
            raw = self.shards.read(int(index))
            if not raw.rles:
                continue
            frame = Frame.of((raw.image.shape[0], raw.image.shape[1]), rule)
            masks = coco_mask.decode(list(raw.rles[:MASKS_PER_IMAGE])).transpose(2, 0, 1)
            truth = at_decoder(torch.from_numpy(masks.copy()).to(self.device), frame)
            truth = truth[truth.any(dim=(1, 2))]
            pixels = preprocess(raw.image, frame, rule).to(self.device)
            with autocast(self.device, self.precision):
                features = model.encode(pixels.contiguous(memory_format=torch.channels_last))
            yield frame, features, truth


def _shipped(device: torch.device) -> LiteSam:
    from litesam_bench.registry import resolve
    from litesam_bench.sam.segmenter import SamSegmenter
    from litesam_bench.types import LoadContext
    from litesam_bench.weights import require

    system = resolve(ENCODER)[0]
    weights = require(system.spec)
    segmenter = system.load(
        system.spec, LoadContext(weights=str(weights.path) if weights else None)
    )
    assert isinstance(segmenter, SamSegmenter)
    assert isinstance(segmenter.model, LiteSam)
    return segmenter.model.to(device)


def _record(
    trial: Trial,
    shards: ShardSet,
    indices: Indices,
    device: str,
    precision: str,
    numbers: dict[str, float],
) -> Record:
    names = [shards.name(int(index)) for index in indices]
    protocol = f"ablation/{trial.study.name}@1"
    return Record(
        kind="ablation",
        status="complete",
        system={"name": trial.name, "display": trial.row, "row": trial.row, "seed": trial.seed},
        protocol={
            "id": protocol,
            "steps": trial.recipe.optim.steps,
            "batch": trial.recipe.optim.batch,
            "prompts": PROMPTS if trial.recipe.encoder else 0,
            "recipe": json.loads(to_json(trial.recipe)),
        },
        data={
            "name": "held-out",
            "digest": hashlib.sha256("\n".join(names).encode()).hexdigest(),
            "n_images": len(names),
        },
        coverage=Coverage(expected=len(names), done=len(names), failed=0),
        metrics={
            name: Metric(
                value=value, unit="fraction", higher_is_better=True, n=len(names), protocol=protocol
            )
            for name, value in numbers.items()
        },
        environment=environment(device, cpu_name() if device == "cpu" else device, precision),
        footnotes=["scaled-down replication: only the order of the rows can be compared"],
    )
