"""Records as the pipeline writes them, with chosen numbers, for tests of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litesam_bench import protocols
from litesam_bench.records.schema import Coverage, Metric, Record, Status

COCO_DIGEST = "3f2a91c04b7d" + "0" * 52


def make_record(
    name: str = "sam-vit-b",
    *,
    key: str = "",
    prompt: str = "box",
    preset: str = "miou-strict",
    metrics: dict[str, float | None] | None = None,
    ap: dict[str, float | None] | None = None,
    status: Status = "complete",
    reason: str = "",
    training: str = "trained",
    footnotes: Sequence[str] = (),
    data: str = "coco-val2017",
    digest: str = COCO_DIGEST,
    done: int = 124,
    device: str = "a CPU",
    dtype: str = "fp32",
    boxes: dict[str, Any] | None = None,
) -> Record:
    """A record; `metrics` are under the protocol, `ap` under its companion."""
    protocol = protocols.get(preset, prompt)
    companion = protocols.companion_of(protocol) or protocol
    found = {
        metric: Metric(
            value=value, unit="fraction", higher_is_better=True, n=961, protocol=owner.id
        )
        for owner, values in ((protocol, metrics or {}), (companion, ap or {}))
        for metric, value in values.items()
    }
    entry: dict[str, Any] = {
        "name": data,
        "digest": digest,
        "n_images": 124,
        "n_instances": 973,
        "footnote": "subset of COCO val2017",
    }
    if boxes is not None:
        entry["boxes"] = boxes
    return Record(
        kind="zeroshot",
        status=status,
        reason=reason,
        system={
            "name": name,
            "display": name.upper(),
            "training": training,
            "published": key,
        },
        protocol={"id": protocol.id, "knobs": protocol.knobs(), "passed": {}},
        data=entry,
        coverage=Coverage(expected=124, done=done, failed=0),
        metrics=found,
        timing_s={"embed": 1.5},
        environment={"device": "cpu", "device_name": device, "dtype": dtype},
        footnotes=list(footnotes),
    )
