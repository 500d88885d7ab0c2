"""Whoever reads the error of a job, which no redactor may have seen, gets it without what looks like a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from f.flexcore.lib.benchmark import results
from f.flexcore.lib.core import monitoring
from f.flexcore.lib.operations import failure_message, outcomes
from f.flexcore.lib.windmill import execution_models

SECRET = "tell-nobody"
TEXT = f"connect to postgres://etl:{SECRET}@db/x failed"
TYPED = {
    "name": "OperationalError",
    "message": TEXT,
    "extra": {"category": "x", "subject": TEXT, "remedy": f"Look there with password={SECRET}."},
}


def job(result: Any) -> dict[str, Any]:
    return {
        "id": "00000000-0000-4000-8000-000000000000",
        "type": "CompletedJob",
        "job_kind": "flow",
        "created_at": "2026-11-24T00:00:00Z",
        "script_path": "f/flexcore/data_pipeline",
        "duration_ms": 5,
        "success": False,
        "result": result,
    }


READERS: dict[str, Callable[[Any], Any]] = {
    "monitoring": lambda error: monitoring.failure_from_job(job({"error": error})),
    "report": lambda error: outcomes.outcome_from_job(job({"error": error}), {"error": error}, True),
    "API": lambda error: execution_models.detail_from_job(job({"error": error}), job({"error": error})).error,
    "API without a step": lambda error: execution_models.detail_from_job(job({"error": error})).error,
    "notification": lambda error: failure_message.parse_failure(error, {}),
    "benchmark": lambda error: results.read_step_result({"error": error}),
}


@pytest.mark.parametrize("error", [TYPED, TEXT], ids=["typed", "text"])
@pytest.mark.parametrize("reader", READERS)
def test_a_secret_in_an_error_is_masked_for(reader: str, error: Any) -> None:
    told = json.dumps(READERS[reader](error), default=repr)
    assert SECRET not in told
    assert "***" in told or (reader, error) == ("benchmark", TEXT)


def test_a_secret_in_the_reason_of_a_cancel_is_masked() -> None:
    canceled = {**job(None), "canceled": True, "canceled_reason": f"the password={SECRET} leaked"}
    failure = monitoring.failure_from_job(canceled)
    assert failure and failure.message == "the password=*** leaked"
