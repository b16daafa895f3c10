"""Every registered system keeps the contract, and equals its upstream where a golden says how.

Nothing here names a system: one that is added is tested without an edit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from litesam_bench.parity import golden_path, manifest_path, standing
from litesam_bench.parity.check import LIGHT_PARAMETERS, Check, check, failures
from litesam_bench.parity.manifest import read_manifest
from litesam_bench.registry import System, systems

_MODULES_OF = {
    "family": ("timm", "torchvision", "transformers"),
    "ultralytics": ("ultralytics",),
}


def _param(system: System) -> object:
    path = manifest_path(system.spec.name)
    many = path.is_file() and read_manifest(path).parameters > LIGHT_PARAMETERS
    marks = [pytest.mark.slow] if many or golden_path(system.spec.name).is_file() else []
    return pytest.param(system, id=system.spec.name, marks=marks)


def _need_extra(system: System) -> None:
    """Skip a system whose optional packages are not installed, saying which."""
    extra = system.spec.extra
    for module in _MODULES_OF.get(extra, ()):
        pytest.importorskip(module, reason=f"needs the extra `{extra}`")


@pytest.mark.parametrize("system", [_param(system) for system in systems()])
def test_every_system_keeps_its_contract(system: System) -> None:
    _need_extra(system)
    checks = check(system)
    assert not failures(checks)
    names = [row.name for row in checks]
    assert len(set(names)) == len(names)
    if golden_path(system.spec.name).is_file():
        compared = [row for row in checks if row.name.startswith("equal to upstream, ")]
        assert compared, "there is a golden, but nothing was compared with it"
    if manifest_path(system.spec.name).is_file():
        assert Check("manifest", "n/a", "there is none") not in checks


@pytest.mark.gpu
@pytest.mark.parametrize("system", list(systems()), ids=lambda system: system.spec.name)
def test_cpu_and_gpu_agree(system: System) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    _need_extra(system)
    assert not failures(check(system, device="cuda"))


@pytest.mark.parametrize("system", list(systems()), ids=lambda system: system.spec.name)
def test_what_is_not_proven_says_why(system: System) -> None:
    found = standing(system.spec)
    assert found.reason
    assert found.proven == golden_path(system.spec.name).is_file()
    assert not found.proven or manifest_path(system.spec.name).is_file()


# --- the checks themselves can fail --------------------------------------------------------------

_ADAPTER = """
{head}
from litesam_bench.spec import SystemSpec
from litesam_bench.types import Capabilities, MaskBatch

SPECS = (SystemSpec(name="wrong", family="wrong", display="Wrong", training="not-applicable",
    capabilities=Capabilities(boxes=True, single_mask=True{capability})),)

def load(spec, context):
    return Wrong()

class Wrong:
    calls = 0

    def embed(self, image):
        return image.shape[:2]

    def segment(self, size_hw, prompts):
        import torch
        Wrong.calls += 1
        n = len(prompts)
        logits = torch.as_tensor(prompts.boxes).float().sum(1)[:, None, None, None]
        logits = logits.expand(n, 1, 8, 8) * torch.linspace(-1, 1, 8)
        iou = torch.ones(n, 1)
        {body}
        def to_image(low):
            return torch.nn.functional.interpolate(low[:, None], {size})[:, 0]
        return MaskBatch(logits=logits, iou=iou, tokens=(0,), to_image=to_image)
"""


def _failed(tmp_path: Path, **changes: str) -> list[str]:
    """The names of the checks that an adapter with one mistake fails."""
    from litesam_bench.registry import resolve

    parts = {"head": "", "capability": "", "body": "", "size": "size_hw", **changes}
    path = tmp_path / "wrong.py"
    path.write_text(_ADAPTER.format(**parts))
    (system,) = resolve(str(path))
    return [row.name for row in failures(check(system))]


def test_a_sound_adapter_fails_nothing(tmp_path: Path) -> None:
    assert _failed(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"head": "import torch"}, ["imports nothing heavy"]),
        (
            {"capability": ", points=True, negative_points=True"},
            ["answers point", "answers points"],
        ),
        ({"capability": ", multimask=True, predicted_iou=True"}, ["answers box", "answers boxes"]),
        (
            {"body": "logits = logits + 0.1 * n"},
            ["a batch is its prompts one by one"],
        ),
        (
            {"body": "logits = logits + Wrong.calls"},
            ["a batch is its prompts one by one", "a repeated call gives the same"],
        ),
        (
            {"body": "iou = iou / 2"},
            ["answers box", "answers boxes", "masks have the image's size"],
        ),
        (
            {"body": "logits = logits / 0"},
            ["answers box", "answers boxes", "a batch is its prompts one by one"],
        ),
        (
            {"size": "size_hw[::-1]"},
            ["answers box", "answers boxes", "masks have the image's size"],
        ),
        ({"body": "raise ValueError('mine')"}, ["answers box", "answers boxes"]),
    ],
    ids=[
        *("heavy-import", "undeclared-prompt", "tokens", "batch-dependent", "stateful"),
        *("iou-not-declared", "not-finite", "transposed", "raises"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, changes: dict[str, str], expected: list[str]) -> None:
    assert set(expected) <= set(_failed(tmp_path, **changes))
