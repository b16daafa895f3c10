"""Published numbers: complete, faithful to the printed digits, consistent, strictly read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from litesam_bench.errors import DataError
from litesam_bench.tables import published
from litesam_bench.tables.published import PublishedRow, PublishedTable

# Rows of each table as counted in the papers.
ROWS = {
    "edge-sam/gt-box": 2,
    "edge-sam/vitdet-boxes": 6,
    "efficient-sam/mask-ratio": 3,
    "efficient-sam/single-point-valid-mask": 5,
    "efficientvit-sam/clicks": 2,
    "efficientvit-sam/gt-box": 2,
    "efficientvit-sam/other-detectors": 2,
    "efficientvit-sam/readme-expected": 4,
    "efficientvit-sam/readme-models": 5,
    "efficientvit-sam/runtime": 9,
    "efficientvit-sam/sginw": 2,
    "efficientvit-sam/vitdet-boxes": 9,
    "fast-sam/coco-proposals": 10,
    "fast-sam/edges": 3,
    "fast-sam/lvis-box-proposals": 5,
    "fast-sam/lvis-mask-proposals": 5,
    "fast-sam/memory": 3,
    "fast-sam/speed": 3,
    "fast-sam/vitdet-boxes": 3,
    "lite-sam/autoppn-ablation": 8,
    "lite-sam/autoppn-speed": 6,
    "lite-sam/backbones": 7,
    "lite-sam/complexity": 11,
    "lite-sam/data-size": 5,
    "lite-sam/edges": 8,
    "lite-sam/litevit-blocks": 8,
    "lite-sam/speedups": 5,
    "lite-sam/zeroshot": 12,
    "mobile-sam-v2/lvis-ar1000": 6,
    "mobile-sam-v2/lvis-proposals": 2,
    "mobile-sam/agreement": 2,
    "mobile-sam/fastsam-size-speed": 2,
    "prompt-segment-anything/detector-boxes": 15,
    "repvit-sam/edges": 4,
    "repvit-sam/instances": 4,
    "sam-hq/focalnet-boxes": 4,
    "sam/lvis-proposals": 3,
    "sam/vitdet-boxes": 2,
    "segment-anything-fast/one-point": 2,
    "semantic-sam/one-click": 2,
    "tiny-sam/vitdet-boxes": 10,
}


@pytest.fixture(scope="module")
def tables() -> dict[str, PublishedTable]:
    return published.by_ref(published.all_tables())


def _row(table: PublishedTable, system: str, variant: str = "") -> PublishedRow:
    row = table.row(system, variant)
    assert row is not None, (table.ref, system, variant)
    return row


def _value(table: PublishedTable, system: str, column: str, variant: str = "") -> Decimal:
    value = _row(table, system, variant).cells[column].value
    assert value is not None
    return value


def test_every_table_has_the_rows_of_its_paper(tables: dict[str, PublishedTable]) -> None:
    assert {ref: len(table.rows) for ref, table in tables.items()} == ROWS


@pytest.mark.parametrize(
    ("ref", "system", "column", "text"),
    [
        ("lite-sam/zeroshot", "sam-b", "coco_box_miou", "75.0"),
        ("lite-sam/zeroshot", "lite-sam-r1024", "lvis_ap_l", "79.8"),
        ("lite-sam/zeroshot", "semantic-sam-l", "lvis_point_miou", "34.8"),
        ("lite-sam/zeroshot", "semantic-sam-l", "coco_box_miou", "N/A"),
        ("lite-sam/backbones", "tinyvit", "segany_ms", "17"),
        ("lite-sam/litevit-blocks", "litevit", "params_m", "1.16 (-90%)"),
        ("lite-sam/complexity", "sam-l", "macs_g", "1.3T"),
        ("lite-sam/edges", "sobel", "ods", "0.539"),
        ("lite-sam/edges", "canny", "ods", "0.600"),
        ("lite-sam/edges", "canny", "r50", "-"),
        ("efficientvit-sam/clicks", "sam-h", "lvis_click5_miou", "66.8"),
        ("efficientvit-sam/vitdet-boxes", "efficient-sam-s", "coco_ap_m", "48.3"),
        ("efficientvit-sam/other-detectors", "sam-h", "groundingdino_ap_l", "64.4"),
        ("efficientvit-sam/sginw", "efficientvit-sam-xl1", "sginw_ap", "48.9"),
        ("fast-sam/speed", "sam-b", "grid_64_ms", "5417"),
        ("mobile-sam/agreement", "fast-sam", "miou_500", "0.41"),
        ("efficient-sam/single-point-valid-mask", "sam", "coco_box_miou", "78.4"),
    ],
)
def test_cells_read_as_printed(
    tables: dict[str, PublishedTable], ref: str, system: str, column: str, text: str
) -> None:
    assert _row(tables[ref], system).cells[column].text == text


def test_printed_digits_survive(tables: dict[str, PublishedTable]) -> None:
    canny = _row(tables["lite-sam/edges"], "canny").cells
    assert str(canny["ods"].value) == "0.600"
    expected = tables["efficientvit-sam/readme-expected"]
    assert str(_value(expected, "efficientvit-sam-xl1", "miou_s", "LVIS, 1 click")) == "47.750"


def test_multiples_and_decorations_keep_a_number(tables: dict[str, PublishedTable]) -> None:
    assert _value(tables["lite-sam/complexity"], "sam-h", "macs_g") == 2700
    assert _value(tables["lite-sam/litevit-blocks"], "litevit", "coco_box_ap") == Decimal("55.3")


@pytest.mark.parametrize(
    ("first", "second", "system", "columns"),
    [
        # the same measurement printed twice: a typing error would show as a difference
        (
            "efficientvit-sam/runtime",
            "efficientvit-sam/vitdet-boxes",
            "",
            {"coco_ap": "coco_ap"},
        ),
        (
            "efficientvit-sam/readme-models",
            "efficientvit-sam/vitdet-boxes",
            "",
            {"coco_ap": "coco_ap", "lvis_ap": "lvis_ap"},
        ),
        (
            "efficientvit-sam/readme-models",
            "efficientvit-sam/runtime",
            "",
            {"params_m": "params_m", "macs_g": "macs_g", "throughput": "throughput"},
        ),
        (
            "lite-sam/data-size",
            "lite-sam/zeroshot",
            "lite-sam",
            {"ap_2m": "coco_ap"},
        ),
        (
            "fast-sam/vitdet-boxes",
            "sam/vitdet-boxes",
            "",
            {"coco_ap": "coco_ap", "coco_ap_s": "coco_ap_s", "lvis_ap_l": "lvis_ap_l"},
        ),
        ("lite-sam/edges", "fast-sam/edges", "", {"ods": "ods", "r50": "r50"}),
        ("edge-sam/vitdet-boxes", "fast-sam/vitdet-boxes", "fast-sam", {"coco_ap": "coco_ap"}),
    ],
)
def test_what_is_printed_twice_agrees(
    tables: dict[str, PublishedTable],
    first: str,
    second: str,
    system: str,
    columns: dict[str, str],
) -> None:
    compared = 0
    for row in tables[first].rows:
        other = tables[second].row(row.system)
        if other is None or not row.system.startswith(system):
            continue
        for left, right in columns.items():
            assert row.cells[left].value == other.cells[right].value, (row.system, left)
            compared += 1
    assert compared >= len(columns)


def test_speedups_are_quotients_of_the_complexity_table(tables: dict[str, PublishedTable]) -> None:
    complexity = tables["lite-sam/complexity"]
    ours = _value(complexity, "lite-sam-r640", "segevery_s")
    for row in tables["lite-sam/speedups"].rows:
        printed = row.cells["speedup"].value
        assert printed is not None
        quotient = _value(complexity, row.system, "segevery_s") / ours
        assert abs(quotient - printed) < 1, row.system


def test_area_bins_bracket_the_whole(tables: dict[str, PublishedTable]) -> None:
    """An AP over all sizes lies between its sizes' extremes: catches swapped cells."""
    for ref in ("lite-sam/zeroshot", "efficientvit-sam/vitdet-boxes", "fast-sam/vitdet-boxes"):
        for row in tables[ref].rows:
            for data in ("coco", "lvis"):
                whole = row.cells[f"{data}_ap"].value
                sizes = [row.cells[f"{data}_ap_{s}"].value for s in "sml"]
                if whole is None or None in sizes:
                    continue
                values = [size for size in sizes if size is not None]
                assert values == sorted(values), (ref, row.system)
                assert values[0] < whole < values[-1], (ref, row.system)


