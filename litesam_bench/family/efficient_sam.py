"""EfficientSAM (Xiong et al., 2023): a plain ViT, and a prompt encoder and decoder of its own.

They differ from SAM's: every prompt fills six point slots, the corners of a box among them; there
is no background point and no mask prompt; no embedding stands for "no mask"; the tokens' residual
carries their positions; GELU and a group norm replace ReLU and the layer norm.

Upstream: yformer/EfficientSAM, folder `efficient_sam`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam_bench.errors import CapabilityError, ModelOutputError
from litesam_bench.family import require
from litesam_bench.family.repvit import sam_neck
from litesam_bench.sam.common import MlpBlock
from litesam_bench.sam.geometry import Frame
from litesam_bench.sam.image_encoder import PatchEmbed
from litesam_bench.sam.mask_decoder import Features
from litesam_bench.sam.prompt_encoder import RandomFourierEncoding
from litesam_bench.sam.segmenter import TORCH_DTYPES
from litesam_bench.sam.transformer import Attention
from litesam_bench.spec import InputSpec
from litesam_bench.types import ImageU8, LoadContext, MaskBatch, Prompts, SizeHW

SLOTS = 6
"""Points of a prompt; a box takes two of them."""

PADDING, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -1, 1, 2, 3

_DIM = 256
_PATCH = 16
_PRETRAINED_GRID = 14  # ImageNet's 224 pixels in patches of 16


@dataclass(frozen=True)
class EfficientSamConfig:
    """The encoder's size; everything else is the same in both models."""

    dim: int
    heads: int
    depth: int = 12


TINY = EfficientSamConfig(dim=192, heads=3)
SMALL = EfficientSamConfig(dim=384, heads=6)


class EfficientSamEncoder(nn.Module):
    """(B, 3, S, S) to (B, 256, S / 16, S / 16): timm's ViT blocks, then SAM's neck.

    The positions are those of the pretraining's 14 x 14 patches and a class token, which is not
    used; they are resized at every call, as upstream, so that the parameters are the official ones.
    """

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        block = require("timm.models.vision_transformer").Block
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patch_embed = PatchEmbed(_PATCH, config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, _PRETRAINED_GRID**2 + 1, config.dim))
        self.blocks = nn.Sequential(
            *(
                block(config.dim, config.heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm)
                for _ in range(config.depth)
            )
        )
        self.neck = sam_neck(config.dim)

    def forward(self, images: Tensor) -> Features:
        x = self.patch_embed(images)  # (B, h, w, C)
        height, width = x.shape[1:3]
        x = x + self._positions((height, width)).to(x.dtype)
        x = self.blocks(x.flatten(1, 2))
        x = torch.unflatten(x.transpose(1, 2), 2, (height, width))
        return Features(self.neck(x))

    def _positions(self, grid_hw: SizeHW) -> Tensor:
        """(1, h, w, C) float32; half precision would blur what the resize interpolates."""
        patches = self.pos_embed[:, 1:].float().transpose(1, 2)
        grid = torch.unflatten(patches, 2, (_PRETRAINED_GRID, _PRETRAINED_GRID))
        grid = F.interpolate(grid, grid_hw, mode="bicubic", align_corners=False)
        return grid.permute(0, 2, 3, 1)


