"""Edge networks: difference convolutions, checkpoint names, preprocessing, strict loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from litesam_bench import registry
from litesam_bench.edges.hed import Hed
from litesam_bench.edges.hed import convert as convert_hed
from litesam_bench.edges.learned import NetworkEdges
from litesam_bench.edges.pidinet import OPERATORS, PiDiNet, as_convolution, convert
from litesam_bench.errors import WeightsError
from litesam_bench.types import LoadContext

# Pairs of pixels (row, column) of a 5 x 5 window around (2, 2), by weight in row-major order: what
# each weight of a 3 x 3 kernel multiplies is the first minus the second.
_RING = [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (2, 1)]  # clockwise


def expected_difference(operator: str, window: np.ndarray, weight: np.ndarray) -> float:
    """The definition of the paper (figure 2), pair by pair."""
    cells = [(y, x) for y in (1, 2, 3) for x in (1, 2, 3)]
    total = 0.0
    for k, cell in enumerate(cells):
        w = weight.ravel()[k]
        if operator == "plain":
            total += w * window[cell]
        elif operator == "central":
            total += w * (window[cell] - window[2, 2])
        elif operator == "angular" and cell != (2, 2):
            after = _RING[(_RING.index(cell) + 1) % 8]
            total += w * (window[cell] - window[after])
    return total


@pytest.mark.parametrize("operator", ["plain", "central", "angular"])
def test_difference_convolutions_follow_the_definition(operator: str) -> None:
    rng = np.random.default_rng(0)
    weight, window = rng.normal(size=(3, 3)), rng.normal(size=(5, 5))
    kernel = as_convolution(operator, torch.tensor(weight)[None, None])  # type: ignore[arg-type]
    found = F.conv2d(torch.tensor(window)[None, None], kernel)[0, 0, 1, 1]
    assert float(found) == pytest.approx(expected_difference(operator, window, weight))


def test_radial_differences_compare_the_outer_with_the_inner_ring() -> None:
    rng = np.random.default_rng(1)
    weight, window = rng.normal(size=(3, 3)), rng.normal(size=(5, 5))
    kernel = as_convolution("radial", torch.tensor(weight)[None, None])
    found = float(F.conv2d(torch.tensor(window)[None, None], kernel)[0, 0, 0, 0])
    inner = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2), (3, 3)]
    total = 0.0
    for w, (y, x) in zip(weight.ravel()[1:], inner, strict=True):
        total += w * (window[2 + 2 * (y - 2), 2 + 2 * (x - 2)] - window[y, x])
    assert found == pytest.approx(total)


def test_flat_images_have_no_difference() -> None:
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for operator in ("central", "angular", "radial"):
        kernel = as_convolution(operator, weight)  # type: ignore[arg-type]
        assert kernel.sum((-1, -2)).abs().max() < 1e-5
    assert len(OPERATORS) == 16


def official_state(width: int, *, refined: bool) -> dict[str, torch.Tensor]:
    """A checkpoint as the authors save it: 3 x 3 weights everywhere, from a parallel wrapper."""
    state = {}
    for name, tensor in PiDiNet(width, refined=refined).state_dict().items():
        is_difference = name.endswith("conv1.weight") and name.startswith("block")
        if is_difference or name == "init_block.weight":
            tensor = torch.randn(*tensor.shape[:2], 3, 3)
        state[f"module.{name}"] = tensor
    return state


@pytest.mark.parametrize(("name", "width"), [("pidinet-tiny", 20), ("pidinet-small-l", 30)])
def test_pidinet_loads_an_official_checkpoint(tmp_path: Path, name: str, width: int) -> None:
    state = official_state(width, refined=not name.endswith("-l"))
    torch.save({"epoch": 19, "state_dict": state}, tmp_path / "a.pth")
    (system,) = registry.resolve(name)
    detector = system.load(system.spec, LoadContext(weights=str(tmp_path / "a.pth")))
    assert isinstance(detector, NetworkEdges)
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3)).astype(np.uint8)
    strength = detector.edge_map(image)
    assert strength.shape == (37, 50)
    assert 0 <= strength.min() < strength.max() <= 1
    state.popitem()
    torch.save({"state_dict": state}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="1 keys are missing"):
        system.load(system.spec, LoadContext(weights=str(tmp_path / "b.pth")))


def test_converting_once_equals_differences_at_every_call() -> None:
    """The converted first layer against the definition on a whole image."""
    state = official_state(20, refined=False)
    network = PiDiNet(20, refined=False)
    network.load_state_dict(convert(state))
    image = torch.randn(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    weight = state["module.init_block.weight"]
    plain = F.conv2d(image, weight, padding=1)
    centre = F.conv2d(image, weight.sum((-1, -2), keepdim=True))
    assert torch.allclose(network.init_block(image), plain - centre, atol=1e-4)


def test_hed_loads_the_public_checkpoint_s_names(tmp_path: Path) -> None:
    network = Hed()
    numbers = ("One", "Two", "Thr", "Fou", "Fiv")
    public = {}
    for name, tensor in network.state_dict().items():
        kind, _, rest = name.partition(".")
        index, _, tail = rest.partition(".")
        if kind == "fuse":
            public[f"moduleCombine.0.{rest}"] = tensor
        else:
            prefix = {"stages": "moduleVgg", "sides": "moduleScore"}[kind]
            public[f"{prefix}{numbers[int(index)]}.{tail}"] = tensor
    # places in the public network: a pool comes first from the second stage on
    assert "moduleVggOne.0.weight" in public
    assert "moduleVggTwo.1.weight" in public
    assert "moduleVggFiv.5.bias" in public
    assert set(convert_hed(public)) == set(network.state_dict())
    torch.save(public, tmp_path / "hed.pytorch")
    (system,) = registry.resolve("hed")
    detector = system.load(system.spec, LoadContext(weights=str(tmp_path / "hed.pytorch")))
    assert isinstance(detector, NetworkEdges)
    assert detector.edge_map(np.zeros((20, 33, 3), np.uint8)).shape == (20, 33)


@pytest.mark.parametrize(("name", "bgr"), [("hed", True), ("pidinet", False)])
def test_preprocessing(name: str, bgr: bool) -> None:
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x[:, 0].sigmoid()

    (system,) = registry.resolve(name)
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 255  # red
    NetworkEdges(Spy(), system.spec, LoadContext(), bgr=bgr).edge_map(image)
    expected = (np.array([255.0, 0, 0]) - system.spec.input.mean) / system.spec.input.std
    got = seen[0][0, :, 3, 3].numpy()
    assert got == pytest.approx(expected[::-1] if bgr else expected, rel=1e-5)


def test_without_weights_the_command_that_gets_them_is_named() -> None:
    (system,) = registry.resolve("hed")
    with pytest.raises(WeightsError, match=r"network-bsds500\.pytorch") as caught:
        system.load(system.spec, LoadContext())
    assert "weights pull hed" in caught.value.fix
