"""Segment-everything over a dataset: journal the proposals, then score AR@K from the journal.

The same line of data flow as `pipeline.py`: predict and score are separate, and a run is resumed
by its fingerprint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from litesam_bench.dialogue import PhaseClock
from litesam_bench.distributed import World
from litesam_bench.errors import CapabilityError, DataError, ModelOutputError
from litesam_bench.everything.generator import generate
from litesam_bench.everything.own import OwnEverything
from litesam_bench.everything.proposals import Proposal, Sampler
from litesam_bench.everything.protocol import SegEveryProtocol
from litesam_bench.metrics.proposal_recall import ImageProposals, ProposalRecall, proposal_recall
from litesam_bench.pipeline import (
    RunSettings,
    data_entry,
    journal_images,
    load_system,
    notes_on,
    remaining,
    system_entry,
    weights_identity,
)
from litesam_bench.records.journal import Candidate, Entry, Prediction, RunFolder
from litesam_bench.records.provenance import environment
from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.records.source import source_digest
from litesam_bench.registry import System
from litesam_bench.spec import SystemSpec
from litesam_bench.types import Dataset, GroundTruth, ImageU8, Sample, Segmenter
from litesam_bench.weights import Verified

_OWN = "own"


@dataclass(frozen=True, kw_only=True)
class SegEveryTask:
    """One row of a segment-everything table."""

    system: System
    dataset: Dataset
    protocol: SegEveryProtocol
    sampler: Sampler
    settings: RunSettings
    weights: Verified | None = None

    @property
    def image_ids(self) -> list[int]:
        """The images that are measured, ascending."""
        return list(self.dataset.image_ids)[: self.settings.limit]

    @property
    def own(self) -> bool:
        """Whether the system ignores sampler and generator."""
        return self.system.spec.capabilities.everything

    @property
    def protocol_id(self) -> str:
        """What every number of this task carries."""
        return self.protocol.id(_OWN if self.own else self.sampler.name)

    def identity(self) -> dict[str, Any]:
        """Everything that changes the proposals; its digest names the run."""
        files = [Path(__file__)]
        if isinstance(self.system.source, Path):
            files.append(self.system.source)
        spec, info = self.system.spec, self.dataset.info
        return {
            "kind": "segevery",
            "system": spec.name,
            "code": source_digest(files),
            "weights": weights_identity(spec, self.weights, self.settings.seed),
            "sampler": _OWN if self.own else self.sampler.name,
            "config": {} if self.own else self._config().knobs(),
            "dataset": {"name": info.name, "digest": info.digest},
            "device": self.settings.device.partition(":")[0],
            "dtype": self.settings.dtype,
        }

    def _config(self) -> Any:
        return replace(self.protocol.config, points_per_batch=self.settings.batch)


def check_capabilities(spec: SystemSpec, sampler: Sampler) -> None:
    """Raise CapabilityError, before weights load, when the system cannot follow the sampler."""
    can = spec.capabilities
    if can.everything:
        return
    kind = sampler.name.partition(":")[0]
    boxes = kind == "object-aware" or sampler.name.endswith(("-boxes", "-both"))
    points = not boxes or sampler.name.endswith("-both")
    needs = {
        "prompt proposals of its own": kind == "autoppn" and not can.propose,
        "box prompts": boxes and not can.boxes,
        "point prompts": points and not can.points,
        "segment-everything without the ground truth": can.needs_ground_truth,
    }
    missing = [name for name, lacking in needs.items() if lacking]
    if missing:
        raise CapabilityError(
            f"{spec.name} has no {missing[0]}, which {sampler.name} needs",
            fix=f"litesam-bench models show {spec.name} lists what it can do",
        )


# --- predict -------------------------------------------------------------------------------------


def predict(
    task: SegEveryTask,
    run: RunFolder,
    world: World,
    advance: Callable[[Entry], None] = lambda entry: None,
    notify: Callable[[str], None] = lambda message: None,
) -> None:
    """Journal the proposals of every image that the run does not have yet.

    Images that fail are journaled with their reason and tried again by the next run.
    """
    todo = remaining(run, task.image_ids, world)
    if not todo:
        return
    segmenter = load_system(task.system, task.settings, task.weights, world)
    work = partial(_one_image, task, segmenter, notify)
    journal_images(task.dataset, run, todo, work, rank=world.rank, advance=advance)


def _one_image(
    task: SegEveryTask,
    segmenter: Segmenter,
    notify: Callable[[str], None],
    image_id: int,
    sample: Callable[[], Sample],
) -> Entry:
    clock = PhaseClock()
    truth = task.dataset.truth(image_id)
    try:
        with clock.phase("load"):
            image = sample().image
        proposals = propose(task, segmenter, image, truth, clock, notify)
    except (DataError, ModelOutputError) as error:
        return Entry(image_id, truth.size_hw, error=error.message, phases_s=clock.seconds)
    return Entry(image_id, truth.size_hw, tuple(map(_journaled, proposals)), clock.seconds)


def propose(
    task: SegEveryTask,
    segmenter: Segmenter,
    image: ImageU8,
    truth: GroundTruth,
    clock: PhaseClock,
    notify: Callable[[str], None],
) -> tuple[Proposal, ...]:
    """All masks of one image, in the system's own way or by sampler and generator."""
    if isinstance(segmenter, OwnEverything):
        needs_truth = task.system.spec.capabilities.needs_ground_truth
        with clock.phase("everything"):
            return segmenter.everything(image, truth if needs_truth else None)
    return generate(
        segmenter,
        image,
        task.sampler,
        task._config(),
        image_id=truth.image_id,
        clock=clock,
        notify=notify,
    ).proposals


