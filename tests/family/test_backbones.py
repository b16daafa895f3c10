"""Lite-SAM with other networks in LiteViT's place."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("torchvision")

from litesam_bench.errors import UsageError
from litesam_bench.family.backbones import LIBRARY_BACKBONES, backbone_config
from litesam_bench.lite_sam.configs import BACKBONES
from litesam_bench.lite_sam.model import LiteSam, LiteSamConfig
from litesam_bench.timing.complexity import count
from litesam_bench.timing.profile import profile_backbones


@pytest.mark.parametrize("name", LIBRARY_BACKBONES)
def test_maps_have_the_declared_widths_and_strides(name: str) -> None:
    config = LIBRARY_BACKBONES[name]
    with torch.device("meta"):
        maps = config.build().eval()(torch.zeros(2, 3, 128, 192))
    assert tuple(m.shape[1] for m in maps) == config.dims
    assert [m.shape[2:] for m in maps] == [(128 // s, 192 // s) for s in (4, 8, 16, 32)]


def test_a_lite_sam_with_another_backbone_answers_a_box() -> None:
    torch.manual_seed(0)
    model = LiteSam(LiteSamConfig(vit=backbone_config("mobilenet-v2"))).eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, 64, 96))
        boxes = torch.tensor([[8.0, 8.0, 60.0, 40.0]])
        logits, iou = model.decode(features, (64, 96), boxes=boxes)
    assert logits.shape == (1, 4, 16, 24)
    assert iou.shape == (1, 4)
    assert torch.isfinite(logits).all()


# (parameters in M, MACs in G at 224 or 256) of the whole classifier, as its authors print them, and
# what the classifier's own end adds to ours: the last convolution and the linear layer
AUTHORS = {
    "mobilenet-v2": (3.4, 0.30, 224, 1.69, 0.020),
    "shufflenet-v2": (2.3, 0.146, 224, 1.03, 0.001),
    "mobilevit": (5.6, 2.0, 256, 0.64, 0.0),
    "tinyvit": (5.4, 1.3, 224, 0.32, 0.0),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_sizes_are_the_authors(name: str) -> None:
    params_m, macs_g, size, end_m, end_g = AUTHORS[name]
    ours = profile_backbones({name: LIBRARY_BACKBONES[name]}, size)[name]
    assert ours.params / 1e6 + end_m == pytest.approx(params_m, rel=0.03)
    assert ours.macs / 1e9 + end_g == pytest.approx(macs_g, rel=0.05)


def test_the_posters_efficientvit_is_the_encoder_of_efficientvit_sam_at_1024() -> None:
    from litesam_bench.family.efficientvit_sam import build

    with torch.device("meta"):
        found = count(build("l0").image_encoder, torch.zeros(1, 3, 1024, 1024))
    assert found.params / 1e6 == pytest.approx(30.73, abs=0.005)
    assert found.macs / 1e9 == pytest.approx(106.5, rel=0.005)


def test_our_poolformer_is_timms() -> None:
    import timm

    with torch.device("meta"):
        theirs = timm.create_model("poolformer_s12", features_only=True, pretrained=False).eval()
        ours = BACKBONES["poolformer-s12"].build().eval()
        image = torch.zeros(1, 3, 224, 224)
        assert count(ours, image).macs == count(theirs, image).macs
    params = sum(p.numel() for p in ours.parameters())
    assert params == sum(p.numel() for p in theirs.parameters())


def test_an_unknown_backbone_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="resnet") as caught:
        backbone_config("resnet")
    assert "mobilenet-v2" in caught.value.fix
