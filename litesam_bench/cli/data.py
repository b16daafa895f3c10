"""`litesam-bench data`: datasets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import as_json, data_root_option

if TYPE_CHECKING:
    from litesam_bench.data_store import Layout, PartReport


@click.group(
    epilog="""\b
Examples:
  litesam-bench data where coco
  litesam-bench data pull coco --images
  litesam-bench data verify --data-root /data"""
)
def data() -> None:
    """Datasets: where they are expected, which parts are there, whether they are complete.

    The data root is --data-root, or LITESAM_BENCH_DATA, or ./data, or a folder of the cache.
    """


@data.command("list", epilog="Example: litesam-bench data list --json")
@data_root_option
@as_json
def list_(data_root: str | None, json_output: bool) -> None:
    """All datasets and whether they are here."""
    from litesam_bench import data_store, paths
    from litesam_bench.cli.output import print_json, print_table

    root = paths.data_root(data_root)
    found = [(layout, data_store.look(layout, root)) for layout in data_store.layouts()]
    if json_output:
        print_json({"root": str(root), "datasets": [_entry(*item) for item in found]})
        return
    print_table(
        ("dataset", "state", "what", "licence"),
        [
            (layout.name, data_store.state(layout, reports), layout.title, layout.licence)
            for layout, reports in found
        ],
    )
    click.echo(f"data root: {root}", err=True)


@data.command(epilog="Example: litesam-bench data where coco --data-root /data")
@click.argument("names", nargs=-1)
@data_root_option
@as_json
def where(names: tuple[str, ...], data_root: str | None, json_output: bool) -> None:
    """Every expected path, what is there, and where to get it."""
    from litesam_bench import data_store, paths

    root = paths.data_root(data_root)
    found = [(layout, data_store.look(layout, root)) for layout in _chosen(names)]
    _print(found, json_output, root=str(root))
    for layout, reports in found:
        if not json_output and data_store.state(layout, reports) not in ("built-in", "complete"):
            click.echo(_how_to_get(layout), err=True)


@data.command(epilog="Example: litesam-bench data verify coco")
@click.argument("names", nargs=-1)
@data_root_option
@as_json
def verify(names: tuple[str, ...], data_root: str | None, json_output: bool) -> None:
    """Count images and annotations against the official numbers.

    Without names, every dataset of which something is here. Ends with status 1 when one is not
    the complete official set; a subset can be used all the same, and its tables say so.
    """
    from litesam_bench import data_store, paths
    from litesam_bench.errors import DataError

    root = paths.data_root(data_root)
    layouts = [
        layout
        for layout in _chosen(names)
        if names or data_store.state(layout, data_store.look(layout, root)) != "missing"
    ]
    found = [(layout, data_store.verify(layout, root)) for layout in layouts]
    _print(found, json_output, root=str(root))
    short = [
        layout.name
        for layout, reports in found
        if data_store.state(layout, reports) in ("partial", "missing")
    ]
    if short:
        raise DataError(
            f"not the complete official set in {root}: {', '.join(short)}",
            fix=f"litesam-bench data where {short[0]} says how to get the rest",
        )


@data.command(epilog="Example: litesam-bench data pull coco --images")
@click.argument("name")
@click.option("--images", is_flag=True, help="Also the images (COCO: 0.8 GB).")
@data_root_option
def pull(name: str, images: bool, data_root: str | None) -> None:
    """Download official annotations over https, checked and unpacked into the official layout."""
    from litesam_bench import data_store, paths
    from litesam_bench.cli.output import download_bar

    (layout,) = _chosen((name,))
    click.echo(f"{layout.title}: {layout.licence}", err=True)
    root = paths.data_root(data_root)
    with download_bar(name) as advance:
        written = data_store.pull(layout, root, images=images, on_progress=advance)
    for path in written:
        click.echo(str(path))
    if not written:
        click.echo("everything is there already", err=True)


def _chosen(names: tuple[str, ...]) -> list[Layout]:
    from litesam_bench.data_store import layouts

    known = layouts()
    return [known.get(name) for name in names] if names else list(known)


def _print(found: list[tuple[Layout, list[PartReport]]], json_output: bool, *, root: str) -> None:
    from litesam_bench.cli.output import print_json, print_table

    if json_output:
        print_json({"root": root, "datasets": [_entry(*item) for item in found]})
        return
    print_table(
        ("dataset", "path", "found"),
        [
            (layout.name, str(report.path), _found_text(report))
            for layout, reports in found
            for report in reports
        ],
    )


def _found_text(report: PartReport) -> str:
    """`124 of 5000 files`, `5000 files`, `present` or `missing`."""
    if not report.present:
        return "missing"
    expected = report.part.expected
    return (
        ", ".join(
            f"{count} {key}" if count == expected[key] else f"{count} of {expected[key]} {key}"
            for key, count in report.found.items()
        )
        or "present"
    )


def _how_to_get(layout: Layout) -> str:
    command = f"; `litesam-bench data pull {layout.name}`" if layout.archives else ""
    images = " (--images for the images)" if layout.image_archives else ""
    return f"{layout.name}: {layout.page}{command}{images}"


def _entry(layout: Layout, reports: list[PartReport]) -> dict[str, Any]:
    from litesam_bench.data_store import state

    return {
        "dataset": layout.name,
        "title": layout.title,
        "licence": layout.licence,
        "page": layout.page,
        "state": state(layout, reports),
        "parts": [
            {
                "path": str(report.path),
                "present": report.present,
                "found": report.found,
                "expected": dict(report.part.expected),
            }
            for report in reports
        ],
    }


_OWN_IDS = 900_000_000
"""Far above the ids of SA-1B, so that scenes can be trained on beside it."""


@data.command(epilog="Example: litesam-bench data scenes /data/scenes-train --images 250 --seed 1")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", type=click.IntRange(min=1), default=250, show_default=True)
@click.option("--seed", type=click.IntRange(min=0, max=99), default=1, show_default=True)
def scenes(folder: Path, images: int, seed: int) -> None:
    """Generate scenes to train on, in SA-1B's layout: none of them is among those that the dataset
    `scenes` is measured on, which come from another stream of random numbers."""
    from litesam_bench.datasets.export import export_sa1b
    from litesam_bench.datasets.scenes import ScenesDataset

    dataset = ScenesDataset(images, seed, split="scenes-train")
    first = _OWN_IDS + seed * 1_000_000 + 1
    click.echo(str(export_sa1b(dataset, folder.parent, folder.name, first_id=first)))
