"""SAM descendants of whose four output tokens only some are in use."""

from __future__ import annotations

from dataclasses import replace

from litesam_bench.adapters import select_above
from litesam_bench.sam.model import Sam
from litesam_bench.sam.segmenter import SamEmbedding, SamSegmenter
from litesam_bench.spec import InputSpec
from litesam_bench.types import LoadContext, MaskBatch, Prompts, SelectedMasks


class SomeTokensSegmenter(SamSegmenter):
    """A `SamSegmenter` that returns the masks of `tokens` only.

    Args:
        tokens: (0,) where the multimask tokens are not trained, (1, 2, 3) where token 0 is not.
    """

    def __init__(
        self, model: Sam, rule: InputSpec, context: LoadContext, tokens: tuple[int, ...]
    ) -> None:
        super().__init__(model, rule, context)
        self.tokens = tokens

    def segment(self, embedding: SamEmbedding, prompts: Prompts) -> MaskBatch:
        """The masks of `tokens` for all prompts. Raises ModelOutputError as `SamSegmenter`."""
        batch = super().segment(embedding, prompts)
        wanted = list(self.tokens)
        return replace(
            batch, logits=batch.logits[:, wanted], iou=batch.iou[:, wanted], tokens=self.tokens
        )

    def segment_above(
        self, embedding: SamEmbedding, prompts: Prompts, *, multimask: bool, iou_thresh: float
    ) -> SelectedMasks:
        """As `FilteringSegmenter`. Asked for tokens that are not in use, it gives what
        `select_above` gives of a system without them."""
        if multimask == (0 not in self.tokens):  # exactly the tokens that are asked for
            return super().segment_above(
                embedding, prompts, multimask=multimask, iou_thresh=iou_thresh
            )
        batch = self.segment(embedding, prompts)
        return select_above(batch, multimask=multimask, iou_thresh=iou_thresh)
