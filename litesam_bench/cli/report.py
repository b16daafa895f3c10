"""`litesam-bench report`: the papers' tables from records and published numbers."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import results_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench report
  litesam-bench report --results results
  litesam-bench report --check"""
)
@results_option
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing; exit 1 and name the files that are not up to date.",
)
def report(results: Path | None, check: bool) -> None:
    """Write the tables of RESULTS/records as Markdown, CSV and LaTeX into RESULTS/tables.

    Published and measured numbers stand side by side; what is not measured yet stays empty. The
    figures (AR against prompts and time; precision and recall of edges) go into RESULTS/figures and
    are not compared by --check: their bytes depend on the plotting library. The marked tables of a
    README.md beside RESULTS are brought up to date too. Files that changed are named on stdout.
    """
    from litesam_bench import paths
    from litesam_bench.edges import curves
    from litesam_bench.errors import DataError
    from litesam_bench.records.store import read_records
    from litesam_bench.tables import published, segevery_figure
    from litesam_bench.tables.report import render_report, stale_files, update_readme, write_report

    root = paths.results_root(results)
    records = list(read_records(root))
    printed = published.by_ref(published.all_tables())
    folder = root / "tables"
    if check:
        files = render_report(printed, records)
        changed = stale_files(files, folder)
    else:
        changed = write_report(records, printed, folder)
        changed += segevery_figure.write(records, root / "figures")
        changed += curves.write_figures(root, records)
    changed += update_readme(root.parent / "README.md", printed, records, write=not check)
    for path in changed:
        click.echo(path)
    state = "out of date" if check else "written or removed"
    click.echo(f"{len(records)} records; {len(changed)} files {state} in {folder}", err=True)
    if check and changed:
        raise DataError(
            f"{folder} is not what its records give", fix=f"litesam-bench report --results {root}"
        )
