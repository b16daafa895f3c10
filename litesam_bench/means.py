"""One system's mean over several datasets, each counting once, as SGinW reports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litesam_bench.records.files import canonical_json, sha256_text
from litesam_bench.records.schema import Coverage, Metric, Record, Status


def mean_record(records: Sequence[Record]) -> Record:
    """The record of the unweighted mean of every metric that all datasets have.

    Args:
        records: one system's, under one protocol, one per dataset; at least two.

    A metric's `n` counts datasets. There is no interval: the datasets are not a sample. The mean
    exists only if every dataset was measured completely; images are summed.
    """
    first = records[0]
    assert len(records) > 1, "a mean of one dataset is that dataset"
    assert {record.system["name"] for record in records} == {first.system["name"]}
    statuses = {record.status for record in records}
    status: Status = next(iter(statuses)) if len(statuses) == 1 else "partial"
    parts = [{"name": r.data["name"], "digest": r.data["digest"]} for r in records]
    return Record(
        kind="zeroshot-mean",
        status=status,
        reason=next((record.reason for record in records if record.reason), ""),
        system=first.system,
        protocol=first.protocol,
        data={
            "name": f"mean-of-{len(parts)}",
            "digest": sha256_text(canonical_json(sorted(parts, key=canonical_json))),
            "n_images": sum(int(record.data["n_images"]) for record in records),
            "n_instances": sum(int(record.data["n_instances"]) for record in records),
            "footnote": "every dataset counts once: " + ", ".join(str(p["name"]) for p in parts),
            "parts": parts,
        },
        coverage=Coverage(
            expected=sum(record.coverage.expected for record in records),
            done=sum(record.coverage.done for record in records),
            failed=sum(record.coverage.failed for record in records),
        ),
        metrics=_means(records) if status == "complete" else {},
        environment=first.environment,
        footnotes=list(dict.fromkeys(note for record in records for note in record.footnotes)),
        fingerprint=sha256_text(canonical_json([record.fingerprint for record in records]))[:16],
    )


def _means(records: Sequence[Record]) -> dict[str, Metric]:
    """Metrics that have a value on every dataset."""
    found = {}
    for name, metric in records[0].metrics.items():
        values: list[Any] = [
            record.metrics[name].value if name in record.metrics else None for record in records
        ]
        if None not in values:
            found[name] = Metric(
                value=sum(values) / len(values),
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                n=len(values),
                protocol=metric.protocol,
            )
    return found
