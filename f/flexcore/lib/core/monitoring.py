# requirements: flexcore_base
"""An execution as one record, from Windmill's jobs: what each step does or did, where, for how long. Pure.

A job's result is read with tolerance: a user's script or another version of flexcore may have made it.

queued → running ⇄ suspended → success | failed | cancelled | skipped; a step without a job is waiting, or was not run
when its flow has ended without it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from f.flexcore.lib.core import contracts, redaction, trace_context

Status = Literal["waiting", "queued", "running", "suspended", "success", "failed", "cancelled", "skipped", "not run"]
LIVE = ("waiting", "queued", "running", "suspended")
NO_REASON = "it failed and left no reason"
Job = Mapping[str, Any]


@dataclass(slots=True)
class Node:
    """A module of a flow, or one of its loop's iterations, with its job (None: it has none yet, or is a loop)."""

    name: str
    job: Job | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


class Links(contracts.Contract):
    """run: Windmill's page; logs: the log as text; remote: the object at the runtime, where it has an address; trace:
    the page of its trace, of an execution alone."""

    run: str
    logs: str
    remote: str | None = None
    trace: str | None = None


class Failure(contracts.Contract):
    """step: the path of the step that failed, as `steps` names it."""

    name: str
    message: str
    step: str | None = None
    category: str | None = None
    remedy: str | None = None


class Step(contracts.Contract):
    """step: module ids from the outermost on, e.g. `attempts[0].attempt.ray.run`. duration_s: so far, or in all."""

    step: str
    depth: int
    status: Status
    path: str | None = None
    runtime: str | None = None
    job: str | None = None
    started_at: datetime | None = None
    duration_s: float | None = None
    resource_usage: contracts.ResourceUsage = contracts.ResourceUsage()
    error: Failure | None = None
    links: Links | None = None


class Execution(contracts.Contract):
    """runtimes: in the order of their steps; runtime: the one that did the work, when a label or a single one says so.
    trace_id: where the workspace traces; complete: false when there were more jobs than were read."""

    id: str
    path: str | None
    status: Status
    runtime: str | None
    runtimes: list[str] = []
    workflow_type: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_s: float | None = None
    steps: list[Step] = []
    resource_usage: contracts.ResourceUsage = contracts.ResourceUsage()
    error: Failure | None = None
    links: Links
    trace_id: str | None = None
    complete: bool = True

    def with_trace(self, trace_id: str, page: str) -> Execution:
        """page: "" where it has none."""
        links = self.links.model_copy(update={"trace": page or None})
        return self.model_copy(update={"trace_id": trace_id, "links": links})


@dataclass(frozen=True, slots=True)
class View:
    """Where Windmill's pages are, and what time it is."""

    base_url: str
    workspace: str
    now: datetime
    runtimes: Collection[str]

    def runtime_of(self, path: Any) -> str | None:
        """The runtime of a step such as f/flexcore/ray/train, and of that runtime's flow alike; None for another."""
        *_, folder, _ = ["", *str(path or "").split("/")]
        return folder if folder in self.runtimes else None

    def links(self, job: Job) -> Links:
        remote = trace_context.dig(step_result(job) or error_details(job), "remote", "url")
        return Links(
            run=f"{self.base_url}/run/{job['id']}?workspace={self.workspace}",
            logs=f"{self.base_url}/api/w/{self.workspace}/jobs_u/get_logs/{job['id']}",
            remote=remote if str(remote or "").startswith(("http://", "https://")) else None,
        )


def build_execution(root: Node, view: View, complete: bool = True) -> Execution:
    """root: the node of the job that was asked for, with all below it."""
    job = root.job or {}
    status = job_status(job)
    steps = list(_steps(root, "", 0, status in LIVE, view))
    leaves = [step for step in steps if step.runtime] if root.children else [_step(root, "", 0, True, view)]
    runtimes = list(dict.fromkeys(step.runtime for step in leaves if step.runtime))
    # A flow that runs on several has a label of each from its start.
    labeled = list(dict.fromkeys(_labels(job, contracts.RUNTIME_LABEL))) or runtimes
    return Execution(
        id=str(job.get("id")),
        path=job.get("script_path"),
        status=status,
        runtime=labeled[0] if len(labeled) == 1 else None,
        runtimes=runtimes,
        workflow_type=next(_labels(job, contracts.WORKFLOW_LABEL), None),
        created_at=job.get("created_at"),
        started_at=job.get("started_at"),
        completed_at=job.get("completed_at"),
        duration_s=job_duration_s(job, view.now),
        steps=steps,
        resource_usage=total_usage(step.resource_usage for step in leaves),
        error=_execution_error(job, steps),
        links=view.links(job),
        complete=complete,
    )


def _labels(job: Job, prefix: str) -> Iterator[str]:
    """The rest of each of the job's labels that begins so."""
    labels = map(str, job.get("labels") or [])
    return (label.removeprefix(prefix) for label in labels if label.startswith(prefix))


def _execution_error(job: Job, steps: list[Step]) -> Failure | None:
    error = failure_from_job(job)
    failed_step = find_failed_step(steps, error) if error else None
    if not error or not failed_step or not failed_step.error:
        return error
    # A loop that failed leaves the list of its iterations' results, and no reason of its own.
    own = failed_step.error if error.message == NO_REASON else error
    return own.model_copy(update={"step": failed_step.step})


