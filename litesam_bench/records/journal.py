"""The journal: masks as they come, one JSON line per image, so that a killed run loses one image.

A run folder holds `run.json` (what the masks are; its digest is the folder's name) and one
`journal-<rank>.jsonl` per writing process. Each line carries a checksum; a torn or damaged line is
dropped and its image done again. A later line for the same image replaces an earlier one, so a
failed image can be repeated.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import FileLock, Timeout

from litesam_bench.errors import StorageError, UsageError
from litesam_bench.records.files import canonical_json, sha256_text, storage_error, write_atomic

FORMAT = 1


@dataclass(frozen=True)
class Candidate:
    """One mask that a model offered for a prompt.

    counts: the compressed COCO RLE counts as ASCII, at original image size.
    """

    token: int
    pred_iou: float
    stability: float
    counts: str


@dataclass(frozen=True)
class Prediction:
    """All masks of one prompt. `id` is the annotation id, or the detection's index in its file.

    `points` keeps the dialogue: (x, y, label) per click.
    """

    id: int
    masks: tuple[Candidate, ...]
    points: tuple[tuple[float, float, int], ...] = ()


@dataclass(frozen=True)
class Entry:
    """One image of a run. `error` is the reason why it failed, "" when it did not."""

    image_id: int
    size_hw: tuple[int, int]
    predictions: tuple[Prediction, ...] = ()
    phases_s: dict[str, float] | None = None
    error: str = ""


def to_line(entry: Entry) -> str:
    """Serialise: `{"crc": ..., "entry": {...}}` and a newline."""
    body: dict[str, Any] = {"image_id": entry.image_id, "size": list(entry.size_hw)}
    if entry.error:
        body["error"] = entry.error
    else:
        body["predictions"] = [
            {
                "id": p.id,
                "masks": [[m.token, m.pred_iou, m.stability, m.counts] for m in p.masks],
                **({"points": [list(c) for c in p.points]} if p.points else {}),
            }
            for p in entry.predictions
        ]
    if entry.phases_s:
        body["phases_s"] = {k: round(v, 6) for k, v in entry.phases_s.items()}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return f'{{"crc":{zlib.crc32(text.encode())},"entry":{text}}}\n'


def from_line(line: str) -> Entry | None:
    """Parse one line; None when it is torn or damaged."""
    text = _intact(line)
    if text is None:
        return None
    body = json.loads(text)
    return Entry(
        image_id=body["image_id"],
        size_hw=(body["size"][0], body["size"][1]),
        predictions=tuple(
            Prediction(
                id=p["id"],
                masks=tuple(Candidate(*m) for m in p["masks"]),
                points=tuple((c[0], c[1], c[2]) for c in p.get("points", ())),
            )
            for p in body.get("predictions", ())
        ),
        phases_s=body.get("phases_s"),
        error=body.get("error", ""),
    )


def _intact(line: str) -> str | None:
    """The text of a line's entry, or None when its checksum does not fit."""
    head, mark, tail = line.partition(',"entry":')
    if not mark or not tail.endswith("}\n") or not head.startswith('{"crc":'):
        return None
    text = tail[:-2]
    return text if head[len('{"crc":') :] == str(zlib.crc32(text.encode())) else None


_BEGINNING = re.compile(r'\{"image_id":(-?[0-9]+),"size":\[[0-9]+,[0-9]+\](,"error":)?')


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image's entry is: byte `offset` of a journal. `failed` when it has an error."""

    journal: Path
    offset: int
    failed: bool


def fingerprint(identity: dict[str, Any]) -> str:
    """The name of a run: 16 hex digits over everything that changes its masks."""
    return sha256_text(canonical_json({"format": FORMAT, **identity}))[:16]


