"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _several(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


dataset_options = _several(
    click.option(
        "--dataset",
        default="scenes",
        show_default=True,
        help="scenes (embedded), coco, lvis, or a folder in COCO format.",
    ),
    click.option("--split", default=None, help="The dataset's split; default: its validation set."),
    click.option(
        "--ann-file",
        type=click.Path(path_type=Path),
        default=None,
        help="Annotation JSON instead of the default.",
    ),
    click.option(
        "--image-dir",
        type=click.Path(path_type=Path),
        default=None,
        help="Image folder instead of the default.",
    ),
)

device_options = _several(
    click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["fp32", "fp16", "bf16"]),
        default="fp32",
        show_default=True,
        help="Precision of the model.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Prompts per call of the mask decoder.",
    ),
)

data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder that holds coco/, lvis/, ...; default: LITESAM_BENCH_DATA, ./data.",
)
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=None,
    help="Where records and tables go; default: ./results.",
)
runs_option = click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=None,
    help="Where journals go; default: the cache.",
)
as_json = click.option(
    "--json", "json_output", is_flag=True, help="Print one JSON document on stdout."
)
