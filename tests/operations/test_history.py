"""Rows of history from Windmill's jobs, whatever their results are."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.operations import history

ROW = {"workflow_type": "sales", "runtime": "ray", "duration_s": 3.0, "success": True}


@pytest.mark.parametrize(
    "result",
    [
        {"success": False, "error": "no such table", "run": "01a2277d-9617-d9fb-0cb5-d73ba7b0af2b"},
        {"run": ["sales"]},
        {"run": 7},
        ["run"],
        "run",
        None,
    ],
    ids=["a failure names its run", "a list", "a number", "no object", "a text", "nothing"],
)
def test_a_result_without_a_row_is_left_out(result: Any) -> None:
    assert history.run_from_job({"result": result, "started_at": None}, "sales") is None


def test_the_row_of_a_result_is_its_run() -> None:
    run = history.run_from_job({"result": {"run": ROW}, "started_at": "2026-11-29T13:27:00Z"}, "")
    assert run and (run.workflow_type, run.runtime, run.duration_s) == ("sales", "ray", 3.0)
