"""The table of faults in docs/reliability.md says what the tests say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.matrix import (
    BEGIN,
    END,
    FAILED,
    FAKE,
    FAULTS,
    PAGE,
    REAL,
    Matrix,
    Proof,
    block_of,
    rendered,
    signs,
    unproved,
    with_block,
)

CLAIMS = "FLEXCORE_CLAIMS"


def claimed(config: pytest.Config) -> list[Proof]:
    """The claims of all tests: of this run when it has collected all, else of a collection of its own."""
    matrix = config.pluginmanager.get_plugin("faults")
    assert isinstance(matrix, Matrix)
    if matrix.whole:
        return matrix.claimed
    code = (
        "import pytest, sys\n"
        "class Tell:\n"
        "    def pytest_collection_finish(self, session):\n"
        "        for p in session.config.pluginmanager.get_plugin('faults').claimed:\n"
        f"            print('{CLAIMS}', p.fault, p.invariant, int(p.real))\n"
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider'], [Tell()]))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PAGE.parents[1], env=env, capture_output=True, text=True, check=True
    )
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith(CLAIMS)]
    return [Proof(int(number), name, real == "1") for number, name, real in lines]


def test_the_page_shows_what_the_tests_prove(request: pytest.FixtureRequest) -> None:
    table = signs(claimed(request.config))
    assert not unproved(table), "no test is marked for these"
    assert block_of(PAGE.read_text()) == rendered(table), "run: FLEXCORE_UPDATE_MATRIX=1 uv run pytest -m fault"


def test_a_cell_shows_the_strongest_proof_and_a_failure_above_all() -> None:
    fake, real = Proof(1, "I1", False), Proof(1, "I1", True)
    assert signs([real, fake]) == signs([fake, real]) == {(1, "I1"): REAL}
    assert signs([fake]) == {(1, "I1"): FAKE}
    assert signs([real], [fake]) == {(1, "I1"): FAILED}
    assert "1 I1" not in unproved(signs([fake])) and "1 I2" in unproved(signs([fake]))


def test_the_table_has_a_row_for_each_fault_and_replaces_the_one_before() -> None:
    assert list(FAULTS) == list(range(1, 38))
    text = f"before\n{BEGIN}\nold\n{END}\nafter"
    new = with_block(text, rendered({(1, "I1"): "●"}))
    assert block_of(new) == rendered({(1, "I1"): "●"}) and new.startswith("before") and new.endswith("after")
    assert len(block_of(new).splitlines()) == 2 + len(FAULTS)
    assert with_block(f"{BEGIN}\n{END}", "new") == f"{BEGIN}\nnew\n{END}"
