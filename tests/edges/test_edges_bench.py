"""`python -m litesam_bench.bench.edges` on a few small pictures, with and without its peers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from litesam_bench.bench import edges as bench
from litesam_bench.edges.boundary_gt import boundary_folder


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two pictures with a step, measured without the official matcher."""
    for name in ("gt", "images"):
        (tmp_path / name).mkdir()
    for i in range(2):
        picture = np.full((60, 80, 3), 30, np.uint8)
        picture[:, 40 + i :] = 220
        outline = np.zeros((60, 80), np.uint8)
        outline[:, 40 + i] = 1
        cells = np.empty((1, 2), object)
        cells[0, 0] = cells[0, 1] = {"Boundaries": outline}
        savemat(tmp_path / "gt" / f"{i}.mat", {"groundTruth": cells})
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), picture)
    data = boundary_folder(tmp_path / "gt", tmp_path / "images")

    def no_peer() -> Path:
        raise bench.PeerError("the peer is not to be had")

    monkeypatch.setenv("LITESAM_BENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(bench, "open_data", lambda root: data)
    monkeypatch.setattr(bench, "peer_python", no_peer)
    return bench.run(1, None, 9, workers=2)


def test_what_is_measured_and_said(result: dict[str, Any]) -> None:
    assert result["whole"]["images"] == 2
    assert result["whole"]["seconds"] > 0
    assert sys.platform == "win32" or result["whole"]["peak_worker_mib"] > 20
    assert result["matching"]["pairs_of_maps"] == 9 * 2
    assert result["matching"]["ratio"] is None
    assert result["thinning"]["identical"] is True
    assert result["thinning"]["ratio"] > 0
    lines = list(bench.report(result))
    assert [line for line in lines if "no ratio: the peer is not to be had" in line]
    assert [line for line in lines if "(no bar for this data)" in line]
    assert [
        line for line in lines if "thinning" in line and "(bar: >= 10); identical: True" in line
    ]


def test_a_failing_command_is_one_line() -> None:
    script = "import sys; print('much', file=sys.stderr); sys.exit('no such package\\n')"
    with pytest.raises(bench.PeerError, match=r"^pyEdgeEval==[0-9.]+ .*: no such package$"):
        bench._call([sys.executable, "-c", script])
    assert bench._call([sys.executable, "-c", "print(1)"]).strip() == "1"
