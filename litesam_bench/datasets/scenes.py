"""Generated scenes: the embedded dataset that needs no download.

Photograph-like pictures with exact masks: 3 to 15 textured, shaded objects that occlude one
another before a textured background, sizes mixed over COCO's small, medium and large. Categories
are the kinds of shape. `scenes` is for evaluation; `scenes-train` draws from a disjoint family of
seeds, so that a model trained on one has never seen a picture of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from litesam_bench.datasets.scene_layout import (
    KINDS,
    LAYOUT_VERSION,
    Draws,
    Labels,
    Layout,
    make_layout,
)
from litesam_bench.errors import UsageError
from litesam_bench.metrics import rle
from litesam_bench.records.files import canonical_json, sha256_text
from litesam_bench.types import (
    Category,
    DatasetInfo,
    GroundTruth,
    Instance,
    Sample,
    SizeHW,
)

SPLITS = {"scenes": 1, "scenes-train": 2}  # first word of the seed; never reuse one
DEFAULT_IMAGES = {"scenes": 64, "scenes-train": 1024}
DEFAULT_SIZE_HW = (480, 640)
_LAYOUT, _PIXELS = 0, 1  # last word of the seed: masks do not depend on how pixels are drawn


class ScenesDataset:
    """`n` generated scenes. Implements `Dataset` without touching the disk.

    Image k (ids 1, ..., n) depends on (split, seed, k, size) alone, so a larger set contains the
    smaller one. Masks are the visible parts and the same on every platform; pixels may differ in
    the last bit between builds of OpenCV and numpy.

    Args:
        n: number of images.
        seed: any non-negative integer.
        size_hw: of every image.
        split: "scenes" or "scenes-train".
    """

    def __init__(
        self,
        n: int = 64,
        seed: int = 0,
        size_hw: SizeHW = DEFAULT_SIZE_HW,
        *,
        split: str = "scenes",
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"no scenes called {split!r}", fix=f"use {' or '.join(SPLITS)}")
        if n < 1 or seed < 0 or min(size_hw) < 32:
            raise UsageError(
                f"cannot make {n} scenes of {size_hw[1]}x{size_hw[0]} with seed {seed}",
                fix="use at least one scene, a seed of at least 0 and sides of at least 32 pixels",
            )
        self._n = n
        self._seed = seed
        self._size_hw = size_hw
        self._split = split
        self._truths: dict[int, GroundTruth] = {}
        self._latest: tuple[int, Layout] | None = None

    @property
    def image_ids(self) -> Sequence[int]:
        """1, ..., n."""
        return range(1, self._n + 1)

    @property
    def categories(self) -> Sequence[Category]:
        """The kinds of shape."""
        return tuple(Category(number, kind) for number, kind in enumerate(KINDS, start=1))

    @cached_property
    def info(self) -> DatasetInfo:
        """The digest names the generator and its arguments, which determine every mask."""
        recipe = {
            "generator": self._split,
            "layout_version": LAYOUT_VERSION,
            "n": self._n,
            "seed": self._seed,
            "size_hw": list(self._size_hw),
        }
        return DatasetInfo(
            name=self._split,
            digest=sha256_text(canonical_json(recipe)),
            n_images=self._n,
            n_instances=sum(len(self.truth(i).instances) for i in self.image_ids),
            licence="Apache-2.0 (generated)",
            footnote=f"generated scenes, seed {self._seed}, {self._n} images",
        )

    def truth(self, image_id: int) -> GroundTruth:
        """Ground truth: the visible part of every object. Boxes are tight around it."""
        found = self._truths.get(image_id)
        if found is None:
            found = self._truths[image_id] = self._make_truth(image_id)
        return found

    def sample(self, image_id: int) -> Sample:
        """Render one scene."""
        from litesam_bench.datasets.scene_rendering import render

        image = render(self._draws(image_id, _PIXELS), self._layout(image_id))
        return Sample(image=image, truth=self.truth(image_id))

    def labels(self, image_id: int) -> Labels:
        """(H, W) uint8: 0 background, k the k-th instance of `truth(image_id)`."""
        return self._layout(image_id).labels

    def _draws(self, image_id: int, purpose: int) -> Draws:
        if not 1 <= image_id <= self._n:
            raise UsageError(
                f"{self._split} has no image {image_id}", fix=f"image ids are 1 to {self._n}"
            )
        return Draws(SPLITS[self._split], self._seed, image_id, purpose)

    def _layout(self, image_id: int) -> Layout:
        """Kept until the next one, because truth and pixels are asked for one after the other."""
        latest = self._latest
        if latest is None or latest[0] != image_id:
            latest = (image_id, make_layout(self._draws(image_id, _LAYOUT), self._size_hw))
            self._latest = latest
        return latest[1]

    def _make_truth(self, image_id: int) -> GroundTruth:
        layout = self._layout(image_id)
        numbers = np.arange(1, len(layout.shapes) + 1, dtype=np.uint8)
        masks = layout.labels[None] == numbers[:, None, None]
        instances = tuple(
            Instance(
                id=image_id * 100 + number,
                category_id=1 + KINDS.index(shape.kind),
                rle=code,
                bbox_xywh=_tight_box(mask),
                area_px=float(mask.sum()),
            )
            for number, shape, mask, code in zip(
                numbers.tolist(), layout.shapes, masks, rle.encode_many(masks), strict=True
            )
        )
        name = f"{image_id:012d}.png"
        return GroundTruth(
            image_id=image_id,
            file_name=name,
            path=f"{self._split}:{self._seed}:{image_id}",
            size_hw=self._size_hw,
            instances=instances,
        )


def _tight_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)
