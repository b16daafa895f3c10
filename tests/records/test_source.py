"""The source digest follows imports, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import litesam_bench
from litesam_bench.records import source

PACKAGE = Path(litesam_bench.__file__).parent


def reached(file: Path) -> set[str]:
    wanted, seen = [file], set[Path]()
    while wanted:
        f = wanted.pop()
        if f not in seen:
            seen.add(f)
            wanted += source._imports(f)
    return {f.relative_to(PACKAGE).as_posix() for f in seen if f.is_relative_to(PACKAGE)}


def test_imports_inside_functions_and_of_names_count(repository: Path) -> None:
    lite = reached(repository / "baselines" / "lite_sam.py")
    assert {"lite_sam/model.py", "lite_sam/litevit.py", "sam/mask_decoder.py"} <= lite
    ellipse = reached(repository / "baselines" / "ellipse.py")
    assert "adapters.py" in ellipse
    assert not any(name.startswith(("lite_sam/", "sam/")) for name in ellipse)


def test_the_dialogue_depends_on_prompts_but_not_on_tables() -> None:
    names = reached(PACKAGE / "dialogue.py")
    assert {"prompts/clicks.py", "prompts/gt_boxes.py", "metrics/rle.py"} <= names
    assert not any(name.startswith(("tables/", "cli/", "datasets/")) for name in names)
    # a protocol's predict-side fields are in the run's identity; a new preset changes no mask
    assert "protocols.py" not in names


def test_an_edit_changes_the_digest_and_a_move_does_not(tmp_path: Path) -> None:
    texts = ["from litesam_bench.adapters import binary_batch\n", "x = 1\n"]
    digests = []
    for folder in ("a", "b"):
        file = tmp_path / folder / "adapter.py"
        file.parent.mkdir()
        file.write_text(texts[0])
        digests.append(source.source_digest([file]))
    assert digests[0] == digests[1]
    edited = tmp_path / "c" / "adapter.py"
    edited.parent.mkdir()
    edited.write_text("".join(texts))
    assert source.source_digest([edited]) != digests[0]


def test_a_file_that_is_not_python_is_an_error_where_it_is(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def (:\n")
    with pytest.raises(SyntaxError):
        source.source_digest([broken])
