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
    """All four tables, each once per view of its prompts; data that the paper does not use gets
    the same columns without published numbers."""
    return [
        *_by_family(published, records, tuple(_CLICKS), _clicks, "clicks"),
        *_by_family(published, records, ("box",), _boxes, "gt-box"),
        *_detectors(published, records),
    ]


def _by_family(
    published: Mapping[str, PublishedTable],
    records: Sequence[Record],
    prompts: tuple[str, ...],
    layout: Callable[[str, PublishedTable | None], Layout],
    source: str,
) -> list[Table]:
    found = views(records, prompts)
    tables = []
    for family in _FAMILIES:
        mine: list[View | None] = [view for view in found if view.family == family]
        printed = layout(family, published[f"{PAPER}/{source}"])
        tables += [compare(printed, view) for view in mine or [None]]
    other = [view for view in found if not view.family]
    return tables + [compare(layout(view.name, None), view) for view in other]


def _clicks(family: str, source: PublishedTable | None) -> Layout:
    return Layout(
        name=f"{PAPER}-table2" if source else "clicks",
        family=family,
        caption=f"Zero-Shot Point-Prompted Segmentation Results on {_where(family, source)}",
        quantities=tuple(
            Quantity(f"{n} click mIoU", prompt, "miou", f"{family}_click{n}_miou")
            for prompt, n in _CLICKS.items()
        ),
        source=source,
        preset="miou-evit",
    )


def _boxes(family: str, source: PublishedTable | None) -> Layout:
    return Layout(
        name=f"{PAPER}-table3" if source else "gt-boxes",
        family=family,
        caption=f"Zero-Shot Instance Segmentation Results on {_where(family, source)}, "
        "Prompted with Ground Truth Bounding Box",
        quantities=tuple(
            Quantity(f"mIoU{label}", "box", f"miou{size}", f"{family}_miou{size}")
            for size, label in _SIZES.items()
        ),
        source=source,
        preset="miou-evit",
    )


def _detectors(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """Tables 4 and 5, one table per detector; other detectors without published columns."""
    found = views(records, ("detector",))
    known = [(family, "vitdet") for family in _FAMILIES]
    known += [("coco", "yolov8"), ("coco", "groundingdino")]
    tables = []
    for pair in known:
        mine: list[View | None] = [view for view in found if _pair(view) == pair]
        tables += [compare(_detector_layout(published, *pair), view) for view in mine or [None]]
    other = [view for view in found if _pair(view) not in known]
    return tables + [compare(_detector_layout(published, view.name, ""), view) for view in other]


def _pair(view: View) -> tuple[str, str]:
    """Dataset family and detector of a view; "" for a detector that the paper does not use."""
    name = str(view.boxes.get("file", "")).lower()
    return view.family, next((word for word in _DETECTORS if word in name), "")


def _detector_layout(published: Mapping[str, PublishedTable], family: str, detector: str) -> Layout:
    source: PublishedTable | None = None
    name, key = "detector-boxes", ""
    if detector == "vitdet":
        name, key = f"{PAPER}-table4-{detector}", f"{family}_ap"
        source = published[f"{PAPER}/vitdet-boxes"]
    elif detector:
        name, key = f"{PAPER}-table5-{detector}", f"{detector}_ap"
        source = published[f"{PAPER}/other-detectors"]
    boxes = f"{_DETECTORS[detector]} Boxes" if detector else "Detector Boxes"
    return Layout(
        name=name,
        family=family,
        caption=f"Zero-Shot Instance Segmentation Results on {_where(family, source)}, "
        f"Prompted with {boxes}",
        quantities=tuple(
            Quantity(f"AP{label}", "detector", f"ap{size[1:]}", f"{key}{size}")
            for size, label in _SIZES.items()
        ),
        source=source,
        preset="ap-det",
        boxes=f"{family}_{detector}.json" if detector else "FILE",
    )


def _where(family: str, source: PublishedTable | None) -> str:
    return family.upper() if source else family
