from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.core.attempts import would_repeat
from f.flexcore.lib.core.errors import DeadlineExceeded, EmptyData, ExecutionFailed, InvalidInput, Unreachable
from f.flexcore.lib.ray.job_diagnosis import (
    MAX_DETAIL_CHARACTERS,
    RAY_ERRORS,
    TERMINAL,
    diagnose,
    find_category,
    find_missing_packages,
    is_overdue,
    lacks_pip,
    parse_outcome,
    typed_error,
)
from tests.agreed import check_agreed

NAME = "fc-0123456789abcdef0123-1"


def outcome(error: dict[str, Any] | None = None, result: Any = None) -> dict[str, Any]:
    return {"submission_id": NAME, "result": result, "error": error}


def test_a_job_succeeded_when_ray_and_the_program_say_so() -> None:
    assert diagnose({"status": "SUCCEEDED"}, outcome(result=1)) is None


ENDS: list[tuple[dict[str, Any], dict[str, Any] | None, str, str]] = [
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
]


@pytest.mark.parametrize(
    ("job", "told", "category", "detail"),
    ENDS,
)
def test_every_other_end_has_a_category_and_a_remedy(
    job: dict[str, Any], told: dict[str, Any] | None, category: str, detail: str
) -> None:
    diagnosis = diagnose(job, told)
    assert diagnosis is not None
    assert diagnosis.category == category
    assert detail in diagnosis.detail
    assert diagnosis.remedy


def test_every_error_type_of_ray_has_a_category_and_a_remedy_of_its_own() -> None:
    """Fails when a new Ray adds one: give it a category, and look what the head says of it."""
    from ray.dashboard.modules.job.common import JobErrorType

    assert set(RAY_ERRORS) == {item.value for item in JobErrorType}
    assert len({remedy for _, remedy in RAY_ERRORS.values()}) == len(RAY_ERRORS)
    for item in JobErrorType:
        diagnosis = diagnose({"status": "FAILED", "error_type": item.value}, None)
        assert diagnosis is not None
        assert (diagnosis.category, diagnosis.remedy) == RAY_ERRORS[item.value]
    unknown = diagnose({"status": "FAILED", "error_type": "OF_A_NEWER_RAY"}, None)
    assert unknown is not None and unknown.category == "ray_failed" and unknown.remedy


def test_every_status_of_ray_is_known_as_an_end_or_not() -> None:
    from ray.dashboard.modules.job.common import JobStatus

    assert {item.value for item in JobStatus} == {"PENDING", "RUNNING", *TERMINAL}
    assert all(item.is_terminal() == (item.value in TERMINAL) for item in JobStatus)


SETUPS = [
    (
        "error: No solution found when resolving dependencies\n  cause: Because no-such-xyz was not found in the "
        "package registry and you require no-such-xyz==1, we can conclude that they are unsatisfiable.",
        "package_not_found",
        "The package no-such-xyz does not exist",
    ),
    (
        "error: No solution found when resolving dependencies\n  cause: Because no-such-xyz was not found in the "
        "package\n         registry and you require no-such-xyz==1, we can conclude that",
        "package_not_found",
        "The package no-such-xyz does not exist",
    ),
    (
        "  \u00d7 No solution found when resolving dependencies:\n  ╰─▶ Because there are no versions of\n      "
        "│ numpy==99.0 and you require numpy==99.0, we can conclude",
        "package_not_found",
        "There is no numpy==99.0",
    ),
    (
        "error: Request failed after 3 retries in 7.0s\n  cause: Failed to fetch: http://127.0.0.1:9/numpy/",
        "index_unreachable",
        "does not reach",
    ),
    (
        "No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of numpy==99.0 and you "
        "require numpy==99.0, we can conclude that your requirements are unsatisfiable.",
        "package_not_found",
        "There is no numpy==99.0",
    ),
    (
        "ERROR: Could not find a version that satisfies the requirement numpy==99.0 (from versions: 1.3.0, 1.4.1)\n"
        "ERROR: No matching distribution found for numpy==99.0",
        "package_not_found",
        "There is no numpy==99.0 for the cluster's Python",
    ),
    (
        "Because the current Python version (3.9.2) does not satisfy Python>=3.11 and pandas==3.0.0 depends on "
        "Python>=3.11, we can conclude that pandas==3.0.0 cannot be used.",
        "version_mismatch",
        "pandas==3.0.0 does not run on the cluster's Python",
    ),
    ("ERROR: Package 'foo' requires a different Python: 3.9.2 not in '>=3.11'", "version_mismatch", "foo does not"),
    (
        "Because a==1 depends on b<2 and c==1 depends on b>=2, we can conclude that a==1 and c==1 are incompatible."
        "\nNo solution found when resolving dependencies",
        "version_mismatch",
        "contradict each other",
    ),
    ("ERROR: for help visit https://pip.pypa.io/#ResolutionImpossible", "version_mismatch", "contradict"),
    ("error: Failed to fetch: `https://index.example/simple/numpy/`", "index_unreachable", "does not reach"),
    ("OSError: [Errno 28] No space left on device", "disk_full", "no room left"),
    ("something else", "runtime_env_failed", "something else"),
]