def test_one_key_has_one_name_and_every_key_is_used(tables: dict[str, PublishedTable]) -> None:
    known = published.systems()
    used = {row.system for table in tables.values() for row in table.rows}
    assert used == set(known)
    names = [system.display for system in known.values()]
    assert len(set(names)) == len(names)
    assert all(system.kind in published.SYSTEM_KINDS for system in known.values())


def test_units_fit_the_values(tables: dict[str, PublishedTable]) -> None:
    for table in tables.values():
        for column in table.columns:
            for row in table.rows:
                value = row.cells[column.key].value
                if value is None:
                    continue
                assert value > 0, (table.ref, row.system, column.key)
                if column.unit == "percent":
                    assert 1 < value <= 100, (table.ref, row.system, column.key)
                if column.unit == "fraction":
                    assert value <= 1, (table.ref, row.system, column.key)


def test_direction_is_given_for_every_measure(tables: dict[str, PublishedTable]) -> None:
    without = {"text", "px", "year"}
    for table in tables.values():
        for column in table.columns:
            assert (column.better == "") == (column.unit in without), (table.ref, column.key)


def test_only_hearsay_is_unverified(tables: dict[str, PublishedTable]) -> None:
    refs = {t.ref for t in tables.values() for row in t.rows if not row.verified}
    assert refs == {"mobile-sam-v2/lvis-ar1000"}


