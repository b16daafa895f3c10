"""Parameters and MACs of systems, against numbers known from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from litesam_bench import registry
from litesam_bench.cli.main import run
from litesam_bench.cli.profile import missing_package
from litesam_bench.cli.profile import profile as command
from litesam_bench.errors import CapabilityError, UsageError
from litesam_bench.records.store import read_records
from litesam_bench.timing.profile import profile, system_record

# PyTorch counts as fast as it looks at shapes, but ultralytics' networks run for real: 440 GMACs
SLOW = ("fast-sam-x",)


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


@pytest.mark.slow
def test_every_system_with_a_network_can_be_counted() -> None:
    counted = {
        system.spec.name
        for system in registry.systems()
        if system.network and system.spec.name not in SLOW and not missing_package(system)
        if profile(system).macs > 0
    }
    assert {"sam-vit-b", "sam-vit-l", "sam-vit-h", "lite-sam-640"} <= counted


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


# parameters of the whole in M, MACs of the encoder in G, as Table 1 of the paper prints them
EFFICIENTVIT_SAM = {
    "l0": (34.8, 35),
    "l1": (47.7, 49),
    "l2": (61.3, 69),
    "xl0": (117.0, 185),
    "xl1": (203.3, 322),
}


@pytest.mark.parametrize("variant", EFFICIENTVIT_SAM)
def test_efficientvit_sam_has_the_papers_size(variant: str) -> None:
    pytest.importorskip("timm")
    counted = profile(registry.resolve(f"efficientvit-sam-{variant}")[0])
    params_m, encoder_g = EFFICIENTVIT_SAM[variant]
    assert counted.params / 1e6 == pytest.approx(params_m, abs=0.051)
    assert round(counted.parts["encoder"].macs / 1e9) == encoder_g


def test_a_record_holds_the_whole_and_the_parts() -> None:
    system = registry.resolve("lite-sam-640")[0]
    counted = profile(system)
    record = system_record(system, counted)
    values = {name: metric.value for name, metric in record.metrics.items()}
    assert values["params_m"] == counted.params / 1e6
    parts = ("encoder", "decoder", "proposals")
    assert values["macs_g"] == pytest.approx(sum(values[f"{part}_macs_g"] or 0 for part in parts))


def test_latency_leaves_one_record_a_network_and_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["profile", "--model", "lite-sam-640", "--latency", "--device", "cpu"]
    assert run([*words, "--repeats", "1", "--results", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["latency"]["rows"]
    assert set(rows) == {"lite-sam-640 encoder", "lite-sam-640 1-point"}
    records = {str(r.protocol["id"]): r for r in read_records(tmp_path)}
    assert set(records) == {"network-latency/encoder@1", "network-latency/1-point@1"}
    found = records["network-latency/encoder@1"]
    assert found.metrics["median"].value == pytest.approx(rows["lite-sam-640 encoder"]["median_ms"])
    assert found.system["weights"] == "random"


def test_options_that_contradict_each_other() -> None:
    assert run(["profile", "--all", "--model", "sam"]) == UsageError.exit_code
    assert run(["profile", "--backbones", "--latency"]) == UsageError.exit_code