def find_failed_step(steps: list[Step], error: Failure) -> Step | None:
    """The innermost step whose error the flow repeats; a later one may only pass it on. Else the last that failed."""
    failed = [step for step in steps if step.status == "failed" and step.error]
    repeated = [step for step in failed if step.error and step.error.message in error.message]
    return max(reversed(repeated or failed[-1:]), key=lambda step: step.depth, default=None)


def _steps(node: Node, prefix: str, depth: int, live: bool, view: View) -> Iterator[Step]:
    for child in node.children:
        joint = "" if child.name.startswith("[") or not prefix else "."
        name = f"{prefix}{joint}{child.name}"
        yield _step(child, name, depth, live, view)
        yield from _steps(child, name, depth + 1, live, view)


def _step(node: Node, name: str, depth: int, live: bool, view: View) -> Step:
    job = node.job
    if job is None:
        return Step(step=name, depth=depth, status=module_status(node.state, live))
    status = job_status(job)
    if node.state.get("skipped") and status == "success":
        status = "skipped"
    result = {} if node.children else step_result(job)
    return Step(
        step=name,
        depth=depth,
        status=status,
        path=job.get("script_path"),
        runtime=read_text(result.get("runtime")) or view.runtime_of(job.get("script_path")),
        job=str(job["id"]),
        started_at=job.get("started_at"),
        duration_s=job_duration_s(job, view.now),
        resource_usage=_read_usage(result.get("resource_usage")),
        error=failure_from_job(job),
        links=view.links(job),
    )


def job_status(job: Job) -> Status:
    if job.get("type") != "CompletedJob":
        if job.get("suspend"):
            return "suspended"
        return "running" if job.get("running") else "queued"
    if job.get("canceled"):
        return "cancelled"
    if job.get("is_skipped"):
        return "skipped"
    return "success" if job.get("success") else "failed"


MODULE_STATUSES: dict[str, Status] = {"Success": "success", "Failure": "failed", "InProgress": "running"}


def module_status(state: Mapping[str, Any], live: bool) -> Status:
    """Of a loop, which has no job of its own, or of a step whose turn has not come; suspended where its flow waits to
    be resumed before it."""
    if state.get("type") in MODULE_STATUSES:
        return MODULE_STATUSES[state["type"]]
    if not live:
        return "not run"
    return "suspended" if state.get("type") == "WaitingForEvents" else "waiting"


def job_duration_s(job: Job, now: datetime) -> float | None:
    """So far, when it runs; None when it has not begun."""
    if job.get("type") == "CompletedJob":
        return None if job.get("duration_ms") is None else job["duration_ms"] / 1000
    if not job.get("started_at"):
        return None
    return max(0.0, round((now - datetime.fromisoformat(job["started_at"])).total_seconds(), 3))


def step_result(job: Job) -> Mapping[str, Any]:
    """The StepResult that the job ended with; {} when it is none."""
    result = job.get("result")
    return result if isinstance(result, dict) and "resource_usage" in result and "runtime" in result else {}


def error_details(job: Job) -> Mapping[str, Any]:
    """What the typed error that a step ended with knows besides its message, such as its remote object."""
    details = trace_context.dig(job.get("result"), "error", "extra", "details")
    return details if isinstance(details, dict) else {}


def failure_from_job(job: Job) -> Failure | None:
    """From Windmill's own error, or from what a failure module made of it. Masked, as the error of a user's own step
    has passed no redactor."""
    if job.get("type") != "CompletedJob" or job.get("success"):
        return None
    result = job.get("result")
    error = result.get("error") if isinstance(result, dict) else None
    if isinstance(error, str):
        return Failure(name="Failed", message=redaction.Redactor().text(error))
    if not isinstance(error, dict):
        reason = job.get("canceled_reason") or ("cancelled" if job.get("canceled") else NO_REASON)
        message = redaction.Redactor().text(str(reason))
        return Failure(name="Canceled" if job.get("canceled") else "Failed", message=message)
    extra = error["extra"] if isinstance(error.get("extra"), dict) else {}
    redactor = redaction.Redactor()
    remedy = read_text(extra.get("remedy"))
    return Failure(
        name=str(error.get("name") or "Failed"),
        message=redactor.text(str(error.get("message") or error.get("name"))),
        category=read_text(extra.get("category")),
        remedy=remedy and redactor.text(remedy),
    )


def _read_usage(value: Any) -> contracts.ResourceUsage:
    """The figures that this version knows."""
    given = value if isinstance(value, Mapping) else {}
    cpu, memory, gpu = (read_number(given.get(name)) for name in ("cpu_seconds", "peak_memory_bytes", "gpu_seconds"))
    whole = None if memory is None else int(memory)
    return contracts.ResourceUsage(cpu_seconds=cpu, peak_memory_bytes=whole, gpu_seconds=gpu)


def read_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def read_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def total_usage(usages: Iterable[contracts.ResourceUsage]) -> contracts.ResourceUsage:
    """Processor and GPU time added up, the highest memory; null where no step measured it."""
    all_usages = list(usages)

    def measured_values(name: str) -> list[float]:
        return [value for usage in all_usages if (value := getattr(usage, name)) is not None]

    cpu, memory, gpu = (measured_values(name) for name in ("cpu_seconds", "peak_memory_bytes", "gpu_seconds"))
    return contracts.ResourceUsage(
        cpu_seconds=round(sum(cpu), 3) if cpu else None,
        peak_memory_bytes=int(max(memory)) if memory else None,
        gpu_seconds=round(sum(gpu), 3) if gpu else None,
    )
