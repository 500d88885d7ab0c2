# requirements: flexcore_base
"""How a Ray job ended: Ray's job record and the outcome that the program left, read into a verdict. Pure.

Ray's status decides; the outcome says why. A job that succeeded without an outcome is a failure: its result is unknown.
Source of statuses and error types: ray/dashboard/modules/job/common.py of Ray 2.60.
"""

from __future__ import annotations

import json
import re
import signal
from typing import Any

from f.flexcore.lib.core import contracts, errors, log_text

Json = dict[str, Any]
TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
KILLED_CODES = (-9, 137)
MAX_DETAIL_CHARACTERS = 500
# The line of a traceback that says what was raised.
EXCEPTION_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Timeout)\b(?::|$)")
# Ray's words when a program's ray.init brings what the job's own environment has too.
ENVIRONMENT_CLASH = "Failed to merge the Job's runtime env"
MISSING_PACKAGES = "missing_packages"
# Ray's error type → (category, what to do). The categories are a public contract. A test reads Ray's own list.
SETUP_FAILURE = "RUNTIME_ENV_SETUP_FAILURE"
RAY_ERRORS = {
    SETUP_FAILURE: (
        "runtime_env_failed",
        "Check the packages and their versions; the head needs access to a package index and `virtualenv`.",
    ),
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (
        "start_timeout",
        "Ask for fewer resources, or wait until the cluster has some to spare.",
    ),
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": (
        "supervisor_failed",
        "Look at the head's dashboard_agent.log; when the head is short of memory, let fewer jobs run at once.",
    ),
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": (
        "unschedulable",
        "Ask for fewer CPUs, GPUs or memory, or add nodes to the cluster.",
    ),
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": (
        "supervisor_failed",
        "Look at the head's dashboard_agent.log and raylet.out, then run again.",
    ),
    "JOB_SUPERVISOR_ACTOR_DIED": (
        "supervisor_died",
        "The node died or ran out of memory: look at the head's raylet.out, then run again.",
    ),
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": (
        "entrypoint_failed",
        "Ray could not start a process on the node: check its free memory and processes, and that it has `python`.",
    ),
    "JOB_ENTRYPOINT_COMMAND_ERROR": (
        "program_failed",
        "Read the end of the log, correct the program, and run again; a program must not end by os._exit.",
    ),
}
UNKNOWN_ERROR = ("ray_failed", "Read the end of the log, then run again.")


def parse_outcome(content: bytes | None, submission_id: str) -> Json | None:
    """The outcome that the job left, or None when there is none or it is another job's."""
    try:
        document = json.loads(content or b"")
    except ValueError:
        return None
    good = isinstance(document, dict) and document.get("submission_id") == submission_id
    return document if good else None


def diagnose(job: Json, outcome: Json | None) -> contracts.Diagnosis | None:
    """None for a success, else what went wrong."""
    failure = (outcome or {}).get("error")
    if job["status"] == "SUCCEEDED" and outcome and not failure:
        return None
    # A job that went well needs none of it.
    from f.flexcore.lib.ray import environment_problems

    if failure and ENVIRONMENT_CLASH in failure["message"]:
        return contracts.Diagnosis(
            category="program_failed",
            detail="ray.init asks for a runtime environment that clashes with the job's own",
            remedy="Leave working_dir, packages and variables that the step sets out of ray.init(runtime_env=...) and "
            'give them to the step (packages, runtime_env); or set RAY_OVERRIDE_JOB_RUNTIME_ENV to "1" in '
            "runtime_env.env_vars, then those of ray.init count.",
        )
    if failure and (mismatch := environment_problems.find_mismatch(failure["message"])):
        return mismatch
    if failure:
        category = "program_failed" if failure.get("type") == "ExecutionFailed" else find_category(failure)
        own = failure.get("remedy") or "Read the end of the log, correct the program, and run again."
        from f.flexcore.lib.core import tls_errors

        remedy = tls_errors.tls_remedy(failure["message"], "the Ray cluster") or own
        return contracts.Diagnosis(category=category, detail=failure["message"], remedy=remedy)
    if job["status"] == "SUCCEEDED":
        detail = "The job ended, but its outcome cannot be read: the node that ran it may be gone"
        remedy = "Run the step again; a program must not end by os._exit, which leaves no outcome."
        return contracts.Diagnosis(category="outcome_lost", detail=detail, remedy=remedy)
    if job["status"] == "STOPPED" and is_overdue(job):
        remedy = "Raise timeout_s, or give the job more to work with."
        return contracts.Diagnosis(category="deadline", detail="The job did not end within its time", remedy=remedy)
    if job["status"] == "STOPPED":
        remedy = "Run the step again if that was not intended."
        return contracts.Diagnosis(category="stopped", detail="The job was stopped by someone", remedy=remedy)
    return _diagnose_by_ray(job)


