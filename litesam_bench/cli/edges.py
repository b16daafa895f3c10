"""`litesam-bench edges`: edge maps against human boundaries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import (
    as_json,
    data_root_option,
    device_options,
    results_option,
    runs_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litesam_bench.edges.boundary_gt import BoundaryData


@click.command(
    epilog="""\b
Examples:
  litesam-bench edges
  litesam-bench edges --bsds --model canny
  litesam-bench edges --bsds --model lite-sam --sampler autoppn:256-boxes
  litesam-bench edges --bsds --from-maps my_maps --name my-net --gallery 8
  litesam-bench edges --ground-truth GT --from-maps MAPS --thresholds 5 --json"""
)
@click.option(
    "--model",
    default=None,
    help="The system whose maps are made and evaluated; without --from-maps: sobel.",
)
@click.option(
    "--from-maps",
    type=click.Path(),
    default=None,
    help="Evaluate these maps: ID.png (8 or 16 bit), ID.npy in [0, 1], ID.mat with ucm2 or segs.",
)
@click.option("--name", default=None, help="The method's name with --from-maps; default: folder.")
@click.option(
    "--bsds",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[ROOT]",
    help="Use BSDS500, from ROOT or else from the data root. Default data: embedded scenes.",
)
@click.option(
    "--split", default="test", show_default=True, help="BSDS500's split: train, val or test."
)
@click.option(
    "--ground-truth", type=click.Path(), default=None, help="Use a folder of .mat files like BSDS."
)
@click.option("--image-dir", type=click.Path(), default=None, help="The images of --ground-truth.")
@click.option(
    "--thresholds",
    type=click.IntRange(min=1),
    default=99,
    show_default=True,
    help="Number of thresholds, at equal distances inside (0, 1).",
)
@click.option(
    "--max-dist",
    type=click.FloatRange(min=0, max=1),
    default=0.0075,
    show_default=True,
    help="Largest distance of a matched pair, as a fraction of the image diagonal.",
)
@click.option("--no-thin", is_flag=True, help="Do not thin the thresholded maps.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes; default: all CPUs."
)
@click.option("--save-maps", type=click.Path(), default=None, help="Write the model's maps here.")
@click.option(
    "--sampler",
    default="grid:16",
    show_default=True,
    help="Prompts of promptable models: grid:N, or autoppn:N with -points, -boxes or -both.",
)
@click.option(
    "--edge-nms",
    type=click.Choice(["dollar-r1", "dollar-r2", "canny", "none"]),
    default=None,
    help="Thin maps to ridges first. Default: dollar-r1, but none for --from-maps and classical.",
)
@click.option(
    "--border",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Blank a frame of this many pixels in the maps of promptable models.",
)
@click.option(
    "--gallery",
    type=click.IntRange(min=1),
    default=None,
    help="Write a contact sheet of the N worst and best images.",
)
@device_options
@click.option(
    "--allow-unverified-weights",
    is_flag=True,
    help="Load weights whose sha256 differs from the SPEC; the record says so.",
)
@data_root_option
@results_option
@runs_option
@as_json
def edges(
    model: str | None,
    from_maps: str | None,
    name: str | None,
    bsds: str | None,
    split: str,
    ground_truth: str | None,
    image_dir: str | None,
    thresholds: int,
    max_dist: float,
    no_thin: bool,
    workers: int | None,
    save_maps: str | None,
    sampler: str,
    edge_nms: str | None,
    border: int,
    gallery: int | None,
    device: str,
    dtype: str,
    batch: int,
    allow_unverified_weights: bool,
    data_root: str | None,
    results: str | None,
    runs_dir: str | None,
    json_output: bool,
) -> None:
    """Boundary benchmark of BSDS500: ODS, OIS, AP and R50 of edge maps.

    The official protocol with exact matching. Counts are journaled image by image: stop the command
    at any time and run it again to go on.
    """
    import os
    from pathlib import Path

    from litesam_bench import paths
    from litesam_bench.edges.benchmark import Settings
    from litesam_bench.edges.run import ModelOptions, draw, from_folder, from_system, measure
    from litesam_bench.errors import BenchError, UsageError

    if from_maps and (model or save_maps):
        other = "--model" if model else "--save-maps"
        raise UsageError(f"--from-maps and {other} exclude each other", fix="give one of the two")
    if name and not from_maps:
        raise UsageError("--name goes with --from-maps", fix="leave it out: a model has its name")
    data = _open_data(bsds, split, ground_truth, image_dir, data_root)
    runs, kept_in = paths.runs_root(runs_dir), paths.results_root(results)
    n_workers = workers or os.cpu_count() or 1

    if from_maps:
        source = from_folder(Path(from_maps), name, edge_nms)
    else:
        options = ModelOptions(
            device=device,
            dtype=dtype,
            batch=batch,
            threads=n_workers,
            allow_unverified_weights=allow_unverified_weights,
            sampler=sampler,
            nms=edge_nms,
            border_px=border,
        )
        folder = Path(save_maps) if save_maps else None
        with _bar("edge maps", len(data.images)) as advance:
            source = from_system(model or "sobel", data, folder, runs, options, advance=advance)
    settings = Settings(thresholds, max_dist, thin=not no_thin, nms=source.nms)
    with _bar("benchmark", len(data.images)) as advance:
        result = measure(source, data, settings, runs, kept_in, workers=n_workers, advance=advance)
    _show(result.document, json_output)
    for path in (*result.files, *draw(result, source, data, settings, kept_in, gallery)):
        click.echo(f"wrote {path}", err=True)
    if result.record.status != "complete":
        raise BenchError(
            f"{result.record.system['name']}: {result.record.reason}; "
            f"the first without: {result.evaluation.missing[0]}",
            fix=f"put the missing maps into {source.folder} and run the same command again; "
            "images that are done are kept",
        )


def _open_data(
    bsds: str | None,
    split: str,
    ground_truth: str | None,
    image_dir: str | None,
    data_root: str | None,
) -> BoundaryData:
    from pathlib import Path

    from litesam_bench import paths
    from litesam_bench.datasets.bsds500 import open_bsds500
    from litesam_bench.edges.boundary_gt import boundary_folder
    from litesam_bench.edges.scenes_gt import export_scenes
    from litesam_bench.errors import UsageError

    if ground_truth is not None and bsds is not None:
        raise UsageError("--bsds and --ground-truth name different data", fix="give one of the two")
    if image_dir is not None and ground_truth is None:
        raise UsageError("--image-dir goes with --ground-truth", fix="leave it out")
    if ground_truth is not None:
        return boundary_folder(Path(ground_truth), Path(image_dir) if image_dir else None)
    if bsds is not None:
        return open_bsds500(Path(bsds) if bsds else paths.data_root(data_root) / "bsds500", split)
    return export_scenes(paths.cache_root())


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[str, bool], None]]:
    """A bar on stderr with the time left, which images of an earlier run do not distort."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        row = bar.add_task(what, total=total)
        left = total

        def advance(image_id: str, resumed: bool) -> None:
            nonlocal left
            if resumed:
                left -= 1
                bar.update(row, total=left)
            else:
                bar.advance(row)

        yield advance


def _show(document: dict[str, Any], json_output: bool) -> None:
    """JSON, or one line per number under a header."""
    from litesam_bench.cli.output import print_json, print_table

    if json_output:
        print_json(document)
        return
    coverage = document["coverage"]
    click.echo(
        f"{document['system']} on {document['data']}, {document['protocol']}, "
        f"{coverage['done']}/{coverage['expected']} images",
        err=True,
    )
    scores = document.get("partial", document)
    ods, ois = scores["ods"], scores["ois"]
    head = "" if "partial" not in document else f" ({coverage['done']}/{coverage['expected']})"
    print_table(
        (f"measure{head}", "F", "recall", "precision", "threshold"),
        [
            ("ODS", *(f"{ods[k]:.4f}" for k in ("f", "recall", "precision", "threshold"))),
            ("OIS", *(f"{ois[k]:.4f}" for k in ("f", "recall", "precision")), "per image"),
            ("AP", f"{scores['ap']:.4f}", "", "", ""),
            ("R50", f"{scores['r50']:.4f}", "", "", ""),
        ],
    )
