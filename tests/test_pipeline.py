"""Runs: what is journaled, resumed, shared, refused, and what a record then says."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from toy import ABILITIES, ToyDataset, ToySegmenter, toy_system

from litesam_bench import pipeline, protocols
from litesam_bench.distributed import World
from litesam_bench.errors import CapabilityError, StorageError
from litesam_bench.records.journal import Entry, RunFolder
from litesam_bench.records.schema import Record
from litesam_bench.registry import resolve
from litesam_bench.types import Dataset, MaskBatch

BOX = protocols.get("miou-strict/box")


def make_task(
    dataset: Dataset | None = None,
    segmenter: ToySegmenter | None = None,
    protocol: protocols.Protocol = BOX,
    **settings: object,
) -> pipeline.Task:
    return pipeline.Task(
        system=toy_system(segmenter),
        dataset=dataset or ToyDataset(),
        protocol=protocol,
        settings=pipeline.RunSettings(**settings),  # type: ignore[arg-type]
    )


def run_task(task: pipeline.Task, root: Path, world: World | None = None) -> RunFolder:
    run = RunFolder(root, task.identity())
    run.keep_context(pipeline.context_of(task, "test device", {"name": "toy"}))
    pipeline.predict(task, run, world or World())
    return run


def record_of(task: pipeline.Task, run: RunFolder) -> Record:
    return pipeline.make_record(run, run.context(), task.dataset, task.protocol, None)


def record_of_run(task: pipeline.Task, run: RunFolder) -> Record:
    run.keep_context(pipeline.context_of(task, "test device", {}))
    return record_of(task, run)


def test_boxes_end_in_a_perfect_record(tmp_path: Path) -> None:
    task = make_task()
    record = record_of(task, run_task(task, tmp_path))
    assert record.status == "complete"
    assert (record.coverage.expected, record.coverage.done, record.coverage.failed) == (6, 6, 0)
    assert record.metrics["miou"].value == 1.0
    assert record.metrics["miou"].n == 11  # 12 annotations, one a crowd
    assert record.metrics["ap"].value == pytest.approx(1.0, abs=1e-12)
    assert record.metrics["ap"].protocol == "ap-gtbox/box@1"
    assert {"load", "embed", "segment", "restore", "encode", "score"} <= set(record.timing_s)


def test_all_tokens_are_kept_so_that_scoring_can_choose(tmp_path: Path) -> None:
    task = make_task()
    run = run_task(task, tmp_path)
    masks = run.entries()[1].predictions[0].masks
    assert [m.token for m in masks] == [0, 1, 2, 3]
    edgesam = protocols.get("miou-edgesam/box")
    record = pipeline.make_record(run, run.context(), task.dataset, edgesam, None)
    assert record.metrics["miou"].protocol == "miou-edgesam/box@1"
    assert record.protocol["knobs"]["mask_select"] == "token0"


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    segmenter = ToySegmenter()
    task = make_task(segmenter=segmenter)
    first = record_of(task, run_task(task, tmp_path))
    calls = dict(segmenter.calls)
    second = record_of(task, run_task(task, tmp_path))
    assert segmenter.calls == calls
    assert first.metrics == second.metrics


@pytest.mark.parametrize("change", [{"dtype": "bf16"}, {"batch": 1}])
def test_settings_that_change_masks_do_not_share_a_run(
    tmp_path: Path, change: dict[str, object]
) -> None:
    base, changed = make_task(), make_task(**change)
    assert RunFolder(tmp_path, base.identity()).path != (
        RunFolder(tmp_path, changed.identity()).path
    )


def test_protocol_weights_and_code_do_not_share_a_run(tmp_path: Path) -> None:
    base = make_task()
    other_protocol = make_task(protocol=protocols.get("miou-evit/box"))
    assert base.identity() != other_protocol.identity()
    copied = tmp_path / "adapter.py"
    copied.write_text(Path(str(base.system.source)).read_text() + "\n# edited\n")
    edited = dataclasses.replace(base.system, source=copied)
    assert pipeline.code_digest(base.system) != pipeline.code_digest(edited)


def test_a_limited_run_shares_the_work_of_the_full_one(tmp_path: Path) -> None:
    segmenter = ToySegmenter()
    limited = make_task(segmenter=segmenter, limit=2)
    record = record_of(limited, run_task(limited, tmp_path))
    assert record.coverage.expected == 2
    assert "first 2 of 6 images" in record.footnotes
    run_task(make_task(segmenter=segmenter), tmp_path)
    assert segmenter.calls["embed"] == 6


def test_a_broken_image_is_counted_named_and_tried_again(tmp_path: Path) -> None:
    task = make_task(ToyDataset(broken={2}))
    run = run_task(task, tmp_path)
    record = record_of(task, run)
    assert record.status == "partial"
    assert record.reason == "5 of 6 images"
    assert record.coverage.failures == {"2": "2.png is truncated"}
    mended = make_task(ToyDataset())
    assert record_of(mended, run_task(mended, tmp_path)).status == "complete"


def test_nan_from_a_model_fails_that_image_only(tmp_path: Path) -> None:
    def spoil(masks: MaskBatch, image: int) -> MaskBatch:
        bad = masks.logits.clone()
        if image == 4:
            bad[0, 0, 0, 0] = float("nan")
        return dataclasses.replace(masks, logits=bad)

    task = make_task(segmenter=ToySegmenter(spoil))
    record = record_of(task, run_task(task, tmp_path))
    assert record.coverage.failures == {"4": "NaN or infinity in the model's logits"}


def test_wrong_shapes_from_a_model_are_explained(tmp_path: Path) -> None:
    def spoil(masks: MaskBatch, image: int) -> MaskBatch:
        return dataclasses.replace(masks, iou=masks.iou[:, :2])

    task = make_task(segmenter=ToySegmenter(spoil))
    record = record_of(task, run_task(task, tmp_path))
    assert record.coverage.failed == 6
    assert "(2, 2)" in record.coverage.failures["1"]
    assert record.metrics == {}


def test_missing_capabilities_are_found_before_loading() -> None:
    boxes_only = dataclasses.replace(ABILITIES, points=False, negative_points=False)
    spec = toy_system(capabilities=boxes_only).spec
    pipeline.check_capabilities(spec, BOX)
    with pytest.raises(CapabilityError, match="point prompts"):
        pipeline.check_capabilities(spec, protocols.get("miou-strict/point"))
    few = toy_system(capabilities=dataclasses.replace(ABILITIES, max_points=2)).spec
    pipeline.check_capabilities(few, protocols.get("miou-strict/clicks:2"))
    with pytest.raises(CapabilityError, match="3 points"):
        pipeline.check_capabilities(few, protocols.get("miou-strict/clicks:3"))


def test_the_truth_reaches_only_systems_that_declare_it(tmp_path: Path) -> None:
    segmenter = ToySegmenter()
    run_task(make_task(segmenter=segmenter), tmp_path)
    assert all(prompts.targets is None for prompts in segmenter.seen)


def test_clicks_go_on_from_the_larger_error(tmp_path: Path) -> None:
    segmenter = ToySegmenter()
    task = make_task(ToyDataset(1), segmenter, protocols.get("miou-strict/clicks:3"))
    run = run_task(task, tmp_path)
    points = run.entries()[1].predictions[0].points
    # the rectangle is x 2..10, y 3..14; its deepest pixel in reading order comes first
    assert points[0] == (6.0, 7.0, 1) or points[0][2] == 1
    assert len(points) == 3
    assert segmenter.calls["segment"] == 3
    shapes = [prompts.points.shape for prompts in segmenter.seen if prompts.points is not None]
    assert shapes == [(2, 1, 2), (2, 2, 2), (2, 3, 2)]


def test_cascade_sends_the_first_mask_back(tmp_path: Path) -> None:
    protocol = dataclasses.replace(
        BOX,
        name="cascade",
        refine_iter=1,
        refine_rule="mask-feedback",
        dialogue_select="pred-iou",
        companion="",
    )
    segmenter = ToySegmenter()
    run_task(make_task(ToyDataset(1), segmenter, protocol), tmp_path)
    first, second = segmenter.seen
    assert first.low_res_logits is None
    assert second.low_res_logits is not None
    assert second.boxes is not None
    assert (second.low_res_logits[0, 0] > 0).sum() == 9 * 12  # token 2: the box of image 1


def test_batches_do_not_change_what_is_journaled(tmp_path: Path) -> None:
    one, many = make_task(batch=1), make_task(batch=64)
    a = run_task(one, tmp_path).entries()
    b = run_task(many, tmp_path).entries()
    assert {i: e.predictions for i, e in a.items()} == {i: e.predictions for i, e in b.items()}


def test_ranks_share_the_images_without_repeating_any(tmp_path: Path) -> None:
    segmenter = ToySegmenter()
    task = make_task(ToyDataset(7), segmenter)
    run = RunFolder(tmp_path, task.identity())
    shards = [World(rank, 3).shard(task.image_ids) for rank in range(3)]
    assert sorted(i for shard in shards for i in shard) == task.image_ids
    # ranks 0 and 2 finish, rank 1 is lost; one process then does what is left, and only that
    for rank in (0, 2):
        pipeline.journal_masks(task, segmenter, run, shards[rank], rank=rank)
    assert segmenter.calls["embed"] == 5
    pipeline.predict(task, run, World())
    assert segmenter.calls["embed"] == 7
    assert record_of_run(task, run).status == "complete"


def test_full_disk_is_fatal_and_nothing_done_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from litesam_bench.records.journal import JournalWriter

    task = make_task()
    run = RunFolder(tmp_path, task.identity())
    append = JournalWriter.append

    def fill_up(self: JournalWriter, entry: Entry) -> None:
        if entry.image_id == 4:
            raise StorageError("no space left on the disk", fix="free some")
        append(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "append", fill_up)
        with pytest.raises(StorageError):
            pipeline.predict(task, run, World())
    assert list(run.entries()) == [1, 2, 3]
    pipeline.predict(task, run, World())
    assert list(run.entries()) == [1, 2, 3, 4, 5, 6]


_VICTIM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_pipeline import make_task, run_task
from toy import ToyDataset, ToySegmenter

class Slow(ToySegmenter):
    def embed(self, image):
        time.sleep(0.15)
        return super().embed(image)

run_task(make_task(ToyDataset(12), Slow()), Path({root!r}))
"""


