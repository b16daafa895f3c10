"""The boundary benchmark: threshold, thin, match with every annotator, count.

Facts of the official program (`evaluation_bdry_image.m`) that decide the numbers:

* a pixel is an edge where strength >= threshold; the map is thinned after thresholding;
* the ground truth is not thinned;
* the largest distance is a fraction of the image diagonal, 0.0075 for BSDS500 (4.34 pixels);
* recall sums matched and all ground-truth pixels over annotators; precision counts a detected
  pixel once, matched if any annotator's pixel claims it.

Images are independent: they run in a pool of processes, and each image's counts are journaled as it
ends, so a stopped run goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from litesam_bench.edges.boundary_gt import (
    BoolMap,
    BoundaryData,
    BoundaryImage,
    boundary_digest,
    dataset_digest,
    read_boundaries,
)
from litesam_bench.edges.collect import FloatArray, ImageCounts, thresholds_of
from litesam_bench.edges.journal import CountsJournal, Line
from litesam_bench.edges.maps import EdgeMap, Segmentations, find_map, read_map
from litesam_bench.edges.matching import match_sequence
from litesam_bench.edges.pool import worker_pool
from litesam_bench.edges.ridges import suppress
from litesam_bench.edges.thinning import thin
from litesam_bench.errors import BenchError, DataError
from litesam_bench.records.files import canonical_json, sha256_text

VERSION = 1  # raise it when the same maps would give other counts


@dataclass(frozen=True)
class Settings:
    """Every choice that changes a count.

    max_dist: largest distance of a matched pair, as a fraction of the image diagonal.
    thin: thin the thresholded map to lines of one pixel.
    nms: edge NMS before thresholding, a preset of `ridges` other than "canny". Learned detectors
        are evaluated with "dollar-r1" throughout the literature.
    """

    thresholds: int = 99
    max_dist: float = 0.0075
    thin: bool = True
    nms: str = "none"


@dataclass(frozen=True)
class Evaluation:
    """Counts of the images that have a map, ascending by id, and the ids of those that have none.

    thresholds: (T,); 1 .. T where the maps are segmentations.
    digest: of the ground truth of all images of the data set, evaluated or not.
    """

    counts: tuple[ImageCounts, ...]
    thresholds: FloatArray
    missing: tuple[str, ...]
    digest: str

    @property
    def expected(self) -> int:
        return len(self.counts) + len(self.missing)


def count_image(
    image_id: str, edge_map: EdgeMap, truths: Sequence[BoolMap], settings: Settings
) -> ImageCounts:
    """Count one image at every threshold. All maps must have one size."""
    height, width = edge_map.size_hw
    sets = [np.flatnonzero(m).astype(np.int32) for m in binary_maps(edge_map, settings)]
    claimed = [np.zeros(len(pixels), np.bool_) for pixels in sets]
    matched = np.zeros(len(sets), np.int64)
    for truth in truths:
        # From the highest threshold down pixels mostly appear, which is the cheaper change.
        found = match_sequence(
            sets[::-1],
            np.flatnonzero(truth).astype(np.int32),
            (height, width),
            settings.max_dist * float(np.hypot(height, width)),
        )
        matched += found.truth_matched[::-1]
        for pixels, here in zip(claimed, reversed(found.matched), strict=True):
            pixels |= here
    return ImageCounts(
        image_id=image_id,
        truth=np.full(len(sets), sum(int(t.sum()) for t in truths), np.int64),
        truth_matched=matched,
        detected=np.array([len(pixels) for pixels in sets], np.int64),
        detected_matched=np.array([int(pixels.sum()) for pixels in claimed], np.int64),
    )


def binary_maps(edge_map: EdgeMap, settings: Settings) -> Iterator[BoolMap]:
    """The map at each threshold, or each segmentation's boundaries; thinned if so set."""
    if isinstance(edge_map, Segmentations):
        maps: Iterator[BoolMap] = iter(edge_map.boundaries)
    else:
        ridges = suppress(edge_map.strength, settings.nms)
        maps = (ridges >= t for t in thresholds_of(settings.thresholds))
    return (thin(m) for m in maps) if settings.thin else maps


