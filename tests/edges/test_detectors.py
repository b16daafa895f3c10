"""Maps of a system: checked, saved, made once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from litesam_bench.edges.boundary_gt import BoundaryImage
from litesam_bench.edges.detectors import read_image, write_maps
from litesam_bench.errors import DataError, ModelOutputError


@pytest.fixture
def images(tmp_path: Path) -> list[BoundaryImage]:
    found = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.full((6, 8, 3), (10, 20, i), np.uint8))
        found.append(BoundaryImage(f"{i}", tmp_path / f"{i}.mat", path))
    return found


class Red:
    """Strength is the red channel."""

    def edge_map(self, image: np.ndarray) -> np.ndarray:
        return image[..., 0] / 255


class Wrong:
    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def edge_map(self, image: np.ndarray) -> np.ndarray:
        return self.value


@pytest.mark.parametrize("threads", [1, 3])
def test_maps_are_made_of_rgb_images(
    images: list[BoundaryImage], tmp_path: Path, threads: int
) -> None:
    folder, seen = tmp_path / "maps", []
    write_maps(Red, images, folder, threads=threads, advance=lambda i, old: seen.append((i, old)))
    assert seen == [(f"{i}", False) for i in range(4)]
    saved = cv2.imread(str(folder / "3.png"), cv2.IMREAD_UNCHANGED)
    assert (saved == round(3 / 255 * 65535)).all()

    def not_needed() -> Red:
        raise AssertionError("nothing is left to do")

    seen.clear()
    write_maps(not_needed, images, folder, advance=lambda i, old: seen.append((i, old)))
    assert seen == [(f"{i}", True) for i in range(4)]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (np.zeros((8, 6)), r"the edge map is \(8, 6\), the image \(6, 8\)"),
        (np.full((6, 8), np.nan), r"not in \[0, 1\]"),
        (np.full((6, 8), 1.01), r"not in \[0, 1\]"),
    ],
)
def test_bad_maps_are_not_saved(
    images: list[BoundaryImage], tmp_path: Path, value: np.ndarray, complaint: str
) -> None:
    with pytest.raises(ModelOutputError, match=f"image 0: .*{complaint}"):
        write_maps(lambda: Wrong(value), images, tmp_path / "maps")
    assert not list((tmp_path / "maps").glob("*.png"))


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture of image 7"):
        read_image(BoundaryImage("7", tmp_path / "7.mat"))
    broken = tmp_path / "8.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(DataError, match=r"8\.jpg cannot be decoded"):
        read_image(BoundaryImage("8", tmp_path / "8.mat", broken))
