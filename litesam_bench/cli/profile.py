"""`litesam-bench profile`: parameters and MACs of every system, beside published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import as_json, results_option

if TYPE_CHECKING:
    from pathlib import Path

    from litesam_bench.records.schema import Record
    from litesam_bench.timing.complexity import Complexity
    from litesam_bench.timing.profile import Profile

_LITE = (
    "the printed MACs do not follow from the printed widths and parameters, which this "
    "reimplementation keeps to"
)
_NOTES = {
    "sam-b": "the poster's 90 M are the encoder alone; 371 G are encoder and decoder without the "
    "two products of attention, which counters that hook modules do not see; with them 488 G, "
    "as TinySAM prints (487 G)",
    "sam-l": "the poster's 308 M are the encoder alone; 1.3 T are without attention's products",
    "sam-h": "the poster's 635 M are the encoder alone; 2.7 T are without attention's products; "
    "2976 G are printed with them (TinySAM)",
    "lite-sam-r640": _LITE,
    "lite-sam-r1024": _LITE,
}
"""Why a published figure differs from ours, by published key."""


@click.command(
    epilog="""\b
Examples:
  litesam-bench profile
  litesam-bench profile --backbones
  litesam-bench profile --model sam:all,lite-sam:all --json"""
)
@click.option("--model", "models", default="all", show_default=True, help="Systems.")
@click.option(
    "--backbones",
    is_flag=True,
    help="Count the backbones of the Lite-SAM poster's Table 1 at 640 instead, and keep records.",
)
@results_option
@as_json
def profile(models: str, backbones: bool, results: Path | None, json_output: bool) -> None:
    """Count parameters and MACs of encoder, decoder and whole: no weights, no computing.

    One image and one point prompt. A MAC is one multiplication and one addition of a convolution or
    a matrix product, attention's included; an operator that is not known is an error, never 0.
    """
    from litesam_bench import registry
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.errors import CapabilityError, UsageError
    from litesam_bench.timing.profile import profile as count_parts

    if backbones:
        _backbones(results, json_output=json_output)
        return
    found = {}
    for system in registry.resolve(models):
        try:
            found[system.spec.name] = _entry(system.spec, count_parts(system))
        except CapabilityError as error:
            if models != "all":
                click.echo(f"{system.spec.name}: n/a: {error.message}", err=True)
    if not found:
        raise UsageError(f"none of {models} has a network to count", fix="--model sam:all,lite-sam")
    if json_output:
        print_json({"systems": found})
        return
    print_table(
        (
            *("system", "input", "encoder M", "decoder M", "proposals M", "whole M"),
            *("encoder G", "decoder G", "proposals G", "whole G", "published M", "published G"),
        ),
        [_line(name, entry) for name, entry in found.items()],
    )
    for name, entry in found.items():
        if entry["footnote"]:
            click.echo(f"{name}: {entry['footnote']}")


def _backbones(results: Path | None, *, json_output: bool) -> None:
    """Count, record and print Table 1's backbones."""
    from litesam_bench import paths
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.records.store import write_record
    from litesam_bench.tables import published
    from litesam_bench.timing.profile import profile_backbones

    counted = profile_backbones()
    printed = published.by_ref(published.all_tables())["lite-sam/litevit-blocks"]
    root = paths.results_root(results)
    lines, document = [], {}
    for name, complexity in counted.items():
        write_record(root, _record(name, complexity))
        row = printed.row(name)
        assert row is not None, name
        ours = (f"{complexity.params / 1e6:.2f}", f"{complexity.macs / 1e9:.1f}")
        paper = (row.cells["params_m"].text, row.cells["macs_g"].text)
        lines.append((name, *ours, *paper))
        document[name] = {
            "params_m": complexity.params / 1e6,
            "macs_g": complexity.macs / 1e9,
            "published": {"params_m": paper[0], "macs_g": paper[1]},
        }
    click.echo(f"records in {root / 'records'}", err=True)
    if json_output:
        print_json({"input": [640, 640], "backbones": document})
    else:
        print_table(("backbone", "M", "GMACs", "published M", "published GMACs"), lines)


def _record(name: str, complexity: Complexity) -> Record:
    from litesam_bench.records.provenance import environment
    from litesam_bench.records.schema import Coverage, Metric, Record
    from litesam_bench.tables.published import systems

    protocol = "complexity/backbone@1"

    def metric(value: float, unit: str) -> Metric:
        return Metric(value=value, unit=unit, higher_is_better=False, n=1, protocol=protocol)

    return Record(
        kind="complexity",
        status="complete",
        system={"name": name, "display": systems()[name].display, "published": name},
        protocol={"id": protocol, "counts": "convolutions and matrix products; see timing"},
        data={"name": "input-640x640", "digest": "none", "n_images": 1},
        coverage=Coverage(expected=1, done=1, failed=0),
        metrics={
            "params_m": metric(complexity.params / 1e6, "M"),
            "macs_g": metric(complexity.macs / 1e9, "G"),
        },
        environment=environment("meta", "none: shapes only", "fp32"),
    )


def _entry(spec: Any, counted: Profile) -> dict[str, Any]:
    from litesam_bench.tables import published

    row = next(
        table.row(spec.published)
        for table in published.load("lite-sam")
        if table.id == "complexity"
    )
    printed = {
        unit: row.cells[key].text if row is not None else ""
        for unit, key in (("params_m", "params_m"), ("macs_g", "macs_g"))
    }
    return {
        "input": list(counted.input_hw),
        "params_m": {name: round(part.params / 1e6, 3) for name, part in counted.parts.items()},
        "macs_g": {name: round(part.macs / 1e9, 3) for name, part in counted.parts.items()},
        "whole": {
            "params_m": round(counted.params / 1e6, 3),
            "macs_g": round(counted.macs / 1e9, 3),
        },
        "published": printed,
        "footnote": _NOTES.get(spec.published, ""),
    }


def _line(name: str, entry: dict[str, Any]) -> list[str]:
    def cells(unit: str) -> list[str]:
        parts = [entry[unit].get(part) for part in ("encoder", "decoder", "proposals")]
        return ["" if v is None else f"{v:.2f}" for v in (*parts, entry["whole"][unit])]

    height, width = entry["input"]
    return [
        name,
        f"{height} x {width}",
        *cells("params_m"),
        *cells("macs_g"),
        entry["published"]["params_m"],
        entry["published"]["macs_g"],
    ]
