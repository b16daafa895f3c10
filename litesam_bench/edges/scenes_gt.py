"""Boundaries of the embedded scenes, exported once into the file format of BSDS500.

Each scene has one annotator: the generator. So the benchmark runs anywhere without a download.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from litesam_bench.datasets.scenes import ScenesDataset
from litesam_bench.edges.boundary_gt import BoundaryData, BoundaryImage
from litesam_bench.edges.maps import label_boundaries
from litesam_bench.records.files import write_atomic


def export_scenes(folder: Path, dataset: ScenesDataset | None = None) -> BoundaryData:
    """Write each scene's picture and boundaries below `folder`, unless it has them, and list them.

    The folder's name carries the dataset's digest, so another version of the scenes never reads
    these files.
    """
    import cv2
    from scipy.io import savemat

    scenes = dataset or ScenesDataset()
    folder = folder / f"scenes-{scenes.info.digest[:12]}"
    images = []
    for image_id in scenes.image_ids:
        name = f"{image_id:03d}"
        truth, picture = folder / f"{name}.mat", folder / f"{name}.png"
        if not truth.is_file():
            cells = np.empty((1, 1), object)
            boundaries = label_boundaries(scenes.labels(image_id))
            cells[0, 0] = {"Boundaries": boundaries.astype(np.uint8)}
            buffer = io.BytesIO()
            savemat(buffer, {"groundTruth": cells}, do_compression=True)
            done, octets = cv2.imencode(".png", scenes.sample(image_id).image[..., ::-1])
            assert done, "encoding a uint8 array as PNG cannot fail"
            write_atomic(picture, octets.tobytes())
            write_atomic(truth, buffer.getvalue())  # last: it says that both are there
        images.append(BoundaryImage(name, truth, picture))
    info = scenes.info
    return BoundaryData(info.name, tuple(images), info.licence, info.footnote)
