"""One generic registry, and the discovery of systems.

A system is known by a module that holds `SPECS` (a tuple of `SystemSpec`, the family's default
first) and `load(spec, context) -> Segmenter`. Such a module comes from one of three places:

1. a file in `paths.baselines_dir()` whose name does not begin with an underscore;
2. an installed package with an entry point in the group `litesam_bench.systems`:
   `[project.entry-points."litesam_bench.systems"]`, `my-sam = "my_package.my_sam"`;
3. a file named on the command line: `--model path/to/my_sam.py`.

Names on the command line (`resolve`) are separated by commas:

| written | means |
|---|---|
| `sam-vit-b` | the system of that name |
| `sam` | the default of the family: the first entry of its SPECS |
| `sam:all` | every variant of the family |
| `path/my_sam.py`, `path/my_sam.py:all`, `path/my_sam.py:my-sam-xl` | the same three for a file |
| `all` | every registered system |

A family alone never means all its variants: asking for `sam` should not load ViT-H by surprise.

Discovery imports these modules, so they must not import torch at module level; a contract test
holds every registered system to that.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar

from litesam_bench import paths
from litesam_bench.errors import UsageError
from litesam_bench.spec import SystemSpec
from litesam_bench.types import LoadContext, Segmenter

if TYPE_CHECKING:
    from litesam_bench.sam.model import Sam

ENTRY_POINT_GROUP = "litesam_bench.systems"

_BASELINES = "litesam_bench.baselines"
_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[^:]+))?")

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and what they stand for, in the order of registration.

    Args:
        kind: what is registered, in the singular, for messages ("system", "protocol").
        list_command: the command that prints all names, for messages.
    """

    def __init__(self, kind: str, *, list_command: str = "") -> None:
        self._kind = kind
        self._list_command = list_command
        self._values: dict[str, T] = {}
        self._sources: dict[str, str] = {}

    def add(self, name: str, value: T, *, source: Path | str) -> None:
        """Register `value`. Raises UsageError naming both sources when the name is taken."""
        if name in self._values:
            raise UsageError(
                f"{self._kind} {name!r} is defined twice: in {self._sources[name]} and in {source}",
                fix=f"rename one of them; every {self._kind} needs a name of its own",
            )
        self._values[name] = value
        self._sources[name] = str(source)

    def get(self, name: str) -> T:
        """The value of `name`. Raises UsageError that suggests the nearest names."""
        try:
            return self._values[name]
        except KeyError:
            raise self.unknown(name) from None

    def unknown(self, name: str, *, also: tuple[str, ...] = ()) -> UsageError:
        """The error for a name that is not here; `also` are further words worth suggesting."""
        words = dict.fromkeys([*self._values, *also])
        near = difflib.get_close_matches(name, words, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        listing = f"run `{self._list_command}` for all names" if self._list_command else ""
        fallback = f"known names: {', '.join(self._values) or 'none'}"
        return UsageError(
            f"unknown {self._kind} {name!r}",
            fix=" ".join(part for part in (hint, listing or fallback) if part),
        )

    def source(self, name: str) -> str:
        """Where `name` was defined."""
        self.get(name)
        return self._sources[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[T]:
        """The values, in the order of registration."""
        return iter(self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._values)


@dataclass(frozen=True, slots=True)
class System:
    """A system that can be loaded: `system.load(system.spec, context)`.

    `source` is the file of the adapter, or the entry point's value and distribution. `network`
    builds the model without weights, for counting; None where the adapter has no such function.
    """

    spec: SystemSpec
    source: Path | str
    load: Callable[[SystemSpec, LoadContext], Segmenter]
    network: Callable[[SystemSpec], Sam] | None = None


def systems() -> Registry[System]:
    """All systems of the baselines folder, by file name, then those of installed packages.

    Raises:
        UsageError: a file or package cannot be imported, lacks SPECS or load, or two systems
            have the same name.
    """
    found = shipped_systems()
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        _add(found, _from_entry_point(entry))
    return found


def shipped_systems() -> Registry[System]:
    """The systems of the baselines folder alone; raises as `systems` does."""
    found: Registry[System] = Registry("system", list_command="litesam-bench models list")
    for path in sorted(paths.baselines_dir().glob("*.py")):
        if not path.name.startswith("_"):
            _add(found, from_file(path))
    return found


def resolve(names: str) -> list[System]:
    """The systems that a `--model` option asks for, each once, in the order asked.

    See the module's docstring for what may be written. Raises UsageError for an unknown name
    (with the nearest ones), a file that is missing or broken, or an empty list.
    """
    known = systems()
    chosen: dict[str, System] = {}
    for word in (part.strip() for part in names.split(",")):
        if word:
            chosen |= {system.spec.name: system for system in _expand(word, known)}
    if not chosen:
        raise UsageError(
            "no system named", fix="give one or more: --model box-fill,ellipse (or --model all)"
        )
    return list(chosen.values())


def _expand(word: str, known: Registry[System]) -> list[System]:
    """What one word of the list means. Systems of a file are added to `known`."""
    if word == "all":
        return list(known)
    if word in known:
        return [known.get(word)]
    if file := _FILE.fullmatch(word):
        path = Path(file["path"]).resolve()
        group = [system for system in known if system.source == path]
        if not group:
            group = from_file(path)
            _add(known, group)
        return _choose(word, group, file["name"], known)
    family, _, name = word.partition(":")
    group = [system for system in known if system.spec.family == family]
    if not group:
        raise known.unknown(word, also=tuple(sorted({system.spec.family for system in known})))
    return _choose(word, group, name, known)


def _choose(
    word: str, group: list[System], name: str | None, known: Registry[System]
) -> list[System]:
    if not name:
        return group[:1]
    if name == "all":
        return group
    chosen = [system for system in group if system.spec.name == name]
    if not chosen:
        raise known.unknown(word, also=tuple(system.spec.name for system in group))
    return chosen


def _add(registry: Registry[System], found: list[System]) -> None:
    for system in found:
        registry.add(system.spec.name, system, source=system.source)


def from_file(path: Path) -> list[System]:
    """The systems of one adapter file. Raises UsageError when it is missing or broken."""
    if not path.is_file():
        raise UsageError(
            f"no such adapter file: {path}",
            fix=f"check the path; to begin one, copy {paths.baselines_dir() / '_template.py'}",
        )
    return _systems_of(_import_file(path.resolve()), path.resolve())


def _from_entry_point(entry: importlib.metadata.EntryPoint) -> list[System]:
    """The systems of one installed package."""
    source = f"{entry.value} (package {entry.dist.name})" if entry.dist else entry.value
    try:
        module = entry.load()
    except Exception as error:
        raise _broken(source, error) from error
    return _systems_of(module, source)


def _import_file(path: Path) -> ModuleType:
    """Import an adapter by path; a file that was imported before is not run again.

    Baselines are `litesam_bench.baselines.<stem>` both in a checkout, where the folder lies beside
    the package, and in a wheel, where it lies inside. Other files get a name that contains their
    path, so that two files of one stem do not meet.
    """
    if path.parent == paths.baselines_dir().resolve():
        _declare_baselines_package()
        name = f"{_BASELINES}.{path.stem}"
    else:
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
        name = f"_litesam_bench_adapter_{digest}_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path  # a .py file always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _broken(path, error) from error
    return module


def _declare_baselines_package() -> None:
    """Make `litesam_bench.baselines` a package, so that one baseline can import from another."""
    package = sys.modules.setdefault(_BASELINES, ModuleType(_BASELINES))
    package.__path__ = [str(paths.baselines_dir())]


def _systems_of(module: ModuleType, source: Path | str) -> list[System]:
    """Check what an adapter defines."""
    specs = getattr(module, "SPECS", None)
    load = getattr(module, "load", None)
    if not isinstance(specs, tuple) or not specs or not callable(load):
        raise UsageError(
            f"{source} is not an adapter: it needs SPECS, a tuple of SystemSpec that is not empty, "
            "and a function load(spec, context)",
            fix=f"compare it with {paths.baselines_dir() / '_template.py'}",
        )
    for spec in specs:
        if not isinstance(spec, SystemSpec):
            raise UsageError(
                f"{source}: SPECS contains {type(spec).__name__}, not SystemSpec",
                fix="use litesam_bench.spec.SystemSpec(...)",
            )
        if not _NAME.fullmatch(spec.name) or spec.name == "all":
            raise UsageError(
                f"{source}: {spec.name!r} cannot be a system's name",
                fix="use lower-case letters, digits, dots and hyphens, as in sam-vit-b",
            )
    network = getattr(module, "network", None)
    return [System(spec=spec, source=source, load=load, network=network) for spec in specs]


def _broken(source: Path | str, error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    lines = str(error).strip().splitlines()
    cause = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return UsageError(
        f"{source} cannot be imported: {cause}", fix="mend it, remove it, or uninstall its package"
    )
