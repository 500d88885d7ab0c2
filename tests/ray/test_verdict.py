from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.core.attempts import would_repeat
from f.flexcore.lib.core.errors import DeadlineExceeded, EmptyData, ExecutionFailed, InvalidInput, Unreachable
from f.flexcore.lib.ray.job_diagnosis import diagnose, find_missing_packages, parse_outcome, typed_error

NAME = "fc-0123456789abcdef0123-1"


def outcome(error: dict[str, Any] | None = None, result: Any = None) -> dict[str, Any]:
    return {"submission_id": NAME, "result": result, "error": error}


def test_a_job_succeeded_when_ray_and_the_program_say_so() -> None:
    assert diagnose({"status": "SUCCEEDED"}, outcome(result=1)) is None


@pytest.mark.parametrize(
    ("job", "told", "category", "detail"),
    [
        ({"status": "SUCCEEDED"}, None, "outcome_lost", "cannot be read"),
        ({"status": "STOPPED"}, None, "stopped", "was stopped by someone"),
        ({"status": "FAILED", "message": "x\nlast words"}, None, "ray_failed", "last words"),
        (
            {
                "status": "FAILED",
                "message": "failed with exit code 1\nValueError: bad batch 17\n\r 1%|\r\x1b[32m2%\x1b[0m|",
            },
            None,
            "ray_failed",
            "ValueError: bad batch 17",
        ),
        (
            {"status": "FAILED", "message": "x\n\r1%\r2%", "driver_exit_code": 3},
            None,
            "ray_failed",
            "exited with code 3",
        ),
        ({"status": "FAILED", "driver_exit_code": -11}, None, "ray_failed", "ended by SIGSEGV"),
        ({"status": "FAILED", "driver_exit_code": 137}, None, "killed", "out of memory"),
        ({"status": "FAILED", "driver_exit_code": -9}, None, "killed", "out of memory"),
        ({"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE"}, None, "runtime_env_failed", "no reason"),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"}, None, "unschedulable", "no reason"),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED"}, None, "supervisor_died", "no reason"),
        (
            {"status": "FAILED"},
            outcome({"type": "ExecutionFailed", "message": "KeyError: 'x'"}),
            "program_failed",
            "'x'",
        ),
        ({"status": "FAILED"}, outcome({"type": "InvalidInput", "message": "no"}), "invalid_input", "no"),
    ],
)
def test_every_other_end_has_a_category_and_a_remedy(
    job: dict[str, Any], told: dict[str, Any] | None, category: str, detail: str
) -> None:
    diagnosis = diagnose(job, told)
    assert diagnosis is not None
    assert diagnosis.category == category
    assert detail in diagnosis.detail
    assert diagnosis.remedy


def test_a_clash_of_ray_init_with_the_jobs_own_environment_gets_a_remedy() -> None:
    text = "ValueError: Failed to merge the Job's runtime env {'env_vars': {'A': '1'}} with a ray.init's runtime env"
    diagnosis = diagnose({"status": "FAILED"}, outcome({"type": "ExecutionFailed", "message": text}))
    assert diagnosis is not None and "RAY_OVERRIDE_JOB_RUNTIME_ENV" in diagnosis.remedy
    assert "env_vars" not in diagnosis.detail


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"status": "FAILED"}, {"type": "ExecutionFailed", "message": "SSLError: CERTIFICATE_VERIFY_FAILED"}),
        (
            {
                "status": "FAILED",
                "error_type": "RUNTIME_ENV_SETUP_FAILURE",
                "message": "Failed to install: invalid peer certificate: UnknownIssuer",
            },
            None,
        ),
    ],
)
def test_a_certificate_that_the_cluster_does_not_trust_is_told_as_such(
    job: dict[str, Any], told: dict[str, Any] | None
) -> None:
    diagnosis = diagnose(job, outcome(told) if told else None)
    assert diagnosis is not None and "The Ray cluster does not know who signed" in diagnosis.remedy


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"[]", json.dumps({"submission_id": "fc-other"}).encode()])
def test_what_is_not_this_jobs_outcome_counts_as_none(content: bytes | None) -> None:
    assert parse_outcome(content, NAME) is None


@pytest.mark.parametrize(
    ("kind", "error", "final"),
    [
        ("InvalidInput", InvalidInput, True),
        ("EmptyData", EmptyData, True),
        ("Unreachable", Unreachable, False),
        ("ExecutionFailed", ExecutionFailed, False),
        ("SystemExit", ExecutionFailed, False),
    ],
)
def test_a_program_raises_typed_errors_and_no_others(kind: str, error: type[Exception], final: bool) -> None:
    told = outcome({"type": kind, "message": "boom", "subject": "target_column", "remedy": "Do this."})
    diagnosis = diagnose({"status": "FAILED"}, told)
    assert diagnosis is not None
    raised = typed_error(NAME, diagnosis, told, log_tail="end")
    assert type(raised) is error
    assert (raised.subject, raised.details["log_tail"]) == ("target_column", "end")
    assert str(raised) == "boom. Do this."
    assert would_repeat(raised) is final


def test_a_job_that_was_stopped_after_its_deadline_ran_out_of_time() -> None:
    overdue = {"status": "STOPPED", "deadline": "1000", "end_time": 1_000_001}
    diagnosis = diagnose(overdue, None)
    assert diagnosis and diagnosis.category == "deadline"
    assert type(typed_error(NAME, diagnosis, None)) is DeadlineExceeded
    early = diagnose(overdue | {"end_time": 999_000}, None)
    assert early and early.category == "stopped"


def test_missing_packages_are_told_apart_from_other_failures() -> None:
    assert find_missing_packages(outcome({"type": "InvalidInput", "details": {"missing_packages": ["a==1"]}})) == [
        "a==1"
    ]
    assert find_missing_packages(outcome(result=1)) == []
    assert find_missing_packages(None) == []
