"""`litesam-bench profile`: parameters and MACs of every system, beside published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from litesam_bench.cli.options import as_json, results_option

if TYPE_CHECKING:
    from litesam_bench.records.schema import Record
    from litesam_bench.registry import System
    from litesam_bench.tables.published import PublishedTable
    from litesam_bench.timing.profile import Profile


@click.command(
    epilog="""\b
Examples:
  litesam-bench profile
  litesam-bench profile --all
  litesam-bench profile --model sam:all,lite-sam:all --json
  litesam-bench profile --model efficientvit-sam:all --latency --device cuda --dtype fp16"""
)
@click.option("--model", "models", default="all", show_default=True, help="Systems.")
@click.option(
    "--all", "everything", is_flag=True, help="Every system and every backbone, keeping records."
)
@click.option(
    "--backbones",
    is_flag=True,
    help="Count the backbones of the Lite-SAM poster at 640 instead, and keep records.",
)
@click.option(
    "--latency",
    is_flag=True,
    help="Also time the networks on this device, with random weights, and keep records.",
)
@click.option(
    "--device", default="auto", show_default=True, help="For --latency: auto, cpu, cuda, cuda:N."
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="For --latency.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="For --latency: timed calls of each.",
)
@results_option
@as_json
def profile(
    models: str,
    everything: bool,
    backbones: bool,
    latency: bool,
    device: str,
    dtype: str,
    repeats: int,
    results: Path | None,
    json_output: bool,
) -> None:
    """Count parameters and MACs of encoder, decoder and whole: no weights, no computing.

    One image and one point prompt. A MAC is one multiplication and one addition of a convolution or
    a matrix product, attention's included; an operator that is not known is an error, never 0.
    """
    from litesam_bench import paths, registry
    from litesam_bench.cli.output import print_json
    from litesam_bench.errors import UsageError
    from litesam_bench.records.store import write_record
    from litesam_bench.tables import published

    if everything and models != "all":
        raise UsageError(f"--all and --model {models} contradict each other", fix="leave one out")
    if latency and backbones:
        raise UsageError(
            "backbones alone are not timed", fix="profile --model lite-sam-with:all --latency"
        )
    tables = published.all_tables()
    records: list[Record] = []
    document: dict[str, Any] = {}
    if backbones or everything:
        document |= _backbones(tables, records, quiet=json_output)
    if not backbones:
        systems = registry.resolve(models)
        counted = _count(systems, skip=models == "all")
        if not counted:
            raise UsageError(
                f"none of {models} has a network to count", fix="--model sam:all,lite-sam"
            )
        document |= _systems(counted, tables, records if everything else [], quiet=json_output)
        if latency:
            timed = [s for s in systems if s.spec.name in counted]
            document |= _latency(timed, device, dtype, repeats, records, quiet=json_output)
    if records:
        root = paths.results_root(results)
        for record in records:
            write_record(root, record)
        click.echo(f"records in {root / 'records'}", err=True)
    if json_output:
        print_json(document)


def _count(systems: Sequence[System], *, skip: bool) -> dict[str, tuple[System, Profile]]:
    """Profiles by name; systems without a network, and where all are asked for also those whose
    package is not installed, are left out with a line on stderr."""
    from litesam_bench.errors import CapabilityError
    from litesam_bench.timing.profile import profile as count_parts

    found = {}
    for system in systems:
        missing = missing_package(system)
        if missing and skip:
            click.echo(f"{system.spec.name}: n/a: {missing} is not installed", err=True)
            continue
        try:
            found[system.spec.name] = (system, count_parts(system))
        except CapabilityError as error:
            if not skip:
                click.echo(f"{system.spec.name}: n/a: {error.message}", err=True)
    return found


# what an extra of this package brings, by the module that its systems cannot do without
_MODULES = {"family": "timm", "ultralytics": "ultralytics"}


def missing_package(system: System) -> str:
    """The module of the system's extra that is not installed, or ""."""
    from importlib.util import find_spec

    module = _MODULES.get(system.spec.extra, "")
    return module if module and find_spec(module) is None else ""


