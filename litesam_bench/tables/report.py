"""Write every table that records and published numbers make, and remove those they no longer make.

The folder `results/tables` is generated: its content is a pure function of `results/records` and
`results/published`, so that `litesam-bench report --check` can tell whether it is up to date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from litesam_bench.errors import StorageError
from litesam_bench.records.files import write_atomic
from litesam_bench.records.schema import Record
from litesam_bench.tables import (
    ablations,
    agreement,
    backbones,
    catalogue,
    complexity,
    edges,
    efficientvit,
    glance,
    litevit_blocks,
    segevery,
    speed,
    zeroshot,
)
from litesam_bench.tables.published import PublishedTable
from litesam_bench.tables.render import (
    GENERATED,
    Table,
    to_csv,
    to_latex,
    to_markdown,
    to_markdown_body,
)

Builder = Callable[[Mapping[str, PublishedTable], Sequence[Record]], list[Table]]

# The order of the index. A new table: one file with `build`, and its line here.
BUILDERS: tuple[Builder, ...] = (
    catalogue.build,
    glance.build,
    zeroshot.build,
    complexity.build,
    backbones.build,
    litevit_blocks.build,
    ablations.build,
    efficientvit.build,
    edges.build,
    segevery.build,
    speed.build,
    agreement.build,
)
_INDEX = "README.md"
_FORMATS: Mapping[str, Callable[[Table], str]] = {
    ".md": to_markdown,
    ".csv": to_csv,
    ".tex": to_latex,
}


def build_tables(published: Mapping[str, PublishedTable], records: Sequence[Record]) -> list[Table]:
    """All tables, in the order of the index."""
    tables = [table for build in BUILDERS for table in build(published, records)]
    names = [table.name for table in tables]
    assert len(set(names)) == len(names), "two tables would overwrite each other"
    return tables


def render_report(
    published: Mapping[str, PublishedTable], records: Sequence[Record]
) -> dict[str, str]:
    """File name -> content of everything that belongs into the tables folder."""
    tables = build_tables(published, records)
    files = {_INDEX: _index(tables)}
    for table in tables:
        for suffix, render in _FORMATS.items():
            files[table.name + suffix] = render(table)
    return files


def write_report(
    records: Sequence[Record], published: Mapping[str, PublishedTable], out_dir: Path
) -> list[Path]:
    """Write the tables folder. Returns the files that were written, changed or removed.

    A file whose content would not change is left alone. Files that the old index links and the new
    one does not are removed. The index is written last, so that an interrupted run loses track of
    nothing.

    Raises:
        StorageError: a file cannot be written or removed; every file is whole, old or new.
    """
    files = render_report(published, records)
    changed = stale_files(files, out_dir)
    for path in sorted(changed, key=lambda path: (path.name == _INDEX, path)):
        if path.name in files:
            write_atomic(path, files[path.name])
        else:
            try:
                path.unlink()
            except OSError as error:
                raise StorageError(
                    f"cannot remove {path}: {error.strerror}", fix="remove it by hand"
                ) from error
    return changed


def fill_readme(text: str, tables: Sequence[Table]) -> str:
    """A page with its table blocks brought up to date; everything else stays as it is.

    A block begins with `<!-- table: NAME -->` and ends with `<!-- end table -->`; it shows the
    first table whose file name begins with NAME, or says that there is none.
    """

    def block(match: re.Match[str]) -> str:
        table = next((t for t in tables if t.name.startswith(match[1])), None)
        body = to_markdown_body(table) if table else "(no record yet)\n"
        return f"<!-- table: {match[1]} -->\n<!-- {GENERATED} -->\n\n{body}\n<!-- end table -->"

    return re.sub(r"<!-- table: (\S+) -->.*?<!-- end table -->", block, text, flags=re.DOTALL)


def update_readme(
    page: Path,
    published: Mapping[str, PublishedTable],
    records: Sequence[Record],
    *,
    write: bool,
) -> list[Path]:
    """Bring the table blocks of a page up to date; `[page]` if that changes it, else `[]`."""
    old = _content(page)
    if old is None:
        return []
    new = fill_readme(old, build_tables(published, records))
    if new == old:
        return []
    if write:
        write_atomic(page, new)
    return [page]


def stale_files(files: Mapping[str, str], out_dir: Path) -> list[Path]:
    """Files that are missing, differ from `files`, or do not belong there any more; sorted."""
    stale = {out_dir / name for name, text in files.items() if _content(out_dir / name) != text}
    linked = re.findall(r"\]\(([^()/]+)\)", _content(out_dir / _INDEX) or "")
    leftover = {out_dir / name for name in linked if name not in files}
    return sorted(stale | {path for path in leftover if path.is_file()})


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _index(tables: Sequence[Table]) -> str:
    lines = [
        "# Tables",
        "",
        f"<!-- {GENERATED} -->",
        "",
        "Published numbers beside measured ones, one table per dataset digest and protocol.",
        "The numbers come from `../published` and `../records`; `litesam-bench report` writes this",
        "folder and `litesam-bench report --check` tells whether it is up to date.",
        "",
        "| table | data | protocol | measured systems | to measure more |",
        "|---|---|---|---:|---|",
    ]
    for table in tables:
        context = dict(table.context)
        data = context.get("Data", "")
        if data:
            data = f"{data}, digest {context['Dataset digest']}"
        size = len(table.columns) - 1
        measured = sum(bool(row[size].text) for row in table.rows)
        formats = ", ".join(f"[{s[1:]}]({table.name}{s})" for s in _FORMATS if s != ".md")
        commands = "<br>".join(f"`{command}`" for command in table.commands)
        protocol = context.get("Protocol", "")
        lines.append(
            f"| [{table.caption}]({table.name}.md) ({formats}) | {data} | {protocol} "
            f"| {measured} | {commands} |"
        )
    return "\n".join(lines) + "\n"
