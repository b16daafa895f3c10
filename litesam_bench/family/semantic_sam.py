"""Semantic-SAM (Li et al., 2023): six masks of rising granularity for one click.

None of its parts are SAM's: a Swin Transformer, a pixel decoder of deformable attention
(Mask DINO's), and a decoder whose queries are small boxes at the click. Windowed attention comes
from torchvision and the sampling of deformable attention from transformers. timm's Swin is no
substitute: it shifts the feature map before padding it to whole windows, upstream pads first.

Inference only. What upstream keeps for training (class embeddings, language projection, the heads
of the intermediate layers) is not here; `remap` lists it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from litesam_bench.errors import CapabilityError, ModelOutputError
from litesam_bench.family import require
from litesam_bench.sam.geometry import Frame
from litesam_bench.sam.segmenter import TORCH_DTYPES
from litesam_bench.spec import InputSpec
from litesam_bench.types import ImageU8, LoadContext, MaskBatch, Prompts, SizeHW

DIM = 256
HEADS = 8
LEVELS = 4
SAMPLES = 4  # sampled places per head and level
FFN_DIM = 2048
GRANULARITIES = 6
STRIDE = 32  # sides of the network's input are multiples of it
CLICK_SIDE = 0.005  # a click is a box with this part of the image's width and height


@dataclass(frozen=True)
class SwinConfig:
    """dim: channels of the first stage, doubled by each further one. window: in tokens."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int