def test_killed_at_any_moment_a_run_ends_with_identical_metrics(tmp_path: Path) -> None:
    script = textwrap.dedent(_VICTIM).format(
        tests=str(Path(__file__).parent), root=str(tmp_path / "runs")
    )
    victim = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
    journal = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        journal = next((tmp_path / "runs").glob("*/journal-0.jsonl"), None)
        if journal is not None and journal.stat().st_size > 0:
            break
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert journal is not None
    done = len(journal.read_text().splitlines())
    assert 0 < done < 12
    task = make_task(ToyDataset(12))
    resumed = record_of(task, run_task(task, tmp_path / "runs"))
    fresh = record_of(task, run_task(task, tmp_path / "other"))
    assert resumed.status == "complete"
    assert resumed.metrics == fresh.metrics
    assert resumed.fingerprint == fresh.fingerprint


def test_annotations_beyond_the_detection_limit_are_said() -> None:
    from litesam_bench import scoring

    toy = ToyDataset(3)
    assert scoring.notes(toy, toy.image_ids, BOX) == []
    capped = dataclasses.replace(protocols.get("ap-gtbox/box"), max_dets=1)
    truth = toy.truth(1)
    twin = dataclasses.replace(truth.instances[0], id=99)
    crowded = dataclasses.replace(truth, instances=(*truth.instances, twin))
    toy.truth = lambda image_id: crowded  # type: ignore[method-assign]
    (note,) = scoring.notes(toy, [1], capped)
    assert "1 annotations beyond them" in note


def test_untrained_weights_are_named_by_their_seed() -> None:
    system = toy_system()
    untrained = dataclasses.replace(system.spec, training="untrained")
    assert pipeline.weights_identity(untrained, None, 3) == "untrained:seed=3"
    assert pipeline.weights_identity(system.spec, None, 3) == "none"


def test_stability_of_empty_masks_is_zero() -> None:
    from litesam_bench.dialogue import stability

    logits = torch.tensor([[[-2.0, -2.0]], [[2.0, 0.0]], [[0.5, -0.5]]])
    assert stability(logits).tolist() == [0.0, 0.5, 0.0]


def test_what_restricts_the_weights_is_in_the_record() -> None:
    system = resolve("lite-sam")[0]
    assert system.spec.weights is not None
    entry = pipeline.system_entry(system, None, seed=0)
    assert entry["weights_restriction"] == system.spec.weights.restriction != ""
    assert pipeline.system_entry(resolve("ellipse")[0], None, seed=0)["weights_restriction"] == ""
