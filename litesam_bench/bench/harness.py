"""How much of a box run's wall time is the harness's own: loading, prompts, journaling, scoring.

    python -m litesam_bench.bench.harness [--model lite-sam] [--dataset coco] [--data-root DIR]

The model's part is what any program would have to do: encode the image, decode the prompts, bring
masks to image size. Everything else is ours. The bar is 15 %.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click

MODEL_PHASES = ("embed", "segment", "restore")


def run(
    model: str = "lite-sam",
    dataset: str = "scenes",
    data_root: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Time one fresh run with boxes; the system is loaded before the clock starts.

    Returns wall seconds, seconds per phase, the harness's share of the wall time, and what ran.
    """
    from litesam_bench import paths, pipeline, protocols, registry, weights
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.distributed import World
    from litesam_bench.records.journal import RunFolder
    from litesam_bench.timing.device import describe_device, pick_device

    system = registry.resolve(model)[0]
    settings = pipeline.RunSettings(device=pick_device("auto"), limit=limit)
    task = pipeline.Task(
        system=system,
        dataset=open_dataset(dataset, data_root=paths.data_root(data_root)),
        protocol=protocols.get("miou-strict/box"),
        settings=settings,
        weights=weights.require(system.spec) if system.spec.weights else None,
    )
    segmenter = pipeline.load_segmenter(task, World())
    device = describe_device(settings.device)
    # the first calls compile kernels and fill caches; a run of any length pays that once
    _run_once(task, segmenter, limit=2)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        journal = RunFolder(Path(folder), task.identity())
        pipeline.journal_masks(task, segmenter, journal, task.image_ids)
        context = pipeline.context_of(task, device, {})
        record = pipeline.make_record(journal, context, task.dataset, task.protocol, None)
    wall = time.perf_counter() - begin
    model_s = sum(record.timing_s.get(phase, 0.0) for phase in MODEL_PHASES)
    return {
        "model": system.spec.name,
        "dataset": task.dataset.info.name,
        "images": record.coverage.done,
        "device": device,
        "wall_s": round(wall, 3),
        "phases_s": record.timing_s,
        "harness_share": round(1 - model_s / wall, 4),
        "bar": 0.15,
    }


def _run_once(task: Any, segmenter: Any, limit: int) -> None:
    from litesam_bench import pipeline
    from litesam_bench.records.journal import RunFolder

    with tempfile.TemporaryDirectory() as folder:
        journal = RunFolder(Path(folder), task.identity())
        pipeline.journal_masks(task, segmenter, journal, task.image_ids[:limit])
        pipeline.make_record(
            journal, pipeline.context_of(task, "", {}), task.dataset, task.protocol, None
        )


@click.command()
@click.option("--model", default="lite-sam", show_default=True)
@click.option("--dataset", default="scenes", show_default=True)
@click.option("--data-root", default=None)
@click.option("--limit", type=int, default=None)
@click.option("--json", "json_output", is_flag=True)
def main(
    model: str, dataset: str, data_root: str | None, limit: int | None, json_output: bool
) -> None:
    """Print the harness's share of a box run's wall time."""
    result = run(model, dataset, data_root, limit)
    if json_output:
        click.echo(json.dumps(result, indent=1))
        return
    click.echo(
        f"{result['model']} on {result['dataset']}, {result['images']} images, {result['device']}: "
        f"harness {100 * result['harness_share']:.1f} % of {result['wall_s']} s (bar: 15 %)"
    )


if __name__ == "__main__":
    main()
