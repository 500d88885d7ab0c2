"""The faults, what each can endanger, and which test proves that it does not: marks in, a table of a page out.

A test carries `@pytest.mark.fault(13, "I2")`: under fault 13 invariant I2 holds, against a fake server at a network
edge; with `real=True` against the real program. As a plugin it gathers the marks of all collected tests, and with
FLEXCORE_UPDATE_MATRIX=1 writes the table of docs/reliability.md from how they went:

    FLEXCORE_UPDATE_MATRIX=1 uv run pytest -m fault
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.invariants import NAMES

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
BEGIN, END = "<!-- faults: written by the tests -->", "<!-- end of faults -->"
REAL, FAKE, SAFE, FAILED = "●", "○", "·", "✗"
Table = dict[tuple[int, str], str]


@dataclass(frozen=True, slots=True)
class Fault:
    """endangers: the invariants that it could break, all of which must have a proof."""

    what: str
    endangers: str


FAULTS = {
    1: Fault("worker killed: before create, after it, mid-run, after the end", "I1 I2 I4 I5 I7 I8"),
    2: Fault("flow cancelled: at the same four points", "I2 I4 I7"),
    3: Fault("step time-out", "I2 I4 I7"),
    4: Fault("step retried while its first remote lives", "I1 I2 I5 I7"),
    5: Fault("429, Retry-After in seconds and as a date", "I1 I2"),
    6: Fault("bursts of 500 and 503", "I1 I2 I8"),
    7: Fault("connection refused, reset in a body, stalled", "I1 I2 I3 I8"),
    8: Fault("401 once, 401 always", "I1 I2 I6 I8"),
    9: Fault("403", "I2 I4 I6 I8"),
    10: Fault("409: the name is taken, by us or by others", "I1 I2 I8"),
    11: Fault("watch closed, 410 Gone, bookmarks only", "I2 I3 I5"),
    12: Fault("log stalls, rotates, splits a character", "I2 I5 I6"),
    13: Fault("out of memory (137)", "I1 I2 I7"),
    14: Fault("image cannot be pulled", "I2 I4"),
    15: Fault("unschedulable: cpu, GPU, taint, affinity", "I2 I4"),
    16: Fault("Kueue: suspended for an hour, then admitted", "I2 I4 I5"),
    17: Fault("quota exceeded", "I2 I4"),
    18: Fault("pod evicted, node lost", "I1 I2 I5"),
    19: Fault("object deleted by somebody", "I1 I2 I3"),
    20: Fault("Ray took the job, the answer was lost", "I1 I2"),
    21: Fault("Ray: submission id in use", "I1 I2 I8"),
    22: Fault("Ray: pending for ever", "I2 I4"),
    23: Fault("Ray: head restarted, jobs forgotten", "I1 I2 I3 I5"),
    24: Fault("Ray: stop is not honoured", "I2 I4"),
    25: Fault("Ray: job refused, or started after its deadline", "I2 I4"),
    26: Fault("Ray's status and the job's own word differ", "I2 I5"),
    27: Fault("tap, target or mapper dies; both hang", "I2 I4 I7"),
    28: Fault("SIGTERM to Meltano: drains, then ends", "I2 I4 I7"),
    29: Fault("lock left by a dead run", "I1 I7"),
    30: Fault("malformed Singer line, line over the buffer, NaN, huge integer", "I2 I7"),
    31: Fault("disk full", "I2 I7"),
    32: Fault("state backend fails after the load", "I2 I7"),
    33: Fault("secret in an exception's text", "I6"),
    34: Fault("result of 600 MB", "I2"),
    35: Fault("clocks ten minutes apart", "I2 I4 I8"),
    36: Fault("Windmill's API down", "I2 I8"),
    37: Fault("reaper races with a restart of the same job", "I1 I4 I8"),
}


@dataclass(frozen=True, slots=True)
class Proof:
    """One test's claim: this invariant holds under that fault."""

    fault: int
    invariant: str
    real: bool

    @property
    def cell(self) -> tuple[int, str]:
        return self.fault, self.invariant


def proofs_of(item: pytest.Item) -> list[Proof]:
    """The marks of one test. Raises UsageError for a fault or an invariant that there is none of."""
    found = []
    for mark in item.iter_markers("fault"):
        number, names, real = mark.args[0], mark.args[1:], bool(mark.kwargs.get("real"))
        wrong = [name for name in names if name not in FAULTS.get(number, Fault("", "")).endangers.split()]
        if number not in FAULTS or not names or wrong:
            raise pytest.UsageError(f"{item.nodeid}: fault {number} is not said to endanger {', '.join(wrong) or '…'}")
        found += [Proof(number, name, real) for name in names]
    return found


def signs(proved: Iterable[Proof], failed: Iterable[Proof] = ()) -> Table:
    """The sign of each cell that some test claims."""
    table: Table = {}
    for proof in proved:
        table[proof.cell] = REAL if proof.real else table.get(proof.cell, FAKE)
    return table | {proof.cell: FAILED for proof in failed}


def unproved(table: Table) -> list[str]:
    cells = [(number, name) for number, fault in FAULTS.items() for name in fault.endangers.split()]
    return [f"{number} {name}" for number, name in cells if (number, name) not in table]


def rendered(table: Table) -> str:
    """The page's block, without its two comments."""
    head = f"| fault | {' | '.join(NAMES)} |\n|---|{':-:|' * len(NAMES)}"
    rows = [
        f"| {number} {fault.what} | {' | '.join(table.get((number, name), _blank(fault, name)) for name in NAMES)} |"
        for number, fault in FAULTS.items()
    ]
    return "\n".join([head, *rows])


def _blank(fault: Fault, name: str) -> str:
    return "?" if name in fault.endangers.split() else SAFE


def block_of(text: str) -> str:
    """What stands between the two comments."""
    found = re.search(f"{re.escape(BEGIN)}\n(.*?)\n?{re.escape(END)}", text, re.DOTALL)
    assert found, f"docs/reliability.md has no {BEGIN} … {END}"
    return found[1]


def with_block(text: str, block: str) -> str:
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    block_of(text)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


# --- the plugin


class Matrix:
    """claimed: the proofs of all collected tests, whatever is run of them; whole: everything was collected."""

    def __init__(self, config: pytest.Config) -> None:
        self.worker = hasattr(config, "workerinput")
        self.whole = config.args in (config.getini("testpaths"), [str(config.rootpath / "tests")])
        self.claimed: list[Proof] = []
        self.passed: list[Proof] = []
        self.failed: list[Proof] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            proofs = proofs_of(item)
            self.claimed += proofs
            for proof in proofs:
                # Reports carry this from a process of xdist to the one that writes the table.
                item.user_properties.append(("fault", [proof.fault, proof.invariant, proof.real]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        proofs = [Proof(*value) for name, value in report.user_properties if name == "fault"]  # type: ignore[misc]
        if report.failed:
            self.failed += proofs
        elif report.when == "call" and report.passed:
            self.passed += proofs

    def pytest_sessionfinish(self) -> None:
        if os.environ.get("FLEXCORE_UPDATE_MATRIX") and not self.worker:
            text = PAGE.read_text()
            PAGE.write_text(with_block(text, rendered(signs(self.passed, self.failed))))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Matrix(config), "faults")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    matrix = config.pluginmanager.get_plugin("faults")
    if matrix and os.environ.get("FLEXCORE_UPDATE_MATRIX"):
        missing = unproved(signs(matrix.passed))
        terminalreporter.line(
            f"docs/reliability.md: {len(signs(matrix.passed))} cells proved, missing: {', '.join(missing)}"
        )
