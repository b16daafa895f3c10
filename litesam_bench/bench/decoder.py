"""The fast mask decoder against the plain one, in the same run, taking turns.

    python -m litesam_bench.bench.decoder [--prompts 1024] [--plain-prompts 128] [--segevery]
    python -m litesam_bench.bench.decoder --device cuda --dtype bf16 --segevery

SAM's decoder with random weights on a 64 x 64 embedding, prompted with points of a grid. Three ways
to get the same masks: the plain decoder at SAM's 64 prompts a batch, the plain decoder at the batch
that is fastest on this device, and the fast decoder. All return the masks whose predicted IoU
passes; the threshold is set so that half of the prompts have such a mask, as is usual for SAM's
default filter on photographs (random weights have no meaning at 0.88). The ratios without a filter
are printed as well.

The plain decoder does the same for every batch, so its time is proportional to the prompts. On a
CPU, where all 1,024 would take it minutes, it is therefore timed on the first `--plain-prompts` of
them, and times per prompt are compared; the fast one does all of them, shared parts included.

`--segevery` times a whole image with SAM ViT-B (random weights), from pixels to RLE: encoder, grid,
fast decoder and generator against the same encoder, the plain decoder and masks finished one by
one. Nothing is left out there, for either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from litesam_bench.everything.proposals import GeneratorConfig
    from litesam_bench.sam.fast_decoder import FastMaskDecoder
    from litesam_bench.sam.mask_decoder import Features, MaskDecoder
    from litesam_bench.sam.segmenter import SamSegmenter
    from litesam_bench.timing.latency import PhaseTimer

SAM_BATCH = 64
BAR_SAM_BATCH, BAR_BEST_BATCH, BAR_SEGEVERY, BAR_IOU = 3.0, 2.0, 2.0, 0.99
_AGREEMENT_GRID = 8  # prompts a side on which the masks of both ways are compared


@dataclass(frozen=True)
class Problem:
    """One image's decoder inputs, and the predicted IoU that half of the prompts reach."""

    decoder: MaskDecoder
    features: Features
    position: Tensor
    dense: Tensor
    sparse: Tensor
    threshold: float

    def first(self, count: int) -> Problem:
        """The same with the first prompts only."""
        return replace(self, sparse=self.sparse[:count])

    def plain(self, batch: int, threshold: float) -> tuple[Tensor, Tensor]:
        """Wanted logits (K, 256, 256) and the (prompt, token) pairs they belong to."""
        import torch

        logits, index = [], []
        for begin in range(0, len(self.sparse), batch):
            part = self.sparse[begin : begin + batch]
            made, iou = self.decoder(self.features, self.position, part, self.dense)
            wanted = (iou > threshold).nonzero()
            logits.append(made[wanted[:, 0], wanted[:, 1]])
            index.append(wanted + torch.tensor([begin, 0], device=wanted.device))
        return torch.cat(logits), torch.cat(index)

    def fast(self, decoder: FastMaskDecoder, threshold: float) -> tuple[Tensor, Tensor]:
        """The same, fast; what is shared between the prompts is part of the time."""
        import torch

        side = decoder.image_side(self.features, self.position, self.dense)
        made = decoder(side, self.sparse, keep=lambda iou: iou > threshold)
        return made.logits, torch.stack([made.prompts, made.tokens], dim=1)


