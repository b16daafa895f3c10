"""The systems that come with the package, one row per family. No record is involved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from litesam_bench.catalogue import parameters, prompts_text
from litesam_bench.parity import standing
from litesam_bench.records.schema import Record
from litesam_bench.registry import System, shipped_systems
from litesam_bench.spec import SystemSpec
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import Cell, Column, Table


def build(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """The catalogue; systems of other installed packages are not in it."""
    families = [list(group) for _, group in groupby(sorted(shipped_systems(), key=_place), _family)]
    return [
        Table(
            name="catalogue",
            caption="Systems",
            columns=(
                Column("family", align="left"),
                Column("systems", align="left"),
                Column("M"),
                Column("takes", align="left"),
                Column("licence", align="left"),
                Column("equal to upstream", align="left"),
            ),
            rows=tuple(_row([system.spec for system in family]) for family in families),
            footnotes=(
                "M: millions of parameters of the official checkpoint. Licence: of the code; of "
                "the weights where they differ. Equal to upstream: a test compares the adapter "
                "with numbers recorded from the authors' code.",
            ),
        )
    ]


def _place(system: System) -> tuple[bool, bool, str]:
    """Networks that segment first, then those for edges, then what has no weights."""
    can = system.spec.capabilities
    segments = can.points or can.boxes or can.everything
    return system.spec.training == "not-applicable", not segments, system.spec.family


def _family(system: System) -> str:
    return system.spec.family


def _row(specs: Sequence[SystemSpec]) -> tuple[Cell, ...]:
    first = specs[0]
    counts = [parameters(spec) for spec in specs]
    same = len(set(counts)) == 1
    sizes = [f"{count / 1e6:.1f}" for count in counts[: 1 if same else None] if count is not None]
    extra = (f"needs the extra {first.extra}",) if first.extra else ()
    weights = first.weights
    licence = first.code_licence
    if weights is not None and weights.licence not in ("", licence):
        licence += f"; weights {weights.licence}"
    restricted = (weights.restriction,) if weights is not None and weights.restriction else ()
    return (
        Cell(first.family, extra),
        Cell(", ".join(spec.name for spec in specs)),
        Cell(", ".join(sizes)),
        Cell(prompts_text(first.capabilities)),
        Cell(licence, restricted),
        _proven(specs),
    )


def _proven(specs: Sequence[SystemSpec]) -> Cell:
    if specs[0].training == "not-applicable":
        return Cell()
    lacking = {spec.name: standing(spec) for spec in specs if not standing(spec).proven}
    if not lacking:
        return Cell("yes")
    reasons = dict.fromkeys(found.reason for found in lacking.values())
    if len(lacking) == len(specs):
        return Cell("not proven", tuple(reasons))
    return Cell(f"all but {', '.join(lacking)}", tuple(reasons))
