"""`litesam-bench check`: is an adapter sound, and does it compute what its authors' code does."""

from __future__ import annotations

from dataclasses import asdict

import click

from litesam_bench.cli.options import as_json


@click.command(
    epilog="""\b
Examples:
  litesam-bench check mobile-sam
  litesam-bench check path/to/my_sam.py
  litesam-bench check sam:all,edge-sam --json"""
)
@click.argument("names")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--failed", "only_failed", is_flag=True, help="Print failed checks only.")
@as_json
def check(names: str, device: str, only_failed: bool, json_output: bool) -> int:
    """Check systems, or your own adapter file: contract, checkpoint manifest, upstream parity.

    No checkpoint is needed where a manifest is known: weights then follow from the parameters'
    names by a documented rule. A new file without a manifest is checked with its own weights.
    Exits with 1 when a check failed.
    """
    from litesam_bench import registry
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.parity import standing
    from litesam_bench.parity.check import check as run_checks
    from litesam_bench.parity.check import failures
    from litesam_bench.timing.device import pick_device

    chosen = pick_device(device)
    rows: list[tuple[str, str, str, str]] = []
    documents = []
    failed = 0
    for system in registry.resolve(names):
        name = system.spec.name
        click.echo(f"{name}: checking", err=True)
        checks = run_checks(system, device=chosen)
        failed += len(failures(checks))
        shown = failures(checks) if only_failed else checks
        rows += [(name, row.name, row.status, row.detail) for row in shown]
        documents.append(
            {
                "system": name,
                "passed": not failures(checks),
                **asdict(standing(system.spec)),
                "checks": [asdict(row) for row in shown],
            }
        )
    if json_output:
        print_json({"passed": failed == 0, "systems": documents})
    else:
        print_table(("system", "check", "result", "detail"), rows)
    click.echo(f"{failed} checks failed" if failed else "all checks passed", err=True)
    return 1 if failed else 0
