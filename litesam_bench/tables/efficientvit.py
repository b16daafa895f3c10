"""EfficientViT-SAM's Tables 2 to 5: clicks, ground-truth boxes, ViTDet boxes, other detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from litesam_bench.records.schema import Record
from litesam_bench.tables.compare import Layout, Quantity, compare
from litesam_bench.tables.measured import View, views
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Table

PAPER = "efficientvit-sam"
_FAMILIES = ("coco", "lvis")
_CLICKS = {"point": 1, "clicks:3": 3, "clicks:5": 5}
_SIZES = {"": "", "_s": "^S", "_m": "^M", "_l": "^L"}
# How a file of boxes is recognised: the papers' detectors by the word in upstream's file names.
_DETECTORS = {"vitdet": "ViTDet", "yolov8": "YOLOv8", "groundingdino": "Grounding DINO"}


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """All four tables, each once per view of its prompts."""
    return [
        *_by_family(published, records, tuple(_CLICKS), _clicks),
        *_by_family(published, records, ("box",), _boxes),
        *_detectors(published, records),
    ]


def _by_family(
    published: Mapping[str, PublishedTable],
    records: Sequence[Record],
    prompts: tuple[str, ...],
    layout: Callable[[Mapping[str, PublishedTable], str], Layout],
) -> list[Table]:
    found = views(records, prompts)
    tables = []
    for family in _FAMILIES:
        mine: list[View | None] = [view for view in found if view.family == family]
        tables += [compare(layout(published, family), view) for view in mine or [None]]
    return tables


def _clicks(published: Mapping[str, PublishedTable], family: str) -> Layout:
    source = published[f"{PAPER}/clicks"]
    return Layout(
        name=f"{PAPER}-table2-{family}",
        caption=f"{source.title}, {family.upper()}",
        quantities=tuple(
            Quantity(f"{n} click mIoU", prompt, "miou", f"{family}_click{n}_miou")
            for prompt, n in _CLICKS.items()
        ),
        source=source,
        commands=tuple(_command(family, f"{prompt} --protocol miou-evit") for prompt in _CLICKS),
    )


def _boxes(published: Mapping[str, PublishedTable], family: str) -> Layout:
    source = published[f"{PAPER}/gt-box"]
    return Layout(
        name=f"{PAPER}-table3-{family}",
        caption=f"{source.title}, {family.upper()}",
        quantities=tuple(
            Quantity(f"mIoU{label}", "box", f"miou{size}", f"{family}_miou{size}")
            for size, label in _SIZES.items()
        ),
        source=source,
        commands=(_command(family, "box --protocol miou-evit"),),
    )


def _detectors(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """Tables 4 and 5, one table per detector; other detectors without published columns."""
    found = views(records, ("detector",))
    known = [(family, "vitdet") for family in _FAMILIES]
    known += [("coco", "yolov8"), ("coco", "groundingdino")]
    tables = []
    for family, detector in known:
        mine: list[View | None] = [
            v for v in found if (v.family, _detector(v)) == (family, detector)
        ]
        layout = _detector_layout(published, family, detector)
        tables += [compare(layout, view) for view in mine or [None]]
    for view in found:
        if (view.family, _detector(view)) not in known:
            tables.append(compare(_detector_layout(published, view.family, ""), view))
    return tables


def _detector(view: View) -> str:
    name = str(view.boxes.get("file", "")).lower()
    return next((word for word in _DETECTORS if word in name), "")


def _detector_layout(published: Mapping[str, PublishedTable], family: str, detector: str) -> Layout:
    if detector == "vitdet":
        source, number, key = published[f"{PAPER}/vitdet-boxes"], "table4", f"{family}_ap"
    elif detector:
        source, number, key = published[f"{PAPER}/other-detectors"], "table5", f"{detector}_ap"
    else:
        source, number, key = None, "", ""
    whose = f"{_DETECTORS[detector]} Boxes" if detector else "detector boxes"
    where = family.upper() if source else family
    return Layout(
        name=f"{PAPER}-{number}-{family}-{detector}" if source else f"detector-boxes-{family}",
        caption=f"Zero-Shot Instance Segmentation Results on {where}, Prompted with {whose}",
        quantities=tuple(
            Quantity(f"AP{label}", "detector", f"ap{size[1:]}", f"{key}{size}" if source else "")
            for size, label in _SIZES.items()
        ),
        source=source,
        commands=(_command(family, f"detector --boxes {family}_{detector or 'NAME'}.json"),),
    )


def _command(family: str, prompt: str) -> str:
    return f"litesam-bench zeroshot --model all --dataset {family} --prompt {prompt}"