class EfficientSamPromptEncoder(nn.Module):
    """Six labelled points to six embeddings: a position, plus what the label stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = RandomFourierEncoding(_DIM // 2)
        self.invalid_points = nn.Embedding(1, _DIM)
        self.point_embeddings = nn.Embedding(1, _DIM)
        self.bbox_top_left_embeddings = nn.Embedding(1, _DIM)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, _DIM)

    def forward(self, frame_hw: SizeHW, points: Tensor, labels: Tensor) -> Tensor:
        """Points (N, 6, 2) in network pixels and labels (N, 6) to (N, 6, 256)."""
        size = torch.tensor((frame_hw[1], frame_hw[0]), dtype=torch.float32, device=points.device)
        embedding: Tensor = self.pe_layer((points.to(torch.float32) + 0.5) / size)
        kinds = (
            (PADDING, self.invalid_points),
            (FOREGROUND, self.point_embeddings),
            (TOP_LEFT, self.bbox_top_left_embeddings),
            (BOTTOM_RIGHT, self.bbox_bottom_right_embeddings),
        )
        for label, kind in kinds:
            embedding = embedding + kind.weight * (labels == label).unsqueeze(-1)
        return embedding.to(self.point_embeddings.weight.dtype)

    def dense_pe(self, grid_hw: SizeHW) -> Tensor:
        """The positions of the cells of an (h, w) embedding, (h * w, 256)."""
        height, width = grid_hw
        device = self.point_embeddings.weight.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        encoding: Tensor = self.pe_layer(torch.stack([grid_x, grid_y], dim=-1).flatten(0, 1))
        return encoding.to(self.point_embeddings.weight.dtype)


class EfficientSamBlock(nn.Module):
    """Tokens attend to themselves, then to the image; an MLP; then the image to the tokens."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(_DIM, heads=8)
        self.norm1 = nn.LayerNorm(_DIM)
        self.cross_attn_token_to_image = Attention(_DIM, heads=8, downsample=2)
        self.norm2 = nn.LayerNorm(_DIM)
        self.mlp = MlpBlock(_DIM, 2048, F.gelu)
        self.norm3 = nn.LayerNorm(_DIM)
        self.norm4 = nn.LayerNorm(_DIM)
        self.cross_attn_image_to_token = Attention(_DIM, heads=8, downsample=2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (1, N, T, D) and image (1, N | 1, L, D) to the same with N prompts."""
        if not self.first:  # unlike SAM, the positions stay in the residual and in the values
            tokens = tokens + token_pe
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens))
        q, k = tokens + token_pe, image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        q = tokens + token_pe
        image = self.norm4(image + self.cross_attn_image_to_token(k, q, tokens))
        return tokens, image


class GeluMlp(nn.Module):
    """`depth` linear layers with GELU between; the heads of the mask decoder."""

    def __init__(self, out: int, depth: int) -> None:
        super().__init__()
        widths = [*[_DIM] * depth, out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class EfficientSamDecoder(nn.Module):
    """Two blocks, an upscaling by 4 and one hypernetwork per mask token; token 0 is single-mask."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_count = 4
        self.layers = nn.ModuleList([EfficientSamBlock(first=True), EfficientSamBlock(first=False)])
        self.final_attn_token_to_image = Attention(_DIM, heads=8, downsample=2)
        self.norm_final_attn = nn.LayerNorm(_DIM)
        self.iou_token = nn.Embedding(1, _DIM)
        self.mask_tokens = nn.Embedding(self.mask_count, _DIM)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(_DIM, 64, kernel_size=2, stride=2),
            nn.GroupNorm(1, 64),
            nn.GELU(),
            nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            GeluMlp(32, depth=3) for _ in range(self.mask_count)
        )
        self.iou_prediction_head = GeluMlp(self.mask_count, depth=3)

    def forward(self, embedding: Tensor, image_pe: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Decode N prompts of one image.

        Args:
            embedding: (1, D, h, w).
            image_pe: (h * w, D).
            points: (N, 6, D) from the prompt encoder.

        Returns:
            logits: (N, 4, 4h, 4w), token 0 first.
            iou: (N, 4) predicted IoU.
        """
        size_hw = embedding.shape[-2:]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        output_tokens = output_tokens.expand(len(points), -1, -1)
        token_pe = torch.cat([output_tokens, points], dim=1).unsqueeze(0)  # (1, N, T, D)
        tokens = token_pe
        image = embedding.flatten(2).transpose(1, 2).unsqueeze(1)  # (1, 1, L, D)
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        tokens = self.norm_final_attn(tokens + attended).squeeze(0)

        upscaled = torch.unflatten(image.squeeze(0).transpose(1, 2), 2, size_hw)
        upscaled = self.output_upscaling(upscaled)  # (N, 32, 4h, 4w)
        kernels = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = torch.unflatten(kernels @ upscaled.flatten(2), 2, upscaled.shape[2:])
        return logits, self.iou_prediction_head(tokens[:, 0])


class EfficientSam(nn.Module):
    """The three parts; the names of the methods are `Sam`'s."""

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        self.image_encoder = EfficientSamEncoder(config)
        self.prompt_encoder = EfficientSamPromptEncoder()
        self.mask_decoder = EfficientSamDecoder()

    def encode(self, images: Tensor) -> Features:
        """Normalised images (B, 3, S, S) to features; no prompt is involved."""
        features: Features = self.image_encoder(images)
        return features

    def decode(
        self, features: Features, frame_hw: SizeHW, points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks of N prompts of one image.

        Args:
            frame_hw: size of the network frame.
            points: (N, P, 2) xy in network pixels, P <= 6.
            labels: (N, P) -1 padding, 1 foreground, 2 and 3 a box's top left and bottom right.

        Returns:
            logits: (N, 4, 4h, 4w) for an embedding of (h, w), token 0 first.
            iou: (N, 4) predicted IoU.
        """
        # padding lies at (-1, -1), and so does, by axis, whatever lies outside: as upstream
        points = torch.where((labels == PADDING).unsqueeze(-1) | (points < 0), -1.0, points)
        spare = SLOTS - points.shape[1]
        points = F.pad(points, (0, 0, 0, spare), value=-1.0)
        labels = F.pad(labels, (0, spare), value=PADDING)
        height, width = features.embedding.shape[-2:]
        image_pe = self.prompt_encoder.dense_pe((height, width))
        prompts = self.prompt_encoder(frame_hw, points, labels)
        decoded: tuple[Tensor, Tensor] = self.mask_decoder(features.embedding, image_pe, prompts)
        return decoded


def build_efficient_sam(config: EfficientSamConfig) -> EfficientSam:
    """EfficientSAM with randomly initialised weights, in evaluation mode."""
    return EfficientSam(config).eval()


_RENAMES = (
    (r"^mask_decoder\.transformer\.", "mask_decoder."),
    (r"\.final_output_upscaling_layers\.0\.", ".output_upscaling."),
    (r"\.final_output_upscaling_layers\.1\.0\.", ".output_upscaling.3."),
    (r"\.mlp\.layers\.0\.0\.", ".mlp.lin1."),
    (r"\.mlp\.fc\.", ".mlp.lin2."),
    (r"\.layers\.([01])\.0\.", r".layers.\1."),  # the heads
    (r"\.fc\.", ".layers.2."),
)


def remap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official parameter names to ours."""

    def renamed(name: str) -> str:
        for pattern, ours in _RENAMES:
            name = re.sub(pattern, ours, name)
        return name

    return {renamed(name): tensor for name, tensor in state.items()}


@dataclass(frozen=True)
class EfficientSamEmbedding:
    """One encoded image and how it was stretched."""

    features: Features
    frame: Frame


@dataclass(frozen=True, slots=True)
class Stretch:
    """`MaskBatch.to_image`: bicubic from the decoder's resolution to the image, in one step."""

    original_hw: SizeHW

    def __call__(self, logits: Tensor) -> Tensor:
        """(K, h, w) to (K, H, W) float32."""
        masks = logits.to(torch.float32).unsqueeze(0)
        return F.interpolate(masks, self.original_hw, mode="bicubic", align_corners=False)[0]


class EfficientSamSegmenter:
    """Preprocessing, encoding and decoding of one image at a time.

    Weights and activations have the context's precision; coordinates, and the logits and IoUs that
    come out, are float32. Upstream's `forward` never returns token 0, so neither does this.
    """

    def __init__(self, model: EfficientSam, rule: InputSpec, context: LoadContext) -> None:
        self.device = torch.device(context.device)
        self.dtype = TORCH_DTYPES[context.dtype]
        self.model = model.to(device=self.device, dtype=self.dtype).eval()
        self.rule = rule

    def embed(self, image: ImageU8) -> EfficientSamEmbedding:
        """Encode an image, (H, W, 3) RGB uint8."""
        return self.encode(self.preprocess(image))

    def preprocess(self, image: ImageU8) -> tuple[Tensor, Frame]:
        """The first step of `embed`: the encoder's input, (1, 3, S, S), and its frame.

        Upstream stretches the float image by bilinear interpolation without antialiasing.
        """
        frame = Frame.of((image.shape[0], image.shape[1]), self.rule)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32).unsqueeze(0)
        if frame.original_hw != frame.network_hw:
            pixels = F.interpolate(pixels, frame.network_hw, mode="bilinear", align_corners=False)
        mean = torch.tensor(self.rule.mean).view(3, 1, 1)
        std = torch.tensor(self.rule.std).view(3, 1, 1)
        pixels = (pixels - mean) / std
        return pixels.to(device=self.device, dtype=self.dtype), frame

    @torch.inference_mode()
    def encode(self, pixels_and_frame: tuple[Tensor, Frame]) -> EfficientSamEmbedding:
        """The second step of `embed`."""
        pixels, frame = pixels_and_frame
        return EfficientSamEmbedding(self.model.encode(pixels), frame)

    @torch.inference_mode()
    def segment(self, embedding: EfficientSamEmbedding, prompts: Prompts) -> MaskBatch:
        """Tokens 1 to 3 of all prompts.

        Raises:
            CapabilityError: background points, mask prompts, or more points than there are slots.
            ModelOutputError: the model returned NaN or infinities.
        """
        frame = embedding.frame
        points, labels = slots(prompts)
        logits, iou = self.model.decode(
            embedding.features,
            frame.network_hw,
            torch.as_tensor(frame.to_network(points).astype(np.float32), device=self.device),
            torch.as_tensor(labels, device=self.device),
        )
        if not bool(torch.isfinite(logits).all() and torch.isfinite(iou).all()):
            raise ModelOutputError(
                "the mask decoder returned NaN or infinite values",
                fix="check the weights, or run with --dtype fp32",
            )
        return MaskBatch(
            logits=logits[:, 1:].float(),
            iou=iou[:, 1:].float(),
            tokens=(1, 2, 3),
            to_image=Stretch(frame.original_hw),
        )


def slots(prompts: Prompts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Prompts as labelled points: a box's corners first, then the points.

    Returns:
        points (N, P, 2) in original pixels and labels (N, P), P <= 6.

    Raises:
        CapabilityError: background points, mask prompts, or more points than there are slots.
    """
    if prompts.low_res_logits is not None:
        raise CapabilityError("EfficientSAM takes no mask prompts")
    points, labels = [], []
    if prompts.boxes is not None:
        points.append(prompts.boxes.reshape(-1, 2, 2))
        labels.append(np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], np.int64), (len(prompts), 1)))
    if prompts.points is not None and prompts.labels is not None:
        if (prompts.labels == 0).any():
            raise CapabilityError("EfficientSAM knows no background points")
        points.append(prompts.points)
        labels.append(np.where(prompts.labels == FOREGROUND, FOREGROUND, PADDING))
    joined = np.concatenate(points, axis=1)
    if joined.shape[1] > SLOTS:
        raise CapabilityError(
            f"EfficientSAM takes {SLOTS} points at most, a box counting as two;"
            f" here are {joined.shape[1]}"
        )
    return joined, np.concatenate(labels, axis=1)
