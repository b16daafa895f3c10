"""Comparison tables: every state of a record has one way to appear, and unlike things part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from record_factory import COCO_DIGEST, make_record

from litesam_bench import registry
from litesam_bench.errors import DataError
from litesam_bench.metrics import coco_ap, lvis_ap
from litesam_bench.records.schema import Record
from litesam_bench.tables import backbones, efficientvit, measured, published, zeroshot
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Cell, Table
from litesam_bench.types import Category, GroundTruth

Printed = Mapping[str, PublishedTable]


def _cell(table: Table, model: str, group: str, label: str = "ours") -> Cell:
    column = next(n for n, c in enumerate(table.columns) if (c.group, c.label) == (group, label))
    (row,) = [row for row in table.rows if row[0].text == model]
    return row[column]


def _triple(table: Table, model: str, group: str) -> tuple[str, str, str]:
    paper, ours, delta = (
        _cell(table, model, group, label).text for label in ("paper", "ours", "Δ")
    )
    return paper, ours, delta


def _zeroshot(printed: Printed, *records: Record) -> Table:
    """The one COCO table of these records."""
    tables = zeroshot.build(printed, records)
    (table,) = [t for t in tables if t.name.startswith("zeroshot-coco")]
    return table


def test_without_records_the_published_numbers_stand_alone(printed: Printed) -> None:
    tables = zeroshot.build(printed, [])
    assert [table.name for table in tables] == ["zeroshot-coco", "zeroshot-lvis"]
    assert _triple(tables[0], "SAM-B", "1-box mIoU") == ("75.0", "", "")
    assert _triple(tables[1], "Lite-SAM (r1024)", "APᴸ".replace("ᴸ", "^L")) == ("79.8", "", "")
    assert len(tables[0].rows) == 12
    assert ("Measured", "nothing yet") in tables[0].context


def test_measured_stands_beside_published(printed: Printed) -> None:
    box = make_record(key="sam-b", metrics={"miou": 0.75261}, ap={"ap": 0.5534, "aps": 0.4749})
    point = make_record(key="sam-b", prompt="point", metrics={"miou": 0.52149})
    table = _zeroshot(printed, box, point)
    assert _triple(table, "SAM-B", "1-box mIoU") == ("75.0", "75.3", "+0.3")
    assert _triple(table, "SAM-B", "1-point mIoU") == ("52.2", "52.1", "−0.1")
    assert _triple(table, "SAM-B", "AP") == ("56.6", "55.3", "−1.3")
    assert _triple(table, "SAM-B", "AP^S") == ("47.4", "47.5", "+0.1")
    assert _cell(table, "SAM-B", "n", "instances / images").text == "961 / 124"
    context = dict(table.context)
    assert context["Dataset digest"] == COCO_DIGEST[:12]
    assert context["Protocol"] == "miou-strict/box@1, miou-strict/point@1, ap-gtbox/box@1"
    assert context["Device"] == "a CPU, fp32"
    assert table.name == f"zeroshot-coco-val2017-{COCO_DIGEST[:12]}-miou-strict-v1"
    assert len(table.rows) == 12  # no second row for the same system


def test_an_exact_match_has_no_sign(printed: Printed) -> None:
    table = _zeroshot(printed, make_record(key="sam-b", metrics={"miou": 0.75}))
    assert _triple(table, "SAM-B", "1-box mIoU") == ("75.0", "75.0", "0.0")


def test_systems_that_no_paper_prints_have_empty_published_cells(printed: Printed) -> None:
    table = _zeroshot(printed, make_record("oracle", metrics={"miou": 1.0}))
    assert _triple(table, "ORACLE", "1-box mIoU") == ("", "100.0", "")
    assert len(table.rows) == 13


def test_a_partial_run_is_never_a_score(printed: Printed) -> None:
    record = make_record(
        key="sam-h", metrics={"miou": 0.9}, ap={"ap": 0.9}, status="partial", done=37
    )
    table = _zeroshot(printed, record)
    for group in ("1-box mIoU", "AP"):
        assert _triple(table, "SAM-H", group) == ("76.5" if group != "AP" else "59.8", "37/124", "")
    assert "partial" in _cell(table, "SAM-H", "AP").notes[0]
    assert _cell(table, "SAM-H", "n", "instances / images").text == ""


@pytest.mark.parametrize("status", ["failed", "n/a"])
def test_failed_and_missing_capabilities_say_so(printed: Printed, status: str) -> None:
    record = make_record(key="sam-l", status=status, reason="because", done=0)
    cell = _cell(_zeroshot(printed, record), "SAM-L", "1-box mIoU")
    assert cell == Cell(status, ("because",))


def test_untrained_numbers_are_bracketed_noted_and_not_compared(printed: Printed) -> None:
    untrained = "untrained: random weights, not a result"
    record = make_record(
        key="lite-sam-r640",
        metrics={"miou": 0.1234},
        training="untrained",
        footnotes=[untrained, "CPU"],
    )
    other = make_record("oracle", metrics={"miou": 1.0}, footnotes=["CPU"])
    table = _zeroshot(printed, record, other)
    assert _triple(table, "Lite-SAM (r640)", "1-box mIoU") == ("74.8", "(12.3)", "")
    (row,) = [row for row in table.rows if row[0].text == "Lite-SAM (r640)"]
    assert row[0].notes == (untrained,)
    assert "All measured rows: CPU." in table.footnotes


def test_a_mean_over_nothing_is_a_dash(printed: Printed) -> None:
    table = _zeroshot(printed, make_record(key="sam-b", metrics={"miou": None}))
    assert _triple(table, "SAM-B", "1-box mIoU") == ("75.0", "-", "")
    assert _cell(table, "SAM-B", "AP").text == ""  # not measured at all


def test_footnotes_of_the_data_and_of_single_systems(printed: Printed) -> None:
    seen = "not zero-shot: the training data has this dataset's domain"
    table = _zeroshot(
        printed,
        make_record(key="sam-b", metrics={"miou": 0.7}, footnotes=[seen]),
        make_record("oracle", metrics={"miou": 1.0}),
    )
    assert "Data: subset of COCO val2017." in table.footnotes
    (row,) = [row for row in table.rows if row[0].text == "SAM-B"]
    assert row[0].notes == (seen,)


def test_digests_presets_and_data_sets_never_share_a_table(printed: Printed) -> None:
    def record(**changes: str) -> Record:
        return make_record(key="sam-b", metrics={"miou": 0.7}, **changes)

    records = [
        record(),
        record(digest="b" * 64),
        record(preset="miou-evit"),
        record(data="lvis-v1-val", digest="c" * 64),
        record(data="scenes-v1", digest="d" * 64),
    ]
    tables = zeroshot.build(printed, records)
    digest = COCO_DIGEST[:12]
    assert [table.name for table in tables] == [
        f"zeroshot-coco-val2017-{digest}-miou-evit-v1",
        f"zeroshot-coco-val2017-{digest}-miou-strict-v1",
        "zeroshot-coco-val2017-bbbbbbbbbbbb-miou-strict-v1",
        "zeroshot-lvis-v1-val-cccccccccccc-miou-strict-v1",
        "zeroshot-scenes-v1-dddddddddddd-miou-strict-v1",
    ]
    for table in tables:
        measured_rows = [row for row in table.rows if row[-1].text]
        assert len(measured_rows) == 1
    # nobody has printed numbers on the scenes: neither rows nor columns pretend so
    assert [column.label for column in tables[-1].columns[1:3]] == ["1-box mIoU", "1-point mIoU"]
    assert len(tables[-1].rows) == 1


@pytest.mark.parametrize("data", ["coco-train2017", "lvis-v0.5-val", "coco", "my-folder"])
def test_other_data_have_no_published_columns(printed: Printed, data: str) -> None:
    record = make_record(key="sam-b", metrics={"miou": 0.7}, data=data)
    *_, table = zeroshot.build(printed, [record])
    assert table.name.startswith(f"zeroshot-{data}-3f2a")
    assert [row[0].text for row in table.rows] == ["SAM-VIT-B"]
    assert "paper" not in {column.label for column in table.columns}


def test_devices_and_precisions_have_rows_of_their_own(printed: Printed) -> None:
    table = _zeroshot(
        printed,
        make_record(key="sam-b", metrics={"miou": 0.7}),
        make_record(key="sam-b", metrics={"miou": 0.71}, device="a GPU", dtype="bf16"),
    )
    assert _triple(table, "SAM-B (a CPU, fp32)", "1-box mIoU") == ("75.0", "70.0", "−5.0")
    assert _triple(table, "SAM-B (a GPU, bf16)", "1-box mIoU") == ("75.0", "71.0", "−4.0")
    assert dict(table.context)["Device"] == "a CPU, fp32; a GPU, bf16"


def test_two_records_of_the_same_thing_are_refused(printed: Printed) -> None:
    twice = [make_record(metrics={"miou": 0.7}), make_record(metrics={"miou": 0.8})]
    with pytest.raises(DataError, match="two records of sam-vit-b"):
        zeroshot.build(printed, twice)


def test_the_order_of_records_does_not_matter(printed: Printed) -> None:
    records = [
        make_record("oracle", metrics={"miou": 1.0}),
        make_record("ellipse", metrics={"miou": 0.6}),
        make_record(key="sam-b", prompt="point", metrics={"miou": 0.5}),
        make_record(key="sam-b", metrics={"miou": 0.7}),
    ]
    forwards = zeroshot.build(printed, records)
    assert zeroshot.build(printed, records[::-1]) == forwards


# --- the other tables ----------------------------------------------------------------------------


def test_litevits_row_is_filled_by_lite_sam(printed: Printed) -> None:
    box = make_record("lite-sam", key="lite-sam-r640", metrics={"miou": 0.75}, ap={"ap": 0.5})
    point = make_record(
        "lite-sam", key="lite-sam-r640", prompt="point", metrics={"miou": 0.5}, ap={"ap": 0.3}
    )
    (table,) = backbones.build(printed, [box, point])
    assert _triple(table, "LiteViT", "1-box mAP") == ("55.8", "50.0", "−5.8")
    assert _triple(table, "LiteViT", "1-box mIoU") == ("74.8", "75.0", "+0.2")
    assert _triple(table, "LiteViT", "1-point mAP") == ("32.9", "30.0", "−2.9")
    assert _triple(table, "LiteViT", "1-point mIoU") == ("55.3", "50.0", "−5.3")
    assert _cell(table, "LiteViT", "MACs (G)", "paper").text == "10.2"
    assert len(table.rows) == 7


def _named(tables: Sequence[Table], start: str) -> Table:
    (table,) = [table for table in tables if table.name.startswith(start)]
    return table


def test_efficientvit_tables_without_records(printed: Printed) -> None:
    assert [table.name for table in efficientvit.build(printed, [])] == [
        "efficientvit-sam-table2-coco",
        "efficientvit-sam-table2-lvis",
        "efficientvit-sam-table3-coco",
        "efficientvit-sam-table3-lvis",
        "efficientvit-sam-table4-vitdet-coco",
        "efficientvit-sam-table4-vitdet-lvis",
        "efficientvit-sam-table5-yolov8-coco",
        "efficientvit-sam-table5-groundingdino-coco",
    ]


def test_clicks_go_to_their_columns(printed: Printed) -> None:
    records = [
        make_record("x", key="sam-h", preset="miou-evit", prompt=prompt, metrics={"miou": value})
        for prompt, value in (("point", 0.5), ("clicks:3", 0.6), ("clicks:5", 0.7))
    ]
    table = _named(efficientvit.build(printed, records), "efficientvit-sam-table2-coco")
    assert _triple(table, "SAM-H", "1 click mIoU") == ("58.4", "50.0", "−8.4")
    assert _triple(table, "SAM-H", "3 click mIoU") == ("69.6", "60.0", "−9.6")
    assert _triple(table, "SAM-H", "5 click mIoU") == ("71.4", "70.0", "−1.4")
    assert table.commands[1] == (
        "litesam-bench zeroshot --model all --dataset coco --prompt clicks:3 --protocol miou-evit"
    )


def test_sizes_go_to_their_columns(printed: Printed) -> None:
    sizes: dict[str, float | None] = {"miou": 0.8, "miou_s": 0.7, "miou_m": 0.82, "miou_l": 0.9}
    record = make_record("x", key="efficientvit-sam-xl1", metrics=sizes)
    table = _named(efficientvit.build(printed, [record]), "efficientvit-sam-table3-coco")
    ours = [_triple(table, "EfficientViT-SAM-XL1", f"mIoU{s}")[1] for s in ("", "^S", "^M", "^L")]
    assert ours == ["80.0", "70.0", "82.0", "90.0"]


def _boxes(file: str, digest: str) -> dict[str, object]:
    return {"file": file, "sha256": digest * 64, "box_ap": {"ap": 0.5874}}


def test_detectors_are_told_apart_by_their_file(printed: Printed) -> None:
    def record(file: str, digest: str, ap: float) -> Record:
        return make_record(
            "x",
            key="efficientvit-sam-xl1",
            prompt="detector",
            preset="ap-det",
            ap={"ap": ap, "aps": 0.3, "apm": 0.5, "apl": 0.6},
            boxes=_boxes(file, digest),
        )

    tables = efficientvit.build(
        printed,
        [
            record("coco_vitdet.json", "a", 0.478),
            record("coco_yolov8.json", "b", 0.447),
            record("mine.json", "c", 0.4),
        ],
    )
    table = _named(tables, "efficientvit-sam-table4-vitdet-coco")
    assert _triple(table, "EfficientViT-SAM-XL1", "AP") == ("47.8", "47.8", "0.0")
    assert _triple(table, "EfficientViT-SAM-XL1", "AP^L") == ("64.7", "60.0", "−4.7")
    boxes = dict(table.context)["Boxes"]
    assert boxes == "coco_vitdet.json, sha256 aaaaaaaaaaaa, box AP 58.7"
    assert _cell(table, "MobileSAM", "AP^M", "paper").notes
    other = _named(tables, "efficientvit-sam-table5-yolov8-coco")
    assert _triple(other, "EfficientViT-SAM-XL1", "AP") == ("44.7", "44.7", "0.0")
    mine = _named(tables, "detector-boxes")
    assert [cell.text for cell in mine.rows[0]] == [
        "X",
        "40.0",
        "30.0",
        "50.0",
        "60.0",
        "973 / 124",
    ]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(0.74950, 1, "75.0"), (0.74949, 1, "74.9"), (0.79927, 3, "79.927"), (1.0, 1, "100.0")],
)
def test_rounding_is_half_up_in_decimal(value: float, digits: int, shown: str) -> None:
    record = make_record(metrics={"miou": value})
    assert measured.number(record, "miou", percent=True, digits=digits) == Decimal(shown)


def test_protocol_ids_split() -> None:
    assert measured.split_id("miou-strict/clicks:3@2") == ("miou-strict@2", "clicks:3")
    assert measured.split_id("ap-det/detector") == ("ap-det@1", "detector")


def test_every_published_key_of_a_system_exists() -> None:
    keys = {system.spec.published for system in registry.resolve("all")} - {""}
    assert keys
    assert keys <= set(published.systems())


@pytest.mark.parametrize("evaluator", [coco_ap, lvis_ap])
def test_tables_ask_for_metrics_that_evaluators_give(printed: Printed, evaluator: object) -> None:
    """The names are a contract between metrics and tables: a mismatch would be an empty cell."""
    truth = GroundTruth(1, "1.jpg", "/1.jpg", (4, 4), ())
    stats = evaluator.evaluate_dataset([truth], [], [Category(1, "thing", "f")])  # type: ignore[attr-defined]
    assert {"ap", "aps", "apm", "apl"} <= set(stats)
