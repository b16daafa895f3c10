"""`litesam-bench protocols`: every named protocol with every choice that changes a number."""

from __future__ import annotations

from dataclasses import asdict

import click

from litesam_bench.cli.options import as_json


@click.group(
    epilog="""\b
Examples:
  litesam-bench protocols list
  litesam-bench protocols show miou-strict/clicks:3
  litesam-bench protocols show ap-det --json"""
)
def protocols() -> None:
    """Named ways to measure. Two numbers compare only under one protocol and version."""


@protocols.command("list", epilog="Example: litesam-bench protocols list --json")
@as_json
def list_(json_output: bool) -> None:
    """All protocols, one a line; clicks:3 stands for any number of clicks."""
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.protocols import presets

    found = presets()
    if json_output:
        print_json({"protocols": [{"id": p.id, **asdict(p)} for p in found]})
        return
    print_table(("protocol", "metric", "what"), [(p.id, p.metric, p.summary) for p in found])


@protocols.command(epilog="Example: litesam-bench protocols show miou-evit/box")
@click.argument("name")
@as_json
def show(name: str, json_output: bool) -> None:
    """Every field of one protocol: NAME, NAME/PROMPT or NAME/PROMPT@VERSION."""
    from litesam_bench.cli.output import print_fields, print_json
    from litesam_bench.protocols import get

    protocol = get(name)
    fields = {"id": protocol.id, **asdict(protocol)}
    if json_output:
        print_json(fields)
    else:
        print_fields(fields)
