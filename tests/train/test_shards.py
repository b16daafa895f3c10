"""Pairs from folders and tar files, whole and broken."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from litesam_bench.errors import DataError
from litesam_bench.train.shards import open_shards


def test_a_tar_file_holds_what_the_folder_holds(pairs: Path, tar_file: Path) -> None:
    folder, tar = open_shards([pairs]), open_shards([tar_file.parent])
    assert len(folder) == len(tar) == 8
    for index in range(8):
        a, b = folder.read(index), tar.read(index)
        assert a.name == b.name == folder.name(index)
        assert np.array_equal(a.image, b.image)
        assert a.rles == b.rles
    assert folder.read(0).image.shape == (96, 128, 3)
    assert len(folder.read(0).rles) == 3


def test_folders_of_folders_and_files_add_up(pairs: Path, tar_file: Path) -> None:
    assert len(open_shards([pairs.parent])) == 8  # the folder above
    assert len(open_shards([tar_file])) == 8  # a tar file itself
    both = open_shards([pairs, tar_file.parent])
    assert len(both) == 16
    assert both.name(3) == both.name(11)


def test_pairs_are_in_order_of_their_numbers(pairs: Path) -> None:
    for suffix in (".jpg", ".json"):
        (pairs / f"sa_7{suffix}").rename(pairs / f"sa_10{suffix}")
    shards = open_shards([pairs])
    assert [shards.name(i) for i in (6, 7)] == ["sa_6", "sa_10"]


def test_broken_tar_files_are_skipped_counted_and_named(
    tar_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = tar_file.read_bytes()
    torn = tar_file.with_name("sa_000001.tar")
    torn.write_bytes(whole[: len(whole) // 2])
    noise = tar_file.with_name("sa_000002.tar")
    noise.write_bytes(b"not a tar file" * 100)
    with caplog.at_level(logging.WARNING):
        shards = open_shards([tar_file.parent])
    assert len(shards) == 8
    assert set(shards.skipped) == {str(torn), str(noise)}
    assert str(torn) in caplog.text
    assert str(noise) in caplog.text


def test_a_broken_pair_is_named(pairs: Path) -> None:
    (pairs / "sa_0.jpg").write_bytes(b"\xff\xd8 torn")
    (pairs / "sa_1.json").write_text("{")
    (pairs / "sa_2.jpg").write_bytes(b"")
    label = json.loads((pairs / "sa_3.json").read_text())
    label["annotations"][0]["segmentation"]["size"] = [10, 10]
    (pairs / "sa_3.json").write_text(json.dumps(label))
    shards = open_shards([pairs])
    for index in range(4):
        with pytest.raises(DataError, match=f"sa_{index}"):
            shards.read(index)
    shards.read(4)


def test_no_data_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_shards([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="no training pairs"):
        open_shards([tmp_path])