def _journaled(proposal: Proposal) -> Prediction:
    counts = proposal.rle["counts"].decode("ascii")
    candidate = Candidate(
        proposal.token, round(proposal.predicted_iou, 6), round(proposal.stability, 6), counts
    )
    points = () if proposal.point is None else ((*proposal.point, 1),)
    return Prediction(proposal.prompt_id, (candidate,), points)


# --- score ---------------------------------------------------------------------------------------


def make_record(task: SegEveryTask, run: RunFolder, device_name: str) -> Record:
    """Score a run's journal into a record."""
    wanted = task.image_ids
    index = run.index()
    places = [index[i] for i in wanted if i in index]
    failures = {
        str(entry.image_id): entry.error for entry in run.read(p for p in places if p.failed)
    }
    done = [place for place in places if not place.failed]
    begin = time.perf_counter()
    metrics: dict[str, Metric] = {}
    seen = _Totals()
    if done:
        pairs = scored_pairs(task.dataset, seen.watch(run.read(done)), task.protocol)
        protocol = task.protocol
        found = proposal_recall(
            pairs, limits=protocol.limits, iou_type=protocol.iou_type, rank_key=protocol.rank_key
        )
        metrics = _metrics(found, seen.masks / len(done), task.protocol_id)
    timing = {phase: round(seconds, 6) for phase, seconds in seen.phases_s.items()}
    timing["score"] = round(time.perf_counter() - begin, 6)
    complete = len(done) == len(wanted)
    return replace(
        _record(task, device_name),
        status="complete" if complete else "partial",
        reason="" if complete else f"{len(done)} of {len(wanted)} images",
        coverage=Coverage(
            expected=len(wanted), done=len(done), failed=len(failures), failures=failures
        ),
        metrics=metrics,
        timing_s=timing,
        fingerprint=run.fingerprint,
    )


@dataclass
class _Totals:
    """What is added up while entries stream by: a run's masks do not fit into memory."""

    masks: int = 0
    phases_s: dict[str, float] = field(default_factory=dict)

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """The same entries, counted."""
        for entry in entries:
            self.masks += len(entry.predictions)
            for phase, seconds in (entry.phases_s or {}).items():
                self.phases_s[phase] = self.phases_s.get(phase, 0.0) + seconds
            yield entry


def not_available(task: SegEveryTask, device_name: str, error: CapabilityError) -> Record:
    """The record of a system that cannot follow the sampler."""
    return replace(_record(task, device_name), reason=error.message)


def _record(task: SegEveryTask, device_name: str) -> Record:
    """Everything but what was measured."""
    settings, wanted = task.settings, task.image_ids
    knobs = task.protocol.knobs()
    if task.own:
        knobs["config"] = {}
    return Record(
        kind="segevery",
        status="n/a",
        system=system_entry(task.system, task.weights, settings.seed),
        protocol={
            "id": task.protocol_id,
            "knobs": knobs,
            "passed": {"batch": settings.batch, "limit": settings.limit},
        },
        data=data_entry(task.dataset, wanted, None),
        coverage=Coverage(expected=len(wanted), done=0, failed=0),
        metrics={},
        environment=environment(settings.device, device_name, settings.dtype, seed=settings.seed),
        footnotes=notes_on(
            task.system.spec, task.dataset.info, settings, task.weights, len(wanted)
        ),
    )


def scored_pairs(
    dataset: Dataset, entries: Iterator[Entry], protocol: SegEveryProtocol
) -> Iterator[tuple[GroundTruth, ImageProposals]]:
    """What `proposal_recall` takes: one pair per image, or per image and annotator."""
    for entry in entries:
        size = list(entry.size_hw)
        masks = [p.masks[0] for p in entry.predictions]
        proposals = ImageProposals(
            [{"size": size, "counts": m.counts.encode("ascii")} for m in masks],
            [m.pred_iou for m in masks],
            [m.stability for m in masks],
        )
        truth = dataset.truth(entry.image_id)
        if protocol.ground_truth == "instances":
            yield truth, proposals
            continue
        # categories are annotators here; each is an image of its own to the metric
        annotators = sorted({i.category_id for i in truth.instances})
        for annotator in annotators:
            own = tuple(i for i in truth.instances if i.category_id == annotator)
            pseudo_id = 1000 * truth.image_id + annotator
            yield replace(truth, image_id=pseudo_id, instances=own), proposals


def _metrics(found: ProposalRecall, masks_per_image: float, protocol: str) -> dict[str, Metric]:
    metrics = {
        name: Metric(
            value=None if math.isnan(value) else value,
            unit="fraction",
            higher_is_better=True,
            n=int(found.n_truths[_SIZES.get(name[-2:], 0)]),
            protocol=protocol,
        )
        for name, value in found.stats.items()
    }
    metrics["masks_per_image"] = Metric(
        value=masks_per_image,
        unit="masks",
        higher_is_better=False,
        n=found.n_images,
        protocol=protocol,
    )
    return metrics


_SIZES = {"_s": 1, "_m": 2, "_l": 3}
