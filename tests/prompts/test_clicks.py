"""Click rules against brute force, hand-worked masks, scipy, and the definitions of upstream."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from litesam_bench.prompts import clicks

Mask = npt.NDArray[np.bool_]

small_masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def mask_of(text: str) -> Mask:
    """A mask drawn with # and dots."""
    return np.array([[c == "#" for c in line] for line in text.split()])


def brute_force(mask: Mask) -> npt.NDArray[np.float64]:
    """Euclidean distance from each pixel to the nearest outside; beyond the border is outside."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    distance = np.zeros(mask.shape)
    for y, x in np.argwhere(mask):
        distance[y, x] = np.sqrt(((outside - (y + 1, x + 1)) ** 2).sum(axis=1).min())
    return distance


class TestFirstClick:
    @given(small_masks.filter(lambda m: m.any()))
    @settings(max_examples=150, deadline=None)
    def test_first_maximum_of_the_exact_distance(self, mask: Mask) -> None:
        distance = brute_force(mask)
        y, x = np.unravel_index(np.argmax(distance), distance.shape)  # row-major
        assert clicks.first_click(mask) == (x, y)

    def test_agrees_with_scipy_on_large_masks(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(10):
            mask = ndimage.gaussian_filter(rng.normal(size=(120, 160)), 6) > 0.02
            distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            x, y = clicks.first_click(mask)
            assert distance[y, x] == pytest.approx(distance.max(), abs=1e-5)
            earlier = distance.ravel()[: y * 160 + x]
            assert (earlier < distance.max() - 1e-5).all()

    def test_image_border_is_a_boundary(self) -> None:
        # Without a border the left column would be farthest from the background at the right.
        mask = np.zeros((9, 9), bool)
        mask[:, :5] = True
        assert clicks.first_click(mask) == (2, 2)

    def test_whole_image(self) -> None:
        assert clicks.first_click(np.ones((5, 7), bool)) == (2, 2)

    def test_first_of_equals(self) -> None:
        mask = mask_of("...... .##.#. .##.#.")
        assert clicks.first_click(mask) == (1, 1)

    def test_numbers_instead_of_bools(self) -> None:
        mask = np.zeros((7, 7), np.uint8)
        mask[1:6, 1:6] = 1
        assert clicks.first_click(mask) == (3, 3)


class TestNextClick:
    nothing = np.zeros((7, 9), bool)

    def test_missed_region_gives_a_positive_click(self) -> None:
        truth = self.nothing.copy()
        truth[1:6, 1:8] = True
        prediction = truth.copy()
        prediction[2:5, 4:7] = False
        assert clicks.next_click(truth, prediction, self.nothing) == (5, 3, 1)

    def test_false_region_gives_a_negative_click(self) -> None:
        prediction = self.nothing.copy()
        prediction[1:6, 1:6] = True
        truth = prediction.copy()
        truth[1:6, 1:3] = True
        truth[1:6, 3:6] = False
        assert clicks.next_click(truth, prediction, self.nothing) == (4, 2, 0)

    def test_equal_depths_give_a_negative_click(self) -> None:
        truth, prediction = self.nothing.copy(), self.nothing.copy()
        truth[1:4, 1:4] = True
        prediction[1:4, 5:8] = True
        assert clicks.next_click(truth, prediction, self.nothing) == (6, 2, 0)

    def test_deeper_region_wins_over_the_larger(self) -> None:
        truth, prediction = self.nothing.copy(), self.nothing.copy()
        truth[1:4, 1:4] = True  # 9 pixels, 2 deep
        prediction[5:7, :] = True  # 18 pixels, 1 deep
        assert clicks.next_click(truth, prediction, self.nothing).label == 1

    def test_clicked_pixels_are_not_clicked_again(self) -> None:
        truth = self.nothing.copy()
        truth[1:6, 1:6] = True
        clicked = self.nothing.copy()
        clicked[3, 3] = True
        # Its eight neighbours are as deep as before (2); the first in row-major order is next.
        assert clicks.next_click(truth, self.nothing, clicked) == (2, 2, 1)

    def test_perfect_prediction_is_the_documented_tie(self) -> None:
        truth = self.nothing.copy()
        truth[0:3, 0:3] = True
        assert clicks.next_click(truth, truth, self.nothing) == (0, 0, 0)

    def test_every_wrong_pixel_was_clicked(self) -> None:
        truth = self.nothing.copy()
        truth[4, 4] = True
        assert clicks.next_click(truth, self.nothing, truth) == (0, 0, 0)

    @given(
        st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
            lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 3)
        )
    )
    @settings(max_examples=150, deadline=None)
    def test_definition(self, masks: tuple[Mask, Mask, Mask]) -> None:
        truth, prediction, clicked = masks
        missed = brute_force(truth & ~prediction) * ~clicked
        wrong = brute_force(prediction & ~truth) * ~clicked
        positive = missed.max() > wrong.max()
        chosen = missed if positive else wrong
        y, x = np.argwhere(chosen == chosen.max())[0]
        assert clicks.next_click(truth, prediction, clicked) == (x, y, int(positive))

    def test_a_dialogue_ends(self) -> None:
        """Answering each click by its pixel's row never repeats a click."""
        rng = np.random.default_rng(1)
        truth = ndimage.gaussian_filter(rng.normal(size=(40, 40)), 3) > 0
        prediction, clicked = np.zeros_like(truth), np.zeros_like(truth)
        for _ in range(40):
            if (truth == prediction).all():
                break
            x, y, label = clicks.next_click(truth, prediction, clicked)
            assert not clicked[y, x]
            assert truth[y, x] == bool(label)
            assert prediction[y, x] != bool(label)
            clicked[y, x] = True
            prediction[y] = truth[y]
        assert (truth == prediction).all()


