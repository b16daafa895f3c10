"""The order of the stream: the same for any number of processes, from any position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from litesam_bench.errors import DataError
from litesam_bench.train.data import (
    PositionSampler,
    Stream,
    collate,
    epoch_order,
    held_out,
    loader,
)
from litesam_bench.train.examples import DataConfig
from litesam_bench.train.shards import open_shards

CONFIG = DataConfig(frame=128, crop=64, prompts=4, min_area=4)


def stream(folder: Path) -> Stream:
    shards = open_shards([folder])
    return Stream(shards, np.arange(len(shards)), np.ones(len(shards)), CONFIG, seed=3)


def test_an_epoch_holds_every_pair_once() -> None:
    orders = [epoch_order(np.ones(100), 0, epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(100))
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], epoch_order(np.ones(100), 0, 0))


def test_weights_say_how_often() -> None:
    weights = np.array([1.0] * 90 + [3.0] * 10)
    for epoch in range(5):
        counts = np.bincount(epoch_order(weights, 0, epoch), minlength=100)
        share = weights * 100 / weights.sum()
        assert (counts >= np.floor(share)).all() and (counts <= np.ceil(share)).all()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_each_batch(world: int) -> None:
    alone = list(PositionSampler(8, 0, 1, 0, 5))
    parts = [list(PositionSampler(8, rank, world, 0, 5)) for rank in range(world)]
    for step in range(5):
        assert [p for part in parts for p in part[step]] == alone[step]
    assert list(PositionSampler(8, 0, 1, 3, 5)) == alone[3:]


def test_an_example_is_its_positions(pairs: Path) -> None:
    first, second = stream(pairs), stream(pairs)
    _ = [first[i] for i in range(5)]  # what was read before does not matter
    for a, b in zip(first[5], second[5], strict=True):
        assert np.array_equal(a, b)


def test_workers_keep_the_order(pairs: Path) -> None:
    data = stream(pairs)
    sampler = PositionSampler(2, 0, 1, 0, 4)
    for workers in (0, 2):
        for step, batch in enumerate(loader(data, sampler, workers)):
            expected = collate([data[2 * step], data[2 * step + 1]])
            assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_a_broken_pair_is_replaced(pairs: Path) -> None:
    (pairs / "sa_0.jpg").write_bytes(b"torn")
    data = stream(pairs)
    examples = [data[i] for i in range(8)]
    assert len(examples) == 8


def test_nothing_but_broken_pairs_is_an_error(pairs: Path) -> None:
    for file in pairs.glob("*.jpg"):
        file.write_bytes(b"torn")
    with pytest.raises(DataError, match="20 pairs in a row"):
        stream(pairs)[0]


def test_held_out_is_a_stable_share() -> None:
    names = [f"sa_{i}" for i in range(4000)]
    share = np.mean([held_out(name, 4) for name in names])
    assert 0.22 < share < 0.28
    assert [n for n in names[:40] if held_out(n, 8)] == [n for n in names[:40] if held_out(n, 8)]
    # nested: what is held out of one in eight is held out of one in four
    assert all(held_out(n, 4) for n in names if held_out(n, 8))
