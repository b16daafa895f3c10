"""Oracle, box-fill, ellipse and GrabCut: hand-worked masks and the rules they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from litesam_bench.adapters import touched_pixels
from litesam_bench.registry import resolve
from litesam_bench.types import LoadContext, Prompts, Rle, Segmenter

WEIGHTLESS = ("oracle", "box-fill", "ellipse", "grabcut")
BOXED = ("box-fill", "ellipse", "grabcut")


def loaded(name: str, seed: int = 0) -> Segmenter:
    (system,) = resolve(name)
    return system.load(system.spec, LoadContext(seed=seed))


def disc_image(height: int = 60, width: int = 90) -> np.ndarray:
    """A bright disc of radius 15 at (45, 30) on a dark, slightly noisy ground."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (x - 45) ** 2 + (y - 30) ** 2 <= 15**2
    image = np.where(inside[..., None], (220, 180, 60), (30, 40, 90))
    noise = np.random.default_rng(0).integers(-8, 9, image.shape)
    return (image + noise).astype(np.uint8)


def encode(mask: np.ndarray) -> Rle:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def prompts_of(boxes: list[tuple[float, ...]], size_hw: tuple[int, int]) -> Prompts:
    """Boxes, with their lower halves as targets."""
    targets = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros(size_hw, dtype=bool)
        mask[int((y0 + y1) / 2) : int(y1), int(x0) : int(x1)] = True
        targets.append(encode(mask))
    return Prompts(
        ids=tuple(range(len(boxes))), boxes=np.array(boxes, float), targets=tuple(targets)
    )


