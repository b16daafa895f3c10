"""Numbers printed in papers, read strictly from `results/published/*.toml`.

The files keep the printed digits (`56.90` is not `56.9`), so values are `Decimal`. Their format is
described in `results/README.md`. Anything the schema does not know is a `DataError` that names file
and key: a typing error in a published number must not pass silently.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from litesam_bench import paths
from litesam_bench.errors import DataError

SCHEMA = 1
UNITS = frozenset(
    {
        "percent",
        "fraction",
        "M",
        "G",
        "GFLOP",
        "ms",
        "s",
        "h",
        "images/s",
        "FPS",
        "MB",
        "px",
        "ratio",
        "year",
        "text",
    }
)
DIRECTIONS = frozenset({"higher", "lower", ""})
PROVENANCES = frozenset({"source", "reprint", "derived", "unverified"})
SYSTEM_KINDS = frozenset({"segmenter", "backbone", "proposals", "detector", "edges"})
NOT_PRINTED = frozenset({"N/A", "-"})
_SYSTEMS_FILE = "systems.toml"
_FIX = "results/README.md describes the format of these files"


@dataclass(frozen=True, slots=True)
class PublishedSystem:
    """A system that papers print, under the one key that all files use for it."""

    key: str
    display: str
    kind: str


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """One column: `unit` is one of `UNITS`, `better` one of `DIRECTIONS`."""

    key: str
    label: str
    unit: str
    group: str = ""
    better: str = ""


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """One cell. `value` is None where the paper prints no number; `text` is what it prints."""

    value: Decimal | None
    text: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row. `display` is the system's name as printed, which may be empty in merged cells;
    `name` is the one name that all our tables use for it."""

    system: str
    name: str
    display: str
    cells: Mapping[str, PublishedCell]
    variant: str = ""
    note: str = ""
    provenance: str = "source"

    @property
    def verified(self) -> bool:
        """Whether somebody has read the number in the paper, or in a reprint of its table."""
        return self.provenance != "unverified"


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a table was printed. `arxiv` is empty for code repositories."""

    key: str
    title: str
    year: int
    arxiv: str
    url: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One printed table; `ref` (`lite-sam/zeroshot`) names it among all papers."""

    paper: Paper
    id: str
    title: str
    where: str
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    note: str = ""

    @property
    def ref(self) -> str:
        return f"{self.paper.key}/{self.id}"

    def row(self, system: str, variant: str = "") -> PublishedRow | None:
        """The row of a system, or None when the paper does not print it."""
        for row in self.rows:
            if (row.system, row.variant) == (system, variant):
                return row
        return None

    def column(self, key: str) -> PublishedColumn:
        """A column by key. Raises KeyError."""
        for column in self.columns:
            if column.key == key:
                return column
        raise KeyError(f"{self.ref} has no column {key!r}")


# --- loading -------------------------------------------------------------------------------------


def papers(folder: Path | None = None) -> list[str]:
    """Keys of all papers, sorted; a key is the name of a file without `.toml`."""
    found = (folder or paths.published_dir()).glob("*.toml")
    return sorted(path.stem for path in found if path.name != _SYSTEMS_FILE)


def load(paper: str, folder: Path | None = None) -> list[PublishedTable]:
    """The tables of one paper, in the file's order.

    Args:
        paper: key, for example `lite-sam`.
        folder: another folder than the shipped one; it needs its own `systems.toml`.

    Raises:
        DataError: no such file, no TOML, or a content the schema does not allow.
    """
    root = folder or paths.published_dir()
    path = root / f"{paper}.toml"
    if not path.is_file():
        near = get_close_matches(paper, papers(root), n=3)
        raise DataError(
            f"{path} does not exist",
            fix=f"did you mean {', '.join(near)}?" if near else f"papers are in {root}",
        )
    return _Reader(path).tables(_read(path), systems(root))


def all_tables(folder: Path | None = None) -> list[PublishedTable]:
    """Every published table, by paper and then in the file's order."""
    return [table for paper in papers(folder) for table in load(paper, folder)]


