"""How far a system's masks agree with a reference system's, for the same prompts.

MobileSAM's table takes SAM's masks for the truth: it says how well a small model imitates a large
one, not how right either is. Here the annotations give the prompts only; both systems' masks come
from the ordinary journals of `zeroshot`, so that one run serves both commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from litesam_bench import pipeline, protocols, scoring
from litesam_bench.errors import CapabilityError, DataError, UsageError
from litesam_bench.protocols import Protocol
from litesam_bench.records.journal import Entry, RunFolder
from litesam_bench.records.schema import Record
from litesam_bench.types import Category, Dataset, DatasetInfo, GroundTruth, Sample

PROMPTS = ("box", "point")


def prompting(prompt: str) -> Protocol:
    """The protocol by which both systems are prompted.

    Raises UsageError for prompts that react to annotated masks, or come from a file.
    """
    if protocols.parse_prompt(prompt).kind not in PROMPTS:
        raise UsageError(
            f"agreement cannot be measured with {prompt} prompts: both systems must be asked the "
            "same, and later clicks depend on a system's own masks",
            fix="--prompt box or --prompt point",
        )
    return protocols.get("miou-strict", prompt)


def scoring_protocol(asked: Protocol, reference: str) -> Protocol:
    """The protocol that the numbers carry: `agreement-sam-vit-h/box@1`."""
    return replace(
        asked,
        name=f"agreement-{reference}",
        version=1,
        summary=f"IoU with the mask that {reference} gives for the same prompt; both choose their "
        "best of three by predicted IoU; size bins by the annotation",
        source="MobileSAM, Table 7, as reprinted in the seminar; how its prompts were chosen is "
        "not stated there",
        companion="",
    )


@dataclass(frozen=True)
class ReferenceDataset:
    """A dataset whose masks are those that the reference system gave for its prompts."""

    dataset: Dataset
    entries: Mapping[int, Entry]
    protocol: Protocol

    @property
    def info(self) -> DatasetInfo:
        return self.dataset.info

    @property
    def image_ids(self) -> Sequence[int]:
        return self.dataset.image_ids

    @property
    def categories(self) -> Sequence[Category]:
        return self.dataset.categories

    def sample(self, image_id: int) -> Sample:
        return Sample(self.dataset.sample(image_id).image, self.truth(image_id))

    def truth(self, image_id: int) -> GroundTruth:
        """The image's instances with the reference's chosen masks in place of the annotated."""
        truth, entry = self.dataset.truth(image_id), self.entries[image_id]
        given = {prediction.id: prediction for prediction in entry.predictions}
        instances = tuple(
            replace(
                instance,
                rle=scoring.chosen_rle(given[instance.id], entry.size_hw, self.protocol),
            )
            for instance in truth.instances
        )
        return replace(truth, instances=instances)


def reference_dataset(
    dataset: Dataset, run: RunFolder, asked: Protocol, reference: str, limit: int | None
) -> ReferenceDataset:
    """The dataset seen through the reference's finished run.

    Raises DataError naming the images on which the reference failed: without its masks there is
    nothing to agree with.
    """
    entries = run.entries()
    wanted = pipeline.measured_images(dataset, asked, limit)
    lacking = [i for i in wanted if i not in entries or entries[i].error]
    if lacking:
        reason = entries[lacking[0]].error if lacking[0] in entries else "not done"
        raise DataError(
            f"{reference} has no masks for {len(lacking)} of {len(wanted)} images, "
            f"first {lacking[0]}: {reason}",
            fix="mend the images, or use a reference that can segment them",
        )
    return ReferenceDataset(dataset, entries, asked)


def make_record(
    run: RunFolder,
    context: dict[str, Any],
    truth: ReferenceDataset,
    protocol: Protocol,
    reference: dict[str, Any],
) -> Record:
    """Score a run's masks against the reference's.

    Args:
        reference: what the record says of the reference: its `system` field and its run.
    """
    record = pipeline.make_record(run, context, truth, protocol, None)
    return _about(record, reference)


def not_available(
    context: dict[str, Any],
    dataset: Dataset,
    protocol: Protocol,
    reference: dict[str, Any],
    error: CapabilityError,
) -> Record:
    """The record of a system that cannot be prompted so."""
    return _about(pipeline.not_available(context, dataset, protocol, error), reference)


def _about(record: Record, reference: dict[str, Any]) -> Record:
    return replace(record, kind="agreement", protocol={**record.protocol, "reference": reference})
