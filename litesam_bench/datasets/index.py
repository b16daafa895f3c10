"""Reading a COCO-style annotation file: validation, index by image, digest, rasterising.

What is wrong with the file as a whole (not JSON, a missing key, two images with one id, a file
name that leaves the folder) is a `DataError` that says where. What is wrong with one annotation
is a counted skip, so that one bad object does not cost a benchmark of thousands:

| reason | the annotation |
|---|---|
| `duplicate-id` | repeats the id of an earlier one |
| `unknown-image`, `unknown-category` | refers to an id that the file does not define |
| `not-finite` | has NaN or an infinity in its box, area or polygon |
| `zero-area-box` | has a box without width or height |
| `empty-polygon` | has no polygon of at least three points |
| `bad-rle` | has run lengths that do not fit its image |
| `empty-mask` | covers no pixel: it lies out of the frame, or is thinner than a pixel |

Masks are rasterised when their image is asked for. Only annotations that might come out empty
are rasterised while opening, so that counts are exact and opening stays fast.
"""

from __future__ import annotations

import hashlib
import math
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from litesam_bench.datasets.images import check_file_name
from litesam_bench.datasets.json_file import read_json
from litesam_bench.errors import DataError
from litesam_bench.metrics import rle
from litesam_bench.records.files import canonical_json
from litesam_bench.types import Category, GroundTruth, Instance, Rle, SizeHW

Polygons: TypeAlias = "tuple[array[float], ...]"  # x0, y0, x1, y1, ... per part


@dataclass(frozen=True, slots=True)
class Annotation:
    """One usable annotation, not yet rasterised."""

    id: int
    category_id: int
    iscrowd: bool
    area_px: float
    bbox_xywh: tuple[float, float, float, float]
    segmentation: Polygons | bytes  # bytes: the counts of a compressed RLE


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of the file; `file_name` is relative to the image folder and stays inside it."""

    id: int
    file_name: str
    size_hw: SizeHW
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class AnnotationIndex:
    """A validated annotation file. Images ascend by id; so do annotations within an image."""

    source: Path
    images: Mapping[int, ImageEntry]
    annotations: Mapping[int, tuple[Annotation, ...]]
    categories: tuple[Category, ...]
    skipped: Mapping[int, Mapping[str, int]]  # by image; annotations of no image are under -1
    licences: tuple[str, ...]


def read_index(
    path: Path,
    *,
    federated: bool = False,
    file_name_of: Callable[[dict[str, Any]], str] = lambda image: str(image["file_name"]),
) -> AnnotationIndex:
    """Read and validate an annotation file in COCO's or (`federated`) LVIS's format.

    Args:
        path: the JSON file.
        federated: require `neg_category_ids` and `not_exhaustive_category_ids` of each image and
            read the categories' frequency.
        file_name_of: gives an image entry's file name relative to the image folder.

    Raises:
        DataError: the file is missing, is not JSON, or breaks the format; names the entry.
    """
    document = _read_document(path)
    categories = _read_categories(_list_of(document, "categories", path), path, federated)
    images = _read_images(_list_of(document, "images", path), path, federated, file_name_of)
    annotations, skipped = _read_annotations(
        _list_of(document, "annotations", path), path, images, {item.id for item in categories}
    )
    licences = document.get("licenses") or []
    return AnnotationIndex(
        source=path,
        images=images,
        annotations=annotations,
        categories=categories,
        skipped=skipped,
        licences=tuple(str(item.get("name", "")) for item in licences if isinstance(item, dict)),
    )


def rasterise(annotation: Annotation, size_hw: SizeHW) -> Rle:
    """The annotation as compressed RLE at image size, by the rule of pycocotools' `annToRLE`."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, bytes):
        return Rle(size=list(size_hw), counts=segmentation)
    return rle.from_ann([part.tolist() for part in segmentation], *size_hw)


def ground_truth(index: AnnotationIndex, image_id: int, path: Path) -> GroundTruth:
    """The image's ground truth with every mask rasterised."""
    image = index.images[image_id]
    instances = tuple(
        Instance(
            id=annotation.id,
            category_id=annotation.category_id,
            rle=rasterise(annotation, image.size_hw),
            bbox_xywh=annotation.bbox_xywh,
            area_px=annotation.area_px,
            iscrowd=annotation.iscrowd,
        )
        for annotation in index.annotations.get(image_id, ())
    )
    return GroundTruth(
        image_id=image_id,
        file_name=image.file_name,
        path=str(path),
        size_hw=image.size_hw,
        instances=instances,
        neg_category_ids=image.neg_category_ids,
        not_exhaustive_category_ids=image.not_exhaustive_category_ids,
    )


