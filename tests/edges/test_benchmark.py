"""The benchmark end to end: the official example, hostile inputs, stopping and going on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from litesam_bench.edges import benchmark
from litesam_bench.edges.benchmark import Evaluation, Settings, count_image, evaluate
from litesam_bench.edges.boundary_gt import boundary_folder
from litesam_bench.edges.collect import collect
from litesam_bench.edges.maps import Segmentations, StrengthMap
from litesam_bench.errors import DataError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three images of 24 x 30 with two annotators, and a perfect map of each."""
    truth_dir, maps_dir = tmp_path / "truth", tmp_path / "maps"
    truth_dir.mkdir()
    maps_dir.mkdir()
    for i in range(3):
        boundaries = np.zeros((24, 30), np.uint8)
        boundaries[5 + 3 * i, 2:28] = 1
        cells = np.empty((1, 2), object)
        cells[0, 0] = cells[0, 1] = {"Boundaries": boundaries}
        savemat(truth_dir / f"{i}.mat", {"groundTruth": cells})
        np.save(maps_dir / f"{i}.npy", boundaries.astype(np.float64))
    return truth_dir, maps_dir


def run(folders: tuple[Path, Path], runs: Path, workers: int = 1, **knobs: object) -> Evaluation:
    truth_dir, maps_dir = folders
    settings = Settings(**{"thresholds": 5, **knobs})  # type: ignore[arg-type]
    return evaluate(boundary_folder(truth_dir), maps_dir, settings, runs, workers=workers)


@pytest.mark.data
def test_the_official_example(data_root: Path, tmp_path: Path) -> None:
    """MATLAB's own answers. The exact matcher may find a little more, never less."""
    folder = data_root / "bsds500" / "bench"
    found = run((folder / "groundTruth", folder / "png"), tmp_path)
    scores = collect(found.counts, found.thresholds)
    best_t, _, _, ods, _, _, ois, ap = np.loadtxt(folder / "test_2" / "eval_bdry.txt")
    assert scores.ods.threshold == pytest.approx(best_t, abs=1e-6)
    for ours, official in ((scores.ods.f, ods), (scores.ois.f, ois), (scores.ap, ap)):
        assert official - 0.0002 <= ours <= official + 0.001
    rows = np.loadtxt(folder / "test_2" / "eval_bdry_thr.txt")
    assert scores.curve[:, 0] == pytest.approx(rows[:, 0], abs=1e-6)
    assert scores.curve[:, 1:3] == pytest.approx(rows[:, 1:3], abs=0.002)
    # recall alone counts pairs, of which the optimum cannot have fewer
    assert (scores.curve[:, 1] >= rows[:, 1] - 1e-6).all()
    images = np.loadtxt(folder / "test_2" / "eval_bdry_img.txt")
    assert [p.f for p in scores.per_image.values()] == pytest.approx(images[:, 4], abs=0.002)


