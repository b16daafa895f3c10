"""The registered systems of the SAM and Lite-SAM families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from litesam_bench import registry
from litesam_bench.errors import WeightsError
from litesam_bench.types import LoadContext, Prompts, ProposingSegmenter

SAMS = ("sam-vit-b", "sam-vit-l", "sam-vit-h")


@pytest.mark.parametrize("name", SAMS)
def test_without_a_checkpoint_the_error_says_which_and_how(name: str) -> None:
    system = registry.resolve(name)[0]
    weights = system.spec.weights
    assert weights is not None
    assert len(weights.sha256) == 64
    with pytest.raises(WeightsError) as caught:
        system.load(system.spec, LoadContext())
    assert weights.file_name in caught.value.message
    assert weights.url in caught.value.message
    assert caught.value.fix == f"litesam-bench weights pull {name}"


def test_the_checkpoint_of_another_model_is_refused_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"vision_encoder.layers.0.weight": torch.ones(2)}, path)
    system = registry.resolve("sam-vit-b")[0]
    with pytest.raises(WeightsError) as caught:
        system.load(system.spec, LoadContext(weights=str(path)))
    message = caught.value.message
    assert "314 keys are missing, first image_encoder.pos_embed" in message
    assert "1 keys are unexpected, first vision_encoder.layers.0.weight" in message


@pytest.mark.parametrize(("name", "size"), [("lite-sam-640", 640), ("lite-sam-1024", 1024)])
def test_lite_sam_says_what_it_is(name: str, size: int) -> None:
    spec = registry.resolve(name)[0].spec
    assert spec.input.size == size
    assert spec.published == f"lite-sam-r{size}"
    assert spec.capabilities.propose
    # a number of random weights must never look like a result
    assert (spec.weights is None) == (spec.training == "untrained")


def test_lite_sam_runs_and_depends_on_the_seed_alone() -> None:
    system = registry.resolve("lite-sam-640")[0]
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    box = Prompts(ids=(0,), boxes=np.array([[10.0, 10.0, 60.0, 50.0]]))
    logits = []
    for seed in (0, 0, 1):
        loaded = system.load(system.spec, LoadContext(seed=seed))
        assert isinstance(loaded, ProposingSegmenter)
        batch = loaded.segment(loaded.embed(image), box)
        assert batch.logits.shape == (1, 4, 160, 160)
        logits.append(batch.logits)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