def samfast_by_walking(mask: Mask) -> tuple[int, int]:
    """The rule step by step: walk from each pixel in four directions."""
    y, x = (round(float(v)) for v in ndimage.center_of_mass(mask))
    if mask[y, x]:
        return x, y
    best, place = -1, (0, 0)
    height, width = mask.shape
    for y, x in np.argwhere(mask).tolist():
        rooms = []
        for dy, dx in ((-1, 0), (0, 1), (1, 0), (0, -1)):
            steps = 0
            v, u = y + dy, x + dx
            while 0 <= v < height and 0 <= u < width and mask[v, u]:
                steps, v, u = steps + 1, v + dy, u + dx
            rooms.append(steps)
        if min(rooms) > best:
            best, place = min(rooms), (x, y)
        if best >= 20:
            break
    return place


class TestSamFast:
    def test_centre_of_mass_inside(self) -> None:
        assert clicks.samfast_center(mask_of("..... .###. .###. .###. .....")) == (2, 2)

    def test_halves_round_to_even(self) -> None:
        assert clicks.samfast_center(mask_of("####")) == (2, 0)  # 1.5
        assert clicks.samfast_center(mask_of("######")) == (2, 0)  # 2.5

    def test_centre_of_mass_outside(self) -> None:
        # A ring: the centre is empty, and no pixel has room on all sides; the first one counts.
        assert clicks.samfast_center(mask_of("### #.# ###")) == (0, 0)

    def test_room_on_four_sides(self) -> None:
        mask = np.zeros((20, 30), bool)
        mask[0:5, 0:30] = True
        mask[0:20, 0:3] = True
        mask[0:20, 27:30] = True
        assert not mask[9, 14]
        assert clicks.samfast_center(mask) == (2, 2) == samfast_by_walking(mask)

    def test_stops_at_twenty(self) -> None:
        mask = np.zeros((60, 300), bool)
        mask[5:55, 0:60] = True
        mask[0:60, 230:300] = True  # has more room, but comes later within the row
        assert not mask[30, 152]
        x, y = clicks.samfast_center(mask)
        assert (x, y) == samfast_by_walking(mask)
        assert y == 20
        assert x == 250

    @given(small_masks.filter(lambda m: m.any()))
    @settings(max_examples=200, deadline=None)
    def test_definition(self, mask: Mask) -> None:
        assert clicks.samfast_center(mask) == samfast_by_walking(mask)


def kornia_by_convolution(region: Mask) -> npt.NDArray[np.float64]:
    """kornia's loop as its documentation describes it, in double precision, on a padded frame."""
    h = 0.35
    outside = (~np.pad(region, 1)).astype(float)
    step = np.hypot(*np.meshgrid([-1, 0, 1], [-1, 0, 1]))
    kernel = np.exp(-step / h)
    out = np.zeros_like(outside)
    for i in range(max(outside.shape)):
        reached = ndimage.convolve(outside, kernel, mode="constant")
        with np.errstate(divide="ignore"):
            part = -h * np.log(reached)
        part[np.isposinf(part)] = 0
        new = part > 0
        if not new.any():
            break
        out[new] += i * 3 // 2 + part[new]
        outside[new] = 1
    return out[1:-1, 1:-1]


