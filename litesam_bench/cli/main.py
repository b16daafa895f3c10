"""`litesam-bench`: the table of commands, and what happens when one of them fails.

Commands are imported when they run, not when help is printed, so `litesam-bench --help` imports
neither torch nor numpy and answers at once. To add a command, write its file and a row in COMMANDS.

Data go to stdout, everything else to stderr. A `BenchError` is printed as its message and its
remedy, without a traceback; any other exception is a bug of this package and keeps its traceback.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import click

from litesam_bench import __version__
from litesam_bench.errors import BenchError, StorageError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells do


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command lives, and its line in the help of the group."""

    module: str
    attribute: str
    short_help: str


COMMANDS: dict[str, LazyCommand] = {
    "zeroshot": LazyCommand(
        "litesam_bench.cli.zeroshot",
        "zeroshot",
        "Prompt systems, score their masks, print the table.",
    ),
    "detect": LazyCommand(
        "litesam_bench.cli.detect", "detect", "Write a detector's boxes for zeroshot --boxes."
    ),
    "agreement": LazyCommand(
        "litesam_bench.cli.agreement",
        "agreement",
        "Mean IoU of systems' masks with a reference system's.",
    ),
    "score": LazyCommand(
        "litesam_bench.cli.score",
        "score",
        "Score the masks of an earlier run again, without the model.",
    ),
    "segment": LazyCommand(
        "litesam_bench.cli.segment", "segment", "Segment your own images; masks and an overlay."
    ),
    "segevery": LazyCommand(
        "litesam_bench.cli.segevery", "segevery", "Segment everything; AR@K of the proposals."
    ),
    "segevery-time": LazyCommand(
        "litesam_bench.cli.segevery_time",
        "segevery_time",
        "Time of segment-everything by phase, as ratios.",
    ),
    "latency": LazyCommand(
        "litesam_bench.cli.latency", "latency", "Time of the encoder and of 1, 10, 100 prompts."
    ),
    "profile": LazyCommand(
        "litesam_bench.cli.profile", "profile", "Parameters and MACs, beside published ones."
    ),
    "edges": LazyCommand(
        "litesam_bench.cli.edges", "edges", "Zero-shot edges: boundary benchmark on BSDS500."
    ),
    "train": LazyCommand("litesam_bench.cli.train", "train", "Train Lite-SAM by a named recipe."),
    "ablate": LazyCommand(
        "litesam_bench.cli.ablate", "ablate", "The poster's ablations, scaled down."
    ),
    "report": LazyCommand(
        "litesam_bench.cli.report", "report", "Write the papers' tables from records."
    ),
    "check": LazyCommand(
        "litesam_bench.cli.check", "check", "Hold an adapter to its contract and to its upstream."
    ),
    "models": LazyCommand("litesam_bench.cli.models", "models", "Systems that can be measured."),
    "protocols": LazyCommand(
        "litesam_bench.cli.protocols", "protocols", "Named ways to measure, with every choice."
    ),
    "weights": LazyCommand(
        "litesam_bench.cli.weights", "weights", "Official checkpoints: list, get, check."
    ),
    "data": LazyCommand("litesam_bench.cli.data", "data", "Datasets: layout, presence, check."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        lazy = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        assert isinstance(command, click.Command), lazy
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, with near names suggested."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.short_help) for name, lazy in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  litesam-bench zeroshot                      the whole path on embedded scenes, no download
  litesam-bench models list                   what can be measured
  litesam-bench zeroshot --model sam-vit-b,lite-sam --dataset coco --prompt box""",
)
@click.version_option(__version__, prog_name="litesam-bench")
def cli() -> None:
    """Measure Segment-Anything models under one protocol: masks, edges and time."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit status: 0 done; 1 a failure with a remedy; 2 a wrong command line; 130 interrupted.
    """
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        status = cli.main(args, prog_name="litesam-bench", standalone_mode=False)
        sys.stdout.flush()  # so that a closed pipe or a full disk is met here, not at exit
        return status if isinstance(status, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing computed is lost: run the same command again", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        return _show(error)
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _show(
            StorageError(
                f"no space left on the disk of {error.filename or 'the output'}",
                fix="free some space and run the same command again; nothing computed is lost",
            )
        )


def _show(error: BenchError) -> int:
    click.echo(f"error: {error.message}", err=True)
    if error.fix:
        click.echo(f"  fix: {error.fix}", err=True)
    return error.exit_code
