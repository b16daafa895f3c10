"""`litesam-bench weights`: official checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import as_json

if TYPE_CHECKING:
    from litesam_bench.registry import System


@click.group(
    epilog="""\b
Examples:
  litesam-bench weights list
  litesam-bench weights pull sam-vit-b
  litesam-bench weights verify"""
)
def weights() -> None:
    """Official checkpoints: what is needed, what is here, and whether it is right.

    They lie in the folder that LITESAM_BENCH_WEIGHTS names, or in the cache, under their upstream
    file names; a file that was copied there by hand is as good as one that was pulled.
    """


@weights.command("list", epilog="Example: litesam-bench weights list --json")
@as_json
def list_(json_output: bool) -> None:
    """All checkpoints and whether they are here."""
    from litesam_bench import paths
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.download import human_size

    entries = [_entry(system) for system in _with_weights()]
    if json_output:
        print_json({"folder": str(paths.weights_root()), "weights": entries})
        return
    print_table(
        ("system", "file", "size", "licence", "state"),
        [
            (
                entry["system"],
                entry["file"],
                human_size(entry["size_bytes"]) if entry["size_bytes"] else "?",
                entry["licence"],
                entry["state"],
            )
            for entry in entries
        ],
    )
    click.echo(f"folder: {paths.weights_root()}", err=True)


@weights.command(epilog="Example: litesam-bench weights pull sam-vit-b mobile-sam")
@click.argument("names", nargs=-1, required=True)
def pull(names: tuple[str, ...]) -> None:
    """Download checkpoints over https.

    A file takes its name only when it is complete and its sha256 is right. An interrupted download
    goes on where it ended when the command is run again.
    """
    from litesam_bench import weights as store
    from litesam_bench.cli.output import download_bar
    from litesam_bench.registry import resolve

    for system in resolve(",".join(names)):
        spec = system.spec
        notice = store.licence_notice(spec)
        if notice and store.state(spec) in ("missing", "partial"):
            click.echo(notice, err=True)
        with download_bar(spec.name) as advance:
            got = store.pull(spec, on_progress=advance)
        click.echo(str(got.path))
        if not got.verified:
            click.echo(
                f"{got.path.name} has sha256 {got.sha256}; nobody has published one to compare "
                "it with, so records will say unverified",
                err=True,
            )


@weights.command(epilog="Example: litesam-bench weights verify sam-vit-b")
@click.argument("names", nargs=-1)
@as_json
def verify(names: tuple[str, ...], json_output: bool) -> None:
    """Hash checkpoints again; without names, all that are here."""
    from litesam_bench import weights as store
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.errors import WeightsError
    from litesam_bench.registry import resolve

    chosen = resolve(",".join(names)) if names else _present(_with_weights())
    problems: list[WeightsError] = []
    for system in chosen:
        try:
            store.verify(system.spec)
        except WeightsError as error:
            problems.append(error)
    entries = [_entry(system) for system in chosen]
    if json_output:
        print_json({"weights": entries})
    else:
        print_table(
            ("system", "state", "path"),
            [(entry["system"], entry["state"], entry["path"] or "") for entry in entries],
        )
        if not chosen:
            click.echo("no checkpoint is here: litesam-bench weights list", err=True)
    if problems:
        for problem in problems[1:]:
            click.echo(str(problem), err=True)
        raise problems[0]


def _with_weights() -> list[System]:
    from litesam_bench.registry import systems

    return [system for system in systems() if system.spec.weights is not None]


def _present(chosen: list[System]) -> list[System]:
    from litesam_bench.weights import state

    return [system for system in chosen if state(system.spec) not in ("missing", "partial")]


def _entry(system: System) -> dict[str, Any]:
    from litesam_bench.weights import path_of, state

    checkpoint = system.spec.weights
    return {
        "system": system.spec.name,
        "file": checkpoint.file_name if checkpoint else "",
        "url": checkpoint.url if checkpoint else "",
        "sha256": checkpoint.sha256 if checkpoint else "",
        "size_bytes": checkpoint.size_bytes if checkpoint else 0,
        "licence": checkpoint.licence if checkpoint else "",
        "restriction": checkpoint.restriction if checkpoint else "",
        "state": state(system.spec),
        "path": str(path_of(checkpoint)) if checkpoint else None,
    }
