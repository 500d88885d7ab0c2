"""Every defect is found at its line, and a bundle without one is clean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flexcore.check import Severity, check
from flexcore.check.positions import NotYaml, read
from tests.check.cases import CASES, Case

ROOT = Path(__file__).parents[2]
GOOD: dict[str, str] = yaml.safe_load((Path(__file__).parent / "good_bundle.yaml").read_text())


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
    assert check(ROOT) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_defect_is_found_at_its_line(case: Case, tmp_path: Path) -> None:
    assert GOOD[case.file].count(case.old) >= 1
    files = GOOD | {case.file: GOOD[case.file].replace(case.old, case.new, 1)}
    write(tmp_path, files)
    file = case.found_in or case.file
    findings = check(tmp_path)
    expected = (file, line_of(files[file], case.at or case.new), case.rule)
    assert expected in [(finding.file, finding.line, finding.rule) for finding in findings]
    found = next(finding for finding in findings if (finding.file, finding.line, finding.rule) == expected)
    assert found.severity is (Severity.WARNING if case.warning else Severity.ERROR)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_defect_is_found_once_and_no_other_is_made_up(case: Case, tmp_path: Path) -> None:
    files = GOOD | {case.file: GOOD[case.file].replace(case.old, case.new, 1)}
    write(tmp_path, files)
    line = line_of(files[case.found_in or case.file], case.at or case.new)
    others = [finding for finding in check(tmp_path) if finding.line != line]
    assert {finding.rule for finding in others} <= CONSEQUENCES.get(case.name, set())


# What follows from a defect, rightly, in another line.
CONSEQUENCES: dict[str, set[str]] = {}


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_says_why_not(text: str) -> None:
    try:
        read(text)
    except NotYaml as error:
        assert error.line >= 1


def flexcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexcore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command_says_by_its_exit_code_what_it_found(tmp_path: Path) -> None:
    assert flexcore("check", "--root", str(tmp_path)).returncode == 2
    write(tmp_path, GOOD)
    assert flexcore("check", "--root", str(tmp_path)).returncode == 0
    (tmp_path / "f/shop/currency.variable.yaml").write_text("value: EUR\nis_secret: false\nscret: 1\n")
    told = flexcore("check", "--root", str(tmp_path))
    assert told.returncode == 1
    assert "f/shop/currency.variable.yaml:3:1: unknown-key" in told.stdout
    assert "did you mean is_secret?" in told.stdout
    told = flexcore("check", "--json", "--root", str(tmp_path))
    assert told.returncode == 1
    assert [(f["file"], f["line"], f["rule"]) for f in json.loads(told.stdout) if f["severity"] == "error"] == [
        ("f/shop/currency.variable.yaml", 3, "unknown-key")
    ]
