"""Every named protocol, and every choice that changes a number as a visible field.

A protocol id is `name/prompt@version`, for example `miou-strict/clicks:3@1`. Two numbers are
comparable exactly when their protocol ids, data digests and prompt files are equal. A preset is
never edited: a change of meaning is a new version.

Fields fall into two groups. `PREDICT_FIELDS` change what the model is asked or how the dialogue
goes on, so they are part of a run's fingerprint. All others change only how journaled masks are
scored: `litesam-bench score RUN --protocol ID` moves between protocols that agree on the first
group, without the model. The sources of every preset are the scripts that published numbers come
from; `source` names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal

from litesam_bench.errors import UsageError

PromptKind = Literal["box", "point", "clicks", "detector"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to measure. Every field is recorded with every number.

    Prompting (predict side):
        prompt: where prompts come from: annotation boxes, one point, a dialogue of clicks, or a
            detector's boxes.
        n_clicks: points given in total when `prompt` is "point" or "clicks".
        point_rule: the first point. `edt-max`: farthest from the boundary by exact L2 distance with
            the image border as boundary (RITM, EfficientViT-SAM); `samfast-center`: centre of mass
            if inside, else by axis-aligned runs; `edgesam-center`: approximate distance transform
            of the mask in the network frame.
        next_click_rule: `error-edt-max`: the same point of the larger error region, its label by
            its type.
        mask_feedback: whether the previous low-resolution logits are sent back as a mask prompt.
        refine_iter, refine_rule: extra passes after the last prompt. `mask-feedback` sends box and
            previous logits (SAM's AP, "cascade"); `random-error-pixel` adds a random wrong pixel as
            a click (EdgeSAM), drawn with a seed per instance and round.
        dialogue_select: the mask that later rounds react to; same values as `mask_select`.

    Masks:
        mask_select: `pred-iou`: highest predicted IoU of the multimask tokens; `token0`: SAM's
            single-mask token; `stability`: highest stability score; `oracle`: highest true IoU.
        mask_res: `original`: masks are compared at original image size.
        upsample: `system`: the system's own way back to the image (see its SPEC).

    Ground truth:
        image_set: `all` images of the set, or only those `annotated`; without effect on instance
            means, but on the expected number of images.
        crowd: keep or drop annotations with iscrowd = 1.
        min_area_px: annotations whose `area` is smaller are left out.
        empty_truth: annotations whose mask has no pixel are dropped when the dataset is opened, and
            counted there: they have no IoU, no point, and no upstream script treats them.
        gt_res: `original`, or `roundtrip-1024`: resampled to the network frame and back and
            binarised at > 0, which dilates it a little (EdgeSAM).

    Scoring:
        iou_eps: added to the union. average: `instance` (micro). area_bins: by the annotation's
            `area`; `inclusive-both` counts an instance on a bin's bound in both bins.
        ap_score: `detector`, `detector*pred-iou` or `pred-iou`.
        det_area: detections outside the area range are judged by `mask` or `box` area.
        max_dets: detections kept per image and category by COCO's rules.
        max_dets_lvis: detections kept per image, over all categories, by LVIS's rules.
        companion: the AP protocol that is scored from the same masks, "" for none.
    """

    name: str
    version: int = 1
    summary: str
    source: str
    metric: Literal["miou", "ap"]
    # prompting
    prompt: PromptKind
    n_clicks: int = 0
    point_rule: Literal["none", "edt-max", "samfast-center", "edgesam-center"] = "none"
    next_click_rule: Literal["none", "error-edt-max"] = "none"
    mask_feedback: bool = False
    refine_iter: int = 0
    refine_rule: Literal["none", "mask-feedback", "random-error-pixel"] = "none"
    dialogue_select: Literal["none", "pred-iou", "token0", "stability"] = "none"
    # masks
    mask_select: Literal["pred-iou", "token0", "stability", "oracle"] = "pred-iou"
    mask_res: Literal["original"] = "original"
    upsample: Literal["system"] = "system"
    # ground truth
    image_set: Literal["all", "annotated"] = "all"
    crowd: Literal["keep", "drop"] = "drop"
    min_area_px: float = 0.0
    empty_truth: Literal["drop"] = "drop"
    gt_res: Literal["original", "roundtrip-1024"] = "original"
    # scoring
    iou_eps: float = 0.0
    average: Literal["instance"] = "instance"
    area_bins: Literal["coco", "inclusive-both"] = "coco"
    ap_score: Literal["none", "detector", "detector*pred-iou", "pred-iou"] = "none"
    det_area: Literal["mask", "box"] = "mask"
    max_dets: int = 100
    max_dets_lvis: int = 300
    companion: str = ""

    @property
    def prompt_id(self) -> str:
        """`box`, `point`, `clicks:3`, `detector`, with `-ref:K` for K refinement rounds."""
        base = f"clicks:{self.n_clicks}" if self.prompt == "clicks" else self.prompt
        refined = self.refine_rule == "random-error-pixel"
        return f"{base}-ref:{self.refine_iter}" if refined else base

    @property
    def id(self) -> str:
        """The name that every number carries, e.g. `miou-strict/box@1`."""
        return f"{self.name}/{self.prompt_id}@{self.version}"

    def knobs(self) -> dict[str, Any]:
        """All fields, for records and `protocols show`."""
        return asdict(self)


