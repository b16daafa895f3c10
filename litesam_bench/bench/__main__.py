"""`python -m litesam_bench.bench`: every speed of this project, as ratios within one run.

Each benchmark is a module of its own (`python -m litesam_bench.bench.scoring --help`); this runs
them one after the other. A speed is never a test: machines drift, ratios within a run do not.
"""

from __future__ import annotations

import importlib
import sys

import click

BENCHMARKS = {
    "startup": "litesam-bench --help against importing torch",
    "scoring": "COCO AP of 36,000 masks against pycocotools",
    "harness": "the harness's share of a Lite-SAM box run",
    "edges": "boundary matching and thinning against the official tools",
    "decoder": "the fast mask decoder against the plain one",
    "segevery": "whole images: fast against plain, AutoPPN against the grid",
    "proposals": "AR@1000 of 20,000 proposals against pycocotools",
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES (default: all)."""
    for name in names or BENCHMARKS:
        click.echo(f"\n== {name}: {BENCHMARKS[name]}")
        sys.stdout.flush()
        module = importlib.import_module(f"litesam_bench.bench.{name}")
        module.main(args=[], standalone_mode=False)


if __name__ == "__main__":
    main()
