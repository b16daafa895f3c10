"""A 12,000 x 9,000 image: slow, but it fits into memory and answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litesam_bench.everything.generator import generate
from litesam_bench.everything.grid import Grid
from litesam_bench.everything.proposals import GeneratorConfig
from litesam_bench.sam.image_encoder import ViTConfig
from litesam_bench.sam.model import build_sam
from litesam_bench.sam.segmenter import SamSegmenter
from litesam_bench.spec import InputSpec
from litesam_bench.timing.latency import peak_bytes, reset_peak
from litesam_bench.types import LoadContext


@pytest.mark.slow
def test_a_hundred_megapixels() -> None:
    torch.manual_seed(0)
    model = build_sam(ViTConfig(dim=16, depth=1, heads=2, global_blocks=(0,), image_size=128))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    segmenter = SamSegmenter(model, InputSpec(size=128), LoadContext())
    image = np.zeros((9000, 12000, 3), np.uint8)
    image[:, 6000:] = 200
    config = GeneratorConfig(pred_iou_thresh=0, stability_thresh=0, box_nms_thresh=1)
    reset_peak("cpu")
    before = peak_bytes("cpu") or 0
    found = generate(segmenter, image, Grid(1), config)
    assert len(found.proposals) == 3
    assert all(p.rle["size"] == [9000, 12000] for p in found.proposals)
    grown = (peak_bytes("cpu") or 0) - before
    assert grown < 2 * 2**30  # one mask at a time: 108 MB of pixels and the runs of a noisy mask
