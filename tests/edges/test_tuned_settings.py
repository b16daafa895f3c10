"""The classical detectors run with what the tuning table says is best."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from litesam_bench import registry
from litesam_bench.edges.detectors import EdgeDetector
from litesam_bench.edges.tune import GRIDS, describe, tuning_images
from litesam_bench.types import LoadContext

TUNED = ("sobel", "canny", "felz-hutt")


def test_every_committed_table_is_held_to(repository: Path) -> None:
    tables = {p.stem for p in (repository / "results" / "tuning").glob("edges-*.md")}
    assert tables == {f"edges-{name}" for name in TUNED}
    assert set(TUNED) <= set(GRIDS)


@pytest.mark.parametrize("name", TUNED)
def test_settings_are_the_best_row_of_the_table(repository: Path, name: str) -> None:
    table = (repository / "results" / "tuning" / f"edges-{name}.md").read_text()
    rows = re.findall(r"^\| (\w+=.*?) \| .* \| ([0-9.]+) \|$", table, flags=re.MULTILINE)
    assert len(rows) == len(GRIDS[name])
    means = [float(mean) for _, mean in rows]
    assert means == sorted(means, reverse=True)
    (system,) = registry.resolve(name)
    detector = system.load(system.spec, LoadContext())
    assert isinstance(detector, EdgeDetector)
    assert describe(detector) == rows[0][0]  # type: ignore[arg-type]


@pytest.mark.data
def test_the_test_split_is_not_looked_at(data_root: Path) -> None:
    images = tuning_images(data_root / "bsds500", 6)
    assert len(images) == 50
    folders = {image.truth_path.parent.name for image in images}
    assert folders == {"train", "val"}
    assert all(a.image_id != b.image_id for a, b in itertools.pairwise(images))
