"""Several processes, one run: which images are mine, and waiting for the others.

`torchrun --nproc-per-node N -m litesam_bench ...` sets RANK and WORLD_SIZE. Images are dealt out
without padding, so nothing is evaluated twice; every rank appends to its own journal, and rank 0
merges by image id. A lost rank ends the run; starting it again, with any number of ranks, does only
what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

# Ranks finish at different times, and the slowest may need hours after the fastest.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class World:
    """This process's place. One process alone is rank 0 of 1."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def shard(self, items: Sequence[int]) -> list[int]:
        """Every `size`-th item from `rank`: neighbours in a dataset spread over the ranks."""
        return list(items[self.rank :: self.size])

    def device(self, requested: str) -> str:
        """`cuda` means the local rank's own GPU; anything else is taken as it is."""
        return f"cuda:{self.local_rank}" if requested == "cuda" and self.size > 1 else requested

    def agree(self, items: list[int]) -> list[int]:
        """Rank 0's list, on every rank.

        What is left to do is read from journals that other ranks may already be writing; dealing
        out lists that differ would lose images.
        """
        if self.size == 1:
            return items
        import torch.distributed as dist

        shared: list[list[int]] = [items]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


@contextmanager
def world() -> Iterator[World]:
    """Join the process group that torchrun describes; a plain process joins nothing.

    gloo, since ranks exchange lists of ids and barriers only: it works without GPUs, and across
    machines.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size <= 1:
        yield World()
        return
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()