SWIN_T = SwinConfig(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
SWIN_L = SwinConfig(dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12)


class SemanticFeatures(NamedTuple):
    """What the image encoder returns for one image whose input was (H, W).

    embedding: (1, D, H / 4, W / 4), the features that a mask is a product with.
    levels: (1, D, h, w) at strides 64, 32, 16 and 8, the features that queries sample.
    """

    embedding: Tensor
    levels: tuple[Tensor, ...]


class SwinStage(nn.Module):
    """Blocks of windowed attention, every other one with shifted windows; channels last.

    torchvision does not shift along a side that is a single window, upstream would; with a short
    side of 640 pixels no stage is that small.
    """

    def __init__(self, dim: int, depth: int, heads: int, window: int, *, last: bool) -> None:
        super().__init__()
        swin = require("torchvision.models.swin_transformer")
        blocks = [
            swin.SwinTransformerBlock(dim, heads, [window, window], [(i % 2) * (window // 2)] * 2)
            for i in range(depth)
        ]
        for block in blocks:
            # Follows from the window's size and is not loaded, so it needs its values even where
            # the module is made on the meta device.
            with torch.device("cpu"):
                block.attn.define_relative_position_index()
            index = block.attn.relative_position_index
            block.attn.register_buffer("relative_position_index", index, persistent=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.downsample = None if last else swin.PatchMerging(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) to this stage's output (B, C, h, w) and the next one's input."""
        x = self.blocks(x)
        below = x if self.downsample is None else self.downsample(x)
        return self.norm(x).permute(0, 3, 1, 2), below


class SwinPyramid(nn.Module):
    """Swin Transformer with the normalised output of every stage."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, config.dim, kernel_size=4, stride=4)
        self.patch_norm = nn.LayerNorm(config.dim)
        dims = [config.dim << i for i in range(len(config.depths))]
        self.stages = nn.ModuleList(
            SwinStage(dim, depth, heads, config.window, last=dim == dims[-1])
            for dim, depth, heads in zip(dims, config.depths, config.heads, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to (B, C_i, h_i, w_i) at strides 4, 8, 16 and 32."""
        x = self.patch_norm(self.patch_embed(images).permute(0, 2, 3, 1))
        outputs = []
        for stage in self.stages:
            output, x = stage(x)
            outputs.append(output)
        return outputs


class DeformableAttention(nn.Module):
    """Attention to a few places around a reference, on several levels (Zhu et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        places = HEADS * LEVELS * SAMPLES
        self.sampling_offsets = nn.Linear(DIM, places * 2)
        self.attention_weights = nn.Linear(DIM, places)
        self.value_proj = nn.Linear(DIM, DIM)
        self.output_proj = nn.Linear(DIM, DIM)
        detr = require("transformers.models.deformable_detr.modeling_deformable_detr")
        self.sample = detr.MultiScaleDeformableAttention()

    def forward(
        self, query: Tensor, reference: Tensor, memory: Tensor, level_hw: Sequence[SizeHW]
    ) -> Tensor:
        """
        Args:
            query: (B, Q, D).
            reference: (B, Q, 2) xy, or (B, Q, 4) centre, width and height; 1 is the whole side.
                Offsets count in cells of a level from a point, and in eighths of its sides from
                a box.
            memory: (B, S, D), the levels one after another, each row by row.
        """
        batch, queries, _ = query.shape
        value = self.value_proj(memory).view(batch, -1, HEADS, DIM // HEADS)
        offsets = self.sampling_offsets(query).view(batch, queries, HEADS, LEVELS, SAMPLES, 2)
        weights = self.attention_weights(query).view(batch, queries, HEADS, LEVELS * SAMPLES)
        weights = weights.softmax(dim=-1).view(batch, queries, HEADS, LEVELS, SAMPLES)
        level_wh = torch.tensor([hw[::-1] for hw in level_hw], device=query.device)  # (L, 2)
        reference = reference[:, :, None, None, None]
        if reference.shape[-1] == 2:
            places = reference + offsets / level_wh[:, None]
        else:
            places = reference[..., :2] + offsets / SAMPLES * reference[..., 2:] * 0.5
        # None: shapes, starts and column step for a CUDA kernel, which reads no Python numbers
        sampled = self.sample(value, None, list(level_hw), None, places, weights, None)
        return self.output_proj(sampled)  # type: ignore[no-any-return]


def _ffn() -> nn.Sequential:
    return nn.Sequential(nn.Linear(DIM, FFN_DIM), nn.ReLU(), nn.Linear(FFN_DIM, DIM))


class PixelLayer(nn.Module):
    """One layer of the pixel decoder: every cell attends around itself on all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = DeformableAttention()
        self.attention_norm = nn.LayerNorm(DIM)
        self.ffn = _ffn()
        self.ffn_norm = nn.LayerNorm(DIM)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, level_hw: Sequence[SizeHW]
    ) -> Tensor:
        """(B, S, D) to (B, S, D)."""
        x = self.attention_norm(x + self.attention(x + position, reference, x, level_hw))
        out: Tensor = self.ffn_norm(x + self.ffn(x))
        return out


class PixelDecoder(nn.Module):
    """Backbone features to features at strides 8 to 64 and the embedding at stride 4
    (upstream `body/encoder/encoder_deform.py`)."""

    def __init__(self, channels: Sequence[int], layers: int = 6) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, DIM, kernel_size=1), nn.GroupNorm(32, DIM))
            for c in channels[1:]
        )
        self.project.append(
            nn.Sequential(
                nn.Conv2d(channels[-1], DIM, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(32, DIM),
            )
        )
        self.level_embed = nn.Parameter(torch.empty(LEVELS, DIM).normal_())
        self.layers = nn.ModuleList(PixelLayer() for _ in range(layers))
        self.lateral = nn.Sequential(
            nn.Conv2d(channels[0], DIM, kernel_size=1, bias=False), nn.GroupNorm(32, DIM)
        )
        self.smooth = nn.Sequential(
            nn.Conv2d(DIM, DIM, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(32, DIM),
            nn.ReLU(),
        )
        self.mask_features = nn.Conv2d(DIM, DIM, kernel_size=1)

    def forward(self, pyramid: Sequence[Tensor]) -> SemanticFeatures:
        """Features (B, C_i, h_i, w_i) at strides 4, 8, 16 and 32 to `SemanticFeatures`."""
        inputs = [*pyramid[1:], pyramid[-1]]  # the coarsest level is made from the last feature
        levels = [project(x) for project, x in zip(self.project, inputs, strict=True)]
        level_hw: list[SizeHW] = [(x.shape[-2], x.shape[-1]) for x in levels]
        device = levels[0].device
        position = torch.cat(
            [
                sine_of_cells(hw, device) + embed
                for hw, embed in zip(level_hw, self.level_embed, strict=True)
            ]
        )
        reference = torch.cat([cell_centres(hw, device) for hw in level_hw])[None]
        x = torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, position, reference, level_hw)
        parts = torch.split(x.transpose(1, 2), [h * w for h, w in level_hw], dim=2)
        levels = [torch.unflatten(part, 2, hw) for part, hw in zip(parts, level_hw, strict=True)]

        fine = self.lateral(pyramid[0])
        coarse = F.interpolate(levels[0], fine.shape[-2:], mode="bilinear", align_corners=False)
        embedding = self.mask_features(self.smooth(fine + coarse))
        return SemanticFeatures(embedding, tuple(levels[::-1]))


class SemanticSamEncoder(nn.Module):
    """The prompt-independent part. The pixel decoder stays in float32, as upstream keeps it:
    half precision cannot say where on a level to sample."""

    def __init__(self, swin: SwinConfig) -> None:
        super().__init__()
        self.backbone = SwinPyramid(swin)
        self.pixel_decoder = PixelDecoder([swin.dim << i for i in range(LEVELS)])

    def forward(self, images: Tensor) -> SemanticFeatures:
        """(1, 3, H, W), sides multiples of 32, to `SemanticFeatures`."""
        features: SemanticFeatures = self.pixel_decoder([x.float() for x in self.backbone(images)])
        return features


class SelfAttention(nn.Module):
    """Attention among the queries of one prompt; positions enter queries and keys only."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj = nn.Linear(DIM, 3 * DIM)
        self.out_proj = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """(N, T, D) and positions of the same shape to (N, T, D)."""
        weight, bias = self.in_proj.weight, self.in_proj.bias
        query, key = F.linear(x + position, weight[: 2 * DIM], bias[: 2 * DIM]).chunk(2, dim=-1)
        value = F.linear(x, weight[2 * DIM :], bias[2 * DIM :])
        query, key, value = (
            torch.unflatten(t, -1, (HEADS, -1)).transpose(1, 2) for t in (query, key, value)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class QueryLayer(nn.Module):
    """One layer of the mask decoder: among a prompt's queries, then from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention = SelfAttention()
        self.self_norm = nn.LayerNorm(DIM)
        self.cross_attention = DeformableAttention()
        self.cross_norm = nn.LayerNorm(DIM)
        self.ffn = _ffn()
        self.ffn_norm = nn.LayerNorm(DIM)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        boxes: Tensor,
        memory: Tensor,
        level_hw: Sequence[SizeHW],
    ) -> Tensor:
        """N prompts with T queries: (N, T, D), boxes (N, T, 4); memory (1, S, D)."""
        x = self.self_norm(x + self.self_attention(x, position))
        query, places = (t.flatten(0, 1)[None] for t in (x + position, boxes))
        x = self.cross_norm(x + self.cross_attention(query, places, memory, level_hw).view(x.shape))
        out: Tensor = self.ffn_norm(x + self.ffn(x))
        return out


def _head(*dims: int) -> nn.Sequential:
    """Linear layers with a ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(dims):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class QueryDecoder(nn.Module):
    """Six queries per click, each one granularity, whose boxes every layer moves
    (upstream `body/decoder/interactive_mask_dino.py`).

    The queries of a prompt see one another and no other prompt's. Upstream does the same in
    training and evaluation; only its mask generator lets the 200 clicks of a batch mix.
    """

    def __init__(self, layers: int = 9) -> None:
        super().__init__()
        self.mask_tokens = nn.Embedding(GRANULARITIES, DIM)
        # row 0 is the click at inference; upstream's training code swaps the kinds
        self.kind_embed = nn.Embedding(2, DIM)
        self.label_embed = nn.Embedding(2, DIM)
        self.layers = nn.ModuleList(QueryLayer() for _ in range(layers))
        self.position_head = _head(2 * DIM, DIM, DIM)
        self.box_head = _head(DIM, DIM, DIM, 4)
        self.norm = nn.LayerNorm(DIM)
        self.mask_head = _head(DIM, DIM, DIM, DIM)
        self.iou_head = _head(DIM, DIM, DIM, 1)

    def forward(self, features: SemanticFeatures, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of N clicks on one image.

        Args:
            boxes: (N, 4) centre, width and height; 1 is the whole side of the network's input.

        Returns:
            logits: (N, 6, H / 4, W / 4). iou: (N, 6) predicted IoU, unbounded.
        """
        level_hw: list[SizeHW] = [(x.shape[-2], x.shape[-1]) for x in features.levels]
        memory = torch.cat([x.flatten(2) for x in features.levels], dim=2).transpose(1, 2)
        click = self.label_embed.weight[0] + self.kind_embed.weight[0]
        x = (self.mask_tokens.weight + click).expand(len(boxes), -1, -1)
        boxes = inverse_sigmoid(boxes).sigmoid()[:, None].expand(-1, GRANULARITIES, -1)
        for i, layer in enumerate(self.layers):
            if i > 0:
                boxes = (self.box_head(x) + inverse_sigmoid(boxes)).sigmoid()
            x = layer(x, self.position_head(sine_of_boxes(boxes)), boxes, memory, level_hw)
        x = self.norm(self.norm(x))  # upstream normalises twice, with the same parameters
        logits = torch.einsum("ntd,dhw->nthw", self.mask_head(x), features.embedding[0])
        iou: Tensor = self.iou_head(x).squeeze(-1)
        return logits, iou


class SemanticSam(nn.Module):
    """An image encoder and a decoder for clicks."""

    def __init__(self, swin: SwinConfig) -> None:
        super().__init__()
        self.image_encoder = SemanticSamEncoder(swin)
        self.mask_decoder = QueryDecoder()

    def encode(self, images: Tensor) -> SemanticFeatures:
        """One normalised image, (1, 3, H, W), sides multiples of 32."""
        features: SemanticFeatures = self.image_encoder(images)
        return features

    def decode(
        self,
        features: SemanticFeatures,
        frame_hw: SizeHW,
        points: Tensor,
        labels: Tensor | None = None,
        resized_hw: SizeHW | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks of N clicks, as in `QueryDecoder.forward`.

        Args:
            frame_hw: size of the network's input.
            points: (N, 1, 2) xy in network pixels.
            labels: not read; every click is on the object.
            resized_hw: size of the image in it, without padding; the default is all of it.
        """
        frame_wh = points.new_tensor(frame_hw[::-1])
        sides = points.new_tensor((resized_hw or frame_hw)[::-1]) * CLICK_SIDE / frame_wh
        centres = points[:, 0] / frame_wh
        decoded: tuple[Tensor, Tensor] = self.mask_decoder(
            features, torch.cat([centres, sides.expand_as(centres)], dim=-1)
        )
        return decoded


# --- positions -----------------------------------------------------------------------------------


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """The logit of `x`, at most that of 1 - `eps`."""
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def _sine(turns: Tensor) -> Tensor:
    """(...) in turns to (..., 128): sine and cosine in turn, at falling frequencies."""
    exponent = torch.arange(0, DIM // 2, 2, dtype=torch.float32, device=turns.device) / (DIM // 2)
    angle = turns[..., None] * (2 * math.pi) / 10000**exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def sine_of_boxes(boxes: Tensor) -> Tensor:
    """(..., 4) centre x and y, width, height to (..., 512), in the order y, x, width, height."""
    return torch.cat([_sine(boxes[..., i]) for i in (1, 0, 2, 3)], dim=-1)


def sine_of_cells(hw: SizeHW, device: torch.device) -> Tensor:
    """(h w, 256): y, then x, of a level's cells, counted from 1 and divided by the last."""
    y, x = (torch.arange(1, n + 1, dtype=torch.float32, device=device) / (n + 1e-6) for n in hw)
    columns = _sine(x).expand(hw[0], -1, -1)
    rows = _sine(y)[:, None].expand(-1, hw[1], -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def cell_centres(hw: SizeHW, device: torch.device) -> Tensor:
    """(h w, 2) xy of a level's cells; 1 is the whole side."""
    y, x = ((torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n for n in hw)
    return torch.stack([x.expand(hw[0], -1), y[:, None].expand(-1, hw[1])], dim=-1).flatten(0, 1)


# --- checkpoint ----------------------------------------------------------------------------------

_DROPPED = re.compile(
    # follows from the window's size
    r"model\.(backbone\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index"
    # classes and language, which the SA-1B models do not predict
    r"|sem_seg_head\.predictor\.(lang_mapper|class_embed|class_embed_part"
    # one shared box head under 19 names and one shared norm under two; upstream's loader leaves
    # the values of the last of them
    r"|_bbox_embed\..+|bbox_embed\.[0-7]\..+|decoder\.bbox_embed\..+|decoder_norm\..+))"
)

_RENAMED = (
    (r"^model\.backbone\.patch_embed\.proj\.", "image_encoder.backbone.patch_embed."),
    (r"^model\.backbone\.patch_embed\.norm\.", "image_encoder.backbone.patch_norm."),
    (r"^model\.backbone\.norm(\d)\.", r"image_encoder.backbone.stages.\1.norm."),
    (r"^model\.backbone\.layers\.", "image_encoder.backbone.stages."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^model\.sem_seg_head\.pixel_decoder\.", "image_encoder.pixel_decoder."),
    (r"pixel_decoder\.input_proj\.", "pixel_decoder.project."),
    (r"pixel_decoder\.transformer\.level_embed$", "pixel_decoder.level_embed"),
    (r"pixel_decoder\.adapter_1\.norm\.", "pixel_decoder.lateral.1."),
    (r"pixel_decoder\.adapter_1\.", "pixel_decoder.lateral.0."),
    (r"pixel_decoder\.layer_1\.norm\.", "pixel_decoder.smooth.1."),
    (r"pixel_decoder\.layer_1\.", "pixel_decoder.smooth.0."),
    (r"pixel_decoder\.transformer\.encoder\.layers\.", "pixel_decoder.layers."),
    (r"(pixel_decoder\.layers\.\d)\.self_attn\.", r"\1.attention."),
    (r"(pixel_decoder\.layers\.\d)\.norm1\.", r"\1.attention_norm."),
    (r"(pixel_decoder\.layers\.\d)\.norm2\.", r"\1.ffn_norm."),
    (r"^model\.sem_seg_head\.predictor\.decoder\.", "mask_decoder."),
    (r"^model\.sem_seg_head\.predictor\.", "mask_decoder."),
    (r"mask_decoder\.ref_point_head\.layers\.", "mask_decoder.position_head."),
    (r"mask_decoder\.bbox_embed\.8\.layers\.", "mask_decoder.box_head."),
    (r"mask_decoder\.mask_embed\.layers\.", "mask_decoder.mask_head."),
    (r"mask_decoder\.iou_prediction_head\.layers\.", "mask_decoder.iou_head."),
    (r"(mask_decoder\.\w+_head)\.2\.", r"\1.4."),  # counting the activations between
    (r"(mask_decoder\.\w+_head)\.1\.", r"\1.2."),
    (r"mask_decoder\.pb_embedding\.", "mask_decoder.kind_embed."),
    (r"mask_decoder\.label_enc\.", "mask_decoder.label_embed."),
    (r"(mask_decoder\.layers\.\d)\.self_attn\.in_proj_", r"\1.self_attention.in_proj."),
    (r"(mask_decoder\.layers\.\d)\.self_attn\.", r"\1.self_attention."),
    (r"(mask_decoder\.layers\.\d)\.cross_attn\.", r"\1.cross_attention."),
    (r"(mask_decoder\.layers\.\d)\.norm2\.", r"\1.self_norm."),
    (r"(mask_decoder\.layers\.\d)\.norm1\.", r"\1.cross_norm."),
    (r"(mask_decoder\.layers\.\d)\.norm3\.", r"\1.ffn_norm."),
    (r"(\.layers\.\d)\.linear1\.", r"\1.ffn.0."),
    (r"(\.layers\.\d)\.linear2\.", r"\1.ffn.2."),
)


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official parameter names to those of `SemanticSam`; unknown names stay as they are."""
    renamed = {}
    for name, value in state.items():
        if _DROPPED.fullmatch(name):
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


# --- segmenter -----------------------------------------------------------------------------------


def short_side_frame(original_hw: SizeHW, size: int) -> Frame:
    """The short side becomes `size` and the long one follows, rounded down, without a limit; then
    both are padded to multiples of 32 (upstream `build_semantic_sam.prepare_image`)."""
    short, long = min(original_hw), max(original_hw)
    scaled = int(size * long / short)
    resized = (size, scaled) if original_hw[0] <= original_hw[1] else (scaled, size)
    network = tuple(math.ceil(side / STRIDE) * STRIDE for side in resized)
    return Frame(original_hw, resized, (network[0], network[1]))


@dataclass(frozen=True)
class SemanticRestore:
    """Logits (K, h, w) at a quarter of the network's frame to (K, H, W) at original size.

    Bilinear to the frame, crop the padding, then bicubic with antialiasing to the image (upstream
    `evaluate_demo` and `sem_seg_postprocess`).
    """

    frame: Frame

    def __call__(self, logits: Tensor) -> Tensor:
        masks = logits.float()[None]
        masks = F.interpolate(masks, self.frame.network_hw, mode="bilinear", align_corners=False)
        masks = masks[..., : self.frame.resized_hw[0], : self.frame.resized_hw[1]]
        size = self.frame.original_hw
        return F.interpolate(masks, size, mode="bicubic", align_corners=False, antialias=True)[0]


@dataclass(frozen=True)
class SemanticEmbedding:
    """One encoded image and how it lies in the network's frame."""

    features: SemanticFeatures
    frame: Frame


class SemanticSamSegmenter:
    """Clicks to six masks each, tokens 1 to 6 in upstream's order.

    In half precision only the backbone is: upstream runs the rest in float32 too.
    """

    def __init__(self, model: SemanticSam, rule: InputSpec, context: LoadContext) -> None:
        self.device = torch.device(context.device)
        self.dtype = TORCH_DTYPES[context.dtype]
        self.model = model.to(self.device).eval()
        self.model.image_encoder.backbone.to(self.dtype)
        self.rule = rule

    def embed(self, image: ImageU8) -> SemanticEmbedding:
        """Encode an image, (H, W, 3) RGB uint8."""
        return self.encode(self.preprocess(image))

    def preprocess(self, image: ImageU8) -> tuple[Tensor, Frame]:
        """The first step of `embed`: the encoder's input, (1, 3, H, W), and its frame."""
        height, width = image.shape[:2]
        frame = short_side_frame((height, width), self.rule.size)
        resized = Image.fromarray(image).resize(frame.resized_hw[::-1], Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.rule.mean, self.rule.std))
        bottom = frame.network_hw[0] - frame.resized_hw[0]
        right = frame.network_hw[1] - frame.resized_hw[1]
        pixels = F.pad((pixels - mean) / std, (0, right, 0, bottom))[None]
        return pixels.to(device=self.device, dtype=self.dtype), frame

    @torch.inference_mode()
    def encode(self, pixels_and_frame: tuple[Tensor, Frame]) -> SemanticEmbedding:
        """The second step of `embed`."""
        pixels, frame = pixels_and_frame
        return SemanticEmbedding(self.model.encode(pixels), frame)

    @torch.inference_mode()
    def segment(self, embedding: SemanticEmbedding, prompts: Prompts) -> MaskBatch:
        """Six masks per click.

        Raises:
            CapabilityError: a prompt is anything but one foreground point.
            ModelOutputError: the model returned NaN or infinities.
        """
        points, labels = prompts.points, prompts.labels
        clicks = points is not None and labels is not None and points.shape[1] == 1
        if not clicks or prompts.boxes is not None or prompts.low_res_logits is not None:
            raise CapabilityError("Semantic-SAM takes one point per prompt and nothing else")
        assert points is not None and labels is not None
        if not (labels == 1).all():
            raise CapabilityError("Semantic-SAM takes no background points")
        frame = embedding.frame
        logits, iou = self.model.decode(
            embedding.features,
            frame.network_hw,
            torch.as_tensor(frame.to_network(points), dtype=torch.float32, device=self.device),
            resized_hw=frame.resized_hw,
        )
        if not (torch.isfinite(logits).all() and torch.isfinite(iou).all()):
            raise ModelOutputError(
                "the mask decoder returned NaN or infinite values",
                fix="check the weights, or run with --dtype fp32",
            )
        return MaskBatch(
            logits=logits,
            iou=iou,
            tokens=tuple(range(1, GRANULARITIES + 1)),
            to_image=SemanticRestore(frame),
        )
