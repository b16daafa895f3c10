"""Goldens: how answers are compared, and that the comparison finds what is wrong."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import litesam_bench.parity.check as checks_module
from litesam_bench.errors import DataError
from litesam_bench.parity import golden_path
from litesam_bench.parity.check import Check, check, embedding_tensor, failures
from litesam_bench.parity.documented import documented_value, parity_image
from litesam_bench.parity.golden import (
    GoldenAnswer,
    GoldenEmbedding,
    GoldenMask,
    answer_difference,
    embedding_difference,
    read_golden,
)
from litesam_bench.registry import System, resolve
from litesam_bench.types import MaskBatch

GOLDENS = sorted(golden_path("x").parent.glob("*.json"))
SIZE = (48, 80)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_every_golden_says_how_it_was_made(path: Path) -> None:
    golden = read_golden(path)
    assert golden.system == path.stem
    assert golden.made_by
    assert len(golden.commit) == 40
    assert golden.versions["torch"]
    assert {(333, 517)} <= {image.size_hw for image in golden.images}
    for image in golden.images:
        assert image.answers
        for answer in image.answers.values():
            assert np.isfinite(answer.iou).all()
            assert len(answer.masks) == len(answer.iou)


def test_goldens_are_not_all_empty_or_full() -> None:
    """Random weights could give masks that any wrong adapter gets right."""
    for path in GOLDENS:
        telling = [
            0.005 < mask.area_px / (image.size_hw[0] * image.size_hw[1]) < 0.995
            for image in read_golden(path).images
            for answer in image.answers.values()
            for row in answer.masks
            for mask in row
        ]
        assert np.mean(telling) > 0.5, path.stem


@pytest.fixture
def batch() -> MaskBatch:
    """Two prompts of three tokens, at image size."""
    rng = np.random.default_rng(0)
    return MaskBatch(
        logits=torch.from_numpy(rng.standard_normal((2, 3, *SIZE)).astype(np.float32)),
        iou=torch.from_numpy(rng.random((2, 3)).astype(np.float32)),
        tokens=(0, 1, 2),
        to_image=lambda low: low,
    )


@pytest.fixture
def golden(batch: MaskBatch) -> GoldenAnswer:
    """What is recorded of `batch`."""
    logits = batch.logits.numpy()
    ys = np.linspace(0, SIZE[0] - 1, 64).round().astype(int)
    xs = np.linspace(0, SIZE[1] - 1, 64).round().astype(int)
    places = np.linspace(0, logits.size - 1, 24).round().astype(int)
    return GoldenAnswer(
        iou=batch.iou.double().numpy(),
        masks=tuple(
            tuple(GoldenMask(int((m > 0).sum()), (m > 0)[ys][:, xs]) for m in row) for row in logits
        ),
        logits_shape=logits.shape,
        logits_at=tuple((int(place), float(logits.flat[place])) for place in places),
        logits_range=(float(logits.min()), float(logits.max())),
    )


def test_the_same_answer_is_no_difference(batch: MaskBatch, golden: GoldenAnswer) -> None:
    found = answer_difference(batch, golden, SIZE)
    assert found.passed
    assert (found.logits, found.iou, found.mask_iou, found.pixels) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: replace(b, logits=b.logits * 1.01),
        lambda b: replace(b, logits=b.logits.flip(1)),
        lambda b: replace(b, iou=b.iou + 0.002),
        lambda b: replace(b, iou=b.iou[:, :2]),
        lambda b: replace(b, logits=b.logits * float("nan")),
        lambda b: replace(b, to_image=lambda low: low.roll(1, -1)),
        lambda b: replace(b, threshold=0.05),
        lambda b: replace(b, logits=b.logits.half().float() + 0.01),
    ],
    ids=["scaled", "tokens", "iou", "fewer-tokens", "nan", "shifted", "threshold", "offset"],
)
def test_another_answer_is_found(
    batch: MaskBatch, golden: GoldenAnswer, change: Callable[[MaskBatch], MaskBatch]
) -> None:
    assert not answer_difference(change(batch), golden, SIZE).passed


def test_rounding_is_no_difference(batch: MaskBatch, golden: GoldenAnswer) -> None:
    logits = batch.logits + 1e-6 * torch.randn_like(batch.logits)
    assert answer_difference(replace(batch, logits=logits), golden, SIZE).passed


def test_embedding_samples_and_statistics() -> None:
    values = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    flat = values.flatten().double()
    golden = GoldenEmbedding(
        shape=(4, 6, 5),
        mean=float(flat.mean()),
        std=float(flat.std(correction=0)),
        abs_max=float(flat.abs().max()),
        at=tuple((i, float(flat[i])) for i in (0, 50, 119)),
    )
    assert embedding_difference(values, golden) < 1e-6
    assert embedding_difference(values[0], golden) < 1e-6
    assert embedding_difference(values.transpose(2, 3), golden) == float("inf")
    assert embedding_difference(values * 1.001, golden) > 1e-4
    assert embedding_difference(values * float("nan"), golden) == float("inf")


def test_the_tensor_of_an_embedding() -> None:
    class Held:
        def __init__(self, **parts: Any) -> None:
            self.__dict__ |= parts

    tensor = torch.zeros(1)
    assert embedding_tensor(tensor) is tensor
    assert embedding_tensor(Held(features=Held(embedding=tensor))) is tensor
    assert embedding_tensor(Held(embedding=tensor, features=3)) is tensor
    with pytest.raises(TypeError, match="Held has no tensor"):
        embedding_tensor(Held(size=3))


@pytest.mark.parametrize("damage", ["{", "{}", '{"system": "x"}'])
def test_a_damaged_golden_names_itself(tmp_path: Path, damage: str) -> None:
    (tmp_path / "g.json").write_text(damage)
    with pytest.raises(DataError, match=r"g\.json is not a golden"):
        read_golden(tmp_path / "g.json")


# --- the runner, on a network small enough to write its upstream twice --------------------------

_TOY = """
from litesam_bench.spec import SystemSpec, Weights
from litesam_bench.types import Capabilities, MaskBatch

