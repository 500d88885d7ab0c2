"""A bundle of the former layout, and a flow that names what has gone, are told at file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexcore.rules import find_problems
from flexcore.rules.layout import check_layout
from tests.flexcore.rules.conftest import replace

ROOT = Path(__file__).parents[3]
STEP, META, FLOW = (
    "f/flexcore/toy/run.py",
    "f/flexcore/toy/run.script.yaml",
    "f/flexcore/templates/daily__flow/flow.yaml",
)


def test_steps_modules_and_shared_locks_in_their_places_are_clean(root: Path) -> None:
    assert [*check_layout(root)] == []


def test_our_own_bundle_has_this_layout() -> None:
    assert [*check_layout(ROOT)] == []


def test_a_module_beside_the_steps_is_found(root: Path) -> None:
    (root / "f/flexcore/core").mkdir()
    (root / "f/flexcore/core/errors.py").write_text("# requirements: base\nclass InvalidInput(Exception): ...\n")
    (found,) = check_layout(root)
    assert (found.file, found.line, found.rule) == ("f/flexcore/core/errors.py", 1, "old-layout")
    assert "modules are in f/flexcore/lib/" in found.message


def test_a_step_in_the_library_is_found(root: Path) -> None:
    (root / "f/flexcore/lib/toy/late.py").write_text("# requirements: base\n\n\ndef main():\n    return 1\n")
    (found,) = check_layout(root)
    assert (found.file, found.line, found.rule) == ("f/flexcore/lib/toy/late.py", 4, "step-in-library")


@pytest.mark.parametrize("line", ["# py: ==3.11.*", "# py: >=3.11", "#py311", "# py311"])
def test_a_line_that_keeps_a_script_from_sharing_its_lock_is_found(root: Path, line: str) -> None:
    replace(root, STEP, "# requirements: base\n", f"# requirements: base\n{line}\n")
    (found,) = check_layout(root)
    assert (found.file, found.line, found.rule) == (STEP, 2, "old-layout") and line in found.message


def test_such_a_line_in_code_is_text(root: Path) -> None:
    replace(root, STEP, "def main", "# py: ==3.11.*\ndef main")
    assert [*check_layout(root)] == []


def test_a_lock_of_the_scripts_own_is_found(root: Path) -> None:
    own = "f/flexcore/toy/run.script.lock"
    line = replace(root, META, "'!inline locks/base.requirements.in.lock'", f"'!inline {own}'")
    (found,) = check_layout(root)
    assert (found.file, found.line, found.rule) == (META, line, "old-layout")
    assert f"the lock is {own!r}" in found.message and "!inline locks/base.requirements.in.lock" in found.message


def test_other_folders_may_be_laid_out_as_their_owners_like(root: Path) -> None:
    (root / "f/shop").mkdir()
    (root / "f/shop/prices.py").write_text("# requirements: base\n# py: ==3.11.*\nX = 1\n")
    assert [*check_layout(root)] == []


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("f/flexcore/core/errors", "; did you mean f/flexcore/lib/core/errors?"),
        ("f/flexcore/meltano/run", "; did you mean f/flexcore/toy/run?"),
        ("f/flexcore/toy/prove", "; correct the path, or add the script"),
    ],
)
def test_a_flow_that_still_names_a_removed_path_is_found_at_its_line(root: Path, path: str, near: str) -> None:
    (root / "f/flexcore/lib/core/errors.py").write_text("class InvalidInput(Exception): ...\n")
    line = replace(root, FLOW, "path: f/flexcore/toy/run", f"path: {path}")
    found = [item for item in find_problems(root) if item.rule == "unknown-path"]
    assert [(item.file, item.line) for item in found] == [(FLOW, line)]
    assert found[0].message.endswith(f"no script of that path{near}")


def test_code_in_a_flow_that_still_imports_a_removed_module_is_found_at_its_line(root: Path) -> None:
    (root / "f/flexcore/lib/core/errors.py").write_text("class InvalidInput(Exception): ...\n")
    inline = "f/flexcore/templates/daily__flow/a.py"
    (root / inline).write_text(
        "import json\nfrom f.flexcore.core.errors import InvalidInput\n\n\ndef main():\n    return 1\n"
    )
    step = "type: rawscript\n        language: python3\n        content: '!inline a.py'"
    replace(root, FLOW, "type: script\n        path: f/flexcore/toy/run", step)
    found = [item for item in find_problems(root) if item.rule == "unknown-import"]
    assert [(item.file, item.line) for item in found] == [(inline, 2)]
    assert "did you mean f/flexcore/lib/core/errors?" in found[0].message