PREDICT_FIELDS = frozenset(
    {
        "prompt",
        "n_clicks",
        "point_rule",
        "next_click_rule",
        "mask_feedback",
        "refine_iter",
        "refine_rule",
        "dialogue_select",
        "mask_res",
        "upsample",
    }
)


def predict_knobs(protocol: Protocol) -> dict[str, Any]:
    """The fields that change what the model is asked; scoring cannot change them afterwards."""
    return {f.name: getattr(protocol, f.name) for f in fields(protocol) if f.name in PREDICT_FIELDS}


def differing_predict_fields(a: Protocol, b: Protocol) -> list[str]:
    """Predict-side fields in which two protocols differ; empty when one run serves both."""
    return sorted(k for k, v in predict_knobs(a).items() if getattr(b, k) != v)


def check_rescorable(made: Protocol, wanted: Protocol) -> None:
    """Raise UsageError when masks made for one protocol cannot be scored under another."""
    differing = differing_predict_fields(made, wanted)
    if differing:
        raise UsageError(
            f"masks of {made.id} cannot be scored as {wanted.id}: the model was asked something "
            f"else ({', '.join(differing)})",
            fix=f"litesam-bench zeroshot --protocol {wanted.id} makes them",
        )


# --- prompts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptRequest:
    """A parsed `--prompt` value: kind, number of clicks, refinement rounds."""

    kind: PromptKind
    clicks: int = 0
    refine: int = 0


_PROMPT = re.compile(r"(box|point|detector|clicks:([1-9][0-9]?))(?:-ref:([1-9]))?")


def parse_prompt(text: str) -> PromptRequest:
    """Parse `box`, `point`, `clicks:N`, `detector`, each optionally with `-ref:K`.

    `clicks:1` is `point`, so that one measurement has one name. Raises UsageError.
    """
    match = _PROMPT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"unknown prompt {text!r}",
            fix="use --prompt box, point, clicks:N (N up to 99) or detector",
        )
    kind, clicks, refine = match.group(1), match.group(2), int(match.group(3) or 0)
    if clicks is not None:
        kind = "clicks" if int(clicks) > 1 else "point"
    number = int(clicks) if clicks is not None else (1 if kind == "point" else 0)
    return PromptRequest(kind, number, refine)  # type: ignore[arg-type]


def _dialogue(request: PromptRequest, point_rule: str) -> dict[str, Any]:
    """The predict-side fields that follow from a prompt request."""
    if request.kind in ("box", "detector"):
        return {"prompt": request.kind}
    several = request.clicks > 1
    return {
        "prompt": request.kind,
        "n_clicks": request.clicks,
        "point_rule": point_rule,
        "next_click_rule": "error-edt-max" if several else "none",
        "dialogue_select": "pred-iou" if several else "none",
    }


# --- presets -----------------------------------------------------------------------------------


