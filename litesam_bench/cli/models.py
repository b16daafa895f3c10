"""`litesam-bench models`: the catalogue, from SPECs, manifests and published tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import as_json

if TYPE_CHECKING:
    from litesam_bench.registry import System


@click.group(
    epilog="""\b
Examples:
  litesam-bench models list
  litesam-bench models show sam-vit-b
  litesam-bench models show path/to/my_sam.py"""
)
def models() -> None:
    """Systems that can be measured: what they are and what they can be asked for.

    Nothing is loaded to print this. Wherever a command takes systems, it takes a name (sam-vit-b),
    a family (sam: its default; sam:all: every variant), a file (path/to/my_sam.py) or all,
    separated by commas.
    """


@models.command("list", epilog="Example: litesam-bench models list --json")
@as_json
def list_(json_output: bool) -> None:
    """All systems, one a line."""
    from litesam_bench.catalogue import entries, prompts_text
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.registry import systems

    found = list(systems())
    listed = entries(found, found)
    if json_output:
        print_json({"systems": listed})
        return
    print_table(
        ("system", "what", "M", "input", "prompts", "training", "weights", "proven", "licence"),
        [
            (
                system.spec.name,
                system.spec.display,
                "" if entry["parameters_m"] is None else f"{entry['parameters_m']:.1f}",
                _input(system),
                prompts_text(system.spec.capabilities),
                system.spec.training,
                str(entry["weights_state"]),
                _proven(entry),
                _licence(system),
            )
            for system, entry in zip(found, listed, strict=True)
        ],
    )


@models.command(epilog="Example: litesam-bench models show ellipse")
@click.argument("names")
@as_json
def show(names: str, json_output: bool) -> None:
    """Everything known about one or several systems."""
    from litesam_bench.catalogue import entries
    from litesam_bench.cli.output import print_fields, print_json
    from litesam_bench.registry import resolve, systems

    shown = entries(resolve(names), list(systems()))
    if json_output:
        print_json({"systems": shown})
        return
    for number, entry in enumerate(shown):
        if number:
            click.echo()
        print_fields(entry)


def _input(system: System) -> str:
    rule = system.spec.input.rule
    return "image" if rule == "none" else f"{system.spec.input.size} {rule}"


def _licence(system: System) -> str:
    weights = system.spec.weights
    if weights is None or weights.licence in ("", system.spec.code_licence):
        return system.spec.code_licence
    return f"{system.spec.code_licence}; weights {weights.licence}"


def _proven(entry: dict[str, Any]) -> str:
    """Whether an adapter is proven equal to its upstream; "" for a method without weights."""
    if entry["training"] == "not-applicable":
        return ""
    return "proven" if entry["proven"] else "not proven"
