"""Manifests: the text form, the documented weights, and what strict loading must refuse."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litesam_bench.errors import DataError
from litesam_bench.parity import golden_path, manifest_path
from litesam_bench.parity.documented import (
    documented_value,
    documented_weights,
    hollow_weights,
    parity_image,
    parity_prompts,
    write_checkpoint,
)
from litesam_bench.parity.manifest import (
    DTYPES,
    Manifest,
    TensorInfo,
    manifest_text,
    read_manifest,
)
from litesam_bench.registry import systems
from litesam_bench.sam.checkpoint import load_state_dict_file
from litesam_bench.types import Capabilities

MANIFESTS = sorted(manifest_path("x").parent.glob("*.txt"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_belongs_to_a_system_and_survives_writing(
    path: Path, tmp_path: Path
) -> None:
    assert path.stem in systems()
    manifest = read_manifest(path)
    assert manifest.comments, "it does not say where the names come from"
    copy = tmp_path / "copy.txt"
    copy.write_text(manifest_text(manifest))
    assert read_manifest(copy) == manifest


def test_every_golden_has_a_manifest() -> None:
    goldens = {path.stem for path in golden_path("x").parent.glob("*.json")}
    assert goldens <= {path.stem for path in MANIFESTS}


_PARTS = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "weight"]), min_size=1, max_size=4)
_INFOS = st.builds(
    TensorInfo,
    shape=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    dtype=st.sampled_from(DTYPES),
)


@given(st.dictionaries(_PARTS.map(".".join), _INFOS, min_size=1, max_size=12))
def test_any_manifest_survives_writing(tensors: dict[str, TensorInfo]) -> None:
    import tempfile

    manifest = Manifest(tensors, "model", ("from nowhere",))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.txt"
        path.write_text(manifest_text(manifest))
        assert read_manifest(path) == manifest


def test_numbers_share_a_line() -> None:
    info = TensorInfo((3, 4), "f32")
    names = [f"blocks.{i}.{part}.weight" for i in range(3) for part in ("q", "k")]
    text = manifest_text(Manifest(dict.fromkeys(names, info)))
    assert "blocks.{0,1,2}.q.weight f32 3x4" in text.splitlines()
    assert len(text.splitlines()) == 3  # wrapper, q, k


@pytest.mark.parametrize(
    "line",
    ["a.weight f32", "a.weight f31 3", "a.weight f32 3xx4", "a.{0,0}.b f32 3"],
)
def test_a_damaged_manifest_names_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.txt"
    path.write_text(f"# wrapper:\nfirst.weight f32 2\n{line}\n")
    with pytest.raises(DataError, match=r"m\.txt, line 3"):
        read_manifest(path)


def test_an_empty_or_absent_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("# wrapper: model\n")
    with pytest.raises(DataError, match="lists no tensors"):
        read_manifest(tmp_path / "m.txt")
    with pytest.raises(DataError, match="absent"):
        read_manifest(tmp_path / "absent.txt")


def test_parameters_leave_statistics_out() -> None:
    manifest = Manifest(
        {
            "conv.weight": TensorInfo((4, 3, 3, 3), "f32"),
            "bn.running_mean": TensorInfo((4,), "f32"),
            "bn.num_batches_tracked": TensorInfo((), "i64"),
            "pe.positional_encoding_gaussian_matrix": TensorInfo((2, 8), "f32"),
        }
    )
    assert manifest.parameters == 108


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("bn.running_var", (5,), lambda n: 0.5 + abs(n)),
        ("bn.running_mean", (5,), lambda n: 0.1 * n),
        ("norm.weight", (5,), lambda n: 1 + 0.1 * n),
        ("block.gamma", (5,), lambda n: 1 + 0.1 * n),
        ("conv.bias", (5,), lambda n: 0.1 * n),
        ("scale", (), lambda n: 0.1 * n),
        ("encoder.pos_embed", (1, 4, 4, 8), lambda n: 0.2 * n),
        ("mask_tokens.weight", (4, 8), lambda n: 0.2 * n),
        ("stage.token_mixer.conv.weight", (4, 8, 1, 1), lambda n: n * 0.5),
        ("head.weight", (3, 2, 2, 2), lambda n: n * 0.5),
    ],
)
def test_documented_values(name: str, shape: tuple[int, ...], rule: object) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    expected = rule(rng.standard_normal(shape))  # type: ignore[operator]
    np.testing.assert_allclose(documented_value(name, shape), expected, atol=1e-6)
    assert documented_value(name, shape).dtype == np.float32


def test_gain_scales_matrices_only() -> None:
    assert np.allclose(
        documented_value("a.weight", (3, 8), 0.5) * 2, documented_value("a.weight", (3, 8))
    )
    assert np.array_equal(documented_value("a.bias", (3,), 0.5), documented_value("a.bias", (3,)))


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize(
    ("file_name", "wrapper"), [("w.pth", ""), ("w.pt", "model"), ("w.safetensors", "")]
)
def test_checkpoints_are_read_back(
    tmp_path: Path, file_name: str, wrapper: str, hollow: bool
) -> None:
    manifest = Manifest(
        {
            "a.weight": TensorInfo((64, 64), "f32"),
            "b.weight": TensorInfo((8, 2), "f16"),
            "b.num_batches_tracked": TensorInfo((), "i64"),
        }
    )
    state = hollow_weights(manifest) if hollow else documented_weights(manifest)
    path = write_checkpoint(tmp_path, file_name, state, wrapper)
    read = load_state_dict_file(path)
    assert {name: (tuple(t.shape), t.dtype) for name, t in read.items()} == {
        "a.weight": ((64, 64), torch.float32),
        "b.weight": ((8, 2), torch.float16),
        "b.num_batches_tracked": ((), torch.int64),
    }
    assert all(torch.equal(read[name], state[name]) for name in state)
    if hollow and path.suffix != ".safetensors":
        assert path.stat().st_size < 64 * 64 * 4  # smaller than its largest tensor


def test_images_and_prompts_are_the_written_ones() -> None:
    image = parity_image(333, 517, 1)
    assert image.shape == (333, 517, 3)
    assert image.dtype == np.uint8
    # computed where the goldens were recorded, with Pillow 13
    assert zlib.crc32(image.tobytes()) == 0xE0E4118F
    everything = Capabilities(points=True, negative_points=True, boxes=True)
    prompts = parity_prompts((100, 200), everything)
    assert list(prompts) == ["point", "points", "box", "box+point", "boxes"]
    assert prompts["point"].points is not None
    np.testing.assert_allclose(prompts["point"].points, [[[100, 40]]])
    assert prompts["points"].labels is not None
    assert prompts["points"].labels.tolist() == [[1, 1, 0]]
    assert prompts["boxes"].boxes is not None
    np.testing.assert_allclose(
        prompts["boxes"].boxes, [[40, 15, 140, 80], [0, 0, 200, 100], [80, 40, 110, 60]]
    )
    assert list(parity_prompts((9, 9), Capabilities(points=True))) == ["point"]
