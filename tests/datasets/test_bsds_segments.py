"""BSDS500's segmentations as masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from litesam_bench.datasets.open import open_dataset
from litesam_bench.errors import DataError, UsageError
from litesam_bench.metrics import rle

FIRST = np.array([[1, 1, 2], [1, 1, 2]], np.uint16)
SECOND = np.array([[5, 5, 5], [9, 9, 9]], np.uint16)


def write(root: Path, segmentations: list[np.ndarray]) -> Path:
    base = root / "bsds500" / "data"
    for kind in ("groundTruth", "images"):
        (base / kind / "test").mkdir(parents=True, exist_ok=True)
    cells = np.empty((1, len(segmentations)), object)
    for k, segmentation in enumerate(segmentations):
        cells[0, k] = {"Segmentation": segmentation, "Boundaries": segmentation > 99}
    path = base / "groundTruth" / "test" / "42.mat"
    savemat(path, {"groundTruth": cells})
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(base / "images" / "test" / "42.jpg")
    return path


def test_every_segment_of_every_annotator(tmp_path: Path) -> None:
    write(tmp_path, [FIRST, SECOND])
    data = open_dataset("bsds", data_root=tmp_path)
    truth = data.truth(42)
    found = [(i.category_id, rle.decode(i.rle).astype(int).tolist()) for i in truth.instances]
    assert found == [
        (1, [[1, 1, 0], [1, 1, 0]]),
        (1, [[0, 0, 1], [0, 0, 1]]),
        (2, [[1, 1, 1], [0, 0, 0]]),
        (2, [[0, 0, 0], [1, 1, 1]]),
    ]
    assert truth.instances[1].bbox_xywh == (2, 0, 1, 2)
    assert truth.instances[1].area_px == 2
    assert len({i.id for i in truth.instances}) == 4
    assert data.sample(42).image.shape == (2, 3, 3)
    assert data.info.n_instances == 4
    assert "subset" in data.info.footnote


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    digests = set()
    for k, maps in enumerate(([FIRST, SECOND], [SECOND, FIRST], [FIRST])):
        write(tmp_path / str(k), maps)
        digests.add(open_dataset("bsds", data_root=tmp_path / str(k)).info.digest)
    assert len(digests) == 3


def test_broken_files(tmp_path: Path) -> None:
    path = write(tmp_path, [FIRST, SECOND[:1]])
    with pytest.raises(DataError, match="sizes"):
        open_dataset("bsds", data_root=tmp_path).truth(42)
    path.write_bytes(b"not a mat file")
    with pytest.raises(DataError, match=r"42\.mat"):
        open_dataset("bsds", data_root=tmp_path).truth(42)
    with pytest.raises(DataError, match="no BSDS500"):
        open_dataset("bsds", data_root=tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        open_dataset("bsds", data_root=tmp_path, ann_file=path)


@pytest.mark.data
def test_the_real_set(data_root: Path) -> None:
    data = open_dataset("bsds", data_root=data_root, limit=3)
    for image_id in data.image_ids:
        sample = data.sample(image_id)
        annotators = {i.category_id for i in sample.truth.instances}
        assert 4 <= len(annotators) <= 9
        for annotator in annotators:  # segments cover the image without overlap
            own = [i.area_px for i in sample.truth.instances if i.category_id == annotator]
            assert sum(own) == np.prod(sample.truth.size_hw)
