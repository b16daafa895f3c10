"""Edge networks as `EdgeDetector`s: preprocessing, one image at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from litesam_bench.spec import SystemSpec
from litesam_bench.types import ImageU8, LoadContext

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class NetworkEdges:
    """A network from normalised images to edge probabilities, as an `EdgeDetector`.

    Args:
        network: (N, 3, H, W) to (N, H, W) in [0, 1], at any size of at least 16 x 16.
        bgr: the network takes channels in that order; the SPEC's mean and std are always RGB.
    """

    def __init__(
        self, network: nn.Module, spec: SystemSpec, context: LoadContext, *, bgr: bool = False
    ) -> None:
        self._device = context.device
        self._dtype = _DTYPES[context.dtype]
        self._network = network.to(self._device, self._dtype).eval()
        self._mean, self._std = np.array(spec.input.mean), np.array(spec.input.std)
        self._bgr = bgr

    def edge_map(self, image: ImageU8) -> npt.NDArray[np.float64]:
        """(H, W, 3) RGB uint8 to strength, (H, W) float64 in [0, 1]. No edge NMS."""
        pixels = (image - self._mean) / self._std
        if self._bgr:
            pixels = pixels[..., ::-1]
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            strength: Tensor = self._network(batch.to(self._device, self._dtype))[0]
        return strength.double().clamp(0, 1).cpu().numpy()