def typed_error(
    submission_id: str, diagnosis: contracts.Diagnosis, outcome: Json | None, **details: Any
) -> errors.FlexcoreError:
    """The typed error of a job that did not succeed."""
    error = (outcome or {}).get("error") or {}
    fallback: type[errors.FlexcoreError] = (
        errors.DeadlineExceeded if diagnosis.category == "deadline" else errors.ExecutionFailed
    )
    kind = errors.KINDS.get(error.get("type", ""), fallback)
    details = {**(error.get("details") or {}), "diagnosis": diagnosis.model_dump(), **details}
    return kind(
        diagnosis.detail,
        subject=error.get("subject") or submission_id,
        remedy=diagnosis.remedy,
        category=diagnosis.category if kind is errors.ExecutionFailed else "",
        **details,
    )


def find_missing_packages(outcome: Json | None) -> list[str]:
    """The packages that the program asked for because the cluster lacks them."""
    error = (outcome or {}).get("error") or {}
    return list((error.get("details") or {}).get(MISSING_PACKAGES) or [])


def lacks_pip(job: Json) -> bool:
    """Whether Ray could not install the job's packages because its own environment has no pip."""
    message = str(job.get("message") or "")
    return job.get("error_type") == SETUP_FAILURE and "No module named pip" in message


def is_overdue(job: Json) -> bool:
    """Whether it was past its deadline when it ended; only reconcile stops it then."""
    return bool(job.get("deadline") and job.get("end_time") and job["end_time"] / 1000 >= float(job["deadline"]))


def find_category(error: Json) -> str:
    kind = errors.KINDS.get(error.get("type", ""), errors.ExecutionFailed)
    return kind.category


def _diagnose_by_ray(job: Json) -> contracts.Diagnosis:
    """What Ray itself says of a job that left no outcome: its message ends with the last lines of the log."""
    from f.flexcore.lib.ray import environment_problems

    code, log = job.get("driver_exit_code"), log_text.clean_log(str(job.get("message") or ""))
    if code in KILLED_CODES:
        return contracts.Diagnosis(
            category="killed",
            detail="The program was killed, most likely because the node ran out of memory",
            remedy="Give the job more memory, or work on less data at a time.",
        )
    problem = environment_problems.find_problem(log) if job.get("error_type") == SETUP_FAILURE else None
    if problem:
        return problem
    category, remedy = RAY_ERRORS.get(str(job.get("error_type")), UNKNOWN_ERROR)
    detail = find_exception_line(log) or _describe_exit(code) or find_last_line(log) or "Ray gives no reason"
    from f.flexcore.lib.core import tls_errors

    certificates = tls_errors.tls_remedy(log, "the Ray cluster")
    return contracts.Diagnosis(category=category, detail=detail[:MAX_DETAIL_CHARACTERS], remedy=certificates or remedy)


def find_exception_line(log: str) -> str:
    """The last exception's own line, "" when there is none."""
    return next((line.strip() for line in reversed(log.splitlines()) if EXCEPTION_LINE.match(line.strip())), "")


def find_last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")


def _describe_exit(code: Any) -> str:
    if not isinstance(code, int) or not code:
        return ""
    names = {int(item): item.name for item in signal.Signals}
    return f"The program was ended by {names[-code]}" if -code in names else f"The program exited with code {code}"