def digest(index: AnnotationIndex, image_ids: Iterable[int]) -> str:
    """sha256 of what is scored on these images, independent of the order in the file.

    Covers categories, image ids and sizes, federated fields and the usable annotations. File
    names, licences and skipped annotations do not count. Numbers are hashed as little-endian
    doubles, not as text: LVIS has 20 million coordinates, and 1 and 1.0 must agree.
    """
    state = hashlib.sha256()
    state.update(
        canonical_json([[item.id, item.name, item.frequency] for item in index.categories]).encode()
    )
    for image_id in image_ids:
        image = index.images[image_id]
        federated = [sorted(image.neg_category_ids), sorted(image.not_exhaustive_category_ids)]
        state.update(canonical_json([image.id, *image.size_hw, federated]).encode())
        for item in index.annotations.get(image_id, ()):
            head = (item.id, item.category_id, item.iscrowd)
            state.update(struct.pack("<qqq5d", *head, item.area_px, *item.bbox_xywh))
            if isinstance(item.segmentation, bytes):
                state.update(b"rle" + item.segmentation)
            else:
                for part in item.segmentation:
                    state.update(struct.pack("<q", len(part)))
                    state.update(np.frombuffer(part).astype("<f8", copy=False).tobytes())
    return state.hexdigest()


# --------------------------------------------------------------------------------------------
# The file


def _read_document(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict):
        raise DataError(
            f"{path} holds a {type(document).__name__}, not the object of an annotation file",
            fix="give the annotation file here, and a detector's results as --boxes",
        )
    return document