@pytest.mark.parametrize(
    ("message", "category", "detail"),
    SETUPS,
)
def test_packages_that_cannot_be_installed_are_named_with_what_to_do(message: str, category: str, detail: str) -> None:
    job = {"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": f"Traceback …\n{message}"}
    diagnosis = diagnose(job, None)
    assert diagnosis is not None and diagnosis.remedy
    assert (diagnosis.category, detail in diagnosis.detail) == (category, True), diagnosis
    # The same words in a program's own log say nothing of its environment.
    program = diagnose(job | {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR"}, None)
    assert program is not None and program.category == "program_failed"


def test_a_program_of_another_ray_than_the_clusters_is_told_so() -> None:
    words = (
        "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
        "This process on Ray Job was started with:\n    Ray: 2.50.0\n    Python: 3.11.7\n"
    )
    diagnosis = diagnose({"status": "FAILED"}, outcome({"type": "ExecutionFailed", "message": words}))
    assert diagnosis is not None and diagnosis.category == "version_mismatch"
    assert "Ray: 2.50.0" in diagnosis.detail and "out of packages" in diagnosis.remedy


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


def test_diagnoses_read_as_agreed() -> None:
    jobs: list[tuple[dict[str, Any], dict[str, Any] | None]] = [(job, told) for job, told, *_ in ENDS]
    setup = {"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE"}
    jobs += [({**setup, "message": f"Traceback …\n{message}"}, None) for message, *_ in SETUPS]
    jobs += [
        ({"status": "STOPPED", "deadline": "1000", "end_time": 1_000_000}, None),
        ({"status": "FAILED", "message": "", "driver_exit_code": 0}, None),
        ({"status": "FAILED", "driver_exit_code": 77}, None),
        ({"status": "FAILED", "message": "a.b.OwnTimeout: x\nSystemExit\n  at the end  \n\n"}, None),
        ({"status": "FAILED", "message": "x" * (MAX_DETAIL_CHARACTERS + 9)}, None),
        ({"status": "FAILED", "message": "ssl.SSLError: CERTIFICATE_VERIFY_FAILED"}, None),
        ({"status": "SUCCEEDED"}, outcome({"type": "EmptyData", "message": "no rows", "remedy": "Load some."})),
        ({"status": "FAILED"}, outcome({"message": "SSLError: CERTIFICATE_VERIFY_FAILED"})),
        (
            {"status": "FAILED"},
            outcome({"type": "ExecutionFailed", "message": "Failed to merge the Job's runtime env"}),
        ),
    ]
    found = [diagnosis.plain() if (diagnosis := diagnose(*job)) else None for job in jobs]
    check_agreed("ray_job_diagnoses.json", found)


def test_the_error_of_a_job_has_its_diagnosis_and_what_the_program_said() -> None:
    told = outcome({"type": "EmptyData", "message": "no rows", "details": {"rows": 0}})
    diagnosis = diagnose({"status": "FAILED"}, told)
    assert diagnosis is not None
    typed = typed_error(NAME, diagnosis, told)
    assert (typed.subject, typed.category, typed.remedy) == (NAME, "empty_data", diagnosis.remedy)
    assert typed.details == {"rows": 0, "diagnosis": diagnosis.plain()}
    lost = diagnose({"status": "SUCCEEDED"}, None)
    assert lost is not None
    failed = typed_error(NAME, lost, None)
    assert (type(failed), failed.subject, failed.category) == (ExecutionFailed, NAME, "outcome_lost")
    assert find_category({}) == find_category({"type": "KeyError"}) == "execution_failed"


def test_the_outcome_of_this_job_is_read() -> None:
    assert parse_outcome(json.dumps(outcome(result=1)).encode(), NAME) == outcome(result=1)


@pytest.mark.parametrize(
    ("job", "lacks"),
    [
        ({"error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "/usr/bin/python: No module named pip"}, True),
        ({"error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "No module named numpy"}, False),
        ({"error_type": "RUNTIME_ENV_SETUP_FAILURE"}, False),
        ({"message": "No module named pip"}, False),
    ],
)
def test_a_ray_without_pip_is_told_by_the_setup_of_the_environment_alone(job: dict[str, Any], lacks: bool) -> None:
    assert lacks_pip(job) is lacks


@pytest.mark.parametrize(
    ("job", "overdue"),
    [
        ({"deadline": "1000", "end_time": 999_999}, False),
        ({"deadline": "1000", "end_time": 1_000_000}, True),
        ({"deadline": 1000.5, "end_time": 1_000_600}, True),
        ({"deadline": "1000", "end_time": None}, False),
        ({"end_time": 1_000_000}, False),
        ({}, False),
    ],
)
def test_a_job_is_overdue_from_its_deadline_on(job: dict[str, Any], overdue: bool) -> None:
    assert is_overdue(job) is overdue
