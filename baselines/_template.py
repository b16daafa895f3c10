"""COPY ME: one file that adds one system. Say here what it is, and where it comes from.

    cp baselines/_template.py baselines/my_sam.py      # the underscore kept it out of the registry
    litesam-bench models show my-sam-tiny
    litesam-bench zeroshot --model my-sam-tiny --prompt box --limit 5

This one works: it answers a box with a soft box at a decoder's resolution, in the frames that a SAM
descendant uses. Replace the three marked places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

# The registry reads this file to print `--help` and the catalogue, so torch, and the package that
# you adapt, are imported inside the functions that need them, never up here.
from litesam_bench.spec import InputSpec, SystemSpec
from litesam_bench.types import (
    Capabilities,
    ImageU8,
    LoadContext,
    MaskBatch,
    Prompts,
    Segmenter,
    SizeHW,
)

if TYPE_CHECKING:
    from torch import Tensor

# 1. REPLACE: what is known about the system without loading it. The first entry is the family's
#    default. Declare only what it really can do: a missing capability renders as n/a in a table,
#    and the harness never sends a prompt that is not declared.
SPECS = (
    SystemSpec(
        name="my-sam-tiny",  # family-variant, lower case
        family="my-sam",
        display="My-SAM (tiny)",  # as the table prints it
        capabilities=Capabilities(boxes=True, single_mask=True, predicted_iou=True),
        input=InputSpec(size=256, rule="stretch"),
        # With weights, state the official file; `litesam-bench weights pull my-sam-tiny` gets it
        # and `context.weights` is its path, with the hash already checked:
        # weights=Weights(file_name="my_sam_tiny.pt", url="https://...", sha256="...",
        #                 size_bytes=..., licence="Apache-2.0"),
        training="not-applicable",  # "trained" (the default), once there are weights
        upstream="",  # https://github.com/owner/repository
        commit="",  # the commit that this file was compared with
    ),
)


def load(spec: SystemSpec, context: LoadContext) -> Segmenter:
    """Build the system on `context.device` in `context.dtype`."""
    # 2. REPLACE: build the network and load `context.weights` strictly
    #    (torch.load(..., weights_only=True), load_state_dict(..., strict=True)).
    return MySam(spec.input.size, context.device)


@dataclass(frozen=True)
class Embedded:
    """What `embed` hands to `segment`; opaque to the harness, so put in it whatever you need."""

    size_hw: SizeHW


class MySam:
    """Stateless: everything about the image is in the embedding."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self.device = device

    def embed(self, image: ImageU8) -> Embedded:
        """(H, W, 3) RGB uint8 to whatever `segment` needs."""
        # 3. REPLACE: resize, normalise, encode; and below, decode.
        return Embedded(size_hw=(image.shape[0], image.shape[1]))

    def segment(self, embedding: Embedded, prompts: Prompts) -> MaskBatch:
        """N prompts in original-image pixels to N masks. N is at least 1 and already a batch."""
        import torch

        assert prompts.boxes is not None, "the SPEC declares boxes only"
        height, width = embedding.size_hw
        to_network = self.size / np.array([width, height, width, height])
        boxes = torch.as_tensor(prompts.boxes * to_network, dtype=torch.float32, device=self.device)
        x0, y0, x1, y1 = boxes[:, :, None].unbind(1)  # each (N, 1)
        centre = torch.arange(self.size, device=self.device) + 0.5
        inside_x = torch.minimum(centre - x0, x1 - centre)  # (N, w): distance to the nearer side
        inside_y = torch.minimum(centre - y0, y1 - centre)  # (N, h)
        logits = torch.minimum(inside_y[:, :, None], inside_x[:, None, :])  # (N, h, w)

        def to_image(low: Tensor) -> Tensor:
            """(K, h, w) to (K, H, W): undo the resize; crop here if the input was padded."""
            return torch.nn.functional.interpolate(
                low[:, None].float(), (height, width), mode="bilinear", align_corners=False
            )[:, 0]

        return MaskBatch(
            logits=logits[:, None],  # (N, M, h, w) with M = 1
            iou=torch.ones(len(prompts), 1, device=self.device),
            tokens=(0,),
            to_image=to_image,
        )