SPECS = (SystemSpec(name="toy-net", family="toy", display="Toy", training_data="noise",
    capabilities=Capabilities(boxes=True, single_mask=True, predicted_iou=True),
    upstream="https://github.com/somebody/toy", commit="c" * 40,
    weights=Weights(file_name="toy.pth", url="https://example.org/toy.pth", licence="MIT")),)

def load(spec, context):
    import torch
    from litesam_bench.sam.checkpoint import load_state_dict_file, load_strict
    net = torch.nn.Conv2d(3, 4, 3, padding=1)
    load_strict(net, load_state_dict_file(context.weights), source=context.weights)
    return Toy(net.to(getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[context.dtype])))

class Toy:
    def __init__(self, net):
        self.net = net

    def embed(self, image):
        import torch
        dtype = self.net.weight.dtype
        with torch.no_grad():
            return self.net(torch.tensor(image).permute(2, 0, 1)[None].to(dtype) / 255).float()

    def segment(self, features, prompts):
        import torch
        scale = torch.as_tensor(prompts.boxes[:, 0] + 1).float()
        logits = features[:, :1] * scale[:, None, None, None]
        iou = torch.tanh(scale)[:, None] * 0.5
        return MaskBatch(logits=logits, iou=iou, tokens=(0,), to_image=lambda low: low)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[System, dict[str, Any]]:
    """A system with a manifest, and its golden, computed here by numpy alone."""
    (tmp_path / "toy.py").write_text(_TOY)
    (tmp_path / "toy.txt").write_text("# wrapper: model\nweight f32 4x3x3x3\nbias f32 4\n")
    monkeypatch.setattr(checks_module, "manifest_path", lambda name: tmp_path / "toy.txt")
    monkeypatch.setattr(checks_module, "golden_path", lambda name: tmp_path / "toy.json")
    (system,) = resolve(str(tmp_path / "toy.py"))

    height, width, seed = 333, 517, 1
    padded = np.pad(parity_image(height, width, seed) / 255.0, ((1, 1), (1, 1), (0, 0)))
    weight, bias = documented_value("weight", (4, 3, 3, 3)), documented_value("bias", (4,))
    embedding = np.zeros((4, height, width)) + bias[:, None, None]
    for dy in range(3):
        for dx in range(3):
            part = padded[dy : dy + height, dx : dx + width]
            embedding += np.einsum("yxc,kc->kyx", part, weight[:, :, dy, dx])
    scale = 0.2 * width + 1
    logits = embedding[:1][None] * scale
    mask = logits[0, 0] > 0
    ys = np.linspace(0, height - 1, 64).round().astype(int)
    xs = np.linspace(0, width - 1, 64).round().astype(int)
    bits = np.packbits(mask[ys][:, xs]).tobytes()
    return system, {
        "system": "toy-net",
        "upstream": "somebody/toy",
        "commit": "c" * 40,
        "gain": 2.0,
        "made_by": "numpy",
        "versions": {"numpy": np.__version__},
        "images": [
            {
                "size": [height, width],
                "seed": seed,
                "embedding": {
                    "shape": list(embedding.shape),
                    "mean": embedding.mean(),
                    "std": embedding.std(),
                    "abs_max": abs(embedding).max(),
                    "at": [[1, 100, 200, embedding[1, 100, 200]]],
                },
                "prompts": {
                    "box": {
                        "iou": [[float(np.tanh(scale)) * 0.5]],
                        "logits_shape": list(logits.shape),
                        "logits_at": [[7, logits.flat[7]], [9999, logits.flat[9999]]],
                        "logits_range": [logits.min(), logits.max()],
                        "masks": [
                            [
                                {
                                    "area": int(mask.sum()),
                                    "grid": base64.b64encode(zlib.compress(bits)).decode(),
                                }
                            ]
                        ],
                    }
                },
            }
        ],
    }


