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

from f.flexcore.lib.core import contracts, errors, log_text, tls_errors

Json = dict[str, Any]
TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
KILLED = (-9, 137)
LONGEST_DETAIL = 500
# The line of a traceback that says what was raised.
RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Timeout)\b(?::|$)")
# Ray's words when a program's ray.init brings what the job's own environment has too.
CLASH = "Failed to merge the Job's runtime env"
MISSING_PACKAGES = "missing_packages"
# Ray's error type → (category, what to do). The categories are a public contract.
BY_RAY = {
    "RUNTIME_ENV_SETUP_FAILURE": (
        "runtime_env_failed",
        "Check the packages and their versions; the head needs access to a package index and `virtualenv`.",
    ),
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": (
        "unschedulable",
        "Ask for fewer CPUs, GPUs or memory, or add nodes to the cluster.",
    ),
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (
        "start_timeout",
        "Ask for fewer resources, or wait until the cluster has some to spare.",
    ),
    "JOB_SUPERVISOR_ACTOR_DIED": (
        "supervisor_died",
        "The node died or ran out of memory: look at the head's raylet.out, then run again.",
    ),
}


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
    if failure and CLASH in failure["message"]:
        return contracts.Diagnosis(
            category="program_failed",
            detail="ray.init asks for a runtime environment that clashes with the job's own",
            remedy="Leave working_dir, packages and variables that the step sets out of ray.init(runtime_env=...) and "
            'give them to the step (packages, runtime_env); or set RAY_OVERRIDE_JOB_RUNTIME_ENV to "1" in '
            "runtime_env.env_vars, then those of ray.init count.",
        )
    if failure:
        category = "program_failed" if failure.get("type") == "ExecutionFailed" else category_of(failure)
        own = failure.get("remedy") or "Read the end of the log, correct the program, and run again."
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
        return contracts.Diagnosis(category="stopped", detail="Somebody stopped the job", remedy=remedy)
    return _by_ray(job)


def typed_error(
    submission_id: str, diagnosis: contracts.Diagnosis, outcome: Json | None, **details: Any
) -> errors.FlexcoreError:
    """The typed error of a job that did not succeed."""
    told = (outcome or {}).get("error") or {}
    unsaid: type[errors.FlexcoreError] = (
        errors.DeadlineExceeded if diagnosis.category == "deadline" else errors.ExecutionFailed
    )
    kind = errors.KINDS.get(told.get("type", ""), unsaid)
    details = {**(told.get("details") or {}), "diagnosis": diagnosis.model_dump(), **details}
    return kind(
        diagnosis.detail,
        subject=told.get("subject") or submission_id,
        remedy=diagnosis.remedy,
        category=diagnosis.category if kind is errors.ExecutionFailed else "",
        **details,
    )


def missing_packages(outcome: Json | None) -> list[str]:
    """The packages that the program asked for because the cluster lacks them."""
    told = (outcome or {}).get("error") or {}
    return list((told.get("details") or {}).get(MISSING_PACKAGES) or [])


def lacks_pip(job: Json) -> bool:
    """Whether Ray could not install the job's packages because its own environment has no pip."""
    told = str(job.get("message") or "")
    return job.get("error_type") == "RUNTIME_ENV_SETUP_FAILURE" and "No module named pip" in told


def is_overdue(job: Json) -> bool:
    """Whether it was past its deadline when it ended; nobody but reconcile stops it then."""
    return bool(job.get("deadline") and job.get("end_time") and job["end_time"] / 1000 >= float(job["deadline"]))


def category_of(told: Json) -> str:
    kind = errors.KINDS.get(told.get("type", ""), errors.ExecutionFailed)
    return kind.category


def _by_ray(job: Json) -> contracts.Diagnosis:
    """What Ray itself says of a job that left no outcome: its message ends with the last lines of the log."""
    code, said = job.get("driver_exit_code"), log_text.clean_log(str(job.get("message") or ""))
    if code in KILLED:
        return contracts.Diagnosis(
            category="killed",
            detail="The program was killed, most likely because the node ran out of memory",
            remedy="Give the job more memory, or work on less data at a time.",
        )
    category, remedy = BY_RAY.get(
        str(job.get("error_type")), ("ray_failed", "Read the end of the log, then run again.")
    )
    detail = raised_in(said) or _exit_of(code) or last_line(said) or "Ray gives no reason"
    certificates = tls_errors.tls_remedy(said, "the Ray cluster")
    return contracts.Diagnosis(category=category, detail=detail[:LONGEST_DETAIL], remedy=certificates or remedy)


def raised_in(log: str) -> str:
    """The last exception's own line, "" when there is none."""
    return next((line.strip() for line in reversed(log.splitlines()) if RAISED.match(line.strip())), "")


def last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")


def _exit_of(code: Any) -> str:
    if not isinstance(code, int) or not code:
        return ""
    names = {int(item): item.name for item in signal.Signals}
    return f"The program was ended by {names[-code]}" if -code in names else f"The program exited with code {code}"
