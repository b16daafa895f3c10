"""BSDS500's human segmentations as a dataset of masks: a ground truth for segment-everything.

Unlike COCO's, these segments cover the whole image, so a system that segments everything is asked
for nothing less. Every annotator's every segment is an instance; its category is the annotator.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litesam_bench.datasets.bsds500 import open_bsds500
from litesam_bench.datasets.images import read_rgb
from litesam_bench.errors import DataError
from litesam_bench.metrics import rle
from litesam_bench.metrics.labels import segment_masks
from litesam_bench.records.files import canonical_json, sha256_text
from litesam_bench.types import Category, DatasetInfo, GroundTruth, Instance, Rle, Sample

_MOST_ANNOTATORS = 10
"""No image of BSDS500 has more; instance ids need a bound."""


class BsdsSegments:
    """One split of BSDS500, or its first `limit` images by number. Implements `Dataset`.

    Files are read when they are first needed.
    """

    def __init__(self, root: Path, split: str = "test", limit: int | None = None) -> None:
        self._boundaries = open_bsds500(root, split)
        images = sorted((int(image.image_id), image) for image in self._boundaries.images)
        self._images = dict(images[:limit])
        self._truths: dict[int, GroundTruth] = {}

    @cached_property
    def image_ids(self) -> Sequence[int]:
        """The images' numbers, ascending."""
        return sorted(self._images)

    @property
    def categories(self) -> Sequence[Category]:
        """One per annotator's place in an image's list; places of two images are not one person."""
        return [Category(k, f"annotator {k}") for k in range(1, _MOST_ANNOTATORS + 1)]

    @cached_property
    def info(self) -> DatasetInfo:
        """See `DatasetInfo`; reads all ground truth, for the digest."""
        truths = [self.truth(image_id) for image_id in self.image_ids]
        content = [
            (
                truth.image_id,
                truth.size_hw,
                [(i.category_id, i.rle["counts"].decode()) for i in truth.instances],
            )
            for truth in truths
        ]
        return DatasetInfo(
            name=f"{self._boundaries.name}-segments",
            digest=sha256_text(canonical_json(content)),
            n_images=len(self.image_ids),
            n_instances=sum(len(truth.instances) for truth in truths),
            licence=self._boundaries.licence,
            footnote=self._boundaries.footnote,
        )

    def truth(self, image_id: int) -> GroundTruth:
        """All segments of all annotators. Raises DataError naming a file that cannot be read."""
        if image_id not in self._truths:
            self._truths[image_id] = self._read(image_id)
        return self._truths[image_id]

    def _read(self, image_id: int) -> GroundTruth:
        image = self._images[image_id]
        assert image.image_path is not None, "open_bsds500 has checked"
        instances: list[Instance] = []
        segmentations = read_segmentations(image.truth_path)
        for annotator, labels in enumerate(segmentations, start=1):
            for code, area, extent in _segments(labels):
                x0, y0, x1, y1 = extent
                instances.append(
                    Instance(
                        id=image_id * 100_000 + len(instances),
                        category_id=annotator,
                        rle=code,
                        bbox_xywh=(x0, y0, x1 - x0, y1 - y0),
                        area_px=area,
                    )
                )
        height, width = segmentations[0].shape
        path = image.image_path
        return GroundTruth(
            image_id, path.name, str(path.resolve()), (height, width), tuple(instances)
        )

    def sample(self, image_id: int) -> Sample:
        """Decode one image. Raises DataError when it is missing, truncated or of another size."""
        truth = self.truth(image_id)
        image = read_rgb(truth.path)
        if image.shape[:2] != truth.size_hw:
            raise DataError(
                f"{truth.path} is {image.shape[:2]} (h, w), its ground truth {truth.size_hw}",
                fix="unpack the archive again",
            )
        return Sample(image, truth)


def _segments(
    labels: npt.NDArray[np.int32],
) -> list[tuple[Rle, float, tuple[int, int, int, int]]]:
    """RLE, area and extent (x0, y0, x1, y1) of every label."""
    codes = segment_masks(labels)
    table = rle.unpack(codes)
    extents = [(e[0], e[1], e[2], e[3]) for e in table.extent.tolist()]
    return list(zip(codes, table.area_px.astype(float).tolist(), extents, strict=True))


def read_segmentations(path: Path) -> tuple[npt.NDArray[np.int32], ...]:
    """The label map of each annotator, (H, W), from `groundTruth{a}.Segmentation`.

    Raises DataError naming the file: unreadable, no annotator, or maps of different sizes.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path, variable_names=["groundTruth"])["groundTruth"]
        maps = tuple(np.asarray(c["Segmentation"].item(), np.int32) for c in cells.ravel())
    except (
        KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, MatReadError,
        NotImplementedError, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path} is not a BSDS ground truth: {error}",
            fix="it must hold a cell array groundTruth whose structs have a field Segmentation",
        ) from error
    if not 0 < len(maps) <= _MOST_ANNOTATORS or len({m.shape for m in maps}) != 1:
        raise DataError(
            f"{path} has {len(maps)} annotators, of sizes {sorted({m.shape for m in maps})}",
            fix="unpack the archive again",
        )
    return maps
