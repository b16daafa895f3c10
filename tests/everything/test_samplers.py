"""Where prompts come from."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import Blobs, Plain, blank

from litesam_bench.errors import CapabilityError, UsageError
from litesam_bench.everything.autoppn import AutoPpnSampler
from litesam_bench.everything.generator import generate
from litesam_bench.everything.grid import Grid
from litesam_bench.everything.hierarchical import Hierarchical, between
from litesam_bench.everything.object_aware import ObjectAware
from litesam_bench.everything.presets import OBJECT_AWARE, default_sampler, parse_sampler
from litesam_bench.everything.proposals import GeneratorConfig, View
from litesam_bench.types import Capabilities, Prompts

OFF = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1)


def view(size_hw: tuple[int, int], layer: int = 0, image_id: int | None = None) -> View:
    return View(size_hw, layer, Blobs(), size_hw, image_id)


@pytest.mark.parametrize("n", [16, 32, 64])
def test_grid_sizes(n: int) -> None:
    prompts = Grid(n).prompts(view((480, 640)), 0, None)
    assert len(prompts) == n * n
    assert prompts.labels is not None
    assert (prompts.labels == 1).all()


def test_grid_of_deeper_layers() -> None:
    assert len(Grid(32, downscale=2).prompts(view((480, 640), layer=2), 0, None)) == 64
    assert len(Grid(1, downscale=2).prompts(view((480, 640), layer=1), 0, None)) == 0


def test_autoppn_leaves_fillers_out() -> None:
    points = AutoPpnSampler(256, "points").prompts(view((60, 80)), 0, None)
    assert points.points is not None
    assert points.points[:, 0].tolist() == [[20, 10], [40, 30]]
    assert points.boxes is None
    boxes = AutoPpnSampler(256, "boxes").prompts(view((60, 80)), 0, None)
    assert boxes.boxes is not None
    assert boxes.boxes.tolist() == [[15, 5, 25, 15], [35, 25, 45, 35]]
    assert boxes.points is None
    both = AutoPpnSampler(1, "both").prompts(view((60, 80)), 0, None)
    assert both.points is not None
    assert both.boxes is not None
    assert len(both) == 1


def test_autoppn_needs_proposals() -> None:
    with pytest.raises(CapabilityError, match="no prompt proposals"):
        generate(Plain(), blank(60, 80), AutoPpnSampler(), OFF)


def test_hierarchical_covers_the_fine_grid_once() -> None:
    coarse = np.array([[8.0, 8.0], [24.0, 8.0]])
    fine = between(coarse, per_side=8, size_hw=(32, 32))
    # strides of 4: 15 offsets around each point, of which four leave the image at x = 32
    assert len(fine) == 26
    assert len({tuple(p) for p in fine.tolist()} | {tuple(p) for p in coarse.tolist()}) == 28
    assert (fine == [4.0, 4.0]).all(axis=1).any()
    assert (fine == [16.0, 16.0]).all(axis=1).any()


def test_hierarchical_skips_what_is_settled() -> None:
    sampler = Hierarchical(8)
    settled = np.zeros((32, 32), bool)
    assert len(sampler.prompts(view((32, 32)), 0, None)) == 4
    everywhere = sampler.prompts(view((32, 32)), 1, settled)
    settled[:, :16] = True
    half = sampler.prompts(view((32, 32)), 1, settled)
    assert half.points is not None
    assert (half.points[:, 0, 0] >= 16).all()
    assert 0 < len(half) < len(everywhere)


def test_hierarchical_runs_two_passes() -> None:
    segmenter = Blobs()
    result = generate(segmenter, blank(64, 64), Hierarchical(16), OFF)
    # the discs' centres have logits above 8.5, so some fine points need no prompt
    assert 16 < result.funnel.prompts < 16 * 16
    with pytest.raises(UsageError, match="crops"):
        Hierarchical(16).prompts(view((64, 64), layer=1), 0, None)


def test_object_aware_snaps_to_the_edge() -> None:
    boxes = np.array([[15.0, 30.0, 1000.0, 500.0], [100.0, 100.0, 200.0, 200.0]])
    sampler = ObjectAware(lambda i: Prompts(ids=(7, 9), boxes=boxes), source="abcdef0123")
    prompts = sampler.prompts(view((768, 1024), image_id=3), 0, None)
    assert prompts.boxes is not None
    assert prompts.boxes.tolist() == [[0, 30, 1000, 500], [100, 100, 200, 200]]
    assert prompts.ids == (7, 9)
    assert sampler.name == "object-aware:abcdef01"
    wider = np.array([[15.0, 30.0, 1009.0, 500.0]])
    near = ObjectAware(lambda i: Prompts(ids=(0,), boxes=wider), source="x")
    snapped = near.prompts(view((768, 1024), image_id=3), 0, None).boxes
    assert snapped is not None
    assert snapped[0, 2] == 1024
    with pytest.raises(UsageError, match="outside a dataset"):
        sampler.prompts(view((768, 1024)), 0, None)


def test_object_aware_gives_one_mask_per_box() -> None:
    boxes = np.array([[10.0, 10.0, 20.0, 20.0], [10.0, 10.0, 20.0, 20.0]])
    sampler = ObjectAware(lambda i: Prompts(ids=(0, 1), boxes=boxes), source="x")
    result = generate(Blobs(), blank(60, 80), sampler, OBJECT_AWARE, image_id=1)
    assert [p.token for p in result.proposals] == [0, 0]
    empty = ObjectAware(lambda i: Prompts(ids=(), boxes=np.empty((0, 4))), source="x")
    assert generate(Blobs(), blank(60, 80), empty, OBJECT_AWARE, image_id=1).proposals == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("grid", "grid:32"),
        ("grid:64", "grid:64"),
        ("hierarchical", "hierarchical:32"),
        ("autoppn", "autoppn:256-points"),
        ("autoppn:64-both", "autoppn:64-both"),
        ("autoppn-boxes", "autoppn:256-boxes"),
    ],
)
def test_names(text: str, name: str) -> None:
    sampler = parse_sampler(text)
    assert sampler.name == name
    assert parse_sampler(sampler.name) == sampler


@pytest.mark.parametrize("text", ["gird", "grid:x", "grid-boxes", "grid:0", "autoppn:0", ""])
def test_unknown_samplers(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sampler(text)


def test_a_system_s_own_prompts_are_the_default() -> None:
    assert default_sampler(Capabilities(points=True, propose=True)) == "autoppn:256-points"
    assert default_sampler(Capabilities(points=True)) == "grid:32"
    for can in (Capabilities(points=True, propose=True), Capabilities(points=True)):
        assert parse_sampler(default_sampler(can)).name == default_sampler(can)
