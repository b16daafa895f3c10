"""Edge maps are read as the official benchmark reads them; bad files are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from litesam_bench.edges.collect import thresholds_of
from litesam_bench.edges.maps import (
    Segmentations,
    StrengthMap,
    find_map,
    label_boundaries,
    read_map,
    write_png,
)
from litesam_bench.errors import DataError


def strength(path: Path) -> np.ndarray:
    edge_map = read_map(path)
    assert isinstance(edge_map, StrengthMap)
    return edge_map.strength


def test_png_of_8_bits_hits_thresholds_exactly(tmp_path: Path) -> None:
    """51 / 255 is the 20th of 99 thresholds: the comparison is >=, in double precision."""
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 51, 102, 153, 204, 255]], np.uint8))
    values = strength(tmp_path / "a.png")
    assert values.tolist() == [[0, 51 / 255, 102 / 255, 153 / 255, 204 / 255, 1]]
    reached = [int((v >= thresholds_of(99)).sum()) for v in values[0]]
    assert reached == [0, 20, 40, 60, 80, 99]


def test_png_of_16_bits_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    original = rng.random((17, 23))
    write_png(tmp_path / "a.png", original)
    assert np.abs(strength(tmp_path / "a.png") - original).max() <= 0.5 / 65535 + 1e-12


def test_grey_saved_as_colour_is_read_and_real_colour_refused(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(grey[..., None], 3, 2))
    assert strength(tmp_path / "a.png") == pytest.approx(grey / 255)
    colour = np.zeros((3, 4, 3), np.uint8)
    colour[..., 0] = 9
    cv2.imwrite(str(tmp_path / "b.png"), colour)
    with pytest.raises(DataError, match=r"b\.png is a colour image"):
        read_map(tmp_path / "b.png")


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 0.5], [1, 0.25]], np.float32))
    assert strength(tmp_path / "a.npy").tolist() == [[0, 0.5], [1, 0.25]]
    np.save(tmp_path / "b.npy", np.array([[True, False]]))
    assert strength(tmp_path / "b.npy").tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.array([[0.5, np.nan]]), "NaN, first at row 0, column 1"),
        (np.array([[0.5, 1.5]]), "values from 0.5 to 1.5"),
        (np.array([[-0.5, 1.0]]), "values from -0.5 to 1"),
        (np.array([[1, 2]]), "type int64"),
        (np.zeros((2, 2, 3)), r"shape \(2, 2, 3\)"),
        (np.array([[None]]), "cannot be read"),
    ],
)
def test_bad_arrays(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=complaint) as caught:
        read_map(tmp_path / "bad.npy")
    assert "bad.npy" in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.mat"])
@pytest.mark.parametrize("content", [b"", b"garbage, more than a header of any format" * 10])
def test_broken_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_map(tmp_path / name)


def test_ucm2_is_every_second_value_from_the_third(tmp_path: Path) -> None:
    doubled = np.arange(35).reshape(5, 7) / 35
    savemat(tmp_path / "a.mat", {"ucm2": doubled})
    assert strength(tmp_path / "a.mat").tolist() == doubled[[2, 4]][:, [2, 4, 6]].tolist()
    savemat(tmp_path / "b.mat", {"ucm2": doubled[:4]})
    with pytest.raises(DataError, match="double-size"):
        read_map(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", {"map": doubled})
    with pytest.raises(DataError, match="neither ucm2 nor segs"):
        read_map(tmp_path / "c.mat")


def test_label_boundaries_by_hand() -> None:
    labels = np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]])
    assert label_boundaries(labels).astype(int).tolist() == [[0, 1, 0], [1, 1, 1], [0, 0, 0]]
    # a difference along the last row or column is seen, the last corner never
    assert label_boundaries(np.array([[1, 2, 2]])).astype(int).tolist() == [[1, 0, 0]]
    assert label_boundaries(np.array([[1], [2], [2]])).astype(int).tolist() == [[1], [0], [0]]


def doubled_boundaries(labels: np.ndarray) -> np.ndarray:
    """The contour grid of double size that the official code builds and then samples."""
    h, w = labels.shape
    grid = np.zeros((2 * h + 1, 2 * w + 1), bool)
    for y in range(h):
        for x in range(w):
            below = y + 1 < h and labels[y, x] != labels[y + 1, x]
            right = x + 1 < w and labels[y, x] != labels[y, x + 1]
            grid[2 * y + 2, 2 * x + 1] |= below
            grid[2 * y + 1, 2 * x + 2] |= right
    for y in range(2, 2 * h - 1, 2):
        for x in range(2, 2 * w - 1, 2):
            grid[y, x] = grid[y - 1, x] | grid[y + 1, x] | grid[y, x - 1] | grid[y, x + 1]
    grid[0], grid[:, 0] = grid[1], grid[:, 1]
    grid[-1] = grid[-2]
    grid[:, -1] = grid[:, -2]
    return grid[2::2, 2::2]


def test_label_boundaries_equal_the_double_size_construction() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 3, rng.integers(1, 12, 2))
        assert np.array_equal(label_boundaries(labels), doubled_boundaries(labels))


def test_segs(tmp_path: Path) -> None:
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[1, 2], [1, 2]]), np.array([[1, 1], [1, 1]])
    savemat(tmp_path / "a.mat", {"segs": cells})
    edge_map = read_map(tmp_path / "a.mat")
    assert isinstance(edge_map, Segmentations)
    assert [b.astype(int).tolist() for b in edge_map.boundaries] == [
        [[1, 0], [1, 0]],
        [[0, 0], [0, 0]],
    ]


def test_find_map(tmp_path: Path) -> None:
    assert find_map(tmp_path, "7") is None
    (tmp_path / "7.npy").touch()
    assert find_map(tmp_path, "7") == tmp_path / "7.npy"
    (tmp_path / "7.png").touch()
    with pytest.raises(DataError, match=r"both 7\.png and 7\.npy"):
        find_map(tmp_path, "7")
