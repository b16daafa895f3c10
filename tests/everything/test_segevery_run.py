"""Segment-everything over a dataset: journal, resume, score, capabilities, protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blobs import Blobs
from toy import ABILITIES, ToyDataset, toy_system

from litesam_bench.distributed import World
from litesam_bench.errors import CapabilityError, UsageError
from litesam_bench.everything import protocol as protocols
from litesam_bench.everything import run as everything
from litesam_bench.everything.autoppn import AutoPpnSampler
from litesam_bench.everything.grid import Grid
from litesam_bench.everything.own import proposals_of, segments_of_hierarchy
from litesam_bench.everything.proposals import Proposal
from litesam_bench.metrics import rle
from litesam_bench.metrics.labels import segment_masks
from litesam_bench.pipeline import RunSettings
from litesam_bench.records.journal import RunFolder
from litesam_bench.types import Capabilities, GroundTruth, ImageU8, Instance


class Perfect(Blobs):
    """Knows the answers."""

    def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
        assert truth is not None
        codes = [i.rle for i in truth.instances]
        return proposals_of(codes, [1.0] * len(codes), truth.size_hw)


OWN = Capabilities(everything=True, needs_ground_truth=True)


def task(
    segmenter: Blobs,
    capabilities: Capabilities = ABILITIES,
    name: str = "ar-sam",
    **changes: object,
) -> everything.SegEveryTask:
    made = everything.SegEveryTask(
        system=toy_system(segmenter, capabilities),  # type: ignore[arg-type]
        dataset=ToyDataset(),
        protocol=protocols.get(name),
        sampler=Grid(4),
        settings=RunSettings(batch=8),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_perfect_system_reaches_one(tmp_path: Path) -> None:
    job = task(Perfect(), OWN)
    run = RunFolder(tmp_path, job.identity())
    everything.predict(job, run, World())
    record = everything.make_record(job, run, "cpu")
    assert record.status == "complete"
    assert record.protocol["id"] == "ar-sam/own@1"
    assert record.metrics["ar1000"].value == 1.0
    assert record.metrics["ar1000_s"].n + record.metrics["ar1000_m"].n == 11  # one of 12 is a crowd
    assert record.metrics["masks_per_image"].value == 2


def test_grid_masks_are_journaled_and_scored_without_the_model(tmp_path: Path) -> None:
    segmenter = Blobs()
    job = task(segmenter)
    run = RunFolder(tmp_path, job.identity())
    everything.predict(job, run, World())
    calls = len(segmenter.batches)
    record = everything.make_record(job, run, "cpu")
    assert 0 < (record.metrics["ar1000"].value or 0) < 1
    everything.predict(job, run, World())  # nothing is left to do
    assert len(segmenter.batches) == calls
    assert everything.make_record(job, run, "cpu").metrics == record.metrics
    assert {"load", "decode", "filter", "rle", "nms", "score"} <= record.timing_s.keys()


def test_what_changes_proposals_changes_the_run() -> None:
    base = task(Blobs())
    others = [
        replace(base, sampler=Grid(5)),
        replace(base, protocol=protocols.get("ar-default-amg")),
        replace(base, settings=RunSettings(batch=9)),
    ]
    identities = [t.identity() for t in (base, *others)]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    ranked = replace(base.protocol, rank_key="iou")
    assert replace(base, protocol=ranked).identity() == base.identity()


def test_broken_images_fail_alone(tmp_path: Path) -> None:
    job = task(Blobs(), dataset=ToyDataset(broken={2}))
    run = RunFolder(tmp_path, job.identity())
    everything.predict(job, run, World())
    record = everything.make_record(job, run, "cpu")
    assert record.status == "partial"
    assert record.coverage.failures == {"2": "2.png is truncated"}


def test_capabilities() -> None:
    points = Capabilities(points=True)
    everything.check_capabilities(toy_system(capabilities=points).spec, Grid(4))
    with pytest.raises(CapabilityError, match="prompt proposals"):
        everything.check_capabilities(toy_system(capabilities=points).spec, AutoPpnSampler())
    with pytest.raises(CapabilityError, match="box prompts"):
        everything.check_capabilities(
            toy_system(capabilities=replace(points, propose=True)).spec,
            AutoPpnSampler(kind="boxes"),
        )
    error = CapabilityError("toy has no points")
    record = everything.not_available(task(Blobs()), "cpu", error)
    assert (record.status, record.reason) == ("n/a", "toy has no points")


def test_annotators_are_matched_one_by_one() -> None:
    def instance(k: int, annotator: int, box: tuple[int, int, int, int]) -> Instance:
        mask = np.zeros((24, 32), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return Instance(k, annotator, rle.encode(mask), (0, 0, 1, 1), float(mask.sum()))

    class Two(ToyDataset):
        def truth(self, image_id: int) -> GroundTruth:
            same = (0, 0, 16, 24)
            instances = (
                instance(1, 1, same),
                instance(2, 2, same),
                instance(3, 2, (16, 0, 32, 24)),
            )
            return GroundTruth(image_id, "1", "/1", (24, 32), instances)

    class One(Perfect):
        def everything(self, image: ImageU8, truth: GroundTruth | None) -> tuple[Proposal, ...]:
            return super().everything(image, truth)[:1]

    job = task(One(), OWN, name="ar-bsds", dataset=Two(1))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder), job.identity())
        everything.predict(job, run, World())
        record = everything.make_record(job, run, "cpu")
    # one proposal serves both annotators: two of three segments
    assert record.metrics["ar1000"].value == pytest.approx(2 / 3)
    assert record.metrics["ar1000"].n == 3


def test_protocols() -> None:
    assert protocols.get("ar-sam@1").config.box_nms_thresh == 0.9
    assert protocols.get("ar-default-amg").config.pred_iou_thresh == 0.88
    by_iou, by_mean = protocols.get("ar-sam-iou"), protocols.get("ar-sam")
    assert by_iou.config == by_mean.config  # the same masks, in another order
    assert (by_iou.rank_key, by_mean.rank_key) == ("iou", "mean")
    assert by_iou.config.pred_iou_thresh == by_iou.config.stability_thresh == 0
    with pytest.raises(UsageError, match="ar-same"):
        protocols.get("ar-same")
    with pytest.raises(UsageError):
        protocols.get("ar-sam@2")


def test_segments_of_labels_and_hierarchies() -> None:
    fine = np.array([[0, 0, 7], [3, 3, 7]], np.int32)
    coarse = np.array([[1, 1, 2], [1, 1, 2]], np.int32)
    masks = [rle.decode(code).astype(int).tolist() for code in segment_masks(fine)]
    assert masks == [
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [1, 1, 0]],
        [[0, 0, 1], [0, 0, 1]],
    ]
    found = segments_of_hierarchy([fine, coarse])
    assert len(found) == 4  # the right column is a segment at both levels
    assert rle.area(found[0]) == 4
    assert len(segments_of_hierarchy([fine, coarse], limit=2)) == 2
