"""A digest of the source code that a computation depends on.

A run is resumed or shared only while its code is the same, and versions alone would not notice an
edit. Too wide a digest would throw work away at every commit, so it covers exactly the modules of
this package that are imported, directly or not, by the given files.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import litesam_bench

_PACKAGE = Path(litesam_bench.__file__).resolve().parent


def source_digest(files: Iterable[Path]) -> str:
    """sha256 over the files and every module of this package that they import, at any depth."""
    wanted, seen = list(files), set[Path]()
    while wanted:
        file = wanted.pop()
        if file not in seen:
            seen.add(file)
            wanted += _imports(file)
    digest = hashlib.sha256()
    for file in sorted(seen, key=_label):
        digest.update(f"{_label(file)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _label(file: Path) -> str:
    """A name that does not depend on where the package is installed."""
    return file.relative_to(_PACKAGE).as_posix() if file.is_relative_to(_PACKAGE) else file.name


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    """The modules of this package that a file names in imports, also inside functions.

    What is imported for annotations only (`if TYPE_CHECKING`) computes nothing and is left out.
    """
    names = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return tuple(path for name in names if (path := _module_file(name)) is not None)


def _module_file(name: str) -> Path | None:
    head, _, rest = name.partition(".")
    if head != "litesam_bench" or not rest:
        return None
    base = _PACKAGE.joinpath(*rest.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
