"""`litesam-bench score`: metrics from journaled masks, without the model."""

from __future__ import annotations

from pathlib import Path

import click

from litesam_bench.cli.options import as_json, data_root_option, results_option, runs_option


@click.command(
    epilog="""\b
Examples:
  litesam-bench score 3f2a --protocol miou-oracle/box
  litesam-bench score ~/.cache/litesam-bench/runs/3f2a9c0d11e84b57 --json"""
)
@click.argument("run")
@click.option(
    "--protocol", "protocol_id", default=None, help="Default: the one the masks were made for."
)
@data_root_option
@results_option
@runs_option
@as_json
def score(
    run: str,
    protocol_id: str | None,
    data_root: Path | None,
    results: Path | None,
    runs_dir: Path | None,
    json_output: bool,
) -> None:
    """Score the masks of RUN again, under the same or another protocol.

    RUN is a run folder or the beginning of its name. The protocol must ask the model for the same
    thing: mask choice, ground truth and averaging may differ, prompts may not.
    """
    from litesam_bench import paths, pipeline, protocols
    from litesam_bench.cli.show import show_records
    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.errors import DataError
    from litesam_bench.prompts.detector import DetectorBoxes
    from litesam_bench.records.journal import RunFolder
    from litesam_bench.records.store import write_record

    folder = RunFolder.open(paths.runs_root(runs_dir), run)
    context = folder.context()
    made = protocols.get(context["protocol"])
    wanted = made
    if protocol_id:
        named = protocol_id.partition("@")[0]
        wanted = protocols.get(protocol_id, None if "/" in named else made.prompt_id)
        protocols.check_rescorable(made, wanted)
    opened = context["opened"]
    data = open_dataset(
        opened["name"],
        data_root=paths.data_root(data_root),
        split=opened["split"],
        ann_file=opened["ann_file"] and Path(opened["ann_file"]),
        image_dir=opened["image_dir"] and Path(opened["image_dir"]),
    )
    if data.info.digest != folder.identity["dataset"]["digest"]:
        raise DataError(
            f"{opened['name']} is not the data that {folder.fingerprint} was made on "
            f"({data.info.digest[:12]}, not {folder.identity['dataset']['digest'][:12]})",
            fix="give the --data-root of that run, or run zeroshot again",
        )
    boxes = DetectorBoxes.load(opened["boxes"], data) if opened["boxes"] else None
    record = pipeline.make_record(folder, context, data, wanted, boxes)
    kept_in = None
    if context["passed"]["limit"] is None:
        kept_in = paths.results_root(results)
        write_record(kept_in, record)
    show_records([record], json_output=json_output, kept_in=kept_in)
