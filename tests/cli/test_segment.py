"""`litesam-bench segment`, on files as users have them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from litesam_bench.cli.segment import segment
from litesam_bench.errors import CapabilityError, DataError, UsageError
from litesam_bench.everything.grid import Grid
from litesam_bench.everything.overlay import outline, overlay
from litesam_bench.everything.proposals import GeneratorConfig
from litesam_bench.metrics import rle
from litesam_bench.types import MaskBatch, Prompts


def pixels(h: int = 30, w: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = np.zeros((h, w, 3), np.uint8)
    image[:, w // 2 :] = 200
    return image


def run(path: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(segment, [str(path), "--out", str(out), *arguments])


def saved(out: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    with Image.open(out / f"{name}.png") as picture:
        assert picture.size == (document["width"], document["height"])
    return document


def test_a_system_with_its_own_way(tmp_path: Path) -> None:
    Image.fromarray(pixels(60, 80)).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", tmp_path / "out", "--model", "felz-hutt")
    assert result.exit_code == 0
    document = saved(tmp_path / "out", "a.png")
    areas = [m["area"] for m in document["masks"]]
    decoded = rle.decode(rle.from_json(document["masks"][0]["segmentation"]))
    assert decoded.sum() == areas[0]


def test_points_and_boxes_give_one_mask_each(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    arguments = ("--points", "5,6", "--points", "20,6", "--boxes", "1,2,30,25")
    assert run(tmp_path / "a.png", tmp_path / "out", *arguments).exit_code == 0
    masks = saved(tmp_path / "out", "a.png")["masks"]
    assert [m["point_coords"] for m in masks] == [[[5, 6]], [[20, 6]], None]


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(path, exif=exif)


WRITERS: dict[str, Callable[[Path], object]] = {
    "one-pixel.png": lambda p: Image.fromarray(pixels(1, 1)).save(p),
    "sixteen-bit.png": lambda p: Image.fromarray(
        np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16)
    ).save(p),
    "palette.png": lambda p: Image.fromarray(pixels()).convert("P").save(p),
    "cmyk.jpg": lambda p: Image.fromarray(pixels()).convert("CMYK").save(p),
    "alpha.png": lambda p: Image.fromarray(pixels()).convert("RGBA").save(p),
    "rotated.jpg": rotated,
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_unusual_files(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    thresholds = ("--pred-iou-thresh", "0", "--stability-thresh", "0")
    result = run(tmp_path / name, tmp_path / "out", "--sampler", "grid:1", *thresholds)
    assert result.exit_code == 0, result.exception
    document = saved(tmp_path / "out", name)
    # an EXIF rotation is not applied: masks lie in the stored pixels
    expected = (1, 1) if name == "one-pixel.png" else (30, 40)
    assert (document["height"], document["width"]) == expected
    assert all(m["segmentation"]["size"] == list(expected) for m in document["masks"])


def test_no_masks_says_why(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    result = run(
        tmp_path / "a.png", tmp_path / "out", "--sampler", "grid:2", "--pred-iou-thresh", "1"
    )
    assert result.exit_code == 0
    assert saved(tmp_path / "out", "a.png")["masks"] == []
    assert "dropped: predicted IoU 12" in result.stderr
    assert "keeps all" in result.stderr


class Modest:
    """Squares around each point, with predicted IoUs below every threshold of SAM's."""

    def embed(self, image: np.ndarray[Any, Any]) -> tuple[int, int]:
        return image.shape[0], image.shape[1]

    def segment(self, embedding: tuple[int, int], prompts: Prompts) -> MaskBatch:
        assert prompts.points is not None
        logits = np.full((len(prompts), 4, *embedding), -9, np.float32)
        for n, (x, y) in enumerate(prompts.points[:, 0].astype(int)):
            for token in range(4):
                logits[n, token, y - 1 - token : y + 2, x - 1 - token : x + 2] = 9
        iou = np.arange(4 * len(prompts), dtype=np.float32).reshape(-1, 4) / 100
        return MaskBatch(torch.tensor(logits), torch.tensor(iou), (0, 1, 2, 3), lambda low: low)


def test_a_model_that_promises_little_shows_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    command = importlib.import_module("litesam_bench.cli.segment")
    monkeypatch.setattr(command, "MOST_TRUSTED", 3)
    question = (Modest(), pixels(), Grid(2), GeneratorConfig())
    found, remark = command._everything(*question, fall_back=True)
    assert [p.predicted_iou for p in found] == pytest.approx([0.15, 0.14, 0.13])
    assert "predicted IoU 12" in remark and "no mask passed SAM's thresholds" in remark
    found, remark = command._everything(*question, fall_back=False)
    assert found == () and "keeps all" in remark


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--points", "5"), UsageError),
        (("--points", "5,nan"), UsageError),
        (("--points", "500,5"), UsageError),
        (("--boxes", "5,5,5,9"), UsageError),
        (("--sampler", "grid:2", "--points", "5,5"), UsageError),
        (("--model", "oracle,felz-hutt"), UsageError),
        (("--model", "oracle"), CapabilityError),
        (("--model", "felz-hutt", "--points", "5,5"), CapabilityError),
        (("--model", "box-fill"), CapabilityError),
    ],
)
def test_wrong_questions(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception]
) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    assert isinstance(run(tmp_path / "a.png", tmp_path / "out", *arguments).exception, error)


def test_missing_broken_and_colliding_files(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name in ("broken.png", "absent.png"):
        result = run(tmp_path / name, tmp_path / "out", "--model", "felz-hutt")
        assert isinstance(result.exception, DataError)
    (tmp_path / "b").mkdir()
    both = [str(tmp_path / "a.png"), str(tmp_path / "b" / "a.png")]
    assert isinstance(CliRunner().invoke(segment, both).exception, UsageError)


def test_overlay_tints_inside_and_leaves_the_rest() -> None:
    image = pixels(6, 8)
    mask = np.zeros((6, 8), bool)
    mask[1:5, 1:5] = True
    painted = overlay(image, [rle.encode(mask)])
    assert np.array_equal(painted[~mask], image[~mask])
    assert (painted[mask] != image[mask]).any(axis=1).all()
    inner = np.zeros((6, 8), bool)
    inner[2:4, 2:4] = True
    assert np.array_equal(outline(mask), mask & ~inner)
    assert np.array_equal(outline(np.ones((3, 3), bool)).sum(), 8)
