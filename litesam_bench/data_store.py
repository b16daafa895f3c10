"""Where datasets lie under the data root, which parts are there, and whether they are the official.

The paths are the official layouts, so a folder that other tools use works as it is:

    DATA_ROOT/coco/annotations/instances_val2017.json    DATA_ROOT/coco/val2017/*.jpg
    DATA_ROOT/lvis/annotations/lvis_v1_val.json          images are COCO's
    DATA_ROOT/bsds500/data/images/{train,val,test}/*.jpg
    DATA_ROOT/bsds500/data/groundTruth/{train,val,test}/*.mat

Expected counts are those of the official files (COCO: 4952 of the 5000 images have annotations).
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from litesam_bench.download import (
    Opener,
    Progress,
    download,
    https_opener,
    require_https,
    storage_error,
)
from litesam_bench.errors import DataError, UsageError
from litesam_bench.registry import Registry

Counts = dict[str, int]
State = Literal["built-in", "complete", "partial", "missing"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A folder of files, or one annotation file, relative to the data root.

    `pattern` selects the files of a folder; "" means that `path` is an annotation file, whose
    listed images are looked for in `image_folders`. `expected` are the counts of the official set.
    """

    path: str
    expected: Mapping[str, int]
    pattern: str = ""
    image_folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An official zip. Members under `member` are written under `target`, relative to the root."""

    url: str
    member: str
    target: str
    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One dataset on disk. `archives` are pulled by default, `image_archives` when asked for."""

    name: str
    title: str
    licence: str
    page: str
    parts: tuple[Part, ...] = ()
    archives: tuple[Archive, ...] = ()
    image_archives: tuple[Archive, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What was found of a part. `found` has the keys of `part.expected`, as far as counted."""

    part: Part
    path: Path
    present: bool
    found: Counts = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Everything that was counted has the official number."""
        return self.present and all(self.part.expected[k] == n for k, n in self.found.items())


# The bucket behind images.cocodataset.org, which has no certificate for that name.
_COCO = "https://s3.amazonaws.com/images.cocodataset.org"

LAYOUTS = (
    Layout(
        name="scenes",
        title="embedded scenes, generated from a seed",
        licence="Apache-2.0",
        page="",
    ),
    Layout(
        name="coco",
        title="COCO 2017 validation, instances",
        licence="annotations CC BY 4.0; images under their Flickr licences",
        page="https://cocodataset.org/#download",
        parts=(
            Part(
                path="coco/annotations/instances_val2017.json",
                expected={"images": 5_000, "annotations": 36_781, "crowd": 446, "files": 5_000},
                image_folders=("coco",),
            ),
            Part(path="coco/val2017", pattern="*.jpg", expected={"files": 5_000}),
        ),
        archives=(
            Archive(
                url=f"{_COCO}/annotations/annotations_trainval2017.zip",
                member="annotations/instances_val2017.json",
                target="coco/annotations/instances_val2017.json",
                sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                size_bytes=252_907_541,
            ),
        ),
        image_archives=(
            Archive(
                url=f"{_COCO}/zips/val2017.zip",
                member="val2017/",
                target="coco/val2017/",
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                size_bytes=815_585_330,
            ),
        ),
    ),
    Layout(
        name="lvis",
        title="LVIS v1 validation (images: COCO val2017 and train2017)",
        licence="CC BY 4.0 and the LVIS terms; images as COCO",
        page="https://www.lvisdataset.org/dataset",
        parts=(
            Part(
                path="lvis/annotations/lvis_v1_val.json",
                expected={
                    "images": 19_809,
                    "annotations": 244_707,
                    "categories": 1_203,
                    "files": 19_809,
                },
                image_folders=("lvis", "coco"),
            ),
        ),
        archives=(
            Archive(
                url="https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip",
                member="lvis_v1_val.json",
                target="lvis/annotations/lvis_v1_val.json",
            ),
        ),
    ),
    Layout(
        name="bsds500",
        title="BSDS500, images and human boundaries",
        licence="research use, cite the paper",
        page="https://github.com/BIDS/BSDS500",
        parts=tuple(
            Part(path=f"bsds500/data/{kind}/{split}", pattern=pattern, expected={"files": count})
            for kind, pattern in (("images", "*.jpg"), ("groundTruth", "*.mat"))
            for split, count in (("train", 200), ("val", 100), ("test", 200))
        ),
    ),
)


def layouts() -> Registry[Layout]:
    """All datasets by name."""
    found: Registry[Layout] = Registry("dataset", list_command="litesam-bench data list")
    for layout in LAYOUTS:
        found.add(layout.name, layout, source=__name__)
    return found


def look(layout: Layout, root: Path) -> list[PartReport]:
    """What is there, without opening a file: folders are counted, annotation files only seen."""
    reports = []
    for part in layout.parts:
        path = root / part.path
        if part.pattern:
            count = sum(1 for _ in path.glob(part.pattern)) if path.is_dir() else 0
            found = {"files": count} if path.is_dir() else {}
            reports.append(PartReport(part=part, path=path, present=count > 0, found=found))
        else:
            reports.append(PartReport(part=part, path=path, present=path.is_file()))
    return reports


def verify(layout: Layout, root: Path) -> list[PartReport]:
    """Like `look`, but annotation files are read, counted, and their images looked for.

    Raises DataError naming the file when one is not JSON or lacks its lists.
    """
    return [
        report if report.part.pattern or not report.present else _read(report.part, root)
        for report in look(layout, root)
    ]


def state(layout: Layout, reports: list[PartReport]) -> State:
    """One word for a dataset."""
    if not layout.parts:
        return "built-in"
    if all(report.complete for report in reports):
        return "complete"
    return "partial" if any(report.present for report in reports) else "missing"


def pull(
    layout: Layout,
    root: Path,
    *,
    images: bool = False,
    opener: Opener | None = None,
    on_progress: Progress | None = None,
) -> list[Path]:
    """Download the official annotations, and the images if asked; returns what was written.

    What is there already is left alone. Raises UsageError when there is no direct download,
    DataError for a failed download or a broken zip, StorageError for a full disk.
    """
    wanted = [*layout.archives, *(layout.image_archives if images else ())]
    if not wanted or (images and not layout.image_archives):
        raise UsageError(
            f"{layout.name} has no direct download{' of images' if images else ''}"
            + ("" if layout.parts else ": it is generated"),
            fix=f"get it from {layout.page} and see `litesam-bench data where {layout.name}`"
            if layout.parts
            else "just use it: litesam-bench zeroshot",
        )
    retry = f"litesam-bench data pull {layout.name}{' --images' if images else ''}"
    written = []
    for archive in wanted:
        target = root / archive.target
        if target.exists():
            continue
        require_https(archive.url)
        packed = root / PurePosixPath(archive.url).name
        if not packed.exists():
            download(
                archive.url,
                packed,
                sha256=archive.sha256,
                opener=https_opener() if opener is None else opener,
                error=DataError,
                retry=retry,
                on_progress=on_progress,
            )
        _unpack(packed, archive, target, retry)
        packed.unlink()
        written.append(target)
    return written


def _unpack(packed: Path, archive: Archive, target: Path, retry: str) -> None:
    """Write the members under a temporary name, then give them theirs at once."""
    temporary = target.with_name(f"{target.name}.unpacking")
    try:
        with zipfile.ZipFile(packed) as source:
            if archive.member.endswith("/"):
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                names = [n for n in source.namelist() if n.startswith(archive.member)]
                for name in names:
                    base = name.removeprefix(archive.member)
                    # Only plain files of that folder: a zip cannot write anywhere else.
                    if base and base == PurePosixPath(base).name and base not in (".", ".."):
                        (temporary / base).write_bytes(source.read(name))
            else:
                temporary.parent.mkdir(parents=True, exist_ok=True)
                with source.open(archive.member) as member, temporary.open("wb") as out:
                    shutil.copyfileobj(member, out)
    except (zipfile.BadZipFile, KeyError, EOFError) as cause:
        raise DataError(
            f"{packed} is not the official archive: {cause}",
            fix=f"delete it and run `{retry}` again",
        ) from cause
    except OSError as cause:
        raise storage_error(temporary, cause, retry) from cause
    temporary.replace(target)


def _read(part: Part, root: Path) -> PartReport:
    """Count an annotation file's entries and those of its images that are on disk."""
    path = root / part.path
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        images, annotations = document["images"], document["annotations"]
        counts = {
            "images": len(images),
            "annotations": len(annotations),
            "crowd": sum(1 for item in annotations if item.get("iscrowd")),
            "categories": len(document["categories"]),
            "files": sum(_has_file(image, part, root) for image in images),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise DataError(
            f"{path} is not an annotation file: {type(cause).__name__}: {cause}",
            fix=f"get it again; `litesam-bench data where {part.path.partition('/')[0]}` says how",
        ) from cause
    found = {key: counts[key] for key in part.expected}
    return PartReport(part=part, path=path, present=True, found=found)


def _has_file(image: dict[str, Any], part: Part, root: Path) -> bool:
    """Whether a listed image exists as `<folder>/<split>/<name>`, the last two as in `coco_url`, or
    else from the annotation file's name and the image's."""
    split = PurePosixPath(part.path).stem.rpartition("_")[2]
    source = PurePosixPath(image.get("coco_url") or f"{split}/{image['file_name']}")
    return any(
        (root / folder / source.parent.name / source.name).is_file()
        for folder in part.image_folders
    )