def by_ref(tables: Iterable[PublishedTable]) -> dict[str, PublishedTable]:
    """Tables by `ref`, as the table builders take them."""
    return {table.ref: table for table in tables}


def systems(folder: Path | None = None) -> dict[str, PublishedSystem]:
    """Every system key that rows may use. Raises DataError."""
    path = (folder or paths.published_dir()) / _SYSTEMS_FILE
    return _Reader(path).systems(_read(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            return tomllib.load(handle, parse_float=Decimal)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", fix=_FIX) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not TOML: {error}", fix=_FIX) from error


class _Reader:
    """Turns one file's content into tables; every complaint names the file and the key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, where: str, message: str) -> DataError:
        return DataError(f"{self.path}: {where}: {message}", fix=_FIX)

    def tables(
        self, raw: dict[str, Any], known: Mapping[str, PublishedSystem]
    ) -> list[PublishedTable]:
        self._keys(
            raw,
            "top level",
            ["schema", "paper", "title", "year", "arxiv", "url", "source", "table"],
            ["note"],
        )
        self._schema(raw)
        paper = Paper(
            key=self._text(raw, "paper", "top level"),
            title=self._text(raw, "title", "top level"),
            year=self._int(raw, "year", "top level"),
            arxiv=self._text(raw, "arxiv", "top level", empty=True),
            url=self._text(raw, "url", "top level"),
            source=self._text(raw, "source", "top level"),
            note=self._text(raw, "note", "top level", empty=True),
        )
        if paper.key != self.path.stem:
            raise self.error("paper", f"{paper.key!r} must equal the file name {self.path.stem!r}")
        if not isinstance(raw["table"], list) or not raw["table"]:
            raise self.error("table", "expected at least one [[table]]")
        found = [
            self._table(entry, f"table {n}", paper, known) for n, entry in enumerate(raw["table"])
        ]
        self._unique([table.id for table in found], "table ids")
        return found

    def systems(self, raw: dict[str, Any]) -> dict[str, PublishedSystem]:
        self._keys(raw, "top level", ["schema", "systems"], [])
        self._schema(raw)
        found = {}
        for key, entry in raw["systems"].items():
            where = f"systems.{key}"
            self._keys(entry, where, ["display", "kind"], [])
            kind = self._choice(entry, "kind", where, SYSTEM_KINDS)
            found[key] = PublishedSystem(key, self._text(entry, "display", where), kind)
        return found

    def _table(
        self, raw: Any, where: str, paper: Paper, known: Mapping[str, PublishedSystem]
    ) -> PublishedTable:
        self._keys(raw, where, ["id", "title", "where", "provenance", "columns", "rows"], ["note"])
        name = self._text(raw, "id", where)
        where = f"table {name}"
        columns = tuple(self._column(c, f"{where}: columns") for c in self._list(raw, "columns"))
        self._unique([column.key for column in columns], f"{where}: column keys")
        provenance = self._choice(raw, "provenance", where, PROVENANCES)
        rows = tuple(
            self._row(r, f"{where}: row {n}", columns, provenance, known)
            for n, r in enumerate(self._list(raw, "rows"))
        )
        self._unique([f"{r.system} ({r.variant})" for r in rows], f"{where}: system and variant")
        return PublishedTable(
            paper=paper,
            id=name,
            title=self._text(raw, "title", where),
            where=self._text(raw, "where", where),
            columns=columns,
            rows=rows,
            note=self._text(raw, "note", where, empty=True),
        )

    def _column(self, raw: Any, where: str) -> PublishedColumn:
        self._keys(raw, where, ["key", "label", "unit"], ["group", "better"])
        key = self._text(raw, "key", where)
        where = f"{where}: {key}"
        return PublishedColumn(
            key=key,
            label=self._text(raw, "label", where),
            unit=self._choice(raw, "unit", where, UNITS),
            group=self._text(raw, "group", where, empty=True),
            better=self._choice(raw, "better", where, DIRECTIONS) if "better" in raw else "",
        )

    def _row(
        self,
        raw: Any,
        where: str,
        columns: tuple[PublishedColumn, ...],
        provenance: str,
        known: Mapping[str, PublishedSystem],
    ) -> PublishedRow:
        optional = ["variant", "note", "printed", "repaired", "provenance"]
        self._keys(raw, where, ["system", "display", "values"], optional)
        system = self._text(raw, "system", where)
        where = f"{where} ({system})"
        if system not in known:
            near = get_close_matches(system, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self.error(where, f"system is not in {_SYSTEMS_FILE}{hint}")
        values = raw["values"]
        if not isinstance(values, list) or len(values) != len(columns):
            raise self.error(where, f"expected {len(columns)} values, one per column")
        printed, repaired = raw.get("printed", {}), raw.get("repaired", [])
        keys = {column.key for column in columns}
        for name in (*printed, *repaired):
            if name not in keys:
                raise self.error(where, f"printed or repaired names no column: {name!r}")
        cells = {
            column.key: self._cell(
                value,
                column,
                f"{where}: {column.key}",
                printed.get(column.key, ""),
                column.key in repaired,
            )
            for column, value in zip(columns, values, strict=True)
        }
        if "provenance" in raw:
            provenance = self._choice(raw, "provenance", where, PROVENANCES)
        return PublishedRow(
            system=system,
            name=known[system].display,
            display=self._text(raw, "display", where, empty=True),
            cells=cells,
            variant=self._text(raw, "variant", where, empty=True),
            note=self._text(raw, "note", where, empty=True),
            provenance=provenance,
        )

    def _cell(
        self, value: Any, column: PublishedColumn, where: str, printed: Any, repaired: bool
    ) -> PublishedCell:
        if not isinstance(printed, str):
            raise self.error(where, "printed must be a string")
        if isinstance(value, str):
            if column.unit != "text" and value not in NOT_PRINTED:
                raise self.error(where, f"expected a number, 'N/A' or '-', got {value!r}")
            return PublishedCell(None, printed or value, repaired)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.error(where, f"expected a number, got {value!r}")
        if column.unit == "text":
            raise self.error(where, f"a text column holds the number {value}")
        number = Decimal(value)
        if not number.is_finite():
            raise self.error(where, f"{value} is not a finite number")
        return PublishedCell(number, printed or str(number), repaired)

    # --- checks ---

    def _schema(self, raw: dict[str, Any]) -> None:
        if raw["schema"] != SCHEMA:
            raise self.error("schema", f"{raw['schema']!r}, this release reads {SCHEMA}")

    def _keys(self, raw: Any, where: str, required: list[str], optional: list[str]) -> None:
        if not isinstance(raw, dict):
            raise self.error(where, "expected a table")
        unknown = sorted(set(raw) - set(required) - set(optional))
        if unknown:
            raise self.error(where, f"unknown key {unknown[0]!r}")
        missing = [key for key in required if key not in raw]
        if missing:
            raise self.error(where, f"missing key {missing[0]!r}")

    def _list(self, raw: dict[str, Any], key: str) -> list[Any]:
        value = raw[key]
        if not isinstance(value, list) or not value:
            raise self.error(key, "expected a list that is not empty")
        return value

    def _text(self, raw: dict[str, Any], key: str, where: str, *, empty: bool = False) -> str:
        value = raw.get(key, "") if empty else raw[key]
        if not isinstance(value, str) or not (value or empty):
            raise self.error(where, f"{key} must be a string, got {value!r}")
        return value

    def _int(self, raw: dict[str, Any], key: str, where: str) -> int:
        value = raw[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(where, f"{key} must be an integer, got {value!r}")
        return value

    def _choice(self, raw: dict[str, Any], key: str, where: str, allowed: frozenset[str]) -> str:
        value = self._text(raw, key, where, empty="" in allowed)
        if value not in allowed:
            raise self.error(where, f"{key} is {value!r}, not one of {', '.join(sorted(allowed))}")
        return value

    def _unique(self, names: list[str], what: str) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise self.error(what, f"{twice[0]!r} occurs twice")
