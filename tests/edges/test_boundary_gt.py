"""Ground truth in the format of BSDS500."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from litesam_bench.edges.boundary_gt import (
    boundary_digest,
    boundary_folder,
    dataset_digest,
    read_boundaries,
)
from litesam_bench.errors import DataError


def save_truth(path: Path, *maps: np.ndarray) -> None:
    cells = np.empty((1, len(maps)), object)
    for i, boundaries in enumerate(maps):
        cells[0, i] = {"Boundaries": boundaries.astype(np.uint8)}
    savemat(path, {"groundTruth": cells})


def test_each_annotator_is_kept_even_one_who_drew_nothing(tmp_path: Path) -> None:
    drawn = np.eye(4, 5)
    save_truth(tmp_path / "1.mat", drawn, np.zeros((4, 5)))
    first, second = read_boundaries(tmp_path / "1.mat")
    assert np.array_equal(first, drawn.astype(bool))
    assert not second.any()


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with pytest.raises(DataError, match="does not exist"):
        read_boundaries(path)
    for content in (b"", b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"1\.mat is not a BSDS ground truth"):
            read_boundaries(path)
    savemat(path, {"other": 1})
    with pytest.raises(DataError, match=r"1\.mat is not a BSDS ground truth"):
        read_boundaries(path)
    savemat(path, {"groundTruth": np.ones((2, 2))})
    with pytest.raises(DataError, match=r"1\.mat is not a BSDS ground truth"):
        read_boundaries(path)
    savemat(path, {"groundTruth": np.empty((1, 0), object)})
    with pytest.raises(DataError, match="no annotator"):
        read_boundaries(path)
    save_truth(path, np.eye(4), np.eye(5))
    with pytest.raises(DataError, match="differ in size"):
        read_boundaries(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    save_truth(path, np.random.default_rng(0).random((200, 200)) < 0.5)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"1\.mat is not a BSDS ground truth"):
        read_boundaries(path)


def test_folder_and_its_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        boundary_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"holds no \.mat file"):
        boundary_folder(tmp_path)
    for name in ("b", "a"):
        save_truth(tmp_path / f"{name}.mat", np.eye(3))
    (tmp_path / "b.png").touch()
    data = boundary_folder(tmp_path, tmp_path, name="mine")
    assert [(i.image_id, i.image_path) for i in data.images] == [
        ("a", None),
        ("b", tmp_path / "b.png"),
    ]


def test_digests_depend_on_what_is_scored() -> None:
    eye = np.eye(4, dtype=bool)
    digests = {
        boundary_digest(maps)
        for maps in ((eye,), (eye, eye), (eye.reshape(2, 8),), (~eye,), (eye[::-1],))
    }
    assert len(digests) == 5
    assert dataset_digest({"a": "1", "b": "2"}) == dataset_digest({"b": "2", "a": "1"})
