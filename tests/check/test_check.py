"""Every defect is found at its line, and a bundle without one is clean."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexcore.check import Severity, check
from flexcore.check.parsers import Signature, Source, signatures
from flexcore.check.positions import NotYaml, read
from tests.check.cases import CASES, Case

ROOT = Path(__file__).parents[2]
GOOD: dict[str, str] = yaml.safe_load((Path(__file__).parent / "good_bundle.yaml").read_text())


@pytest.fixture(autouse=True)
def parsers_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most cases leave the code as it is; node's start would take most of the time."""
    monkeypatch.setattr("flexcore.check.code.signatures", _remembered)


ANSWERS: dict[tuple[str, str, str], Signature] = {}


def _remembered(sources: list[Source], root: Path) -> dict[str, Signature]:
    new = [source for source in sources if (source.language, source.content, source.path) not in ANSWERS]
    for key, signature in signatures(new, root).items():
        source = next(source for source in new if source.key == key)
        ANSWERS[source.language, source.content, source.path] = signature
    return {source.key: ANSWERS[known] for source in sources
            if (known := (source.language, source.content, source.path)) in ANSWERS}  # fmt: skip


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def line_of(text: str, part: str) -> int:
    assert part in text
    return text[: text.index(part)].count("\n") + 1


def test_a_good_bundle_is_clean(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert check(tmp_path) == []


def test_our_own_bundle_is_clean() -> None:
    assert [finding for finding in check(ROOT) if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_defect_is_found_at_its_line_and_no_other_is_made_up(case: Case, tmp_path: Path) -> None:
    assert case.old in GOOD[case.file]
    files = GOOD | {case.file: GOOD[case.file].replace(case.old, case.new, 1)}
    write(tmp_path, files)
    file = case.found_in or case.file
    findings = check(tmp_path)
    expected = (file, line_of(files[file], case.at or case.new), case.rule)
    found = [finding for finding in findings if (finding.file, finding.line, finding.rule) == expected]
    assert found, [str(finding) for finding in findings]
    assert found[0].severity is (Severity.WARNING if case.warning else Severity.ERROR)
    others = {finding.rule for finding in findings if (finding.file, finding.line) != expected[:2]}
    # A misspelt key is missing as well.
    follows = {"normal-form", "missing-key"} if case.rule == "unknown-key" else set()
    assert others <= CONSEQUENCES.get(case.name, set()) | follows, [str(finding) for finding in findings]


# What follows from a defect, rightly, in another line.
CONSEQUENCES: dict[str, set[str]] = {
    "an inline file that does not exist": {"unused-file"},
    "an inline lock that does not exist": {"unused-file"},
    "a step without a lock": {"unused-file"},
    "a key twice": {"wrong-kind"},
    "an unknown key of wmill.yaml": {"not-pushed"},
    "a field of another type": {"wrong-argument"},
    "a requirement set that does not exist": {"stale-lock"},
    "a lock without a package of the set": {"not-locked"},
    "an annotation of a type that does not exist": {"schema-type"},
    "code in the flow itself": {"unused-file"},
    "a library where a step wants a script": {"no-main", "schema-extra", "schema-required"},
    "a flow in a folder of the other suffix": {"wrong-suffix"},
}


def test_files_without_a_use_are_found(tmp_path: Path) -> None:
    extra = {
        "f/shop/order__flow/old.py": "def main(): pass\n",
        "f/shop/order__flow/README.md": "a push does not look at it\n",
        "f/shop/gone.script.yaml": GOOD["f/shop/add.script.yaml"],
        "f/bare.py": "def main(): pass\n",
        "f/shop/label.py": "def main(path: str, file: dict = None): pass\n",
        "f/shop/Nightly.schedule.yaml": GOOD["f/shop/nightly.schedule.yaml"],
        "f/shop/query.sql": "select 1\n",
    }
    write(tmp_path, GOOD | extra)
    found = {(finding.file, finding.rule) for finding in check(tmp_path) if finding.severity is Severity.ERROR}
    assert found == {
        ("f/shop/order__flow/old.py", "unused-file"),
        ("f/shop/gone.script.yaml", "orphan-file"),
        ("f/bare.py", "bad-name"),
        ("f/shop/label.ts", "duplicate-path"),
        ("f/shop/nightly.schedule.yaml", "case-collision"),
        ("f/shop/query.sql", "unknown-language"),
    }


def test_a_preprocessors_script_needs_no_main(tmp_path: Path) -> None:
    flow = GOOD["f/shop/order__flow/flow.yaml"].replace(
        "  failure_module:",
        "  preprocessor_module:\n    id: preprocessor\n    value:\n      type: script\n      input_transforms: {}\n"
        "      path: f/shop/prepare\n  failure_module:",
    )
    code = {"f/shop/prepare.py": "def preprocessor(event: dict) -> dict:\n    return event\n"}
    write(tmp_path, GOOD | code | {"f/shop/order__flow/flow.yaml": flow})
    assert {finding.rule for finding in check(tmp_path)} == {"missing-metadata"}


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_says_why_not(text: str) -> None:
    try:
        read(text)
    except NotYaml as error:
        assert error.line >= 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("results.x?.[")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*way, key))


def put(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    below = put(document[way[0]], way[1:], value)
    if isinstance(document, dict):
        return document | {way[0]: below}
    return [below if number == way[0] else item for number, item in enumerate(document)]


PLACES = [(name, way) for name, text in GOOD.items() if name.endswith(".yaml") for way in places(yaml.safe_load(text))]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), VALUES)
def test_no_value_at_any_place_gives_a_traceback(place: tuple[str, tuple[Any, ...]], value: Any) -> None:
    name, way = place
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump(put(yaml.safe_load(GOOD[name]), way, value), allow_unicode=True)
        write(Path(folder), GOOD | {name: text})
        check(Path(folder))


def flexcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexcore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command_says_by_its_exit_code_what_it_found(tmp_path: Path) -> None:
    assert flexcore("check", "--root", str(tmp_path)).returncode == 2
    write(tmp_path, GOOD)
    assert flexcore("check", "--root", str(tmp_path)).returncode == 0
    (tmp_path / "f/shop/currency.variable.yaml").write_text("description: x\nis_secret: false\nscret: 1\nvalue: EUR\n")
    told = flexcore("check", "--root", str(tmp_path))
    assert told.returncode == 1
    assert "f/shop/currency.variable.yaml:3:1: unknown-key" in told.stdout
    assert "did you mean is_secret?" in told.stdout
    told = flexcore("check", "--json", "--root", str(tmp_path))
    assert told.returncode == 1
    assert [(f["file"], f["line"], f["rule"]) for f in json.loads(told.stdout) if f["severity"] == "error"] == [
        ("f/shop/currency.variable.yaml", 3, "unknown-key")
    ]
