"""Protocols: ids, lookups, and what may be scored from one run."""

from __future__ import annotations

import dataclasses

import pytest

from litesam_bench import protocols
from litesam_bench.errors import UsageError
from litesam_bench.protocols import check_rescorable


def test_every_preset_is_found_by_its_own_id() -> None:
    for preset in protocols.presets():
        assert protocols.get(preset.id) == preset


def test_ids_are_unique_and_name_prompt_and_version() -> None:
    ids = [p.id for p in protocols.presets()]
    assert len(set(ids)) == len(ids)
    assert "miou-strict/clicks:3@1" in ids
    assert protocols.get("miou-edgesam/point-ref:2").id == "miou-edgesam/point-ref:2@1"


def test_one_click_is_a_point_so_that_a_measurement_has_one_name() -> None:
    assert protocols.get("miou-evit", "clicks:1") == protocols.get("miou-evit/point")


def test_prompt_may_come_from_either_side_but_must_agree() -> None:
    assert protocols.get("miou-evit", "clicks:5").n_clicks == 5
    with pytest.raises(UsageError, match="prompts with box, but --prompt says point"):
        protocols.get("miou-evit/box", "point")


@pytest.mark.parametrize(
    ("protocol_id", "prompt", "message"),
    [
        ("miou-strikt", None, "did you mean miou-strict"),
        ("miou-samfast/box", None, "not defined for prompt box"),
        ("miou-strict/box-ref:1", None, "not defined for prompt"),
        ("miou-strict/box@7", None, "not version 7"),
        ("miou-strict", "polygon", "unknown prompt 'polygon'"),
        ("miou-strict/clicks:0", None, "unknown prompt"),
    ],
)
def test_errors_say_what_to_write(protocol_id: str, prompt: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        protocols.get(protocol_id, prompt)


def test_every_field_is_recorded_and_predict_fields_exist() -> None:
    preset = protocols.get("miou-strict/box")
    names = {f.name for f in dataclasses.fields(preset)}
    assert set(preset.knobs()) == names
    assert names >= protocols.PREDICT_FIELDS


def test_companions_share_the_run_they_are_scored_from() -> None:
    seen = 0
    for preset in protocols.presets():
        companion = protocols.companion_of(preset)
        if companion is not None:
            check_rescorable(preset, companion)
            assert companion.metric == "ap"
            seen += 1
    assert seen >= 5


def test_rescoring_is_refused_when_the_model_was_asked_something_else() -> None:
    strict = protocols.get("miou-strict/box")
    check_rescorable(strict, protocols.get("miou-edgesam/box"))
    with pytest.raises(UsageError, match="n_clicks"):
        check_rescorable(
            protocols.get("miou-strict/clicks:3"), protocols.get("miou-strict/clicks:5")
        )
    with pytest.raises(UsageError, match="point_rule"):
        check_rescorable(protocols.get("miou-strict/point"), protocols.get("miou-samfast/point"))


def test_published_definitions() -> None:
    """The fields that upstream scripts differ in (protocols of EfficientViT-SAM and EdgeSAM)."""
    evit = protocols.get("miou-evit/box")
    assert (evit.crowd, evit.min_area_px, evit.iou_eps) == ("keep", 1.0, 1e-7)
    assert (evit.area_bins, evit.mask_select) == ("inclusive-both", "pred-iou")
    edge = protocols.get("miou-edgesam/point")
    assert (edge.crowd, edge.mask_select, edge.gt_res) == ("drop", "token0", "roundtrip-1024")
