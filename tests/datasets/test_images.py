"""Decoding: every pixel type a dataset may contain becomes the same RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litesam_bench.datasets.images import check_file_name, read_rgb
from litesam_bench.errors import DataError


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def test_rgb_is_exact(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = read_rgb(tmp_path / "a.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)
    read[0, 0] = 0  # callers may write


def test_grey_jpeg(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=100)
    read = read_rgb(tmp_path / "a.jpg")
    assert read.shape == (12, 20, 3)
    assert (read[..., 0] == read[..., 1]).all()
    assert (read[..., 0] == read[..., 2]).all()
    assert np.abs(read[..., 0].astype(int) - ramp).max() <= 2


def test_grey_with_alpha_and_one_bit(tmp_path: Path, ramp: np.ndarray) -> None:
    alpha = np.dstack([ramp, np.zeros_like(ramp)])
    Image.fromarray(alpha, "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "la.png"), np.dstack([ramp] * 3))
    Image.fromarray(ramp > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(
        read_rgb(tmp_path / "bit.png")[..., 0], np.where(ramp > 100, 255, 0)
    )


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    image.putdata([1, 0, 2])
    image.save(tmp_path / "p.png")
    expected = [[[200, 100, 50], [10, 20, 30], [7, 8, 9]]]
    np.testing.assert_array_equal(read_rgb(tmp_path / "p.png"), expected)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 255  # full cyan ink
    Image.fromarray(pixels, "CMYK").save(tmp_path / "c.jpg", quality=100)
    red, green, blue = read_rgb(tmp_path / "c.jpg")[8, 8].tolist()
    assert red < 5
    assert green > 250
    assert blue > 250


def test_rgba_drops_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., :3] = (90, 80, 70)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_rgb(tmp_path / "a.png") == (90, 80, 70)).all()


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png")[0, :, 1].tolist() == [0, 1, 128, 255]
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_rgb(tmp_path / "a.tif")[0, :, 1].tolist() == [0, 1, 128, 255]


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees when shown
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read_rgb(tmp_path / "a.jpg").shape == (10, 20, 3)


def test_float_pixels_have_no_range(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="float pixels"):
        read_rgb(tmp_path / "a.tif")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rgb(tmp_path / "a.jpg")


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match="is not an image"):
        read_rgb(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be decoded"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["a.jpg", "val2017/a.jpg", "a..b.jpg", "x/y/z.png", "a b.png"])
def test_ordinary_names_pass(name: str) -> None:
    assert check_file_name(name, Path("f.json")) == name
