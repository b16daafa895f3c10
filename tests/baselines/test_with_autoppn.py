"""The file that joins a SAM descendant and an AutoPPN trained on its encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from litesam_bench.errors import WeightsError
from litesam_bench.everything.autoppn import AutoPpnSampler
from litesam_bench.everything.generator import generate
from litesam_bench.everything.presets import UNFILTERED
from litesam_bench.lite_sam.autoppn import AutoPpn
from litesam_bench.registry import System, resolve
from litesam_bench.sam.segmenter import ProposingSamSegmenter
from litesam_bench.types import LoadContext
from litesam_bench.weights import model_card, require


@pytest.fixture
def joined(repository: Path, tmp_path: Path) -> System:
    """A copy for Lite-SAM, the one system whose weights are always here."""
    text = (repository / "baselines" / "_with_autoppn.py").read_text()
    text = text.replace('systems().get("sam-vit-b")', 'systems().get("lite-sam-640")')
    text = text.replace("runs/ppn-sam-b/weights.safetensors", str(tmp_path / "ppn.safetensors"))
    copy = tmp_path / "joined.py"
    copy.write_text(text)
    (system,) = resolve(str(copy))
    return system


def lite_sam() -> ProposingSamSegmenter:
    (system,) = resolve("lite-sam-640")
    weights = require(system.spec)
    assert weights is not None
    model = system.load(system.spec, LoadContext(weights=str(weights.path)))
    assert isinstance(model, ProposingSamSegmenter)
    return model


def test_it_proposes_what_its_autoppn_sees(joined: System, tmp_path: Path) -> None:
    own = lite_sam()
    assert isinstance(own.network, AutoPpn)
    state = {name: value.contiguous() for name, value in own.network.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "ppn.safetensors")
    found = require(joined.spec)
    assert found is not None and not found.verified
    model = joined.load(joined.spec, LoadContext(weights=str(found.path)))
    assert isinstance(model, ProposingSamSegmenter)
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    expected = own.propose(own.embed(image), 8)
    proposed = model.propose(model.embed(image), 8)
    np.testing.assert_allclose(proposed.points, expected.points, atol=1e-3)
    np.testing.assert_allclose(proposed.scores, expected.scores, atol=1e-5)
    everything = generate(model, image, AutoPpnSampler(8), UNFILTERED)
    assert everything.funnel.prompts == 8
    assert model_card(joined.spec) is None


def test_without_its_weights_it_says_which_file(joined: System, tmp_path: Path) -> None:
    assert joined.spec.name == "lite-sam-640-autoppn"
    with pytest.raises(WeightsError, match=r"needs .*ppn\.safetensors") as caught:
        require(joined.spec)
    assert "train it" in caught.value.fix