class TestEdgeSam:
    @given(small_masks)
    @settings(max_examples=150, deadline=None)
    def test_distance_equals_the_convolutions(self, mask: Mask) -> None:
        np.testing.assert_allclose(
            clicks.approximate_distance(mask), kornia_by_convolution(mask), atol=1e-9
        )

    def test_distance_on_larger_masks(self) -> None:
        rng = np.random.default_rng(5)
        for _ in range(5):
            mask = ndimage.gaussian_filter(rng.normal(size=(70, 90)), 4) > 0
            np.testing.assert_allclose(
                clicks.approximate_distance(mask), kornia_by_convolution(mask), atol=1e-9
            )

    def test_one_pixel_by_hand(self) -> None:
        # Four straight and four diagonal neighbours are outside: the smooth minimum of 1 and √2.
        expected = -0.35 * math.log(4 * math.exp(-1 / 0.35) + 4 * math.exp(-math.sqrt(2) / 0.35))
        assert clicks.approximate_distance(np.ones((1, 1), bool))[0, 0] == pytest.approx(expected)

    def test_centre_at_the_network_frame_needs_no_resize(self) -> None:
        mask = np.zeros((1024, 768), bool)
        mask[100:201, 300:401] = True
        assert clicks.edgesam_center(mask) == (350, 150)

    def test_centre_comes_back_to_the_image(self) -> None:
        mask = np.zeros((512, 512), bool)
        mask[50:101, 200:251] = True
        # 102 pixels square in the frame, from (400, 100); four pixels are equally central.
        assert clicks.edgesam_center(mask) == ((400 + 50) / 2, (100 + 50) / 2)

    def test_centre_lies_in_the_mask(self) -> None:
        rng = np.random.default_rng(2)
        for size in ((427, 640), (640, 427), (1365, 2048), (33, 50)):
            mask = ndimage.gaussian_filter(rng.normal(size=size), 5) > 0.02
            x, y = clicks.edgesam_center(mask)
            assert mask[int(y), int(x)]

    def test_low_resolution_is_any_of_the_middle_four(self) -> None:
        mask = np.zeros((1024, 512), bool)
        mask[4, 4] = True  # a corner of cell (1, 1): not looked at
        mask[9, 10] = True  # in the middle of cell (2, 2)
        low = clicks.low_resolution(mask)
        assert low.shape == (256, 256)
        assert np.argwhere(low).tolist() == [[2, 2]]

    def test_low_resolution_equals_torch(self) -> None:
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(4)
        for size in ((480, 640), (375, 500), (640, 427), (97, 131)):
            mask = ndimage.gaussian_filter(rng.normal(size=size), 3) > 0
            scale = 1024 / max(size)
            target = [int(side * scale + 0.5) for side in size]
            tensor = torch.from_numpy(mask).float()[None, None]
            framed = torch.nn.functional.interpolate(tensor, target, mode="nearest")
            framed = torch.nn.functional.pad(framed, (0, 1024 - target[1], 0, 1024 - target[0]))
            low = torch.nn.functional.interpolate(
                framed, (256, 256), mode="bilinear", align_corners=False
            )
            np.testing.assert_array_equal(clicks.low_resolution(mask), low[0, 0].numpy() > 0)

    def test_random_error_pixel_is_wrong_and_labelled(self) -> None:
        truth = np.zeros((480, 640), bool)
        truth[100:300, 100:300] = True
        prediction = np.zeros_like(truth)
        prediction[100:300, 200:420] = True
        labels = set()
        for round_number in range(40):
            click = clicks.random_error_pixel(truth, prediction, 17, round_number)
            assert click is not None
            # A cell covers up to 2.5 image pixels, of which its corner may be just outside.
            x, y = int(click.x + 1.25), int(click.y + 1.25)
            assert truth[y, x] == bool(click.label)
            assert prediction[y, x] != bool(click.label)
            labels.add(click.label)
        assert labels == {0, 1}

    def test_random_error_pixel_is_reproducible_by_instance_and_round(self) -> None:
        truth = np.zeros((480, 640), bool)
        truth[100:300, 100:300] = True
        nothing = np.zeros_like(truth)
        draw = clicks.random_error_pixel
        assert draw(truth, nothing, 5, 1) == draw(truth, nothing, 5, 1)
        others = {draw(truth, nothing, 5, 2), draw(truth, nothing, 6, 1)}
        assert draw(truth, nothing, 5, 1) not in others
        assert draw(truth, nothing, 5, 1).label == 1

    def test_random_error_pixel_is_uniform(self) -> None:
        truth = np.zeros((1024, 1024), bool)
        truth[400:480, 400:480] = True  # 20 x 20 cells
        nothing = np.zeros_like(truth)
        drawn = np.array([clicks.random_error_pixel(truth, nothing, n, 1)[:2] for n in range(200)])
        cells = (drawn - 400) / 4
        assert ((cells >= 0) & (cells <= 19)).all()
        assert np.abs(cells.mean(axis=0) - 9.5).max() < 5 * math.sqrt(400 / 12 / 200)

    def test_fewer_than_ten_wrong_cells_give_no_click(self) -> None:
        truth = np.zeros((1024, 1024), bool)
        truth[400:412, 400:412] = True  # 9 cells
        assert clicks.random_error_pixel(truth, np.zeros_like(truth), 1, 1) is None
        truth[400:412, 412:416] = True  # 12 cells
        assert clicks.random_error_pixel(truth, np.zeros_like(truth), 1, 1) is not None
        assert clicks.random_error_pixel(truth, truth, 1, 1) is None
