"""The layout of BSDS500 and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from litesam_bench.datasets.bsds500 import SPLIT_SIZES, open_bsds500
from litesam_bench.edges.boundary_gt import read_boundaries
from litesam_bench.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind, suffix in (("images", "jpg"), ("groundTruth", "mat")):
        folder = tmp_path / "bsds500" / "data" / kind / "test"
        folder.mkdir(parents=True)
        for i in (3, 1):
            (folder / f"{i}.{suffix}").touch()
    return tmp_path


@pytest.mark.parametrize("below", ["", "bsds500", "bsds500/data"])
def test_found_from_any_level(root: Path, below: str) -> None:
    data = open_bsds500(root / below)
    assert [i.image_id for i in data.images] == ["1", "3"]
    assert data.footnote == "BSDS500 test subset, 2 of 200 images"


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'dev'"):
        open_bsds500(root, "dev")
    with pytest.raises(DataError, match=r"groundTruth.train does not exist"):
        open_bsds500(root, "train")
    with pytest.raises(DataError, match="no BSDS500"):
        open_bsds500(tmp_path / "elsewhere")
    (root / "bsds500/data/images/test/7.jpg").touch()
    with pytest.raises(DataError, match="image 7 has no ground truth"):
        open_bsds500(root)
    (root / "bsds500/data/images/test/1.jpg").unlink()
    with pytest.raises(DataError, match="image 1 has no image"):
        open_bsds500(root)


@pytest.mark.data
def test_the_real_splits(data_root: Path) -> None:
    for split, size in SPLIT_SIZES.items():
        data = open_bsds500(data_root, split)
        assert len(data.images) == size
        assert data.footnote == ""
    maps = read_boundaries(data.images[0].truth_path)
    assert data.images[0].image_id == "100007"
    assert len(maps) == 5
    assert {m.shape for m in maps} == {(321, 481)}
