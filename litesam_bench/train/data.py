"""Batches for training: which pair at which position of the stream, in which process.

The stream is endless and numbered. Position p belongs to epoch p // n; the order of an epoch
depends on the seed and its number alone; an example depends on the seed and its position alone.
Resuming is therefore starting at another position, and W processes see what one would see.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from litesam_bench.errors import DataError
from litesam_bench.train.examples import DataConfig, Example, Rng, make_example
from litesam_bench.train.shards import RawSample, ShardSet

Indices = npt.NDArray[np.int64]


def held_out(name: str, one_in: int) -> bool:
    """Whether a pair belongs to the held-out part, decided by its name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % one_in == 0


def epoch_order(weights: npt.NDArray[np.float64], seed: int, epoch: int) -> Indices:
    """The pairs of an epoch, as many as there are, each about as often as its weight says.

    Systematic resampling: with equal weights every pair comes exactly once, with a weight of w
    times the mean, floor(w) or ceil(w) times.
    """
    rng = np.random.default_rng([seed, epoch])
    count = len(weights)
    edges = np.cumsum(weights) * (count / weights.sum())
    edges[-1] = count
    drawn = np.searchsorted(edges, np.arange(count) + rng.random(), side="right")
    return rng.permutation(np.minimum(drawn, count - 1)).astype(np.int64)


class Stream(Dataset[Example]):
    """Examples by position.

    A pair that cannot be decoded, or holds no usable mask, is replaced by another one drawn with
    the position's own generator.
    """

    def __init__(
        self,
        shards: ShardSet,
        indices: Indices,
        weights: npt.NDArray[np.float64],
        config: DataConfig,
        seed: int,
    ) -> None:
        self.shards, self.indices, self.weights = shards, indices, weights
        self.config, self.seed = config, seed
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(weights, seed, epoch))

    def __getitem__(self, position: int) -> Example:
        rng = np.random.default_rng([self.seed, 1, position])
        epoch, place = divmod(position, len(self.indices))
        index = int(self.indices[self._order(epoch)[place]])
        for _ in range(20):
            raw = self._read(index)
            example = raw and make_example(raw, rng, self.config, self._donor)
            if example:
                return example
            index = int(rng.choice(self.indices))
        raise DataError(
            f"20 pairs in a row could not be used, the last was {self.shards.name(index)}",
            fix="check the training data: its masks are all smaller than min_area, or corrupt",
        )

    def _read(self, index: int) -> RawSample | None:
        try:
            return self.shards.read(index)
        except DataError:
            return None

    def _donor(self, rng: Rng) -> RawSample | None:
        return self._read(int(self.indices[self._order(0)[int(rng.integers(len(self.indices)))]]))


@dataclass(frozen=True)
class PositionSampler(Sampler[list[int]]):
    """Positions of one process: of each global batch its share, from `start_step` on."""

    batch: int
    rank: int
    world: int
    start_step: int
    steps: int

    def __iter__(self) -> Iterator[list[int]]:
        local = self.batch // self.world
        for step in range(self.start_step, self.steps):
            first = step * self.batch + self.rank * local
            yield list(range(first, first + local))

    def __len__(self) -> int:
        return self.steps - self.start_step


Batch = dict[str, Tensor]


def collate(examples: Sequence[Example]) -> Batch:
    """Stack every field of the examples."""
    return {
        name: torch.from_numpy(np.stack([getattr(e, name) for e in examples]))
        for name in Example._fields
    }


def _start_worker(_worker: int) -> None:
    """One thread a worker; deaf to Ctrl-C and to torchrun's SIGTERM, which reach the whole process
    group: a worker that died of them would take the training process with it, without a checkpoint.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def loader(stream: Stream, sampler: PositionSampler, workers: int) -> DataLoader[Batch]:
    """A loader that keeps the order of the sampler whatever the number of workers."""
    return DataLoader(
        stream,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        persistent_workers=False,
    )
