"""What the timing commands time, and the records they leave.

Accuracy is never measured here, and time never in an accuracy run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from litesam_bench.adapters import select_above
from litesam_bench.everything.generator import embed, generate
from litesam_bench.everything.grid import grid_points, point_prompts
from litesam_bench.everything.proposals import GeneratorConfig, Sampler
from litesam_bench.pipeline import RunSettings, data_entry, notes_on, system_entry
from litesam_bench.records.provenance import environment
from litesam_bench.records.schema import Coverage, Metric, Record
from litesam_bench.registry import System
from litesam_bench.timing.latency import (
    PHASES_TOLERANCE,
    PhaseTimer,
    Timings,
    machine_state,
    ratio,
)
from litesam_bench.types import Dataset, ImageU8, Segmenter
from litesam_bench.weights import Verified

Timed = Callable[[ImageU8, PhaseTimer], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a timing table: a loaded system, and what it is asked.

    variant: completes the protocol id, e.g. the sampler's name or `10-points`.
    knobs: what the record says about the question.
    """

    system: System
    weights: Verified | None
    variant: str
    knobs: Mapping[str, Any]
    call: Timed

    @property
    def name(self) -> str:
        """Unique within a run: `lite-sam-640 autoppn:256-points`."""
        return f"{self.system.spec.name} {self.variant}"


def segevery_call(segmenter: Segmenter, sampler: Sampler, config: GeneratorConfig) -> Timed:
    """Segment everything, from pixels to RLE."""

    def call(image: ImageU8, timer: PhaseTimer) -> Mapping[str, float]:
        found = generate(segmenter, image, sampler, config, clock=timer)
        return {
            "prompts": found.funnel.prompts,
            "candidates": found.funnel.candidates,
            "masks": len(found.proposals),
            "batch": found.batch,
        }

    return call


def encoder_call(segmenter: Segmenter) -> Timed:
    """Preprocessing and encoding alone."""

    def call(image: ImageU8, timer: PhaseTimer) -> Mapping[str, float]:
        embed(segmenter, image, timer)
        return {"prompts": 0}

    return call


def points_call(segmenter: Segmenter, count: int, batch: int) -> Timed:
    """Segment `count` points of a grid: encode, decode, and the best of each point's masks, by
    predicted IoU, at the image's size."""
    per_side = int(np.ceil(np.sqrt(count)))

    def call(image: ImageU8, timer: PhaseTimer) -> Mapping[str, float]:
        embedding = embed(segmenter, image, timer)
        with timer.phase("prompts"):
            points = point_prompts(grid_points(per_side, (image.shape[0], image.shape[1])))[:count]
        for begin in range(0, count, batch):
            with timer.phase("decode"):
                masks = segmenter.segment(embedding, points[begin : begin + batch])
            with timer.phase("restore"):
                multimask = select_above(masks, multimask=True, iou_thresh=0)
                iou = multimask.iou.view(len(masks), -1)
                logits = multimask.logits.view(*iou.shape, *multimask.logits.shape[1:])
                areas = [
                    (masks.to_image(logits[n, best : best + 1].float()) > masks.threshold).sum()
                    for n, best in enumerate(iou.argmax(dim=1).tolist())
                ]
                assert len(areas) == len(masks)
        return {"prompts": count}

    return call


def limit(summary: Mapping[str, Any]) -> str:
    """What to make faster next: `decode is 94 % of the time, 166 ms per prompt`."""
    phases: Mapping[str, float] = summary["phases_ms"]
    if not phases:
        return ""
    phase = max(phases, key=lambda name: phases[name])
    share = phases[phase] / sum(phases.values())
    text = f"{phase} is {100 * share:.0f} % of the time"
    prompts = summary["facts"].get("prompts", 0)
    if phase == "decode" and prompts:
        text += f", {phases[phase] / prompts:.3g} ms per prompt"
    return text


def records_of(
    kind: str,
    rows: Sequence[Row],
    timings: Mapping[str, Timings],
    dataset: Dataset,
    image_ids: Sequence[int],
    settings: RunSettings,
    device_name: str,
) -> list[Record]:
    """One record per row; ratios are against the first row.

    Args:
        kind: `segevery-time` or `latency`, the first part of the protocol id.
    """
    state = machine_state(settings.device)
    first = timings[rows[0].name]
    records = []
    for row in rows:
        found = timings[row.name]
        protocol = f"{kind}/{row.variant}@1"
        summary = found.summary()
        notes = notes_on(row.system.spec, dataset.info, settings, row.weights, len(image_ids))
        if found.unaccounted > PHASES_TOLERANCE:
            notes.append(f"{100 * found.unaccounted:.1f} % of the time lies outside the phases")
        if summary["facts"].get("masks") == 0:
            notes.append("no mask passed the filters")
        records.append(
            Record(
                kind="timing",
                status="complete",
                system=system_entry(row.system, row.weights, settings.seed),
                protocol={
                    "id": protocol,
                    "knobs": dict(row.knobs),
                    "passed": {"batch": settings.batch, "limit": settings.limit},
                },
                data=data_entry(dataset, image_ids, None),
                coverage=Coverage(expected=len(image_ids), done=len(image_ids), failed=0),
                metrics=metrics_of(found, first, protocol),
                timing_s={k: round(v, 6) for k, v in found.phase_medians_s().items()},
                environment=environment(
                    settings.device,
                    device_name,
                    settings.dtype,
                    seed=settings.seed,
                    state=state,
                    **{k: summary[k] for k in ("samples_ms", "warm_up", "facts", "unaccounted")},
                    limited_by=limit(summary),
                    ratio_against=rows[0].name,
                ),
                footnotes=notes,
            )
        )
    return records


def metrics_of(found: Timings, first: Timings, protocol: str) -> dict[str, Metric]:
    """Median, 90th percentile, ratio to `first`, and peak memory."""
    n = len(found.samples)

    def metric(value: float | None, unit: str, **interval: float) -> Metric:
        return Metric(
            value=value, unit=unit, higher_is_better=False, n=n, protocol=protocol, **interval
        )

    against = ratio(found, first)
    return {
        "median": metric(1000 * found.median_s, "ms"),
        "p90": metric(1000 * found.p90_s, "ms"),
        "ratio": metric(against.value, "ratio", low=against.low, high=against.high),
        "peak_memory": metric(
            None if found.peak_bytes is None else found.peak_bytes / 2**20, "MiB"
        ),
    }


def document(records: Sequence[Record]) -> dict[str, Any]:
    """What `--json` prints: rows with phases and ratios, and what all share."""
    if not records:
        return {"rows": []}
    shared = records[0].environment
    return {
        "device": shared["device_name"],
        "dtype": shared["dtype"],
        "state": shared["state"],
        "ratio_against": shared["ratio_against"],
        "images": records[0].coverage.done,
        "rows": [
            {
                "system": r.system["name"],
                "protocol": r.protocol["id"],
                "knobs": r.protocol["knobs"],
                **{name: asdict(m) for name, m in r.metrics.items()},
                "phases_ms": {k: round(1000 * v, 3) for k, v in r.timing_s.items()},
                "limited_by": r.environment.get("limited_by", ""),
                "facts": r.environment["facts"],
                "unaccounted": r.environment["unaccounted"],
                "warm_up": r.environment["warm_up"],
                "samples_ms": r.environment["samples_ms"],
                "footnotes": r.footnotes,
            }
            for r in records
        ],
    }
