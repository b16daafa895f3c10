"""Images and masks in SA-1B's format, read one at a time from folders or tar files.

SA-1B is 1,000 tar files of about 11,000 pairs: `sa_N.jpg` beside `sa_N.json`, the latter with the
image's size and its masks as COCO run-length encodings. Nothing is unpacked and nothing is held in
memory but where each pair lies; any pair can be read in any order, by any worker.
"""

from __future__ import annotations

import json
import logging
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from litesam_bench.errors import DataError
from litesam_bench.types import ImageU8, Rle

log = logging.getLogger(__name__)

LAYOUT = "give a folder of sa_N.jpg and sa_N.json pairs, of such folders, or of SA-1B's tar files"


@dataclass(frozen=True)
class RawSample:
    """One pair as it is stored: image (H, W, 3) RGB uint8 and its masks at the same size."""

    name: str
    image: ImageU8
    rles: tuple[Rle, ...]


class Shard(Protocol):
    """A folder or a tar file of pairs."""

    @property
    def path(self) -> Path: ...
    def __len__(self) -> int: ...
    def name(self, index: int) -> str:
        """`sa_N` of a pair."""
        ...

    def read(self, index: int) -> tuple[bytes, bytes]:
        """The bytes of the image file and of the json file."""
        ...


class FolderShard:
    """Pairs that lie beside each other in a folder, in the order of their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stems = {e.name[:-5] for e in os.scandir(path) if e.name.endswith(".json")}
        images = {e.name[:-4] for e in os.scandir(path) if e.name.endswith(".jpg")}
        self._stems = sorted(stems & images, key=lambda stem: (len(stem), stem))

    def __len__(self) -> int:
        return len(self._stems)

    def name(self, index: int) -> str:
        return self._stems[index]

    def read(self, index: int) -> tuple[bytes, bytes]:
        stem = self.path / self._stems[index]
        return stem.with_suffix(".jpg").read_bytes(), stem.with_suffix(".json").read_bytes()


class TarShard:
    """Pairs in an uncompressed tar file, read in place by their offsets.

    Raises:
        tarfile.TarError, OSError: the file is no tar file, or ends too early.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found: dict[str, dict[str, tuple[int, int]]] = {}
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stem, suffix = os.path.splitext(os.path.basename(member.name))  # noqa: PTH119, PTH122
                if member.isfile() and suffix in (".jpg", ".json"):
                    found.setdefault(stem, {})[suffix] = (member.offset_data, member.size)
        size = path.stat().st_size
        pairs = {s: p for s, p in found.items() if len(p) == 2}
        self._stems = sorted(pairs, key=lambda stem: (len(stem), stem))
        self._spans = np.array(
            [[*pairs[s][".jpg"], *pairs[s][".json"]] for s in self._stems], dtype=np.int64
        ).reshape(-1, 4)
        ends = self._spans[:, [0, 2]] + self._spans[:, [1, 3]]
        if (ends > size).any():
            raise tarfile.ReadError("the file ends inside its last pair")

    def __len__(self) -> int:
        return len(self._stems)

    def name(self, index: int) -> str:
        return self._stems[index]

    def read(self, index: int) -> tuple[bytes, bytes]:
        jpg, jpg_size, label, label_size = (int(v) for v in self._spans[index])
        with self.path.open("rb") as file:
            file.seek(jpg)
            image = file.read(jpg_size)
            file.seek(label)
            return image, file.read(label_size)


@dataclass
class ShardSet:
    """All pairs of some folders and tar files, numbered from 0.

    `skipped` names every shard that could not be read, with the reason.
    """

    shards: list[Shard]
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._starts = np.cumsum([0, *(len(shard) for shard in self.shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def locate(self, index: int) -> tuple[Shard, int]:
        """The shard that holds pair `index`, and its number there."""
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.shards[which], index - int(self._starts[which])

    def name(self, index: int) -> str:
        shard, inner = self.locate(index)
        return shard.name(inner)

    def read(self, index: int) -> RawSample:
        """Decode one pair. Raises DataError naming the shard and the pair."""
        shard, inner = self.locate(index)
        name = shard.name(inner)
        try:
            image_bytes, label_bytes = shard.read(inner)
            return parse_pair(name, image_bytes, label_bytes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{shard.path}: {name}: {error}", fix=LAYOUT) from error


def parse_pair(name: str, image_bytes: bytes, label_bytes: bytes) -> RawSample:
    """A pair from its bytes. Raises ValueError, KeyError or TypeError where they are not one."""
    encoded: npt.NDArray[np.uint8] = np.frombuffer(image_bytes, dtype=np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if image is None:
        raise ValueError("the image cannot be decoded")
    label = json.loads(label_bytes)
    rles = []
    for annotation in label["annotations"]:
        size, counts = annotation["segmentation"]["size"], annotation["segmentation"]["counts"]
        if tuple(size) != image.shape[:2]:
            raise ValueError(f"a mask of {size} for an image of {list(image.shape[:2])}")
        rles.append(Rle(size=list(size), counts=counts.encode()))
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return RawSample(name, rgb, tuple(rles))


def open_shards(folders: Sequence[str | Path]) -> ShardSet:
    """Find the shards in some folders; a tar file may be named itself.

    A tar file that cannot be read is skipped, counted and named in a warning: of a thousand
    downloads some are always broken, and none of them is worth a lost night.

    Raises:
        DataError: a folder does not exist, or nothing at all was found.
    """
    shards: list[Shard] = []
    skipped: dict[str, str] = {}
    for folder in map(Path, folders):
        if not folder.exists():
            raise DataError(f"training data {folder} does not exist", fix=LAYOUT)
        candidates = [folder, *sorted(folder.iterdir())] if folder.is_dir() else [folder]
        for path in candidates:
            shard = _open_shard(path, skipped)
            if shard is not None and len(shard):
                shards.append(shard)
    if not shards:
        broken = f" ({len(skipped)} broken)" if skipped else ""
        raise DataError(f"no training pairs in {', '.join(map(str, folders))}{broken}", fix=LAYOUT)
    return ShardSet(shards, skipped)


def _open_shard(path: Path, skipped: dict[str, str]) -> Shard | None:
    if path.is_dir():
        return FolderShard(path)
    if path.suffix != ".tar":
        return None
    try:
        return TarShard(path)
    except (OSError, tarfile.TarError) as error:
        skipped[str(path)] = str(error)
        log.warning("skipped %s: %s", path, error)
        return None
