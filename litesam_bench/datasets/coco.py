"""COCO instances: the official layout, its subsets, and any folder in COCO's format.

    DATA_ROOT/coco/annotations/instances_<split>.json
    DATA_ROOT/coco/<split>/<file_name>

The images of a set are those that its annotation file lists, whether or not they have objects.
(EfficientViT-SAM walks the image folder instead, 5000 files in val2017; files without annotations
add nothing to any of its numbers.) A listed image whose file is missing is an error when it is
asked for, not a smaller set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from litesam_bench.datasets import index as annotation_index
from litesam_bench.datasets.images import read_rgb, resolve_inside
from litesam_bench.datasets.index import AnnotationIndex, read_index
from litesam_bench.errors import DataError, UsageError
from litesam_bench.types import Category, DatasetInfo, GroundTruth, Sample

IMAGES_URL = "http://images.cocodataset.org/zips/{split}.zip"
ANNOTATIONS_URL = "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
OFFICIAL_IMAGES = {"val2017": 5_000, "train2017": 118_287}
LICENCE = "annotations CC BY 4.0; images under their Flickr licences, per image in the file"


class CocoDataset:
    """Images and instances of a COCO-style annotation file. Implements `Dataset`.

    Masks are rasterised when an image's truth is first asked for, and kept.

    Args:
        index: the validated annotation file.
        image_dirs: where to look for an image, in this order.
        name: as it appears in records.
        licence: of images and annotations.
        federated: whether LVIS's rules apply.
        n_official: images of the full set, 0 if unknown; fewer than that is a subset.
        image_ids: the images to use; all by default.
    """

    def __init__(
        self,
        index: AnnotationIndex,
        image_dirs: Sequence[Path],
        *,
        name: str,
        licence: str,
        federated: bool = False,
        n_official: int = 0,
        image_ids: Sequence[int] | None = None,
    ) -> None:
        self.index = index
        self.image_dirs = tuple(image_dirs)
        self._name = name
        self._licence = licence
        self._federated = federated
        self._n_official = n_official or len(index.images)
        self._image_ids = tuple(index.images if image_ids is None else sorted(set(image_ids)))
        self._truths: dict[int, GroundTruth] = {}

    @property
    def image_ids(self) -> Sequence[int]:
        """Ascending, without duplicates."""
        return self._image_ids

    @property
    def categories(self) -> Sequence[Category]:
        """Ascending by id."""
        return self.index.categories

    @cached_property
    def info(self) -> DatasetInfo:
        """Name, digest, counts, licence and footnote."""
        skipped: Counter[str] = Counter(self.index.skipped.get(-1, {}))
        for image_id in self._image_ids:
            skipped.update(self.index.skipped.get(image_id, {}))
        n_images = len(self._image_ids)
        subset = n_images < self._n_official
        return DatasetInfo(
            name=self._name,
            digest=annotation_index.digest(self.index, self._image_ids),
            n_images=n_images,
            n_instances=sum(len(self.index.annotations.get(i, ())) for i in self._image_ids),
            licence=self._licence,
            footnote=f"{self._name} subset, {n_images} images" if subset else "",
            federated=self._federated,
            skipped=dict(sorted(skipped.items())),
        )

    def subset(self, image_ids: Sequence[int]) -> CocoDataset:
        """The same set restricted to these images; UsageError if it does not have one of them."""
        unknown = sorted(set(image_ids) - self.index.images.keys())
        if unknown:
            raise UsageError(
                f"{self._name} has no image {unknown[0]}", fix="choose among its image ids"
            )
        return CocoDataset(
            self.index,
            self.image_dirs,
            name=self._name,
            licence=self._licence,
            federated=self._federated,
            n_official=self._n_official,
            image_ids=image_ids,
        )

    def truth(self, image_id: int) -> GroundTruth:
        """Ground truth with masks at image size. Does not need the image file to exist."""
        found = self._truths.get(image_id)
        if found is None:
            path = self._path(self.index.images[image_id].file_name)
            found = annotation_index.ground_truth(self.index, image_id, path)
            self._truths[image_id] = found
        return found

    def sample(self, image_id: int) -> Sample:
        """Decode one image.

        Raises:
            DataError: the file is missing or corrupt, or its size is not the annotation file's.
        """
        truth = self.truth(image_id)
        if not Path(truth.path).is_file():
            raise DataError(
                f"image {truth.path} of {self.index.source} does not exist",
                fix=f"litesam-bench data where says where {self._name} comes from",
            )
        image = read_rgb(truth.path)
        if image.shape[:2] != truth.size_hw:
            height, width = image.shape[:2]
            raise DataError(
                f"image {truth.path} is {width}x{height}, but {self.index.source} says "
                f"{truth.size_hw[1]}x{truth.size_hw[0]}",
                fix="use the original files; re-saved or rotated copies do not fit the masks",
            )
        return Sample(image=image, truth=truth)

    def _path(self, name: str) -> Path:
        candidates = [resolve_inside(folder, name) for folder in self.image_dirs]
        return next((path for path in candidates if path.is_file()), candidates[0])


def open_coco(
    data_root: Path,
    split: str = "val2017",
    *,
    ann_file: Path | None = None,
    image_dir: Path | None = None,
) -> CocoDataset:
    """COCO from its official layout under `data_root`, or from files given one by one.

    Raises DataError that names the expected paths and where to download them.
    """
    annotations = ann_file or data_root / "coco" / "annotations" / f"instances_{split}.json"
    images = image_dir or data_root / "coco" / split
    missing = [path for path in (annotations, images) if not path.exists()]
    if missing:
        raise DataError(
            f"COCO {split} is not complete: {' and '.join(map(str, missing))} "
            f"{'do' if len(missing) > 1 else 'does'} not exist",
            fix=f"unpack {ANNOTATIONS_URL} and {IMAGES_URL.format(split=split)} into "
            f"{data_root / 'coco'}; litesam-bench data where shows every expected path",
        )
    return CocoDataset(
        read_index(annotations),
        [images],
        name=f"coco-{split}",
        licence=LICENCE,
        n_official=OFFICIAL_IMAGES.get(split, 0),
    )


def open_folder(
    path: Path, *, ann_file: Path | None = None, image_dir: Path | None = None
) -> CocoDataset:
    """Any folder in COCO's format: annotations and images.

    Annotations are `annotations.json` or the one JSON in `annotations/`; images lie in `images/`,
    in the folder named by `instances_<split>.json`, or in the folder itself.

    Raises DataError that lists what was looked for.
    """
    annotations = ann_file or _annotation_file(path)
    split = re.sub(r"^instances_", "", annotations.stem)
    candidates = [image_dir] if image_dir else [path / "images", path / split, path]
    index = read_index(annotations)
    found = [folder for folder in candidates if folder.is_dir()]
    if not found:
        raise DataError(
            f"image folder {candidates[0]} does not exist", fix="name it with --image-dir"
        )
    known = [item for item in index.licences if item]
    return CocoDataset(
        index,
        found,
        name=path.resolve().name if path.is_dir() else annotations.stem,
        licence=", ".join(sorted(set(known))) or "not stated",
    )


def _annotation_file(path: Path) -> Path:
    single = path / "annotations.json"
    if single.is_file():
        return single
    found = sorted((path / "annotations").glob("*.json"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(item.name for item in found)
        raise DataError(
            f"{path / 'annotations'} has several annotation files: {names}",
            fix="choose one with --ann-file",
        )
    raise DataError(
        f"{path} has neither annotations.json nor annotations/*.json",
        fix="name the annotation file with --ann-file",
    )