def masks_of(name: str, image: np.ndarray, prompts: Prompts, seed: int = 0) -> np.ndarray:
    """(N, H, W) bool, through the same steps as the harness."""
    model = loaded(name, seed)
    answer = model.segment(model.embed(image), prompts)
    return (answer.to_image(answer.logits[:, 0]) > answer.threshold).numpy()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_shapes_and_types(name: str) -> None:
    image = disc_image()
    prompts = prompts_of([(30, 15, 60, 45), (5, 5, 20, 12), (0, 0, 90, 60)], (60, 90))
    model = loaded(name)
    assert isinstance(model, Segmenter)
    answer = model.segment(model.embed(image), prompts)
    assert answer.logits.shape == (3, 1, 60, 90)
    assert answer.logits.is_floating_point()
    assert set(answer.logits.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(answer.iou, torch.ones(3, 1))
    assert answer.tokens == (0,)
    full = answer.to_image(answer.logits[:, 0])
    assert full.dtype == torch.float32
    assert full.shape == (3, 60, 90)


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_a_batch_equals_its_prompts_one_by_one(name: str) -> None:
    image = disc_image()
    prompts = prompts_of([(30, 15, 60, 45), (20.3, 4.8, 50.1, 39.9), (1, 1, 9, 9)], (60, 90))
    together = masks_of(name, image, prompts)
    for i in range(3):
        np.testing.assert_array_equal(together[i], masks_of(name, image, prompts[i : i + 1])[0])


@pytest.mark.parametrize("name", BOXED)
def test_boxes_beyond_the_image_and_without_area(name: str) -> None:
    image = disc_image()
    boxes = [(-20, -20, 200, 200), (95, 10, 120, 20), (10, 10, 10, 30), (-9, 5, -2, 9)]
    masks = masks_of(name, image, prompts_of(boxes, (60, 90)))
    assert masks[0].any()
    assert not masks[1].any()
    assert not masks[2].any()
    assert not masks[3].any()


class TestTouchedPixels:
    @pytest.mark.parametrize(
        ("low", "high", "span"),
        [
            (2.0, 5.0, (2, 5)),
            (2.9, 5.1, (2, 6)),
            (2.0, 2.0, (2, 2)),
            (2.4, 2.6, (2, 3)),
            (-3.0, 4.0, (0, 4)),
            (8.0, 30.0, (8, 10)),
            (12.0, 30.0, (10, 10)),
            (-5.0, -1.0, (0, 0)),
        ],
    )
    def test_by_hand(self, low: float, high: float, span: tuple[int, int]) -> None:
        start, stop = touched_pixels(np.array([low]), np.array([high]), 10)
        assert (int(start[0]), int(stop[0])) == span


class TestBoxFill:
    def test_by_hand(self) -> None:
        masks = masks_of(
            "box-fill", np.zeros((4, 5, 3), np.uint8), prompts_of([(1.5, 0, 3, 2)], (4, 5))
        )
        expected = [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
        np.testing.assert_array_equal(masks[0], np.array(expected, bool))


class TestEllipse:
    def test_by_hand(self) -> None:
        # Centre (3, 2), semi-axes 3 and 2. Row 0: centre line 1.5 above the middle, half chord
        # 3 * sqrt(1 - (1.5 / 2) ** 2) = 1.98, so centres from 1.02 to 4.98.
        masks = masks_of(
            "ellipse", np.zeros((4, 6, 3), np.uint8), prompts_of([(0, 0, 6, 4)], (4, 6))
        )
        expected = [[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0]]
        np.testing.assert_array_equal(masks[0], np.array(expected, bool))

    def test_agrees_with_its_equation(self) -> None:
        rng = np.random.default_rng(1)
        corners = rng.uniform(-10, 80, (50, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        masks = masks_of(
            "ellipse",
            np.zeros((53, 71, 3), np.uint8),
            Prompts(ids=tuple(range(50)), boxes=boxes),
        )
        y, x = np.mgrid[:53, :71] + 0.5
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            across = (x - (x0 + x1) / 2) / ((x1 - x0) / 2)
            down = (y - (y0 + y1) / 2) / ((y1 - y0) / 2)
            np.testing.assert_array_equal(mask, across**2 + down**2 <= 1)


class TestOracle:
    def test_returns_its_targets_whatever_the_boxes(self) -> None:
        rng = np.random.default_rng(2)
        truth = rng.random((5, 37, 23)) > 0.6
        prompts = Prompts(
            ids=(1, 2, 3, 4, 5),
            boxes=np.zeros((5, 4)),
            targets=tuple(encode(mask) for mask in truth),
        )
        masks = masks_of("oracle", np.zeros((37, 23, 3), np.uint8), prompts)
        np.testing.assert_array_equal(masks, truth)

    def test_an_empty_target_is_an_empty_mask(self) -> None:
        prompts = Prompts(ids=(1,), targets=(encode(np.zeros((3, 4))),))
        assert not masks_of("oracle", np.zeros((3, 4, 3), np.uint8), prompts).any()


class TestGrabCut:
    truth = np.hypot(*(np.mgrid[:60, :90] + 0.5 - np.array([30, 45])[:, None, None])) <= 15

    def test_finds_a_disc(self) -> None:
        prompts = prompts_of([(28, 13, 62, 47)], (60, 90))
        (mask,) = masks_of("grabcut", disc_image(), prompts)
        (box,) = masks_of("box-fill", disc_image(), prompts)
        assert iou(mask, self.truth) > 0.95 > iou(box, self.truth)

    def test_stays_inside_the_box(self) -> None:
        prompts = prompts_of([(40, 20, 80, 50)], (60, 90))
        (mask,) = masks_of("grabcut", disc_image(), prompts)
        (box,) = masks_of("box-fill", disc_image(), prompts)
        assert mask.any()
        assert not (mask & ~box).any()

    def test_the_same_call_gives_the_same_mask(self) -> None:
        noise = np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        prompts = prompts_of([(20, 10, 60, 50), (5, 5, 40, 30)], (60, 90))
        first = masks_of("grabcut", noise, prompts)
        masks_of("grabcut", disc_image(), prompts)
        np.testing.assert_array_equal(first, masks_of("grabcut", noise, prompts))

    @pytest.mark.parametrize(
        "box",
        [
            (0, 0, 90, 60),  # no background in the window
            (10, 10, 11, 40),  # one pixel wide
        ],
    )
    def test_falls_back_to_the_filled_box(self, box: tuple[float, ...]) -> None:
        prompts = prompts_of([box], (60, 90))
        np.testing.assert_array_equal(
            masks_of("grabcut", disc_image(), prompts), masks_of("box-fill", disc_image(), prompts)
        )

    def test_a_uniform_image_gives_the_filled_box(self) -> None:
        uniform = np.full((60, 90, 3), 128, np.uint8)
        prompts = prompts_of([(20, 10, 60, 50)], (60, 90))
        np.testing.assert_array_equal(
            masks_of("grabcut", uniform, prompts), masks_of("box-fill", uniform, prompts)
        )


@pytest.mark.data
class TestRealData:
    def test_orientation_on_the_coco_subset(self, data_root: Path) -> None:
        """Mean IoU of 20 images' non-crowd instances is near what all 124 have (.57 and .64)."""
        from litesam_bench.datasets.coco import open_coco

        dataset = open_coco(data_root)
        scores: dict[str, list[float]] = {"box-fill": [], "ellipse": [], "oracle": []}
        for image_id in list(dataset.image_ids)[:20]:
            sample = dataset.sample(image_id)
            objects = [item for item in sample.truth.instances if not item.iscrowd]
            if not objects:
                continue
            boxes = np.array([item.bbox_xywh for item in objects])
            boxes[:, 2:] += boxes[:, :2]
            prompts = Prompts(
                ids=tuple(item.id for item in objects),
                boxes=boxes,
                targets=tuple(item.rle for item in objects),
            )
            truth = [coco_mask.decode(item.rle).astype(bool) for item in objects]
            for name, values in scores.items():
                found = masks_of(name, sample.image, prompts)
                values += [iou(a, b) for a, b in zip(found, truth, strict=True)]
        assert np.mean(scores["oracle"]) == 1
        assert np.mean(scores["box-fill"]) == pytest.approx(0.57, abs=0.05)
        assert np.mean(scores["ellipse"]) == pytest.approx(0.64, abs=0.05)
