# requirements: flexcore_base
"""Executions as the API returns them, made of Windmill's jobs. Pure.

An execution is an outermost run of a flow of this bundle; its workflow is the flow's path below the bundle's folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from f.flexcore.lib.core import contracts, redaction

BUNDLE_FOLDER = "f/flexcore/"
CURSOR_PATTERN = "^[0-9]{17}_[0-9a-f-]{36}$"
RUNTIME_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
# By workflow: the arguments that name a runtime. The other workflows have theirs as labels of the flow.
RUNTIME_ARGUMENTS = {"data_pipeline": (("pin",),), "hybrid_pipeline": (("deployment", "target"),)}
Job = Mapping[str, Any]
Status = Literal["queued", "running", "suspended", "success", "failure", "canceled", "skipped"]
STEP_STATUSES = {
    "WaitingForPriorSteps": "waiting",
    "WaitingForEvents": "suspended",
    "WaitingForExecutor": "queued",
    "InProgress": "running",
    "Success": "success",
    "Failure": "failure",
}


class ListQuery(contracts.Contract):
    """Of a list. limit: how many at most; cursor: the next_cursor of an earlier one."""

    workflow: str = Field(default="", min_length=1, max_length=255)
    runtime: str | None = None
    status: Status | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str = Field(default="", pattern=CURSOR_PATTERN)


class LogQuery(contracts.Contract):
    """tail: how many of the last lines."""

    tail: int = Field(default=200, ge=1, le=10_000)


class Execution(contracts.Contract):
    """runtimes: all that share the work, as far as they are known yet; runtime: the one, null when they are several or
    none. Times are RFC 3339, durations seconds."""

    id: str
    workflow: str
    runtime: str | None
    runtimes: list[str]
    status: Status
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    created_by: str
    labels: list[str]


class StartedExecution(Execution):
    """warnings: what will keep it waiting, one sentence each, such as a worker tag that no worker listens to."""

    warnings: list[str]


class Step(contracts.Contract):
    """job: Windmill's job of it, once it has begun."""

    id: str
    status: str
    job: str | None


class ExecutionError(contracts.Contract):
    """What failed. name: the error's type; category, subject, remedy: as flexcore's own errors have them, else null."""

    name: str
    message: str
    step: str | None = None
    category: str | None = None
    subject: str | None = None
    remedy: str | None = None
    retryable: bool | None = None


class ExecutionDetail(Execution):
    """result: what the flow returned, a failed one included; secrets in it are masked. trace_id, trace_url: where the
    workspace traces, and says where traces are shown."""

    steps: list[Step]
    result: Any
    error: ExecutionError | None
    trace_id: str | None = None
    trace_url: str | None = None


@dataclass(frozen=True, slots=True)
class RestartOffer:
    """What a restart would be. refusal: why it cannot be started again, None when it can. resumes: whether it keeps
    what was finished, by name in `kept`, as far as that still holds then; else all of the workflow runs again."""

    refusal: str | None = None
    resumes: bool = False
    kept: tuple[str, ...] = ()


def is_execution(job: Job) -> bool:
    flow = job.get("job_kind") == "flow" and str(job.get("script_path") or "").startswith(BUNDLE_FOLDER)
    return flow and not job.get("parent_job")


def job_status(job: Job) -> Status:
    if job.get("type") == "CompletedJob":
        if job.get("canceled"):
            return "canceled"
        if job.get("is_skipped"):
            return "skipped"
        return "success" if job.get("success") else "failure"
    if job.get("suspend"):
        return "suspended"
    return "running" if job.get("running") else "queued"


def job_runtime(job: Job) -> str | None:
    """The one that does the work; None when several do, or when none is known."""
    found = job_runtimes(job)
    return found[0] if len(found) == 1 else None


def job_runtimes(job: Job) -> list[str]:
    """By its labels `runtime:NAME`, those of its flow from its start and those of its result; by the flow, as
    `NAME/execute` is one runtime's own; of a live one also by its arguments, and by what `live_runtimes` found."""
    labels = map(str, job.get("labels") or ())
    prefix = contracts.RUNTIME_LABEL
    found = {label.removeprefix(prefix) for label in labels if label.startswith(prefix)}
    folder, _, flow = job_workflow(job).partition("/")
    if flow == "execute":
        found.add(folder)
    if job.get("type") != "CompletedJob":
        found.update(_runtimes_in_arguments(job), job.get("chosen_runtimes") or ())
    return sorted(found)