def make_problem(prompts: int, device: str, dtype: str, seed: int = 0) -> Problem:
    """SAM's decoder and grid prompts, with weights that spread logits and predicted IoU."""
    import torch

    from litesam_bench.everything.grid import grid_points
    from litesam_bench.sam.mask_decoder import Features, MaskDecoder, MaskDecoderConfig
    from litesam_bench.sam.prompt_encoder import PromptEncoder, PromptEncoderConfig
    from litesam_bench.sam.segmenter import TORCH_DTYPES

    kind = TORCH_DTYPES[dtype]  # type: ignore[index]
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        decoder = MaskDecoder(MaskDecoderConfig()).eval()
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        encoder = PromptEncoder(PromptEncoderConfig())
        decoder.to(device=device, dtype=kind)
        encoder.to(device=device, dtype=kind)
        features = Features(torch.randn(1, 256, 64, 64).to(device=device, dtype=kind))
        side = int(np.ceil(np.sqrt(prompts)))
        grid = grid_points(side, (1024, 1024))[:prompts]
        points = torch.tensor(grid, dtype=torch.float32, device=device)
        labels = torch.ones(prompts, 1, dtype=torch.int64, device=device)
        sparse, dense = encoder((1024, 1024), points[:, None], labels)
        position = encoder.dense_pe((64, 64))
        batches = [decoder(features, position, part, dense)[1] for part in sparse.split(8)]
        best = torch.cat(batches).float().amax(dim=1).sort().values
        # between two values, so that rounding decides nothing
        threshold = float(best[prompts // 2 - 1 : prompts // 2 + 1].mean())
    return Problem(decoder, features, position, dense, sparse, threshold)


def run(
    prompts: int,
    device: str = "cpu",
    dtype: str = "fp32",
    repeats: int = 3,
    plain_prompts: int | None = None,
) -> dict[str, Any]:
    """Time the three ways, with the filter and without; check that they agree.

    Args:
        plain_prompts: of the prompts, how many the plain decoder is timed on; None: all. Without
            the filter, where every mask is made, all ways take no more than these.
    """
    import torch

    from litesam_bench.sam.fast_decoder import FastMaskDecoder
    from litesam_bench.timing.device import describe_device
    from litesam_bench.timing.latency import machine_state

    with torch.inference_mode():
        problem = make_problem(prompts, device, dtype)
        few = problem.first(plain_prompts or prompts)
        fast = FastMaskDecoder(problem.decoder)
        side = fast.image_side(problem.features, problem.position, problem.dense)
        fast.chunk = fast.best_chunk(side, problem.sparse)
        best = _best_plain_batch(problem, device)
        return {
            "device": describe_device(device),
            "dtype": dtype,
            "prompts": prompts,
            "plain_prompts": len(few.sparse),
            "plain_best_batch": best,
            "fast_chunk": fast.chunk,
            "bars": {"sam_batch": BAR_SAM_BATCH, "best_batch": BAR_BEST_BATCH},
            **machine_state(device),
            "filtered": _compare(few, problem, fast, best, problem.threshold, device, repeats),
            "unfiltered": _compare(few, few, fast, best, -float("inf"), device, repeats),
        }


def _compare(
    few: Problem,
    problem: Problem,
    fast: FastMaskDecoder,
    best: int,
    threshold: float,
    device: str,
    repeats: int,
) -> dict[str, Any]:
    """The plain decoder on a few prompts, at SAM's batch and its best, and the fast one on all."""
    from litesam_bench.timing.latency import measure, ratio

    ways: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "plain_64": partial(few.plain, SAM_BATCH, threshold),
        "plain_best": partial(few.plain, best, threshold),
        "fast": partial(problem.fast, fast, threshold),
    }
    # choosing chunk and batch has warmed both up; the first call is for the allocator
    times = measure(
        {way: _as_timed(call) for way, call in ways.items()},
        [0],
        device=device,
        repeats=repeats,
        warm_up_limit=2 if device != "cpu" else 1,
    )
    n, n_plain = len(problem.sparse), len(few.sparse)
    counts = {"plain_64": n_plain, "plain_best": n_plain, "fast": n}
    made = ways["fast"]()
    return {
        "prompts": counts,
        "ms_per_prompt": {k: round(1000 * t.median_s / counts[k], 3) for k, t in times.items()},
        "ratio_sam_batch": _rounded(ratio(times["plain_64"], times["fast"]).times(n / n_plain)),
        "ratio_best_batch": _rounded(ratio(times["plain_best"], times["fast"]).times(n / n_plain)),
        "masks": len(made[1]),
        **_agreement(ways["plain_64"](), _of_first(made, n_plain)),
    }


def _of_first(made: tuple[Tensor, Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The masks that belong to the first prompts."""
    rows = made[1][:, 0] < count
    return made[0][rows], made[1][rows]


def _as_timed(call: Callable[[], object]) -> Callable[[int, Any], None]:
    def timed(item: int, timer: object) -> None:
        call()

    return timed


def _best_plain_batch(problem: Problem, device: str) -> int:
    """The plain decoder's fastest batch on this device, of powers of two up to 256."""
    from litesam_bench.timing.latency import timed

    sizes = [b for b in (1, 2, 4, 8, 16, 32, 64, 128, 256) if b <= len(problem.sparse)]
    if device == "cpu":
        sizes = [b for b in sizes if b <= 16]  # above, the image tokens leave every cache
    seconds = {}
    for batch in sizes:
        part = problem.sparse[: max(batch, min(16, len(problem.sparse)))]
        call = partial(replace(problem, sparse=part).plain, batch, -np.inf)
        seconds[batch] = min(timed(call, device)[0] for _ in range(3)) / len(part)
    return min(seconds, key=lambda batch: seconds[batch])


def _agreement(
    plain: tuple[Tensor, Tensor], fast: tuple[Tensor, Tensor]
) -> dict[str, float | bool | int]:
    """Whether the same masks were kept, and the largest logit difference of those that both kept,
    over the logits' range. In half precision a predicted IoU may round across the threshold."""
    ours, theirs = ((256 * index[:, 0] + index[:, 1]).cpu().numpy() for _, index in (fast, plain))
    _, a, b = np.intersect1d(theirs, ours, assume_unique=True, return_indices=True)
    same = {"same_masks": bool(np.array_equal(ours, theirs)), "common_masks": len(a)}
    if not len(a):
        return {**same, "largest_difference": float("nan")}
    largest = 0.0
    for i, j in zip(a.tolist(), b.tolist(), strict=True):
        largest = max(largest, float((plain[0][i].float() - fast[0][j].float()).abs().max()))
    spread = float(plain[0].max().float() - plain[0].min().float())
    return {**same, "largest_difference": largest / spread}


def _rounded(ratio: Any) -> dict[str, float]:
    return {
        "value": round(ratio.value, 2),
        "low": round(ratio.low, 2),
        "high": round(ratio.high, 2),
    }


# --- whole image ---------------------------------------------------------------------------------


def run_segevery(
    per_side: int, device: str = "cpu", dtype: str = "fp32", repeats: int = 1
) -> dict[str, Any]:
    """Time pixels to RLE with SAM ViT-B and a grid, both ways; check that they agree."""
    import torch

    from litesam_bench.everything.generator import generate
    from litesam_bench.everything.grid import Grid
    from litesam_bench.metrics import rle
    from litesam_bench.timing.device import describe_device
    from litesam_bench.timing.latency import PhaseTimer, machine_state, measure, ratio

    fast, plain, image = _sam_vit_b(device, dtype)
    config = _half_pass(fast, image)

    def fast_way(item: int, timer: PhaseTimer) -> Mapping[str, float]:
        found = generate(fast, image, Grid(per_side), config, clock=timer)
        return {"masks": float(len(found.proposals))}

    def plain_way(item: int, timer: PhaseTimer) -> Mapping[str, float]:
        return {"masks": float(len(one_by_one(plain, image, per_side, config, timer)))}

    with torch.inference_mode():
        # On a CPU the plain way takes minutes: warmed up on a few prompts, then timed once.
        generate(fast, image, Grid(4), config)
        one_by_one(plain, image, 4, config, PhaseTimer(device))
        times = measure(
            {"plain": plain_way, "fast": fast_way},
            [0],
            device=device,
            repeats=repeats,
            warm_up_limit=0 if device == "cpu" else 2,
        )
        # Before NMS, which leaves one of many near-equal boxes: which one is a matter of rounding.
        every = replace(config, box_nms_thresh=1.0)
        few = min(per_side, _AGREEMENT_GRID)
        fast_found = generate(fast, image, Grid(few), every).proposals
        ours = {(p.token, p.prompt_id): p.rle for p in fast_found}
        plain_found = one_by_one(plain, image, few, every, PhaseTimer(device))
    theirs = {(token, prompt): code for token, prompt, code in plain_found}
    common = sorted(ours.keys() & theirs.keys())
    assert common, "the threshold is the median of what these masks are given"
    ious = rle.iou_aligned([ours[k] for k in common], [theirs[k] for k in common])
    return {
        "device": describe_device(device),
        "dtype": dtype,
        "grid": per_side,
        "bar": BAR_SEGEVERY,
        "ratio": _rounded(ratio(times["plain"], times["fast"])),
        "systems": {name: t.summary() for name, t in times.items()},
        "masks_before_nms": {"fast": len(ours), "plain": len(theirs), "common": len(common)},
        "lowest_iou": float(ious.min()),
        **machine_state(device),
    }


def segevery_text(part: Mapping[str, Any]) -> str:
    """One line of what `run_segevery` found."""
    masks = part["masks_before_nms"]
    return (
        f"SAM ViT-B, fast way: {part['ratio']['value']}x of the plain one (bar {BAR_SEGEVERY}); "
        f"{masks['common']} masks of both ({masks['fast']} and {masks['plain']}), "
        f"lowest IoU {part['lowest_iou']:.4f} (bar {BAR_IOU})"
    )


def _sam_vit_b(
    device: str, dtype: str
) -> tuple[SamSegmenter, SamSegmenter, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Two segmenters on one ViT-B, fast and plain, and an image of 480 x 640.

    The weights are those of the parity tests: freshly initialised ones find no masks.
    """
    import torch

    from litesam_bench.datasets.open import open_dataset
    from litesam_bench.parity import manifest_path
    from litesam_bench.parity.documented import documented_weights
    from litesam_bench.parity.manifest import read_manifest
    from litesam_bench.paths import data_root
    from litesam_bench.sam.image_encoder import VIT_B
    from litesam_bench.sam.model import build_sam
    from litesam_bench.sam.segmenter import SamSegmenter
    from litesam_bench.spec import InputSpec
    from litesam_bench.types import LoadContext

    with torch.inference_mode():
        model = build_sam(VIT_B)
        model.load_state_dict(documented_weights(read_manifest(manifest_path("sam-vit-b"))))
    context = LoadContext(device=device, dtype=dtype)  # type: ignore[arg-type]
    scenes = open_dataset("scenes", data_root=data_root(None))
    return (
        SamSegmenter(model, InputSpec(), context),
        SamSegmenter(model, InputSpec(), context, fast=False),
        scenes.sample(scenes.image_ids[0]).image,
    )


def _half_pass(segmenter: SamSegmenter, image: Any) -> GeneratorConfig:
    """SAM's defaults but for thresholds that these weights can meet: half of 16 prompts' best."""
    from litesam_bench.everything.grid import grid_points, point_prompts
    from litesam_bench.everything.proposals import GeneratorConfig

    points = grid_points(4, image.shape[:2])
    batch = segmenter.segment(segmenter.embed(image), point_prompts(points))
    # numpy's median lies between two of the 16, where rounding cannot move a mask across it
    threshold = float(np.median(batch.iou[:, 1:].amax(dim=1).float().cpu().numpy()))
    return GeneratorConfig(pred_iou_thresh=threshold, stability_thresh=0)


def one_by_one(
    segmenter: SamSegmenter, image: Any, per_side: int, config: GeneratorConfig, timer: PhaseTimer
) -> list[tuple[int, int, Any]]:
    """The same steps with the plain decoder, and every mask finished on its own."""
    from pycocotools import mask as coco_mask

    from litesam_bench.dialogue import stability
    from litesam_bench.everything.grid import Grid
    from litesam_bench.everything.nms import box_nms
    from litesam_bench.everything.proposals import View

    with timer.phase("preprocess"):
        pixels = segmenter.preprocess(image)
    with timer.phase("encode"):
        embedding = segmenter.encode(pixels)
    view = View(image.shape[:2], 0, segmenter, embedding)
    prompts = Grid(per_side).prompts(view, 0, None)
    found, boxes, scores = [], [], []
    for begin in range(0, len(prompts), config.points_per_batch):
        with timer.phase("decode"):
            batch = segmenter.segment(embedding, prompts[begin : begin + config.points_per_batch])
        for n, row in enumerate(batch.iou.tolist()):
            for token in (1, 2, 3):
                if row[token] <= config.pred_iou_thresh:
                    continue
                with timer.phase("filter"):
                    full = batch.to_image(batch.logits[n, token : token + 1])[0]
                    if float(stability(full)) < config.stability_thresh:
                        continue
                    mask = (full > 0).cpu().numpy()
                    ys, xs = np.nonzero(mask)
                    if not len(ys):
                        continue
                with timer.phase("rle"):
                    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                found.append((token, begin + n, code))
                boxes.append((xs.min(), ys.min(), xs.max(), ys.max()))
                scores.append(row[token])
    with timer.phase("nms"):
        kept = box_nms(boxes, scores, config.box_nms_thresh)
    return [found[i] for i in kept.tolist()]


@click.command()
@click.option("--prompts", type=click.IntRange(min=4), default=1024, show_default=True)
@click.option(
    "--plain-prompts",
    type=click.IntRange(min=4),
    default=None,
    help="Of these, how many the plain decoder is timed on. Default: 128 on a CPU, else all.",
)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--dtype", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True
)
@click.option("--repeats", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--segevery", is_flag=True, help="Time whole images with SAM ViT-B as well.")
@click.option("--grid", "per_side", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--json", "json_output", is_flag=True)
def main(
    prompts: int,
    plain_prompts: int | None,
    device: str,
    dtype: str,
    repeats: int,
    segevery: bool,
    per_side: int,
    json_output: bool,
) -> None:
    """Print how many times faster the fast decoder is."""
    from litesam_bench.timing.device import pick_device

    device = pick_device(device)
    few = plain_prompts or (2 * SAM_BATCH if device == "cpu" else prompts)
    result = run(prompts, device, dtype, repeats, min(few, prompts))
    if segevery:
        result["segevery"] = run_segevery(per_side, device, dtype)
    if json_output:
        click.echo(json.dumps(result, indent=1))
        return
    plain_on = "" if few >= prompts else f" (plain decoder: {few} of them)"
    click.echo(f"{prompts} prompts{plain_on}, {result['device']}, {dtype}")
    for name in ("filtered", "unfiltered"):
        part = result[name]
        a, b = part["ratio_sam_batch"], part["ratio_best_batch"]
        click.echo(
            f"  {name}, {part['prompts']['fast']} prompts: "
            f"{part['ms_per_prompt']['fast']} ms a prompt; "
            f"{a['value']}x of plain at {SAM_BATCH} a batch (bar {BAR_SAM_BATCH}), "
            f"{b['value']}x of plain at its best, {result['plain_best_batch']} "
            f"(bar {BAR_BEST_BATCH}); {part['masks']} masks, "
            f"{'the same' if part['same_masks'] else 'not all the same'}, "
            f"largest difference {part['largest_difference']:.1e} of the range"
        )
    if segevery:
        click.echo(f"  {per_side} x {per_side} grid, {segevery_text(result['segevery'])}")


if __name__ == "__main__":
    main()
