"""The one loop: dataset -> prompts -> segmenter -> masks, journaled; then metrics -> record.

`predict` and `score` are separate: the first needs the model and writes a journal, the second reads
the journal and needs neither model nor GPU. Read this file from the top to know what a run does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from litesam_bench import dialogue, protocols, scoring
from litesam_bench.dialogue import PhaseClock, Request, predict_image, request_for
from litesam_bench.distributed import World
from litesam_bench.errors import CapabilityError, DataError, ModelOutputError, UsageError
from litesam_bench.prompts.detector import DetectorBoxes
from litesam_bench.protocols import Protocol
from litesam_bench.records.files import canonical_json, sha256_text
from litesam_bench.records.journal import Entry, RunFolder
from litesam_bench.records.provenance import environment
from litesam_bench.records.schema import Coverage, Record
from litesam_bench.records.source import source_digest
from litesam_bench.registry import System
from litesam_bench.spec import SystemSpec
from litesam_bench.types import (
    Dataset,
    DatasetInfo,
    DType,
    GroundTruth,
    LoadContext,
    Sample,
    Segmenter,
)
from litesam_bench.weights import Verified

# Images decoded ahead of the model, so that it never waits for the disk.
_LOOK_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How to run, as opposed to what to measure. `batch` is prompts per call of the segmenter."""

    device: str = "cpu"
    dtype: DType = "fp32"
    batch: int = 64
    seed: int = 0
    limit: int | None = None


