"""Box files made by detectors: what is written is what `--boxes` reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from litesam_bench.cli.main import cli
from litesam_bench.datasets.open import open_dataset
from litesam_bench.errors import DataError, UsageError, WeightsError
from litesam_bench.prompts.detect import (
    COCO_NAMES,
    DetectedBoxes,
    DetectorSettings,
    open_detector,
    results,
)
from litesam_bench.prompts.detector import DetectorBoxes
from litesam_bench.types import Category, Dataset, ImageU8

COCO = tuple(Category(id=i + 1, name=name) for i, name in enumerate(COCO_NAMES))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset("scenes", data_root=tmp_path_factory.mktemp("none"), limit=2)


def test_written_boxes_are_read_back(scenes: Dataset, tmp_path: Path) -> None:
    category = scenes.categories[0].id

    def detector(image: ImageU8) -> DetectedBoxes:
        return DetectedBoxes(
            np.array([[1.00049, 2.0, 11.5, 22.25], [5.0, 5.0, 5.0, 9.0]]),  # the second is empty
            np.array([0.123456, 0.1]),
            np.array([category, category]),
        )

    entries = results(detector, scenes, scenes.image_ids)
    assert entries[0] == {
        "image_id": scenes.image_ids[0],
        "category_id": category,
        "bbox": [1.0, 2.0, 10.5, 20.25],
        "score": 0.12346,
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(entries))
    boxes = DetectorBoxes.load(path, scenes)
    assert len(boxes) == len(scenes.image_ids)
    found = boxes.prompts(scenes.image_ids[1]).boxes
    assert found is not None and found.tolist() == [[1.0, 2.0, 11.5, 22.25]]


def test_names_are_cocos_in_their_order() -> None:
    assert len(set(COCO_NAMES)) == 80
    assert (COCO_NAMES[0], COCO_NAMES[15], COCO_NAMES[79]) == ("person", "cat", "toothbrush")


def test_unknown_detector() -> None:
    with pytest.raises(UsageError, match="unknown detector 'yolo'"):
        open_detector("yolo", Path("x.pt"), COCO, DetectorSettings())


def test_a_detector_of_other_categories_is_refused() -> None:
    nuclei = (Category(id=1, name="nucleus"),)
    with pytest.raises(DataError, match="none of them"):
        open_detector("yolov8-n", Path("x.pt"), nuclei, DetectorSettings())


def test_grounding_dino_needs_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `family`")
    with pytest.raises(WeightsError, match="not a folder of grounding-dino weights"):
        open_detector("grounding-dino", tmp_path, COCO, DetectorSettings())


def test_command_replaces_no_file_and_names_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    out.write_text("[]")
    arguments = ["detect", "--detector", "nothing", "--weights", "x", "--out", str(out)]
    assert "exists" in str(CliRunner().invoke(cli, arguments).exception)
    arguments[-1] = str(tmp_path / "new.json")
    assert "unknown detector" in str(CliRunner().invoke(cli, arguments).exception)
    assert not (tmp_path / "new.json").exists()


def test_yolo_finds_boxes_inside_the_image(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="AGPL-3.0: needs the extra `ultralytics`")
    from litesam_bench.family.yolo import build_yolo

    torch.manual_seed(0)
    weights = tmp_path / "yolov8n.pt"
    torch.save(build_yolo("yolov8n", classes=80).state_dict(), weights)
    settings = DetectorSettings(score_thresh=0.0, limit=5)
    known = (*COCO[:40], Category(id=99, name="nucleus"))  # half of the classes mean nothing here
    detector = open_detector("yolov8-n", weights, known, settings)
    image = np.random.default_rng(0).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    found = detector(image)
    assert len(found.boxes) <= 5
    assert (found.boxes >= 0).all() and (found.boxes <= [200, 120, 200, 120]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.category_ids) <= {category.id for category in COCO[:40]}


def test_grounding_dino_scores_names_by_their_tokens(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `family`")
    folder = _tiny_grounding_dino(tmp_path)
    names = (Category(id=3, name="cat"), Category(id=7, name="hot_dog"))
    detector = open_detector("grounding-dino", folder, names, DetectorSettings(0.0, 0.7, 6))
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    found = detector(image)
    assert found.boxes.shape == (6, 4)
    assert (found.boxes >= 0).all() and (found.boxes <= [90, 60, 90, 60]).all()
    assert set(found.category_ids) == {3, 7}
    assert (np.diff(found.scores) <= 0).all()
    # "cat. hot dog." is [CLS] cat . hot dog . [SEP]: one token, and two that share
    shares = detector._token_shares("cat. hot dog.", list(names), 7)  # type: ignore[attr-defined]
    assert shares.t().tolist() == [[0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 0.5, 0, 0]]


def _tiny_grounding_dino(folder: Path) -> Path:
    """A Grounding DINO of a few thousand parameters with random weights, saved as official ones."""
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "cat", "hot", "dog"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
            window_size=4, out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=16,
        ),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=8, max_text_len=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    image_processor = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder
