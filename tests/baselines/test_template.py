"""The template works as it is, and as a newcomer's copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from litesam_bench.registry import resolve, systems
from litesam_bench.types import LoadContext, Prompts, Segmenter


@pytest.fixture
def template(repository: Path) -> Path:
    return repository / "baselines" / "_template.py"


def test_it_is_not_registered(template: Path) -> None:
    assert template.is_file()
    assert "my-sam-tiny" not in systems()


@pytest.mark.parametrize("size_hw", [(97, 61), (48, 200), (300, 300)])
def test_a_box_comes_back_in_image_pixels(template: Path, size_hw: tuple[int, int]) -> None:
    (system,) = resolve(str(template))
    model = system.load(system.spec, LoadContext())
    assert isinstance(model, Segmenter)
    height, width = size_hw
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0.3, 0.0, 1.0, 0.4]]) * [width, height, width, height]
    image = np.zeros((*size_hw, 3), np.uint8)
    answer = model.segment(model.embed(image), Prompts(ids=(1, 2), boxes=boxes))
    assert answer.logits.shape == (2, 1, 256, 256)
    masks = (answer.to_image(answer.logits[:, 0]) > answer.threshold).numpy()
    assert masks.shape == (2, *size_hw)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        rows, columns = np.nonzero(mask)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, [x0, y0, x1, y1], atol=1)


def test_a_copy_is_found_by_path(template: Path, tmp_path: Path) -> None:
    copy = shutil.copy(template, tmp_path / "my_sam.py")
    assert [system.spec.name for system in resolve(str(copy))] == ["my-sam-tiny"]
