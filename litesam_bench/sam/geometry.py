"""From an image to the network's square frame and back.

Three frames are in play, all with the origin at the top left corner of the top left pixel:

* original: the image as the dataset has it; prompts and final masks live here;
* resized: the image after its one resize, still without padding;
* network: what the encoder sees; the resized image at the top left, zeros right and below.

The rules are those of SAM (upstream `utils/transforms.py` and `Sam.postprocess_masks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from litesam_bench.spec import InputSpec
from litesam_bench.types import FloatArray, ImageU8, SizeHW


def long_side_size(original_hw: SizeHW, size: int) -> SizeHW:
    """The (h, w) whose long side is `size`: each side times the scale, rounded half up.

    At least one pixel remains, where upstream would fail (sides of more than 2 * size to 1).
    """
    height, width = original_hw
    scale = size / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@dataclass(frozen=True, slots=True)
class Frame:
    """How one image lies in the network's frame.

    The part of the network frame outside `resized_hw` is padding.
    """

    original_hw: SizeHW
    resized_hw: SizeHW
    network_hw: SizeHW

    @classmethod
    def of(cls, original_hw: SizeHW, rule: InputSpec) -> Frame:
        """The frame of an image under the input rule of a SPEC."""
        square = (rule.size, rule.size)
        if rule.rule == "pad":
            return cls(original_hw, long_side_size(original_hw, rule.size), square)
        if rule.rule == "stretch":
            return cls(original_hw, square, square)
        return cls(original_hw, original_hw, original_hw)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Resized pixels per original pixel; the two differ by the rounding of `resized_hw`."""
        return (
            self.resized_hw[1] / self.original_hw[1],
            self.resized_hw[0] / self.original_hw[0],
        )

    def to_network(self, xy: FloatArray) -> FloatArray:
        """Points (..., 2), or boxes (..., 4), from original to network pixels."""
        return np.asarray(xy * np.tile(self.scale_xy, xy.shape[-1] // 2))

    def to_original(self, xy: FloatArray) -> FloatArray:
        """Points (..., 2), or boxes (..., 4), from network to original pixels."""
        return np.asarray(xy / np.tile(self.scale_xy, xy.shape[-1] // 2))


def resize_image(image: ImageU8, size_hw: SizeHW) -> ImageU8:
    """PIL's bilinear (antialiased) resize, as torchvision resizes a PIL image. (h, w, 3) uint8."""
    if image.shape[:2] == size_hw:
        return image
    resized = Image.fromarray(image).resize(size_hw[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)


def preprocess(image: ImageU8, frame: Frame, rule: InputSpec) -> Tensor:
    """The encoder's input, (1, 3, H, W) float32: resized, normalised, then padded with zeros."""
    pixels: npt.NDArray[np.uint8] = np.array(resize_image(image, frame.resized_hw))  # writable
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)
    mean = torch.tensor(rule.mean).view(3, 1, 1)
    std = torch.tensor(rule.std).view(3, 1, 1)
    tensor = (tensor - mean) / std
    bottom = frame.network_hw[0] - frame.resized_hw[0]
    right = frame.network_hw[1] - frame.resized_hw[1]
    return F.pad(tensor, (0, right, 0, bottom)).unsqueeze(0)


@dataclass(frozen=True, slots=True)
class Taps:
    """A linear resize of one axis: pixel i is weights[i] @ line[start[i] : start[i] + taps].

    start: (N,) int64. weights: (N, taps) float32, not negative, each row adding up to 1.
    """

    start: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.start)

    def reach(self, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The first and the last pixel that use each of `size` inputs (or lie beyond it)."""
        inputs = np.arange(size)
        first = np.searchsorted(self.start + self.weights.shape[1] - 1, inputs, side="left")
        last = np.searchsorted(self.start, inputs, side="right") - 1
        return np.minimum(first, len(self) - 1), np.maximum(last, 0)


@dataclass(frozen=True, slots=True)
class Restore:
    """`restore_masks` for one frame, as `MaskBatch.to_image` takes it."""

    frame: Frame

    def __call__(self, logits: Tensor) -> Tensor:
        """(K, h, w) at the decoder's resolution to (K, H, W) at original size."""
        return restore_masks(logits, self.frame)

    def taps(self, low_hw: SizeHW) -> tuple[Taps, Taps]:
        """The same as two linear maps, of rows and of columns."""
        frame = self.frame
        rows, columns = (
            _taps(low, frame.network_hw[axis], frame.resized_hw[axis], frame.original_hw[axis])
            for axis, low in enumerate(low_hw)
        )
        return rows, columns


def _taps(low: int, network: int, resized: int, original: int) -> Taps:
    """One axis: `low` to `network`, of which the first `resized` go to `original`."""
    # two bilinear resizes of the unit vectors, in float64: column j is what input j contributes
    unit = torch.eye(low, dtype=torch.float64).unsqueeze(0)  # (1, low, low)
    wide = F.interpolate(unit, network, mode="linear", align_corners=False)[..., :resized]
    matrix = F.interpolate(wide, original, mode="linear", align_corners=False)[0].t().numpy()
    used = matrix != 0
    start = used.argmax(axis=1)
    taps = int((low - used[:, ::-1].argmax(axis=1) - start).max())
    start = np.minimum(start, low - taps)
    weights = np.take_along_axis(matrix, start[:, None] + np.arange(taps), axis=1)
    return Taps(start.astype(np.int64), weights.astype(np.float32))


def restore_masks(logits: Tensor, frame: Frame) -> Tensor:
    """Decoder logits (K, h, w) at original size, (K, H, W) float32.

    Bilinear to the network frame, crop the padding, bilinear to the image. The crop comes between
    the two because the padding has no meaning in the image.
    """
    masks = logits.to(torch.float32).unsqueeze(0)
    masks = F.interpolate(masks, frame.network_hw, mode="bilinear", align_corners=False)
    masks = masks[..., : frame.resized_hw[0], : frame.resized_hw[1]]
    masks = F.interpolate(masks, frame.original_hw, mode="bilinear", align_corners=False)
    return masks.squeeze(0)
