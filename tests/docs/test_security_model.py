"""Each threat of the security model names tests that there are, and no other page promises a proof that is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/security-model.md"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def read_threats() -> list[tuple[str, str]]:
    """(threat, proof) of each line of the table."""
    table = PAGE.read_text(encoding="utf-8").partition("## Threats")[2].partition("## ")[0]
    rows = [line.strip().strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [(row[0].strip(), row[-1]) for row in rows[2:]]


def test_the_page_has_threats() -> None:
    assert len(read_threats()) >= 15


@pytest.mark.parametrize(("threat", "proof"), read_threats(), ids=[threat for threat, _ in read_threats()])
def test_a_threat_is_proved_by_tests_that_there_are(threat: str, proof: str) -> None:
    named = REFERENCE.findall(proof)
    assert named, f"{threat}: name a test"
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (
            f"{file} has no {name}"
        )