def _run(tmp_path: Path, toy: tuple[System, dict[str, Any]]) -> list[Check]:
    system, golden = toy
    (tmp_path / "toy.json").write_text(json.dumps(golden))
    return check(system)


def test_a_faithful_adapter_is_proven(tmp_path: Path, toy: tuple[System, dict[str, Any]]) -> None:
    checks = _run(tmp_path, toy)
    assert not failures(checks)
    passed = {row.name for row in checks if row.status == "pass"}
    assert {
        "manifest",
        "equal to upstream, 517 x 333: embedding",
        "equal to upstream, 517 x 333: box",
        "bf16 stays finite",
    } <= passed


def test_other_weights_are_not_equal(tmp_path: Path, toy: tuple[System, dict[str, Any]]) -> None:
    toy[1]["gain"] = 1.9
    assert [row.name for row in failures(_run(tmp_path, toy))] == [
        "equal to upstream, 517 x 333: embedding",
        "equal to upstream, 517 x 333: box",
    ]


def test_a_golden_of_another_commit_is_refused(
    tmp_path: Path, toy: tuple[System, dict[str, Any]]
) -> None:
    toy[1]["commit"] = "d" * 40
    (failed,) = failures(_run(tmp_path, toy))
    assert failed.name == "golden"
    assert "the SPEC says cccc" in failed.detail


@pytest.mark.parametrize("edit", [("weight", "weights"), ("bias f32 4", "bias f32 5")])
def test_a_manifest_that_does_not_fit_fails(
    tmp_path: Path, toy: tuple[System, dict[str, Any]], edit: tuple[str, str]
) -> None:
    path = tmp_path / "toy.txt"
    path.write_text(path.read_text().replace(*edit))
    assert "manifest" in {row.name for row in failures(_run(tmp_path, toy))}


def test_an_adapter_that_loads_loosely_fails(
    tmp_path: Path, toy: tuple[System, dict[str, Any]]
) -> None:
    loose = tmp_path / "loose.py"
    source = (tmp_path / "toy.py").read_text()
    loose.write_text(
        source.replace(
            "load_strict(net, load_state_dict_file(context.weights), source=context.weights)",
            "net.load_state_dict(load_state_dict_file(context.weights), strict=False)",
        )
    )
    (system,) = resolve(str(loose))
    failed = {row.name: row.detail for row in failures(_run(tmp_path, (system, toy[1])))}
    assert list(failed) == ["manifest"]
    assert "loads without weight" in failed["manifest"]
    assert "a key that no module has" in failed["manifest"]


def test_an_adapter_that_runs_what_it_loads_fails(
    tmp_path: Path, toy: tuple[System, dict[str, Any]]
) -> None:
    unsafe = tmp_path / "unsafe.py"
    source = (tmp_path / "toy.py").read_text()
    unsafe.write_text(
        source.replace(
            "load_state_dict_file(context.weights)",
            'torch.load(context.weights, weights_only=False)["model"]',
        )
    )
    (system,) = resolve(str(unsafe))
    (failed,) = failures(_run(tmp_path, (system, toy[1])))
    assert failed.name == "a checkpoint with code in it is refused"
