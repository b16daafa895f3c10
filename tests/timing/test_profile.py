"""Parameters and MACs of systems, against numbers known from elsewhere."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from litesam_bench import registry
from litesam_bench.cli.profile import profile as command
from litesam_bench.errors import CapabilityError, UsageError
from litesam_bench.timing.profile import profile


def test_sam_b() -> None:
    counted = profile(registry.resolve("sam-vit-b")[0])
    # 93.7 M parameters and 487 G are what others print (Ultralytics; TinySAM)
    assert counted.params == 93_735_472
    assert counted.macs / 1e9 == pytest.approx(487, abs=1)
    # a 64 x 64 patch embedding of 16 x 16 x 3 pixels is a part of the encoder
    assert counted.parts["encoder"].by_submodule["patch_embed"] == 64 * 64 * 768 * 768


def test_lite_sam_has_proposals() -> None:
    small, large = (profile(s) for s in registry.resolve("lite-sam:all"))
    assert small.parts.keys() == {"encoder", "decoder", "proposals"}
    assert small.params == large.params
    assert 4.0e6 < small.params < 4.4e6  # the paper's 4.2 M
    assert large.macs / small.macs == pytest.approx((1024 / 640) ** 2, rel=0.02)


def test_every_system_with_a_network_can_be_counted() -> None:
    counted = [s.spec.name for s in registry.systems() if s.network and profile(s).macs > 0]
    assert {"sam-vit-b", "sam-vit-l", "sam-vit-h", "lite-sam-640"} <= set(counted)


def test_systems_without_a_network() -> None:
    with pytest.raises(CapabilityError, match="no network"):
        profile(registry.resolve("oracle")[0])
    result = CliRunner().invoke(command, ["--model", "oracle"])
    assert isinstance(result.exception, UsageError)


def test_json_has_published_figures_beside_ours() -> None:
    result = CliRunner().invoke(command, ["--model", "sam-vit-b,lite-sam", "--json"])
    assert result.exit_code == 0
    systems = json.loads(result.stdout)["systems"]
    assert systems["sam-vit-b"]["published"] == {"params_m": "90", "macs_g": "371"}
    assert systems["sam-vit-b"]["params_m"]["encoder"] == 89.671
    assert systems["lite-sam-640"]["published"]["macs_g"] == "12.7"
    assert "attention" in systems["sam-vit-b"]["footnote"]