class RunFolder:
    """A run's folder: its identity and the journals of all processes that ever wrote to it."""

    def __init__(self, root: Path, identity: dict[str, Any]) -> None:
        """Create or reopen the run with this identity under `root`."""
        self.identity = identity
        self.fingerprint = fingerprint(identity)
        self.path = root / self.fingerprint
        description = self.path / "run.json"
        if not description.exists():
            write_atomic(description, json.dumps(identity, indent=1, sort_keys=True) + "\n")

    @classmethod
    def open(cls, root: Path, name: str | Path) -> RunFolder:
        """Open an existing run by path or by a unique beginning of its fingerprint.

        Raises UsageError when there is none, several, or its `run.json` was changed.
        """
        direct = Path(name)
        found = (
            [direct]
            if (direct / "run.json").is_file()
            else sorted(p.parent for p in root.glob(f"{name}*/run.json"))
        )
        if len(found) != 1:
            what = f"{len(found)} runs begin with" if found else "no run is called"
            raise UsageError(f"{what} {name!r} in {root}", fix=f"ls {root}; give the full name")
        identity = json.loads((found[0] / "run.json").read_text())
        if fingerprint(identity) != found[0].name:
            raise UsageError(
                f"{found[0] / 'run.json'} does not belong to its folder {found[0].name}",
                fix=f"delete {found[0]} and run its command again",
            )
        return cls(found[0].parent, identity)

    def keep_context(self, context: dict[str, Any]) -> None:
        """Store what a record says besides numbers; the latest run's context counts."""
        write_atomic(self.path / "context.json", json.dumps(context, indent=1) + "\n")

    def context(self) -> dict[str, Any]:
        """The latest stored context. Raises UsageError when the run never started."""
        try:
            context: dict[str, Any] = json.loads((self.path / "context.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UsageError(
                f"{self.path / 'context.json'} is missing or damaged",
                fix="run the command that made this run again; finished images are kept",
            ) from error
        return context

    def _lines(self) -> Iterator[str]:
        for journal in sorted(self.path.glob("journal-*.jsonl")):
            with journal.open(encoding="utf-8", errors="replace", newline="\n") as handle:
                yield from handle

    def index(self) -> dict[int, Place]:
        """Where each image's readable entry is, by image id, ascending; a success beats any
        failure, and otherwise the latest counts. Masks are not kept in memory."""
        found: dict[int, Place] = {}
        for journal in sorted(self.path.glob("journal-*.jsonl")):
            offset = 0
            with journal.open("rb") as handle:
                for line in handle:
                    text = _intact(line.decode("utf-8", errors="replace"))
                    beginning = text and _BEGINNING.match(text)
                    if beginning:
                        image_id, failed = int(beginning[1]), beginning[2] is not None
                        if image_id not in found or not failed or found[image_id].failed:
                            found[image_id] = Place(journal, offset, failed)
                    offset += len(line)
        return dict(sorted(found.items()))

    def read(self, places: Iterable[Place]) -> Iterator[Entry]:
        """The entries at some places of `index`, one at a time."""
        for place in places:
            with place.journal.open("rb") as handle:
                handle.seek(place.offset)
                entry = from_line(handle.readline().decode("utf-8"))
            assert entry is not None, "index has checked it"
            yield entry

    def entries(self) -> dict[int, Entry]:
        """All readable entries by image id, ascending, in memory; see `index`."""
        places = self.index()
        return dict(zip(places, self.read(places.values()), strict=True))

    def damaged(self) -> int:
        """How many lines are torn or damaged (their images are done again)."""
        return sum(from_line(line) is None for line in self._lines())

    def writer(self, rank: int = 0) -> JournalWriter:
        """Open this process's journal for appending; see `JournalWriter`."""
        return JournalWriter(self.path / f"journal-{rank}.jsonl")


class JournalWriter:
    """Appends entries; each is flushed before the next image starts. Use as a context manager.

    Raises UsageError when another living process writes the same journal, StorageError when the
    disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(f"{path}.lock")
        self._handle: IO[bytes] | None = None

    def __enter__(self) -> JournalWriter:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"another process is writing {self.path}",
                fix="wait for it to end, or stop it; then run the same command again",
            ) from error
        try:
            self._handle = self.path.open("ab")
            self._end_torn_line()
        except OSError as error:
            self._lock.release()
            raise storage_error(self.path, error) from error
        return self

    def _end_torn_line(self) -> None:
        """A killed writer may have left half a line: close it, so that ours begins a new one."""
        assert self._handle is not None
        if self._handle.tell():
            with self.path.open("rb") as reader:
                reader.seek(-1, 2)
                if reader.read(1) != b"\n":
                    self._handle.write(b"\n")

    def append(self, entry: Entry) -> None:
        """Write one entry and hand it to the operating system."""
        if self._handle is None:
            raise StorageError(f"{self.path} is not open", fix="use the writer in a with block")
        try:
            self._handle.write(to_line(entry).encode())
            self._handle.flush()
        except OSError as error:
            raise storage_error(self.path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._handle is not None:
                self._handle.close()
        except OSError as failure:
            # the buffered line could not be written; keep the error that brought us here, if any
            if error is None:
                raise storage_error(self.path, failure) from failure
        finally:
            self._handle = None
            self._lock.release()