def _companion(request: PromptRequest) -> str:
    return "ap-gtbox" if request.kind == "box" else "ap-gtpoint"


def _strict(request: PromptRequest) -> Protocol:
    return Protocol(
        name="miou-strict",
        summary="the default: no crowds, no empty masks, best of three by predicted IoU",
        source="ours: protocols of the field with their ambiguities removed",
        metric="miou",
        companion=_companion(request),
        **_dialogue(request, "edt-max"),
    )


def _evit(request: PromptRequest) -> Protocol:
    return Protocol(
        name="miou-evit",
        summary="EfficientViT-SAM's evaluation: crowds kept, area >= 1, 1e-7 in the union",
        source="mit-han-lab/efficientvit, applications/efficientvit_sam: "
        "eval_efficientvit_sam_model.py and sam_eval_utils.py",
        metric="miou",
        crowd="keep",
        min_area_px=1.0,
        iou_eps=1e-7,
        area_bins="inclusive-both",
        companion=_companion(request),
        **_dialogue(request, "edt-max"),
    )


def _edgesam(request: PromptRequest) -> Protocol:
    base = Protocol(
        name="miou-edgesam",
        summary="EdgeSAM's evaluation: token 0, ground truth resampled to 1024 and back at > 0",
        source="chongzhou96/EdgeSAM evaluation/eval_mIoU.py; its random clicks depend on the rank, "
        "ours on a seed per instance, so refined numbers are not bit-reproducible against it",
        metric="miou",
        image_set="annotated",
        mask_select="token0",
        gt_res="roundtrip-1024",
        # its points follow another rule than ap-gtpoint's, so only boxes share a run
        companion="ap-gtbox" if request.kind == "box" else "",
        **_dialogue(request, "edgesam-center"),
    )
    if request.refine == 0:
        return base
    return replace(
        base,
        refine_iter=request.refine,
        refine_rule="random-error-pixel",
        dialogue_select="token0",
        companion="",
    )


def _oracle(request: PromptRequest) -> Protocol:
    return replace(
        _strict(request),
        name="miou-oracle",
        summary="miou-strict with the best of all returned masks by true IoU: an upper bound",
        source="the 'oracle' columns of the SAM paper, Semantic-SAM and EdgeSAM",
        mask_select="oracle",
        companion="",
    )


def _samfast(request: PromptRequest) -> Protocol:
    return Protocol(
        name="miou-samfast",
        summary="segment-anything-fast's evaluation: one centre point, crowds kept",
        source="pytorch-labs/segment-anything-fast experiments/",
        metric="miou",
        image_set="annotated",
        crowd="keep",
        companion="",
        **_dialogue(request, "samfast-center"),
    )


def _ap_det(request: PromptRequest) -> Protocol:
    return Protocol(
        name="ap-det",
        summary="a detector's boxes as prompts, best of three, the detector's scores",
        source="EfficientViT-SAM and TinySAM box_from_detector evaluation",
        metric="ap",
        crowd="keep",  # COCOeval ignores crowd regions itself
        ap_score="detector",
        **_dialogue(request, "none"),
    )


def _ap_det_single(request: PromptRequest) -> Protocol:
    return replace(
        _ap_det(request),
        name="ap-det-single",
        summary="ap-det with SAM's single-mask token",
        source="SAM-HQ, TinySAM's single-mask column",
        mask_select="token0",
    )


def _ap_det_product(request: PromptRequest) -> Protocol:
    return replace(
        _ap_det_single(request),
        name="ap-det-product",
        summary="single-mask token, score = detector score x predicted IoU",
        source="RockeyCoss/Prompt-Segment-Anything",
        ap_score="detector*pred-iou",
    )


def _ap_det_cascade(request: PromptRequest) -> Protocol:
    return replace(
        _ap_det(request),
        name="ap-det-cascade",
        summary="ap-det with one refinement pass: the box and the first mask's logits",
        source="SAM paper, Table 5; Prompt-Segment-Anything's cascade",
        refine_iter=1,
        refine_rule="mask-feedback",
        dialogue_select="pred-iou",
    )


