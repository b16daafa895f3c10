"""YOLOv8 without ultralytics' own pipeline: checkpoints, letterbox, suppression, masks."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from litesam_bench.errors import WeightsError
from litesam_bench.family.yolo import (
    Letterbox,
    build_yolo,
    detect,
    load_yolo_state,
    native_masks,
    preprocess,
)


class _Touch:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickled_module_gives_its_parameters_and_runs_nothing(tmp_path: Path) -> None:
    module = nn.Sequential(
        collections.OrderedDict(conv=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4), act=nn.SiLU())
    )
    module.method = module.forward  # type: ignore[assignment]  # as FastSAM's file has one
    path = tmp_path / "module.pt"
    torch.save({"model": module.half(), "ema": None, "train_args": {"imgsz": 1024}}, path)
    found = load_yolo_state(path)
    expected = module.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_plain_state_dict_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    torch.save({"model.0.weight": torch.ones(2)}, path)
    assert load_yolo_state(path)["model.0.weight"].tolist() == [1, 1]


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    path = tmp_path / "evil.pt"
    torch.save({"model": nn.Conv2d(1, 1, 1), "epoch": _Touch(trace)}, path)
    with pytest.raises(WeightsError, match="mkdir"):
        load_yolo_state(path)
    assert not trace.exists()


def test_checkpoint_without_a_network(tmp_path: Path) -> None:
    path = tmp_path / "empty.pt"
    torch.save({"model": nn.SiLU()}, path)
    with pytest.raises(WeightsError, match="no YOLOv8 network"):
        load_yolo_state(path)


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_yolo_state(tmp_path / "nothing.pt")
    path = tmp_path / "cut.pt"
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(WeightsError):
        load_yolo_state(path)


@pytest.mark.parametrize(
    ("original", "network", "left", "top"),
    [
        ((480, 640), (768, 1024), 0, 0),
        ((333, 517), (672, 1024), 0, 6),  # 660 rows, 12 of grey
        ((1200, 700), (1024, 608), 5, 0),  # 597 columns, 11 of grey: 5 left, 6 right
    ],
)
def test_letterbox_by_hand(
    original: tuple[int, int], network: tuple[int, int], left: int, top: int
) -> None:
    frame = Letterbox.of(original, 1024)
    assert (frame.network_hw, frame.left, frame.top) == (network, left, top)


def test_letterboxed_image_is_grey_around_the_image() -> None:
    pixels, frame = preprocess(np.full((333, 517, 3), 255, np.uint8), 1024)
    assert pixels.shape == (1, 3, 672, 1024)
    assert torch.all(pixels[0, :, 6:666] == 1)
    assert torch.allclose(pixels[0, :, :6], torch.tensor(114 / 255))
    assert torch.allclose(pixels[0, :, 666:], torch.tensor(114 / 255))
    corners = frame.boxes_to_original(torch.tensor([[-5.0, 6.0, 1024.0, 700.0]]))
    assert corners.tolist() == [[0.0, 0.0, 517.0, 333.0]]


def test_detect_suppresses_within_a_class_only() -> None:
    pytest.importorskip("torchvision", reason="needs the extra `family` or `ultralytics`")
    # centre x, centre y, width, height, two classes, one coefficient; three anchors
    anchors = torch.tensor(
        [
            [50.0, 50.0, 20.0, 20.0, 0.9, 0.1, 1.0],
            [50.0, 50.0, 20.0, 21.0, 0.8, 0.1, 2.0],  # suppressed by the first
            [50.0, 50.0, 20.0, 20.0, 0.1, 0.7, 3.0],  # another class
            [90.0, 90.0, 20.0, 20.0, 0.3, 0.2, 4.0],  # below the threshold
        ]
    )
    found = detect(anchors.t(), 2, score_thresh=0.4, nms_iou=0.7, limit=10)
    assert found.boxes.tolist() == [[40.0, 40.0, 60.0, 60.0]] * 2
    assert found.classes.tolist() == [0, 1]
    assert found.coefficients.tolist() == [[1.0], [3.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(detect(anchors.t(), 2, score_thresh=0.95, nms_iou=0.7, limit=10).boxes) == 0


def test_masks_are_cut_to_their_boxes() -> None:
    prototypes = torch.ones(1, 16, 32)
    boxes = torch.tensor([[10.0, 4.0, 20.0, 9.0], [0.0, 0.0, 64.0, 32.0]])
    masks = native_masks(prototypes, torch.tensor([[1.0], [-1.0]]), boxes, (32, 64))
    assert masks.shape == (2, 32, 64)
    assert int(masks[0].sum()) == 10 * 5 and bool(masks[0, 4:9, 10:20].all())
    assert not masks[1].any()


def test_official_network_is_read_from_its_own_pickle(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="AGPL-3.0: needs the extra `ultralytics`")
    network = build_yolo("yolov8n-seg", classes=1, reg_max=26)
    path = tmp_path / "yolo.pt"
    torch.save({"model": network.half(), "train_args": {}}, path)
    found = load_yolo_state(path)
    assert set(found) == set(network.state_dict())
    assert found["model.22.dfl.conv.weight"].flatten().tolist() == list(range(26))


def test_a_network_counted_on_shapes_alone_leaves_the_next_one_whole() -> None:
    """In a process of its own: what counts is the device on which ultralytics is first imported."""
    pytest.importorskip("ultralytics", reason="AGPL-3.0: needs the extra `ultralytics`")
    code = (
        "import torch\n"
        "from litesam_bench.family.yolo import build_yolo\n"
        "with torch.device('meta'):\n"
        "    build_yolo('yolov8n-seg', classes=1)\n"
        "network = build_yolo('yolov8n-seg', classes=1).to('cpu', torch.float64)\n"
        "print(next(network.parameters()).device)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "cpu\n"