def _list_of(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = document.get(key)
    if not isinstance(entries, list):
        raise DataError(
            f"{path} has no list {key!r}",
            fix="use a file with ground truth; test sets (image_info_*.json) have none",
        )
    return entries


def _broken(path: Path, where: str, problem: str) -> DataError:
    return DataError(f"{path}: {where} {problem}", fix="correct the entry, or remove it")


def _field(entry: Any, key: str, where: str, path: Path) -> Any:
    if not isinstance(entry, dict):
        raise _broken(path, where, "is not an object")
    try:
        return entry[key]
    except KeyError:
        raise _broken(path, where, f"has no {key!r}") from None


def _integer(entry: Any, key: str, where: str, path: Path) -> int:
    value = _field(entry, key, where, path)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _broken(path, where, f"has {key!r} = {value!r}, which is not an integer")
    return value


def _read_categories(
    entries: list[dict[str, Any]], path: Path, federated: bool
) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for position, entry in enumerate(entries):
        where = f"categories[{position}]"
        identity = _integer(entry, "id", where, path)
        if identity in found:
            raise _broken(path, where, f"repeats category id {identity}")
        name = str(_field(entry, "name", where, path))
        frequency = str(_field(entry, "frequency", where, path)) if federated else ""
        if federated and frequency not in ("r", "c", "f"):
            raise _broken(path, where, f"has frequency {frequency!r}, which is not r, c or f")
        found[identity] = Category(identity, name, frequency)
    return tuple(found[key] for key in sorted(found))


def _read_images(
    entries: list[dict[str, Any]],
    path: Path,
    federated: bool,
    file_name_of: Callable[[dict[str, Any]], str],
) -> dict[int, ImageEntry]:
    found: dict[int, ImageEntry] = {}
    for position, entry in enumerate(entries):
        where = f"images[{position}]"
        identity = _integer(entry, "id", where, path)
        if identity in found:
            raise _broken(path, where, f"repeats image id {identity}")
        size = (
            _integer(entry, "height", where, path),
            _integer(entry, "width", where, path),
        )
        if min(size) < 1:
            raise _broken(path, where, f"has the size {size[1]}x{size[0]}")
        try:
            name = file_name_of(entry)
        except KeyError as error:
            raise _broken(path, where, f"has no {error}") from None
        found[identity] = ImageEntry(
            id=identity,
            file_name=check_file_name(name, path),
            size_hw=size,
            neg_category_ids=_ids(entry, "neg_category_ids", where, path) if federated else (),
            not_exhaustive_category_ids=(
                _ids(entry, "not_exhaustive_category_ids", where, path) if federated else ()
            ),
        )
    return {key: found[key] for key in sorted(found)}


def _ids(entry: dict[str, Any], key: str, where: str, path: Path) -> tuple[int, ...]:
    return tuple(int(value) for value in _field(entry, key, where, path))


# --------------------------------------------------------------------------------------------
# Annotations


def _read_annotations(
    entries: list[dict[str, Any]],
    path: Path,
    images: Mapping[int, ImageEntry],
    category_ids: set[int],
) -> tuple[dict[int, tuple[Annotation, ...]], dict[int, dict[str, int]]]:
    skipped: dict[int, Counter[str]] = {}
    candidates: list[tuple[int, Annotation]] = []
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        where = f"annotations[{position}]"
        image_id = _integer(entry, "image_id", where, path)
        image = images.get(image_id)
        outcome = _read_annotation(entry, where, path, seen, image, category_ids)
        if isinstance(outcome, Annotation):
            candidates.append((image_id, outcome))
            seen.add(outcome.id)
        else:
            group = -1 if image is None else image_id
            skipped.setdefault(group, Counter())[outcome] += 1
        entry.clear()  # the parsed file is several times the size of what is kept of it

    empty = _covering_no_pixel(candidates, images)
    kept: dict[int, list[Annotation]] = {}
    for position, (image_id, annotation) in enumerate(candidates):
        if position in empty:
            skipped.setdefault(image_id, Counter())["empty-mask"] += 1
        else:
            kept.setdefault(image_id, []).append(annotation)
    ordered = {
        image_id: tuple(sorted(found, key=lambda item: item.id)) for image_id, found in kept.items()
    }
    return ordered, {image_id: dict(counts) for image_id, counts in skipped.items()}


def _read_annotation(
    entry: dict[str, Any],
    where: str,
    path: Path,
    seen: set[int],
    image: ImageEntry | None,
    category_ids: set[int],
) -> Annotation | str:
    """The annotation, or the reason why it is skipped."""
    identity = _integer(entry, "id", where, path)
    category_id = _integer(entry, "category_id", where, path)
    raw_box = _field(entry, "bbox", where, path)
    raw_segmentation = _field(entry, "segmentation", where, path)
    try:
        area_px = float(_field(entry, "area", where, path))
        x, y, width, height = (float(value) for value in raw_box)
        segmentation = _segmentation(raw_segmentation, image)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise _broken(
            path, where, "has a box, area or segmentation that is not made of numbers"
        ) from None
    if identity in seen:
        return "duplicate-id"
    if image is None:
        return "unknown-image"
    if category_id not in category_ids:
        return "unknown-category"
    sums = () if isinstance(segmentation, (bytes, str)) else map(sum, segmentation)
    if not all(map(math.isfinite, (x, y, width, height, area_px, *sums))):
        return "not-finite"
    if width <= 0 or height <= 0:
        return "zero-area-box"
    if isinstance(segmentation, str):
        return segmentation
    return Annotation(
        id=identity,
        category_id=category_id,
        iscrowd=bool(entry.get("iscrowd", 0)),
        area_px=area_px,
        bbox_xywh=(x, y, width, height),
        segmentation=segmentation,
    )


def _segmentation(raw: Any, image: ImageEntry | None) -> Polygons | bytes | str:
    """Compact form of the file's segmentation, or the reason why it cannot be used.

    A part of fewer than three points has no inside; pycocotools would read a lone part of four
    numbers as a box, so such parts are left out.
    """
    if isinstance(raw, dict):
        size_hw = [int(side) for side in raw["size"]] if image is None else list(image.size_hw)
        try:
            return rle.from_ann(raw, *size_hw)["counts"]
        except DataError:
            return "bad-rle"
    if not isinstance(raw, list):
        raise TypeError
    parts = tuple(array("d", part) for part in raw)
    if any(len(part) % 2 for part in parts):
        raise ValueError
    return tuple(part for part in parts if len(part) >= 6) or "empty-polygon"


def _covering_no_pixel(
    candidates: list[tuple[int, Annotation]], images: Mapping[int, ImageEntry]
) -> set[int]:
    """Positions of the candidates whose mask is empty.

    Rasterising moves a polygon's outline by less than a pixel, so one that lies in the frame and
    has more area than outline cannot vanish. Only the others are rasterised.
    """
    doubtful = []
    parts: list[npt.NDArray[np.float64]] = []
    owners: list[int] = []
    for position, (_, annotation) in enumerate(candidates):
        if isinstance(annotation.segmentation, bytes):
            doubtful.append(position)
        else:
            parts += [np.frombuffer(part) for part in annotation.segmentation]
            owners += [position] * len(annotation.segmentation)
    if parts:
        owner = np.array(owners)
        sizes_hw = np.array([images[image_id].size_hw for image_id, _ in candidates])[owner]
        safe = owner[_surely_visible(parts, sizes_hw)]
        doubtful += np.setdiff1d(owner, safe).tolist()
    masks = [
        rasterise(annotation, images[image_id].size_hw)
        for image_id, annotation in (candidates[position] for position in doubtful)
    ]
    areas = rle.unpack(masks).area_px.tolist() if masks else []
    return {position for position, area in zip(doubtful, areas, strict=True) if area == 0}


def _surely_visible(
    parts: list[npt.NDArray[np.float64]], sizes_hw: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """For each polygon: does it lie in its frame, with an area that exceeds its outline?"""
    points = np.concatenate(parts).reshape(-1, 2)
    count = np.array([len(part) // 2 for part in parts])
    start = np.cumsum(count) - count
    following = np.arange(1, len(points) + 1)
    following[start + count - 1] = start
    x, y = points.T
    step = points[following] - points
    area = np.abs(np.add.reduceat(x * y[following] - x[following] * y, start)) / 2
    outline = np.add.reduceat(np.hypot(step[:, 0], step[:, 1]), start)
    low = np.minimum.reduceat(points, start)
    high = np.maximum.reduceat(points, start)
    inside = (low >= 0).all(axis=1) & (high <= sizes_hw[:, ::-1]).all(axis=1)
    return inside & (area > outline)