def _ap_gt(request: PromptRequest) -> Protocol:
    box = request.kind == "box"
    return Protocol(
        name="ap-gtbox" if box else "ap-gtpoint",
        summary="every non-crowd annotation prompted with its own "
        + ("box" if box else "point(s)")
        + ", its category, scored by predicted IoU (1 where a system has none; ties by id)",
        source="ours: the Lite-SAM poster prints such columns without saying how",
        metric="ap",
        crowd="keep",  # as the evaluator's ignore regions; never prompted
        ap_score="pred-iou",
        **_dialogue(request, "edt-max"),
    )


_MIOU = ("box", "point", "clicks")
_PRESETS: dict[str, tuple[Callable[[PromptRequest], Protocol], tuple[str, ...], bool]] = {
    # name: (builder, prompt kinds, accepts -ref:K)
    "miou-strict": (_strict, _MIOU, False),
    "miou-evit": (_evit, _MIOU, False),
    "miou-edgesam": (_edgesam, ("box", "point"), True),
    "miou-oracle": (_oracle, _MIOU, False),
    "miou-samfast": (_samfast, ("point",), False),
    "ap-det": (_ap_det, ("detector",), False),
    "ap-det-single": (_ap_det_single, ("detector",), False),
    "ap-det-product": (_ap_det_product, ("detector",), False),
    "ap-det-cascade": (_ap_det_cascade, ("detector",), False),
    "ap-gtbox": (_ap_gt, ("box",), False),
    "ap-gtpoint": (_ap_gt, ("point", "clicks"), False),
}

DEFAULT_FOR_PROMPT = {
    "box": "miou-strict",
    "point": "miou-strict",
    "clicks": "miou-strict",
    "detector": "ap-det",
}


def names() -> list[str]:
    """The preset names, in the order of the documentation."""
    return list(_PRESETS)


def presets() -> list[Protocol]:
    """One protocol per preset and prompt kind (clicks shown as `clicks:3`), for listings."""
    examples = {"box": "box", "point": "point", "clicks": "clicks:3", "detector": "detector"}
    return [
        builder(parse_prompt(examples[kind]))
        for builder, kinds, _ in _PRESETS.values()
        for kind in kinds
    ]


def get(protocol_id: str, prompt: str | None = None) -> Protocol:
    """Look up `name`, `name/prompt` or `name/prompt@version`.

    Args:
        protocol_id: the id; its prompt part may be left out when `prompt` is given.
        prompt: a `--prompt` value; must agree with the id's prompt part if both are given.

    Raises:
        UsageError: unknown name (near ones are suggested), prompt that the preset does not
            define, version that this release does not have.
    """
    head, _, version = protocol_id.partition("@")
    name, _, own_prompt = head.partition("/")
    if name not in _PRESETS:
        near = get_close_matches(name, _PRESETS, n=3)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise UsageError(
            f"unknown protocol {name!r}", fix=f"{hint}litesam-bench protocols list shows all"
        )
    builder, kinds, refinable = _PRESETS[name]
    if own_prompt and prompt and parse_prompt(own_prompt) != parse_prompt(prompt):
        raise UsageError(
            f"protocol {protocol_id!r} prompts with {own_prompt}, but --prompt says {prompt}",
            fix=f"leave out --prompt, or write --protocol {name}/{prompt}",
        )
    request = parse_prompt(own_prompt or prompt or kinds[0])
    if request.kind not in kinds or (request.refine and not refinable):
        raise UsageError(
            f"protocol {name} is not defined for prompt {own_prompt or prompt}",
            fix=f"it takes {', '.join('clicks:N' if k == 'clicks' else k for k in kinds)}",
        )
    protocol = builder(request)
    if version and version != str(protocol.version):
        raise UsageError(
            f"this release has {protocol.id}, not version {version}",
            fix=f"write --protocol {protocol.id}",
        )
    return protocol


def companion_of(protocol: Protocol) -> Protocol | None:
    """The AP protocol that is scored from the same masks, if the preset names one."""
    return get(protocol.companion, protocol.prompt_id) if protocol.companion else None
