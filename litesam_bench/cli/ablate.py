"""`litesam-bench ablate`: the poster's ablations at a scale that this machine allows."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import as_json, data_root_option, results_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench ablate table2 --data ../data/train-pack
  litesam-bench ablate table1 --data ../data/train-pack --steps 1000 --seeds 3
  litesam-bench ablate table2 --row table2-baseline --row table2-mspm-labels-groups --json"""
)
@click.argument("study", type=click.Choice(["table1", "table2"]))
@click.option(
    "--data",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="SA-1B-format folder; may be repeated.  [default: train-pack in the data root]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the runs.  [default: ablation in the runs folder]",
)
@click.option("--row", "rows", multiple=True, metavar="RECIPE", help="Only these rows.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps per run.  [default: the study's]")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per row.  [default: the study's]")
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="Held-out images that are measured.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Train on the first N pairs only.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@data_root_option
@results_option
@as_json
def ablate(
    study: str,
    folders: tuple[Path, ...],
    out: Path | None,
    rows: tuple[str, ...],
    steps: int | None,
    seeds: int | None,
    images: int,
    limit: int | None,
    device: str,
    data_root: Path | None,
    results: Path | None,
    json_output: bool,
) -> None:
    """Train every row of the poster's Table 1 (blocks) or Table 2 (AutoPPN) by the same short
    schedule, measure it on held-out images, and keep a record of each row and seed.

    A row whose record is there is not trained again; an interrupted one goes on where it was.
    """
    from litesam_bench import paths
    from litesam_bench.cli.output import print_json, print_table
    from litesam_bench.train.ablation import STUDIES, run_study, trials

    plan = trials(STUDIES[study], steps=steps, seeds=seeds, rows=rows)
    data = list(folders) or [paths.data_root(data_root) / "train-pack"]
    lines, document = [], {}
    results_root = paths.results_root(results)
    work = out or paths.runs_root() / "ablation"
    for number, (trial, record) in enumerate(
        run_study(plan, data, work, results_root, device=device, images=images, limit=limit or 0),
        start=1,
    ):
        values = {name: m.value for name, m in record.metrics.items() if m.value is not None}
        key = "ar" if "ar" in values else "box"
        click.echo(f"{number}/{len(plan)} {trial.name}: {key} {values[key]:.4f}", err=True)
        document[trial.name] = values
        lines.append((trial.row, str(trial.seed), *(f"{100 * v:.1f}" for v in values.values())))
    click.echo(f"records in {results_root / 'records'}; tables: litesam-bench report", err=True)
    if json_output:
        print_json({"study": study, "trials": document})
        return
    heads = tuple(next(iter(document.values())))
    print_table(("row", "seed", *heads), lines)