def _systems(
    counted: Mapping[str, tuple[System, Profile]],
    tables: Sequence[PublishedTable],
    records: list[Record],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Print the systems' table; returns what `--json` says and appends to `records`."""
    from litesam_bench.cli.output import print_table
    from litesam_bench.timing.profile import system_record

    entries = {}
    for name, (system, found) in counted.items():
        entries[name] = _entry(system, found, tables)
        records.append(system_record(system, found))
    if quiet:
        return {"systems": entries}
    print_table(
        (
            *("system", "input", "encoder M", "decoder M", "proposals M", "whole M"),
            *("encoder G", "decoder G", "proposals G", "whole G", "published M", "published G"),
        ),
        [_line(name, entry) for name, entry in entries.items()],
    )
    for name, entry in entries.items():
        if entry["footnote"]:
            click.echo(f"{name}: {entry['footnote']}")
    return {}


def _entry(system: System, counted: Profile, tables: Sequence[PublishedTable]) -> dict[str, Any]:
    from litesam_bench.tables.complexity import NOTES, printed_of

    spec = system.spec
    printed = printed_of(spec.published, spec.family, tables)
    first = printed[0] if printed else None
    paper = first.ref.partition("/")[0] if first else ""
    return {
        "input": list(counted.input_hw),
        "params_m": {name: round(part.params / 1e6, 3) for name, part in counted.parts.items()},
        "macs_g": {name: round(part.macs / 1e9, 3) for name, part in counted.parts.items()},
        "whole": {
            "params_m": round(counted.params / 1e6, 3),
            "macs_g": round(counted.macs / 1e9, 3),
        },
        "published": {
            "params_m": first.params_m if first else "",
            "macs_g": first.macs_g if first else "",
        },
        "published_by": {p.ref: {"params_m": p.params_m, "macs_g": p.macs_g} for p in printed},
        "footnote": NOTES.get((paper, spec.published), ""),
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


def _backbones(
    tables: Sequence[PublishedTable], records: list[Record], *, quiet: bool
) -> dict[str, Any]:
    """Count and print the poster's backbones; those of a library only where it is installed."""
    from importlib.util import find_spec

    from litesam_bench.cli.output import print_table
    from litesam_bench.family.backbones import LIBRARY_BACKBONES
    from litesam_bench.lite_sam.configs import BACKBONES
    from litesam_bench.tables import published
    from litesam_bench.timing.profile import backbone_record, profile_backbones

    size = 640
    counted = profile_backbones(BACKBONES, size)
    if find_spec("timm") and find_spec("torchvision"):
        counted |= profile_backbones(LIBRARY_BACKBONES, size)
    else:
        names = ", ".join(LIBRARY_BACKBONES)
        click.echo(f"{names}: n/a: pip install 'litesam-bench[family]'", err=True)
    by_ref, known = published.by_ref(tables), published.systems()
    rows = {**_rows(by_ref["lite-sam/backbones"]), **_rows(by_ref["lite-sam/litevit-blocks"])}
    lines, document = [], {}
    for name, complexity in counted.items():
        records.append(backbone_record(name, known[name].display, complexity, (size, size)))
        ours = (f"{complexity.params / 1e6:.2f}", f"{complexity.macs / 1e9:.1f}")
        paper = rows[name]
        lines.append((name, *ours, *paper))
        document[name] = {
            "params_m": complexity.params / 1e6,
            "macs_g": complexity.macs / 1e9,
            "published": {"params_m": paper[0], "macs_g": paper[1]},
        }
    if quiet:
        return {"input": [size, size], "backbones": document}
    print_table(("backbone", "M", "GMACs", "published M", "published GMACs"), lines)
    return {}


def _rows(table: PublishedTable) -> dict[str, tuple[str, str]]:
    """Printed parameters and MACs by system."""
    return {
        row.system: (row.cells["params_m"].text, row.cells["macs_g"].text) for row in table.rows
    }


def _latency(
    systems: Sequence[System],
    device: str,
    dtype: str,
    repeats: int,
    records: list[Record],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Time the networks; accuracy and weights have no part in it."""
    from litesam_bench.cli.output import print_table
    from litesam_bench.pipeline import parse_dtype
    from litesam_bench.timing.device import describe_device, pick_device
    from litesam_bench.timing.network_latency import latency_records, time_networks

    on, precision = pick_device(device), parse_dtype(dtype)
    name = describe_device(on)
    timings = time_networks(systems, on, precision, repeats)
    records += latency_records(systems, timings, on, name, precision)
    document = {
        f"{system} {variant}": {"median_ms": 1000 * t.median_s, "p90_ms": 1000 * t.p90_s}
        for (system, variant), t in timings.items()
    }
    if quiet:
        return {"latency": {"device": name, "dtype": dtype, "rows": document}}
    click.echo(f"{name}, {dtype}, the network alone, random weights")
    print_table(
        ("system, what", "median ms", "p90"),
        [(k, f"{v['median_ms']:.1f}", f"{v['p90_ms']:.1f}") for k, v in document.items()],
    )
    return {}