def parse_dtype(text: str) -> DType:
    """Narrow an option's text to a DType. Raises UsageError."""
    for dtype in get_args(DType):
        if text == dtype:
            return cast(DType, dtype)
    raise UsageError(f"unknown dtype {text!r}", fix=f"use one of {', '.join(get_args(DType))}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row of one table: a system, a dataset and a protocol, with everything they need."""

    system: System
    dataset: Dataset
    protocol: Protocol
    settings: RunSettings
    weights: Verified | None = None
    boxes: DetectorBoxes | None = None

    @property
    def image_ids(self) -> list[int]:
        """The images that are measured, ascending."""
        return measured_images(self.dataset, self.protocol, self.settings.limit)

    def identity(self) -> dict[str, Any]:
        """Everything that changes the masks; its digest names the run."""
        return {
            "system": self.system.spec.name,
            "code": code_digest(self.system),
            "weights": weights_identity(self.system.spec, self.weights, self.settings.seed),
            "protocol": self.protocol.id,
            "knobs": protocols.predict_knobs(self.protocol),
            "dataset": {"name": self.dataset.info.name, "digest": self.dataset.info.digest},
            "boxes": self.boxes.sha256 if self.boxes else "",
            "device": self.settings.device.partition(":")[0],
            "dtype": self.settings.dtype,
            "batch": self.settings.batch,
        }


def weights_identity(spec: SystemSpec, weights: Verified | None, seed: int) -> str:
    """What the parameters are: a file's sha256, a seed, or nothing."""
    if weights is not None:
        return f"sha256:{weights.sha256}"
    return f"untrained:seed={seed}" if spec.training == "untrained" else "none"


def code_digest(system: System) -> str:
    """sha256 over the source that turns an image and prompts into masks: adapter and dialogue."""
    files = [Path(dialogue.__file__)]
    if isinstance(system.source, Path):
        files.append(system.source)
    return source_digest(files)


def check_capabilities(spec: SystemSpec, protocol: Protocol) -> None:
    """Raise CapabilityError, before weights load, when the protocol asks for what the system lacks.

    A missing capability renders as n/a; it is never substituted.
    """
    can = spec.capabilities
    needs = {
        "box prompts": protocol.prompt in ("box", "detector") and not can.boxes,
        "point prompts": protocol.prompt in ("point", "clicks") and not can.points,
        "negative points": protocol.n_clicks > 1 and not can.negative_points,
        f"{protocol.n_clicks} points": can.max_points is not None
        and protocol.n_clicks > can.max_points,
        "mask prompts": (protocol.mask_feedback or protocol.refine_rule == "mask-feedback")
        and not can.mask_prompt,
        "several masks to choose from by predicted IoU": protocol.mask_select == "pred-iou"
        and can.multimask
        and not can.predicted_iou,
    }
    missing = [name for name, lacking in needs.items() if lacking]
    if missing:
        raise CapabilityError(
            f"no {missing[0]}",  # short: it is the footnote of every n/a cell
            fix=f"litesam-bench models show {spec.name} lists what it can do",
        )


# --- predict -------------------------------------------------------------------------------------


def predict(
    task: Task,
    run: RunFolder,
    world: World,
    advance: Callable[[Entry], None] = lambda entry: None,
) -> None:
    """Journal the masks of every image that the run does not have yet.

    An image that cannot be read, or whose output is not finite, is journaled as failed with its
    reason and tried again by the next run; all others go on. The model is loaded only if there is
    something to do. `advance` is called after each image, for progress bars.

    Raises:
        StorageError: the journal cannot be written.
        BenchError: the system cannot be loaded, or the device is out of memory.
    """
    todo = remaining(run, task.image_ids, world)
    if not todo:
        return
    journal_masks(task, load_segmenter(task, world), run, todo, rank=world.rank, advance=advance)


def journal_masks(
    task: Task,
    segmenter: Segmenter,
    run: RunFolder,
    image_ids: Sequence[int],
    *,
    rank: int = 0,
    advance: Callable[[Entry], None] = lambda entry: None,
) -> None:
    """The loop itself: decode ahead, prompt, segment, append."""
    work = partial(_one_image, task, segmenter)
    journal_images(task.dataset, run, image_ids, work, rank=rank, advance=advance)


def journal_images(
    dataset: Dataset,
    run: RunFolder,
    image_ids: Sequence[int],
    work: Callable[[int, Callable[[], Sample]], Entry],
    *,
    rank: int = 0,
    advance: Callable[[Entry], None] = lambda entry: None,
) -> None:
    """Decode ahead, work, append. `work` takes an image id and what returns (or raises) it."""
    with run.writer(rank) as journal:
        for image_id, sample in prefetch(dataset, image_ids):
            entry = work(image_id, sample)
            journal.append(entry)
            advance(entry)


def remaining(run: RunFolder, image_ids: Sequence[int], world: World) -> list[int]:
    """This rank's part of the images that the run does not have yet."""
    done = {image_id for image_id, place in run.index().items() if not place.failed}
    return world.shard(world.agree([i for i in image_ids if i not in done]))


def load_segmenter(task: Task, world: World) -> Segmenter:
    """Load the task's system on this rank's device."""
    return load_system(task.system, task.settings, task.weights, world)


def load_system(
    system: System, settings: RunSettings, weights: Verified | None, world: World
) -> Segmenter:
    """Load a system on this rank's device."""
    context = LoadContext(
        device=world.device(settings.device),
        dtype=settings.dtype,
        weights=str(weights.path) if weights else None,
        seed=settings.seed,
    )
    return system.load(system.spec, context)


def _one_image(
    task: Task, segmenter: Segmenter, image_id: int, sample: Callable[[], Sample]
) -> Entry:
    clock = PhaseClock()
    truth = task.dataset.truth(image_id)
    try:
        with clock.phase("load"):
            image = sample().image
        with clock.phase("prompts"):
            request = _request(task, truth)
        predictions = predict_image(
            segmenter, image, request, task.protocol, batch=task.settings.batch, clock=clock
        )
    except (DataError, ModelOutputError) as error:
        return Entry(image_id, truth.size_hw, error=error.message, phases_s=clock.seconds)
    return Entry(image_id, truth.size_hw, predictions, clock.seconds)


def _request(task: Task, truth: GroundTruth) -> Request:
    if task.boxes is not None:
        return Request(task.boxes.prompts(truth.image_id), ())
    request = request_for(truth.instances, task.protocol)
    if task.system.spec.capabilities.needs_ground_truth:
        return replace(request, prompts=replace(request.prompts, targets=request.truths))
    return request


def prefetch(
    dataset: Dataset, image_ids: Sequence[int]
) -> Iterator[tuple[int, Callable[[], Sample]]]:
    """Image ids with a function that returns (or raises) the sample, decoded ahead in threads."""
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="load") as pool:
        ahead: list[tuple[int, Future[Sample]]] = []
        for image_id in image_ids:
            ahead.append((image_id, pool.submit(dataset.sample, image_id)))
            if len(ahead) > _LOOK_AHEAD:
                first, future = ahead.pop(0)
                yield first, future.result
        for first, future in ahead:
            yield first, future.result


# --- score ---------------------------------------------------------------------------------------


def context_of(task: Task, device_name: str, opened: dict[str, Any]) -> dict[str, Any]:
    """What a record says besides numbers; kept beside the journal, so that `score` needs no model.

    Args:
        opened: how the dataset and the boxes were opened, for `score` to open them again.
    """
    settings = task.settings
    return {
        "system": system_entry(task.system, task.weights, settings.seed),
        "protocol": task.protocol.id,
        "passed": {"batch": settings.batch, "limit": settings.limit},
        "environment": environment(
            settings.device, device_name, settings.dtype, seed=settings.seed
        ),
        "footnotes": footnotes(task),
        "opened": opened,
    }


