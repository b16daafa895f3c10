"""How long `litesam-bench --help` takes, against `python -c "import torch"`.

    python -m litesam_bench.bench.startup [--json]

A command line that takes seconds to print its help is one that nobody explores. The two commands
are run in turn, so that a machine that slows down slows both; medians are compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from statistics import median

import click

HELP = (sys.executable, "-m", "litesam_bench", "--help")
TORCH = (sys.executable, "-c", "import torch")


def seconds(command: tuple[str, ...]) -> float:
    """Wall time of one run of `command`; its output is dropped. Fails if the command does."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, float]:
    """Median seconds of both commands over `repeats` alternated runs, and their ratio.

    One run of each before them fills the disk cache and is not counted.
    """
    for command in (HELP, TORCH):
        seconds(command)
    pairs = [(seconds(HELP), seconds(TORCH)) for _ in range(repeats)]
    help_s = median(pair[0] for pair in pairs)
    torch_s = median(pair[1] for pair in pairs)
    return {"help_s": help_s, "import_torch_s": torch_s, "ratio": torch_s / help_s}


@click.command(epilog="Example: python -m litesam_bench.bench.startup --repeats 9 --json")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON document on stdout.")
def main(repeats: int, json_output: bool) -> None:
    """Compare the time of --help with that of importing torch."""
    result = measure(repeats)
    if json_output:
        click.echo(json.dumps(result))
    else:
        click.echo(
            f"--help {result['help_s']:.2f} s, import torch {result['import_torch_s']:.2f} s: "
            f"{result['ratio']:.1f} times faster (at least 5 is asked for)"
        )


if __name__ == "__main__":
    main()