def _runtimes_in_arguments(job: Job) -> Iterator[str]:
    """Those that the arguments name, where the job was read with them; a form's own default is not among them."""
    for path in RUNTIME_ARGUMENTS.get(job_workflow(job), ()):
        value = job.get("args")
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str) and RUNTIME_NAME.fullmatch(value):
            yield value


def job_workflow(job: Job) -> str:
    return str(job.get("script_path") or "").removeprefix(BUNDLE_FOLDER)


def _fields(job: Job) -> dict[str, Any]:
    started = parse_instant(job.get("started_at"))
    ended = None
    if job.get("type") == "CompletedJob":
        ended = (started or parse_instant(job["created_at"]) or datetime.min) + timedelta(
            milliseconds=job["duration_ms"]
        )
    return {
        "id": str(job["id"]),
        "workflow": job_workflow(job),
        "runtime": job_runtime(job),
        "runtimes": job_runtimes(job),
        "status": job_status(job),
        "created_at": job["created_at"],
        "started_at": started,
        "ended_at": ended,
        "duration_s": job["duration_ms"] / 1000 if ended else None,
        "created_by": str(job.get("created_by") or ""),
        "labels": list(job.get("labels") or ()),
    }


def execution_from_job(job: Job) -> Execution:
    return Execution.model_validate(_fields(job))


def started_from_job(job: Job, warnings: list[str]) -> StartedExecution:
    return StartedExecution.model_validate({**_fields(job), "warnings": warnings})


def detail_from_job(job: Job, failed: Job | None = None) -> ExecutionDetail:
    """failed: the job of the step that failed, which knows more of the error than the flow does."""
    modules = (job.get("flow_status") or {}).get("modules") or []
    steps = [
        Step(id=str(module["id"]), status=STEP_STATUSES.get(str(module["type"]), "waiting"), job=_module_job(module))
        for module in modules
    ]
    result = redaction.Redactor().data(job.get("result"))
    fields = _fields(job)
    error = (
        error_from_results(result, (failed or {}).get("result"), failed_step_id(job))
        if is_failure(fields["status"])
        else None
    )
    return ExecutionDetail.model_validate({**fields, "steps": steps, "result": result, "error": error})


def is_failure(status: str) -> bool:
    return status in ("failure", "canceled")


def was_refused(labels: Collection[str], result: Any) -> bool:
    """Whether it did not begin, as its workflow is stopped: no failure of the work. By the label that our failure
    modules leave; of a flow without one by the error, where its result was read."""
    # Steps that only start, stop or cancel executions never ask.
    from f.flexcore.lib.core import trace_context

    kind, category = (trace_context.dig(result, "error", *names) for names in (("name",), ("extra", "category")))
    return contracts.WORKFLOW_STOPPED in (*contracts.label_refusal(kind, category), *labels)


def failed_step_id(job: Job) -> str | None:
    module = _failed_module(job)
    return str(module["id"]) if module else None


def failed_step_job_id(job: Job) -> str | None:
    """The job of the step that failed."""
    module = _failed_module(job)
    return _module_job(module) if module else None


def error_from_results(result: Any, step_result: Any, step: str | None) -> ExecutionError:
    """The error of the step, which is typed, else that of the flow: Windmill's own, or its failure module's."""
    for given in (step_result, result):
        error = given.get("error") if isinstance(given, dict) else None
        if isinstance(error, dict):
            return _typed_error(error, step)
    text = result.get("error") if isinstance(result, dict) else None
    message = redaction.Redactor().text(str(text or "It failed without a message"))
    return ExecutionError(name="Failed", message=message, step=step)


def _typed_error(error: Job, step: str | None) -> ExecutionError:
    extra = error.get("extra") if isinstance(error.get("extra"), dict) else {}
    redactor, names = redaction.Redactor(), ("category", "subject", "remedy")
    words = {name: redactor.text(str(extra[name])) for name in names if extra.get(name)} if extra else {}
    retryable = extra.get("retryable") if extra else None
    return ExecutionError(
        name=str(error.get("name") or "Error"),
        message=redactor.text(str(error.get("message") or "")),
        step=step,
        retryable=retryable if isinstance(retryable, bool) else None,
        **words,
    )


def _failed_module(job: Job) -> dict[str, Any] | None:
    modules = (job.get("flow_status") or {}).get("modules") or []
    return next((module for module in modules if module["type"] == "Failure"), None)


def _module_job(module: Mapping[str, Any]) -> str | None:
    job = str(module.get("job") or "")
    # Windmill has the zero id where no job was begun.
    return job if job.strip("0-") else None


def parse_instant(text: Any) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None