def test_repaired_cells_are_those_of_the_damaged_table(tables: dict[str, PublishedTable]) -> None:
    repaired = [
        (table.ref, row.system, key)
        for table in tables.values()
        for row in table.rows
        for key, cell in row.cells.items()
        if cell.repaired
    ]
    assert {ref for ref, _, _ in repaired} == {"efficientvit-sam/vitdet-boxes"}
    assert len(repaired) == 16


# --- strictness ----------------------------------------------------------------------------------

SYSTEMS = 'schema = 1\n[systems]\n"sam-b" = { display = "SAM-B", kind = "segmenter" }\n'
GOOD = """\
schema = 1
paper = "demo"
title = "A paper"
year = 2024
arxiv = ""
url = "https://example.org"
source = "by hand"

[[table]]
id = "main"
title = "Main"
where = "Table 1"
provenance = "source"
columns = [
  { key = "ap", label = "AP", unit = "percent", better = "higher" },
  { key = "how", label = "How", unit = "text" },
]
rows = [
  { system = "sam-b", display = "SAM-B", values = [46.50, "grid"] },
]
"""


def _folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "systems.toml").write_text(SYSTEMS)
    (tmp_path / "demo.toml").write_text(text)
    return tmp_path


def test_a_good_file_loads(tmp_path: Path) -> None:
    (table,) = published.load("demo", _folder(tmp_path, GOOD))
    assert table.ref == "demo/main"
    assert table.rows[0].cells["ap"].text == "46.50"
    assert table.rows[0].cells["how"].value is None
    assert published.papers(tmp_path) == ["demo"]
    assert table.row("sam-l") is None
    with pytest.raises(KeyError, match="no column 'miou'"):
        table.column("miou")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ("year = 2024", 'year = "2024"', "year must be an integer"),
        ("year = 2024", "", "missing key 'year'"),
        ("year = 2024", "year = 2024\nvenue = 'ECCV'", "unknown key 'venue'"),
        ('paper = "demo"', 'paper = "other"', "must equal the file name"),
        ('provenance = "source"', 'provenance = "hearsay"', "provenance is 'hearsay'"),
        ('provenance = "source"', "", "missing key 'provenance'"),
        ('unit = "percent"', 'unit = "per cent"', "unit is 'per cent'"),
        ('better = "higher"', 'better = "up"', "better is 'up'"),
        ('key = "how"', 'key = "ap"', "'ap' occurs twice"),
        ('system = "sam-b"', 'system = "sam-bb"', "did you mean 'sam-b'"),
        ("[46.50, ", "[", "expected 2 values"),
        ("46.50", '"46.50"', "expected a number, 'N/A' or '-'"),
        ("46.50", "nan", "not a finite number"),
        ("46.50", "true", "expected a number"),
        ('"grid"]', "5]", "a text column holds the number"),
        ('"grid"] }', '"grid"], printed = { aps = "1" } }', "names no column: 'aps'"),
        ('"grid"] }', '"grid"], printed = { ap = 1 } }', "printed must be a string"),
        ('"grid"] }', '"grid"], repaired = ["aps"] }', "names no column: 'aps'"),
        ('"grid"] }', '"grid"], colour = "red" }', "unknown key 'colour'"),
        ('display = "SAM-B"', "display = 3", "display must be a string"),
        ("[[table]]", "[[tables]]", "unknown key 'tables'"),
        ("rows = [", "rows = [[", "is not TOML"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    folder = _folder(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        published.load("demo", folder)
    assert complaint in caught.value.message
    assert "demo.toml" in caught.value.message
    assert caught.value.fix


def test_rows_of_one_system_need_variants(tmp_path: Path) -> None:
    row = '  { system = "sam-b", display = "SAM-B", values = [46.50, "grid"] },\n'
    with pytest.raises(DataError, match="occurs twice"):
        published.load("demo", _folder(tmp_path, GOOD.replace(row, row + row)))
    other = row.replace("display", 'variant = "best", display')
    (table,) = published.load("demo", _folder(tmp_path, GOOD.replace(row, row + other)))
    assert table.row("sam-b", "best") is table.rows[1]


def test_a_row_may_override_the_provenance(tmp_path: Path) -> None:
    text = GOOD.replace('"grid"] }', '"grid"], provenance = "unverified" }')
    (table,) = published.load("demo", _folder(tmp_path, text))
    assert not table.rows[0].verified


def test_an_unknown_paper_gets_a_suggestion() -> None:
    with pytest.raises(DataError, match="lite-sam"):
        published.load("lite-sma")
