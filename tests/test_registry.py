"""The registry, what a --model option may say, and that discovery stays light."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from litesam_bench import paths, registry
from litesam_bench.errors import UsageError
from litesam_bench.registry import Registry, resolve, systems

ADAPTER = """
from litesam_bench.spec import SystemSpec
from litesam_bench.types import Capabilities

def _spec(name):
    return SystemSpec(
        name=name, family={family!r}, display=name, capabilities=Capabilities(boxes=True)
    )

SPECS = tuple(_spec(name) for name in {names!r})

def load(spec, context):
    raise RuntimeError("not loaded by the registry")
"""


def write_adapter(path: Path, family: str, *names: str) -> Path:
    path.write_text(ADAPTER.format(family=family, names=names))
    return path


def names_of(words: str) -> list[str]:
    return [system.spec.name for system in resolve(words)]


@pytest.fixture
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A baselines folder of its own, with a family of three and one of one."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    monkeypatch.setattr(paths, "baselines_dir", lambda: folder)
    write_adapter(folder / "tri.py", "tri", "tri-s", "tri-m", "tri-l")
    write_adapter(folder / "uno.py", "uno", "uno")
    write_adapter(folder / "_template.py", "hidden", "hidden")
    yield folder
    for name in [n for n in sys.modules if n.startswith("litesam_bench.baselines.")]:
        if str(sys.modules[name].__file__).startswith(str(folder)):
            del sys.modules[name]


class TestRegistry:
    def test_keeps_the_order_of_registration(self) -> None:
        numbers: Registry[int] = Registry("number")
        for name, value in (("two", 2), ("one", 1)):
            numbers.add(name, value, source="here")
        assert numbers.names == ("two", "one")
        assert list(numbers) == [2, 1]
        assert len(numbers) == 2
        assert "one" in numbers and "three" not in numbers
        assert numbers.source("one") == "here"

    def test_collision_names_both_sources(self) -> None:
        numbers: Registry[int] = Registry("number")
        numbers.add("one", 1, source="first.py")
        with pytest.raises(UsageError, match=r"'one'.*first\.py.*second\.py"):
            numbers.add("one", 2, source="second.py")
        assert numbers.get("one") == 1

    def test_unknown_name_suggests_near_ones(self) -> None:
        numbers: Registry[int] = Registry("number", list_command="numbers list")
        numbers.add("seventeen", 17, source="here")
        with pytest.raises(UsageError, match="'sevnteen'") as caught:
            numbers.get("sevnteen")
        assert "did you mean seventeen?" in caught.value.fix
        assert "numbers list" in caught.value.fix

    def test_unknown_name_without_a_near_one_lists_all(self) -> None:
        numbers: Registry[int] = Registry("number")
        numbers.add("one", 1, source="here")
        with pytest.raises(UsageError) as caught:
            numbers.get("xyzzy")
        assert caught.value.fix == "known names: one"


class TestResolve:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("tri-m", ["tri-m"]),
            ("tri", ["tri-s"]),  # a family alone is its default
            ("tri:all", ["tri-s", "tri-m", "tri-l"]),
            ("tri:tri-l", ["tri-l"]),
            ("uno,tri-l", ["uno", "tri-l"]),  # in the order asked
            (" uno , uno ", ["uno"]),  # each once
            ("all", ["tri-s", "tri-m", "tri-l", "uno"]),
        ],
    )
    def test_what_may_be_written(self, baselines: Path, words: str, expected: list[str]) -> None:
        assert names_of(words) == expected

    def test_files_that_begin_with_an_underscore_are_not_registered(self, baselines: Path) -> None:
        assert "hidden" not in systems()

    @pytest.mark.parametrize("words", ["", ",", " , "])
    def test_nothing_named(self, baselines: Path, words: str) -> None:
        with pytest.raises(UsageError, match="no system named"):
            resolve(words)

    def test_near_families_are_suggested(self, baselines: Path) -> None:
        with pytest.raises(UsageError) as caught:
            resolve("trii")
        assert "tri" in caught.value.fix

    def test_unknown_variant_of_a_known_family(self, baselines: Path) -> None:
        with pytest.raises(UsageError, match="'tri:tri-xl'"):
            resolve("tri:tri-xl")


class TestFiles:
    def test_a_file_by_path(self, baselines: Path, tmp_path: Path) -> None:
        path = write_adapter(tmp_path / "mine.py", "mine", "mine-a", "mine-b")
        assert names_of(str(path)) == ["mine-a"]
        assert names_of(f"{path}:all") == ["mine-a", "mine-b"]
        assert names_of(f"{path}:mine-b,uno") == ["mine-b", "uno"]
        assert resolve(str(path))[0].source == path

    def test_a_relative_path(
        self, baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_adapter(tmp_path / "mine.py", "mine", "mine-a")
        monkeypatch.chdir(tmp_path)
        assert names_of("mine.py") == ["mine-a"]

    def test_a_file_of_the_folder_is_not_a_collision_with_itself(self, baselines: Path) -> None:
        assert names_of(f"{baselines / 'uno.py'},uno") == ["uno"]

    def test_two_files_of_one_stem(self, baselines: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write_adapter(tmp_path / name / "same.py", name, f"{name}-x")
        assert names_of(f"{tmp_path}/a/same.py,{tmp_path}/b/same.py") == ["a-x", "b-x"]

    def test_collision_with_a_registered_system(self, baselines: Path, tmp_path: Path) -> None:
        path = write_adapter(tmp_path / "other.py", "other", "uno")
        with pytest.raises(UsageError, match=r"uno\.py.*other\.py"):
            resolve(str(path))

    def test_missing_file(self, baselines: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no such adapter file: .*nowhere\.py"):
            resolve(str(tmp_path / "nowhere.py"))

    @pytest.mark.parametrize(
        ("source", "cause"),
        [
            ("import a_package_that_is_missing", "ModuleNotFoundError: No module named"),
            ("raise ValueError('first line\\nsecond line')", r"ValueError: first line\n"),
            ("def broken(:", "SyntaxError"),
        ],
    )
    def test_broken_file_names_itself_and_the_first_line_of_the_cause(
        self, baselines: Path, source: str, cause: str
    ) -> None:
        path = baselines / "broken.py"
        path.write_text(source)
        with pytest.raises(UsageError, match=rf"broken\.py cannot be imported: .*{cause}") as first:
            systems()
        assert "second line" not in first.value.message
        with pytest.raises(UsageError, match=r"broken\.py"):
            systems()  # a failed import is not remembered as a good one

    @pytest.mark.parametrize(
        "source",
        ["", "SPECS = ()\ndef load(spec, context): ...", "SPECS = [1]\ndef load(s, c): ..."],
    )
    def test_not_an_adapter(self, tmp_path: Path, source: str) -> None:
        path = tmp_path / "not_one.py"
        path.write_text(source)
        with pytest.raises(UsageError, match=r"not_one\.py is not an adapter"):
            resolve(str(path))

    def test_specs_of_another_type(self, tmp_path: Path) -> None:
        path = tmp_path / "strange.py"
        path.write_text("SPECS = ('a',)\ndef load(s, c): ...")
        with pytest.raises(UsageError, match="SPECS contains str, not SystemSpec"):
            resolve(str(path))

    @pytest.mark.parametrize("name", ["Upper", "has space", "all", "a,b", "x:y", ""])
    def test_names_that_a_command_line_could_not_say(self, tmp_path: Path, name: str) -> None:
        path = write_adapter(tmp_path / "odd.py", "odd", name)
        with pytest.raises(UsageError, match="cannot be a system's name"):
            resolve(str(path))


class TestEntryPoints:
    def test_an_installed_package(
        self, baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_adapter(tmp_path / "third_party_sam.py", "third", "third-a")
        install(tmp_path, monkeypatch, "third_party_sam")
        assert names_of("third-a") == ["third-a"]
        assert resolve("third-a")[0].source == "third_party_sam (package third-party)"

    def test_a_broken_package_is_named(
        self, baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "third_party_bad.py").write_text("raise OSError('no such library')")
        install(tmp_path, monkeypatch, "third_party_bad")
        with pytest.raises(
            UsageError, match=r"third_party_bad \(package third-party\).*OSError: no such library"
        ):
            systems()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Put a distribution with one entry point on the path, as an installer would."""
    info = folder / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\nx = {module}\n")
    monkeypatch.syspath_prepend(str(folder))
    assert importlib.metadata.version("third-party") == "1.0"


class TestRealBaselines:
    def test_weightless_systems_are_registered(self) -> None:
        assert {"oracle", "box-fill", "ellipse", "grabcut"} <= set(systems().names)

    def test_names_begin_with_their_family(self) -> None:
        for system in systems():
            assert system.spec.name.startswith(system.spec.family), system.spec.name

    def test_discovery_imports_no_heavy_package(self, repository: Path) -> None:
        script = (
            "import json, sys; from litesam_bench.registry import systems; names = systems().names;"
            "print(json.dumps([names, sorted(sys.modules)]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        )
        names, modules = json.loads(done.stdout)
        assert "ellipse" in names
        heavy = {"torch", "torchvision", "numba", "cv2", "timm", "transformers", "ultralytics"}
        assert not heavy & set(modules)
        assert "litesam_bench.baselines.ellipse" in modules

    def test_one_baseline_can_import_from_another(self, repository: Path) -> None:
        script = (
            "from litesam_bench.registry import systems; systems();"
            "from litesam_bench.baselines.ellipse import SPECS; print(SPECS[0].name)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "ellipse\n"