def make_record(
    run: RunFolder,
    context: dict[str, Any],
    dataset: Dataset,
    protocol: Protocol,
    boxes: DetectorBoxes | None,
) -> Record:
    """Score a run's journal under a protocol (and its AP companion) into a record."""
    wanted = measured_images(dataset, protocol, context["passed"]["limit"])
    entries = run.entries()
    done = [i for i in wanted if i in entries and not entries[i].error]
    failures = {str(i): entries[i].error for i in wanted if i in entries and entries[i].error}
    begin = time.perf_counter()
    metrics = scoring.score(dataset, done, entries, protocol, boxes) if done else {}
    timing = _phase_totals(entries[i] for i in done)
    timing["score"] = round(time.perf_counter() - begin, 6)
    complete = len(done) == len(wanted)
    return Record(
        kind="zeroshot",
        status="complete" if complete else "partial",
        reason="" if complete else f"{len(done)} of {len(wanted)} images",
        system=context["system"],
        protocol={"id": protocol.id, "knobs": protocol.knobs(), "passed": context["passed"]},
        data=data_entry(dataset, wanted, boxes),
        coverage=Coverage(
            expected=len(wanted), done=len(done), failed=len(failures), failures=failures
        ),
        metrics=metrics,
        timing_s=timing,
        environment=context["environment"],
        footnotes=[*context["footnotes"], *scoring.notes(dataset, done, protocol)],
        fingerprint=run.fingerprint,
    )


def not_available(
    context: dict[str, Any], dataset: Dataset, protocol: Protocol, error: CapabilityError
) -> Record:
    """The record of a system that cannot do what the protocol asks."""
    wanted = measured_images(dataset, protocol, context["passed"]["limit"])
    return Record(
        kind="zeroshot",
        status="n/a",
        reason=error.message,
        system=context["system"],
        protocol={"id": protocol.id, "knobs": protocol.knobs(), "passed": context["passed"]},
        data=data_entry(dataset, wanted, None),
        coverage=Coverage(expected=len(wanted), done=0, failed=0),
        metrics={},
        environment=context["environment"],
        footnotes=context["footnotes"],
    )


def measured_images(dataset: Dataset, protocol: Protocol, limit: int | None) -> list[int]:
    """The images that a protocol measures, ascending; the first `limit` of them."""
    ids = list(dataset.image_ids)
    if protocol.image_set == "annotated":
        ids = [i for i in ids if dataset.truth(i).instances]
    return ids[:limit]


def system_entry(system: System, weights: Verified | None, seed: int) -> dict[str, Any]:
    """The `system` field of a record."""
    spec = system.spec
    return {
        "name": spec.name,
        "display": spec.display,
        "family": spec.family,
        "training": spec.training,
        "training_data": spec.training_data,
        "not_zero_shot_on": list(spec.not_zero_shot_on),
        "published": spec.published,
        "weights": weights_identity(spec, weights, seed),
        "weights_verified": weights.verified if weights else None,
        "code_licence": spec.code_licence,
        "weights_licence": spec.weights.licence if spec.weights else "",
        "weights_restriction": spec.weights.restriction if spec.weights else "",
        "code": code_digest(system),
    }


def data_entry(
    dataset: Dataset, image_ids: Sequence[int], boxes: DetectorBoxes | None
) -> dict[str, Any]:
    """The `data` field of a record, with the list of images that were to be measured as a hash."""
    info = dataset.info
    entry: dict[str, Any] = {
        "name": info.name,
        "digest": info.digest,
        "n_images": len(image_ids),
        "n_instances": sum(len(dataset.truth(i).instances) for i in image_ids),
        "licence": info.licence,
        "footnote": info.footnote,
        "skipped": dict(info.skipped),
        "image_ids_sha256": sha256_text(canonical_json(list(image_ids))),
    }
    if boxes is not None:
        entry["boxes"] = boxes.describe()
    return entry


def footnotes(task: Task) -> list[str]:
    """What a reader must know next to the task's numbers."""
    spec, info = task.system.spec, task.dataset.info
    return notes_on(spec, info, task.settings, task.weights, len(task.image_ids))


def notes_on(
    spec: SystemSpec,
    info: DatasetInfo,
    settings: RunSettings,
    weights: Verified | None,
    n_images: int,
) -> list[str]:
    """What a reader must know next to a number: about the system, the data and the run."""
    notes = []
    if spec.training == "untrained":
        notes.append("untrained: random weights, not a result")
    if info.name.partition("-")[0] in spec.not_zero_shot_on:
        notes.append("not zero-shot: the training data has this dataset's domain")
    if weights is not None and not weights.verified:
        notes.append("weights not verified against a published sha256")
    if settings.device.partition(":")[0] == "cpu":
        notes.append("CPU")
    if settings.limit is not None:
        notes.append(f"first {n_images} of {info.n_images} images")
    return notes


def _phase_totals(entries: Iterable[Entry]) -> dict[str, float]:
    """Seconds per phase, summed over entries."""
    totals: dict[str, float] = {}
    for entry in entries:
        for phase, seconds in (entry.phases_s or {}).items():
            totals[phase] = totals.get(phase, 0.0) + seconds
    return {phase: round(seconds, 6) for phase, seconds in totals.items()}
