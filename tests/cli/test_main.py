"""The command line as a whole: light, helpful, and clear when something fails."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from litesam_bench import __version__
from litesam_bench.cli import main as module
from litesam_bench.cli.main import COMMANDS, LazyCommand, cli, run
from litesam_bench.errors import BenchError, DataError, UsageError


def walk(path: list[str]) -> Iterator[list[str]]:
    """All commands and groups below `path`, as words on a command line."""
    context = click.Context(cli)
    command: click.Command = cli
    for word in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command = found
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from walk([*path, name])


def python(repository: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args], cwd=repository, capture_output=True, text=True, check=False
    )


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_exists_with_help_and_an_example(self, name: str) -> None:
        for words in walk([name]):
            shown = CliRunner().invoke(cli, [*words, "--help"], prog_name="litesam-bench")
            assert shown.exit_code == 0, shown.output
            line = " ".join(words)
            assert re.search(rf"Examples?:\s+litesam-bench {line}\b", shown.output), (
                f"the help of `{line}` has no example of its own:\n{shown.output}"
            )
            text = shown.output.split("\n", 2)[2].strip()
            assert text and not text.startswith("Options:"), f"`{line}` does not say what it does"

    @pytest.mark.parametrize("name", COMMANDS)
    def test_short_help_is_one_short_line(self, name: str) -> None:
        text = COMMANDS[name].short_help
        assert text.endswith(".")
        assert len(text) <= 65

    def test_lists_every_command(self) -> None:
        shown = CliRunner().invoke(cli, ["-h"])
        assert shown.exit_code == 0
        for name, lazy in COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(lazy.short_help)}$", shown.output, re.M)

    @pytest.mark.parametrize("args", [["--help"], ["--version"], ["nonsense"], []])
    def test_imports_nothing_heavy(self, repository: Path, args: list[str]) -> None:
        script = (
            "import json, sys; from litesam_bench.cli.main import run\n"
            f"run({args!r})\nprint('MODULES', json.dumps(sorted(sys.modules)))"
        )
        done = python(repository, "-c", script)
        modules = set(json.loads(done.stdout.split("MODULES ")[1]))
        assert "click" in modules
        assert not {"torch", "numpy", "pandas", "scipy", "numba", "cv2", "rich"} & modules
        assert not {m for m in modules if m.startswith("litesam_bench.cli.")} - {
            "litesam_bench.cli.main"
        }

    def test_version(self) -> None:
        assert __version__ in CliRunner().invoke(cli, ["--version"]).output

    def test_as_a_module(self, repository: Path) -> None:
        done = python(repository, "-m", "litesam_bench", "--version")
        assert done.returncode == 0
        assert done.stdout.strip() == f"litesam-bench, version {__version__}"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException | str]]:
    """A command `fail` that raises what the list holds, or prints it."""
    outcome: list[BaseException | str] = []

    @click.command()
    def fail() -> None:
        (what,) = outcome
        if isinstance(what, str):
            click.echo(what)
        else:
            raise what

    fake = type(sys)("a_fake_command")
    fake.fail = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_fake_command", fake)
    monkeypatch.setitem(COMMANDS, "fail", LazyCommand("a_fake_command", "fail", "Fails."))
    yield outcome


class TestFailures:
    def test_a_domain_error_is_message_and_remedy(
        self, failing: list[BaseException | str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        failing.append(DataError("image 7 is truncated", fix="get it again"))
        assert run(["fail"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "error: image 7 is truncated\n  fix: get it again\n"

    @pytest.mark.parametrize(("error", "status"), [(UsageError("x"), 2), (BenchError("x"), 1)])
    def test_status(
        self,
        failing: list[BaseException | str],
        error: BenchError,
        status: int,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        failing.append(error)
        assert run(["fail"]) == status
        assert capsys.readouterr().err == "error: x\n"

    def test_success(
        self, failing: list[BaseException | str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        failing.append("the answer")
        assert run(["fail"]) == 0
        assert capsys.readouterr() == ("the answer\n", "")

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
    def test_ctrl_c(
        self,
        failing: list[BaseException | str],
        error: BaseException,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        failing.append(error)
        assert run(["fail"]) == 130
        assert "interrupted; nothing computed is lost: run the same command again" in (
            capsys.readouterr().err
        )

    def test_full_disk(
        self, failing: list[BaseException | str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        failing.append(OSError(errno.ENOSPC, "No space left on device", "/results/x.json"))
        assert run(["fail"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: no space left on the disk of /results/x.json\n  fix: free")

    @pytest.mark.parametrize("error", [PermissionError(13, "denied"), ValueError("a bug")])
    def test_bugs_keep_their_traceback(
        self, failing: list[BaseException | str], error: Exception
    ) -> None:
        failing.append(error)
        with pytest.raises(type(error)):
            run(["fail"])

    def test_unknown_command_suggests_a_near_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["zeroshoot"]) == 2
        assert "Did you mean zeroshot?" in capsys.readouterr().err

    def test_unknown_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--verbos"]) == 2
        assert "No such option" in capsys.readouterr().err

    def test_a_closed_pipe_is_quiet(self, repository: Path) -> None:
        """The reader is gone before the first line, as with `litesam-bench models list | true`."""
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "litesam_bench", "models", "list"],
            cwd=repository,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert done.stderr == ""
        assert done.returncode == 1

    @pytest.mark.skipif(
        not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full"
    )
    def test_a_full_standard_output(self, repository: Path) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "litesam_bench", "models", "list"],
                cwd=repository,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert "error: no space left" in done.stderr
        assert "Traceback" not in done.stderr


def test_main_exits_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run", lambda args: 7)
    with pytest.raises(SystemExit) as caught:
        module.main(["x"])
    assert caught.value.code == 7