def evaluate(
    data: BoundaryData,
    maps_dir: Path,
    settings: Settings,
    runs_root: Path,
    *,
    workers: int = 1,
    advance: Callable[[str, bool], None] = lambda image_id, resumed: None,
) -> Evaluation:
    """Evaluate a folder of maps; images already in the journal are not done again.

    Args:
        workers: processes; each needs about 250 MB.
        advance: called as each image is done, with its id and whether the journal had it.

    Raises:
        DataError: no map at all, a map that cannot be read or whose size is not that of its ground
            truth, segmentations of different number.
        BenchError: a worker was ended from outside.
    """
    maps = {image.image_id: find_map(maps_dir, image.image_id) for image in data.images}
    if not any(maps.values()):
        raise DataError(
            f"{maps_dir} has no map of any of the {len(maps)} images of {data.name}",
            fix=f"name maps after their image, such as {data.images[0].image_id}.png",
        )
    identity = {"version": VERSION, "maps": str(maps_dir.resolve()), **asdict(settings)}
    journal = CountsJournal(runs_root / f"edges-{sha256_text(canonical_json(identity))[:16]}")
    known = journal.lines()
    lines: dict[str, Line] = {}
    todo: list[tuple[BoundaryImage, Path, str]] = []
    for image in data.images:
        path = maps[image.image_id]
        if path is None:
            continue
        key = _content_key(path, image.truth_path)
        line = known.get(image.image_id)
        if line is not None and line.key == key:
            lines[image.image_id] = line
            advance(image.image_id, True)
        else:
            todo.append((image, path, key))
    for line in _run(todo, settings, workers):
        journal.append(line)
        lines[line.counts.image_id] = line
        advance(line.counts.image_id, False)

    counts = tuple(lines[i.image_id].counts for i in data.images if i.image_id in lines)
    lengths = {len(c.truth): c.image_id for c in counts}
    if len(lengths) > 1:
        (one, first), (other, second), *_ = lengths.items()
        raise DataError(
            f"{maps_dir}: {first} has {one} operating points and {second} has {other}",
            fix="save equally many segmentations for every image, and do not mix them with maps",
        )
    n = next(iter(lengths))
    segmented = any(lines[c.image_id].segmented for c in counts)
    missing = tuple(i.image_id for i in data.images if i.image_id not in lines)
    digests = {i: line.truth_digest for i, line in lines.items()}
    for image in data.images:
        if image.image_id not in digests:
            digests[image.image_id] = boundary_digest(read_boundaries(image.truth_path))
    return Evaluation(
        counts=counts,
        thresholds=np.arange(1, n + 1, dtype=np.float64) if segmented else thresholds_of(n),
        missing=missing,
        digest=dataset_digest(digests),
    )


def _run(
    todo: Sequence[tuple[BoundaryImage, Path, str]], settings: Settings, workers: int
) -> Iterator[Line]:
    """Count images in any order; a failure or interrupt stops the rest."""
    if workers <= 1 or len(todo) <= 1:
        for task in todo:
            yield count_file(*task, settings)
        return
    with worker_pool(min(workers, len(todo))) as pool:
        futures = [pool.submit(count_file, *task, settings) for task in todo]
        finished = False
        try:
            for future in as_completed(futures):
                yield future.result()
            finished = True
        except BrokenProcessPool as error:
            raise BenchError(
                "a worker process was ended from outside, most often because memory ran out",
                fix=f"run the command again with fewer than {workers} --workers; "
                "images that are done are kept",
            ) from error
        finally:
            pool.shutdown(wait=finished, cancel_futures=True)


def count_file(image: BoundaryImage, map_path: Path, key: str, settings: Settings) -> Line:
    """Read one map and its ground truth, and count them. Raises DataError as `evaluate` does."""
    edge_map, truths = read_map(map_path), read_boundaries(image.truth_path)
    if edge_map.size_hw != truths[0].shape:
        (h, w), (truth_h, truth_w) = edge_map.size_hw, truths[0].shape
        raise DataError(
            f"edge map {map_path} is {h} x {w} (height x width), its ground truth "
            f"{image.truth_path.name} is {truth_h} x {truth_w}",
            fix="save maps at the size of the original image, neither resized nor rotated",
        )
    return Line(
        key=key,
        counts=count_image(image.image_id, edge_map, truths, settings),
        truth_digest=boundary_digest(truths),
        segmented=isinstance(edge_map, Segmentations),
    )


def _content_key(map_path: Path, truth_path: Path) -> str:
    digest = hashlib.sha256()
    for path in (map_path, truth_path):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]
