"""What of a job's log is shown with --follow: the step's own lines, however the log is cut into pieces."""

from __future__ import annotations

import pytest

from flexcore.client.step_log import StepLog

WORKER = (
    "to remove ansi colors, use: | sed 's/\\x1B//g'\njob=01a22389 tag=python3 worker=wk-default isolation=none\n\n"
    "resolving dependencies...\ncontent of requirements:\nwmill\n\nenv deps from local cache: anyio==4.16.0\n\n\n"
    "--- UV PIP INSTALL ---\n\nTo be installed: \n\ncertifi==2026.10.19\n\n"
    "--- PYTHON (3.11) CODE EXECUTION ---\n\n"
)
OPTIONAL = (
    "http://localhost:34789/api/w/dev/resources/get_value_interpolated/f/a/none: 404, Not found: Resource f/a/none"
    " not found\n"
)
OWN = "hello\n\nhttp://example.test/: 404, Not found\ntwo"


@pytest.mark.parametrize("size", [1, 7, 40, 10_000])
def test_a_steps_own_lines_are_what_comes_after_the_workers(size: int) -> None:
    log, text = StepLog(), WORKER + OWN
    shown = "".join(log.add(text[start : start + size]) for start in range(0, len(text), size)) + log.rest()
    assert shown.lstrip("\n") == OWN


def test_a_resource_that_a_step_may_do_without_is_not_shown() -> None:
    log = StepLog()
    assert log.add(WORKER + "before\n" + OPTIONAL + "after\n") == "before\nafter\n"


def test_a_job_whose_code_never_began_shows_why() -> None:
    log = StepLog()
    assert log.add("job=1 tag=python3 worker=w\n\nNo solution found: there is no wmill==99\n") == ""
    assert log.rest() == "No solution found: there is no wmill==99\n"
