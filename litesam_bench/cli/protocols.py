"""`litesam-bench protocols`: every named protocol with every choice that changes a number."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from litesam_bench.cli.options import as_json


def _sampler(preset: str) -> str:
    """A sampler that suits a segment-everything preset."""
    return "object-aware" if preset == "ar-object-aware" else "grid:32"


@click.group(
    epilog="""\b
Examples:
  litesam-bench protocols list
  litesam-bench protocols show miou-strict/clicks:3
  litesam-bench protocols show ar-sam
  litesam-bench protocols show ap-det --json"""
)
def protocols() -> None:
    """Named ways to measure. Two numbers compare only under one protocol and version."""


@protocols.command("list", epilog="Example: litesam-bench protocols list --json")
@as_json
def list_(json_output: bool) -> None:
    """All protocols, one a line; clicks:3 and grid:32 stand for any number and any sampler."""
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.everything.protocol import PRESETS
    from litesam_bench.protocols import presets

    found, everything = presets(), [(p.id(_sampler(n)), p) for n, p in PRESETS.items()]
    if json_output:
        rows = [{"id": p.id, **asdict(p)} for p in found]
        rows += [{"id": name, "metric": "ar", **asdict(p)} for name, p in everything]
        print_json({"protocols": rows})
        return
    lines: list[tuple[str, str, str]] = [(p.id, p.metric, p.summary) for p in found]
    lines += [(name, "ar", p.summary) for name, p in everything]
    print_table(("protocol", "metric", "what"), lines)


@protocols.command(epilog="Example: litesam-bench protocols show miou-evit/box")
@click.argument("name")
@as_json
def show(name: str, json_output: bool) -> None:
    """Every field of one protocol: NAME, NAME/PROMPT or NAME/PROMPT@VERSION.

    Protocols of segment-everything are shown for any sampler: ar-sam, or ar-sam/autoppn:256-points.
    """
    from litesam_bench.cli.output import print_fields, print_json
    from litesam_bench.everything import protocol as everything
    from litesam_bench.protocols import get

    fields: dict[str, Any]
    head = name.partition("@")[0].partition("/")
    if head[0] in everything.PRESETS:
        version = name.partition("@")[2]
        preset = everything.get(f"{head[0]}@{version}" if version else head[0])
        fields = {"id": preset.id(head[2] or _sampler(preset.name)), **asdict(preset)}
    else:
        protocol = get(name)
        fields = {"id": protocol.id, **asdict(protocol)}
    if json_output:
        print_json(fields)
    else:
        print_fields(fields)