def test_perfect_maps(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(folders, tmp_path)
    assert [c.image_id for c in found.counts] == ["0", "1", "2"]
    for c in found.counts:
        assert (c.truth == 52).all()
        assert (c.truth_matched == 52).all()
        assert (c.detected == 26).all()
        assert (c.detected_matched == 26).all()
    scores = collect(found.counts, found.thresholds)
    assert (scores.ods.f, scores.ois.f) == (1, 1)
    assert found.missing == ()


def test_a_pixel_claimed_by_several_annotators_counts_once() -> None:
    """Annotators agree on one pixel; a second pixel is seen by one of them only."""
    maps = [np.zeros((20, 20), bool) for _ in range(3)]
    maps[0][5, 5] = maps[1][5, 5] = maps[1][15, 15] = True
    maps[2][5, 5] = maps[2][15, 15] = maps[2][10, 1] = True
    counts = count_image(
        "x", StrengthMap(maps[2].astype(float)), maps[:2], Settings(thresholds=1, max_dist=0.05)
    )
    got = (counts.truth, counts.truth_matched, counts.detected, counts.detected_matched)
    assert [int(v[0]) for v in got] == [3, 3, 3, 2]


def test_the_distance_is_a_fraction_of_the_diagonal() -> None:
    """30 x 40: the diagonal is 50, so 0.06 reaches 3 pixels."""
    truth, detected = np.zeros((30, 40), bool), np.zeros((30, 40))
    truth[10, 10], detected[10, 13] = True, 1
    for max_dist, matched in ((0.06, 1), (0.0599, 0)):
        counts = count_image("x", StrengthMap(detected), [truth], Settings(1, max_dist))
        assert counts.truth_matched[0] == matched


def test_thinning_can_be_left_out() -> None:
    block = np.zeros((20, 20))
    block[5:15, 5:15] = 1
    truth = [block > 0]
    assert count_image("x", StrengthMap(block), truth, Settings(1, thin=False)).detected[0] == 100
    assert count_image("x", StrengthMap(block), truth, Settings(1)).detected[0] < 20


def test_empty_and_full_maps_and_a_truth_without_boundary() -> None:
    rng = np.random.default_rng(0)
    some, none = rng.random((40, 50)) < 0.1, np.zeros((40, 50), bool)
    for strength in (np.zeros((40, 50)), np.ones((40, 50)), rng.random((40, 50))):
        for truths in ([some, none], [none], [none, none]):
            counts = count_image("x", StrengthMap(strength), truths, Settings(thresholds=9))
            assert (counts.truth == sum(t.sum() for t in truths)).all()
            assert (counts.truth_matched <= counts.truth).all()
            assert (counts.detected_matched <= counts.detected).all()
            scores = collect([counts], np.arange(1, 10) / 10)
            for value in (scores.ods.f, scores.ois.f, scores.ap, scores.r50):
                assert 0 <= value <= 1


def test_segmentations_give_one_point_each(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, maps_dir = folders
    for i in range(3):
        (maps_dir / f"{i}.npy").unlink()
        labels = np.ones((24, 30))
        labels[6 + 3 * i :] = 2
        cells = np.empty((1, 2), object)
        cells[0, 0], cells[0, 1] = labels, np.ones((24, 30))
        savemat(maps_dir / f"{i}.mat", {"segs": cells})
    found = run(folders, tmp_path)
    assert found.thresholds.tolist() == [1, 2]
    assert [c.detected.tolist() for c in found.counts] == [[30, 0]] * 3
    # another number for one image cannot be collected
    savemat(maps_dir / "1.mat", {"segs": cells[:, :1]})
    with pytest.raises(DataError, match="2 operating points and 1 has 1"):
        run(folders, tmp_path)


def test_a_map_of_another_size_names_both(folders: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(folders[1] / "1.npy", np.zeros((30, 24)))
    with pytest.raises(DataError, match=r"1\.npy is 30 x 24 .* 1\.mat is 24 x 30"):
        run(folders, tmp_path)


def test_a_bad_map_stops_the_pool_too(folders: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(folders[1] / "1.npy", np.full((24, 30), np.nan))
    with pytest.raises(DataError, match="NaN") as caught:
        run(folders, tmp_path, workers=2)
    assert caught.value.fix


def test_missing_maps_are_reported_never_averaged(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = run(folders, tmp_path)
    (folders[1] / "1.npy").unlink()
    found = run(folders, tmp_path)
    assert found.missing == ("1",)
    assert (len(found.counts), found.expected) == (2, 3)
    assert found.digest == whole.digest
    for path in folders[1].iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no map of any of the 3 images"):
        run(folders, tmp_path)


def test_workers_do_not_change_the_counts(folders: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = run(folders, tmp_path / "1"), run(folders, tmp_path / "2", workers=2)
    assert repr(one) == repr(two)


def test_a_stopped_run_goes_on(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop_after_two(image_id: str, resumed: bool) -> None:
        seen.append(image_id)
        if len(seen) == 2:
            raise StoppedError

    seen: list[str] = []
    truth_dir, maps_dir = folders
    data, settings = boundary_folder(truth_dir), Settings(thresholds=5)
    with pytest.raises(StoppedError):
        evaluate(data, maps_dir, settings, tmp_path, advance=stop_after_two)

    # a kill in the middle of a write leaves half a line
    (journal,) = tmp_path.glob("edges-*/counts.jsonl")
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])

    counted = []
    original = benchmark.count_file
    monkeypatch.setattr(
        benchmark,
        "count_file",
        lambda image, *a: counted.append(image.image_id) or original(image, *a),
    )
    resumed = evaluate(data, maps_dir, settings, tmp_path)
    assert counted == ["1", "2"]
    assert repr(resumed) == repr(evaluate(data, maps_dir, settings, tmp_path / "fresh"))
    counted.clear()
    evaluate(data, maps_dir, settings, tmp_path)
    assert counted == []

    # a map that was written anew is counted anew, and so is everything under other settings
    np.save(maps_dir / "0.npy", np.zeros((24, 30)))
    evaluate(data, maps_dir, settings, tmp_path)
    assert counted == ["0"]
    evaluate(data, maps_dir, Settings(thresholds=5, thin=False), tmp_path)
    assert counted == ["0", "0", "1", "2"]


def test_segmentations_are_thinned_as_maps_are() -> None:
    block = np.zeros((20, 20), bool)
    block[5:15, 5:15] = True
    counts = count_image("x", Segmentations((block,)), [block], Settings())
    assert counts.detected[0] < 20
