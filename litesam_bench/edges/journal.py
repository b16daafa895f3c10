"""The journal of the boundary benchmark: counts as they come, one JSON line per image.

A line carries the digest of the files it was counted from, so that a map written anew is counted
anew, and a checksum, so that a line torn by a crash is dropped. The last line of an image counts.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litesam_bench.edges.collect import ImageCounts
from litesam_bench.records.files import canonical_json, storage_error

_COUNTS = ("truth", "truth_matched", "detected", "detected_matched")


@dataclass(frozen=True)
class Line:
    """One image. key: digest of the map's and the truth's bytes; truth_digest: of what is scored;
    segmented: the map was a list of segmentations."""

    key: str
    counts: ImageCounts
    truth_digest: str
    segmented: bool


class CountsJournal:
    """`counts.jsonl` in a run's folder; made on the first append."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "counts.jsonl"

    def lines(self) -> dict[str, Line]:
        """The last whole line of each image, by image id."""
        found = {}
        if self.path.is_file():
            with self.path.open(encoding="utf-8", errors="replace") as handle:
                for text in handle:
                    line = _parse(text)
                    if line is not None:
                        found[line.counts.image_id] = line
        return found

    def append(self, line: Line) -> None:
        """Write one line at once. Raises StorageError: what cannot be stored must not be lost."""
        body = canonical_json(
            {
                "image_id": line.counts.image_id,
                "key": line.key,
                "truth_digest": line.truth_digest,
                "segmented": line.segmented,
                **{name: getattr(line.counts, name).tolist() for name in _COUNTS},
            }
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as handle:
                # A torn last line must not swallow this one.
                torn = handle.tell() > 0 and not _ends_with_newline(self.path)
                text = f'{{"crc":{zlib.crc32(body.encode())},"line":{body}}}\n'
                handle.write((b"\n" if torn else b"") + text.encode())
        except OSError as error:
            raise storage_error(self.path, error) from error


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"


def _parse(text: str) -> Line | None:
    """None when the line is torn or damaged."""
    head, mark, tail = text.partition(',"line":')
    body = tail[:-2]
    if not mark or not tail.endswith("}\n") or head != f'{{"crc":{zlib.crc32(body.encode())}':
        return None
    raw = json.loads(body)
    counts = ImageCounts(
        image_id=raw["image_id"], **{name: np.array(raw[name], np.int64) for name in _COUNTS}
    )
    return Line(raw["key"], counts, raw["truth_digest"], raw["segmented"])
