"""Jobs of an execution as Windmill keeps them, read by the dashboard's own reader: tests show what steps leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from f.flexcore.lib.core import contracts, driver, errors, monitoring, redaction
from f.flexcore.lib.dashboard import steps
from f.flexcore.lib.ray import job_diagnosis

BEGIN = datetime(2026, 11, 29, 11, 40, tzinfo=UTC)
KEY = "fc-7f3a90c2d41e5b60a8d3"
RUNTIMES = ("kubernetes", "meltano", "ray")
FLOW = "f/flexcore/hybrid_pipeline"
Job = dict[str, Any]
NUMBERS = count(1)


def at(seconds: float) -> datetime:
    """A time after the begin of the execution."""
    return BEGIN + timedelta(seconds=seconds)


def job(
    created: float, started: float | None = None, ended: float | None = None, result: Any = None, **more: Any
) -> Job:
    """Seconds are those after the begin; a result that is an exception is the error of a job that failed."""
    error = failure(result) if isinstance(result, Exception) else None
    fields: Job = {
        "id": f"019375a0-2222-7000-8000-{next(NUMBERS):012d}",
        "type": "QueuedJob" if ended is None else "CompletedJob",
        "job_kind": "script",
        "script_path": "f/flexcore/pipeline/validate",
        "created_at": at(created).isoformat(),
        "started_at": None if started is None else at(started).isoformat(),
        "running": started is not None and ended is None,
        "worker": "wk-1",
    }
    if ended is not None and started is not None:
        fields |= {
            "duration_ms": round((ended - started) * 1000),
            "success": error is None,
            "canceled": False,
            "result": error or result,
        }
    return fields | more


def failure(error: Exception) -> Job:
    """What Windmill's executor makes of an exception: its attributes are `extra`."""
    plain = {"name": type(error).__name__, "message": str(error), "stack": ""}
    return {"error": plain | {"extra": dict(vars(error))}}


def step_result(runtime: str, attempt: int = 1, **more: Any) -> Job:
    return contracts.StepResult(success=True, runtime=runtime, execution_key=KEY, attempt=attempt, **more).plain()


def timings(began: float, *parts: float | None) -> contracts.Timings:
    """parts: queued, starting, running, finishing."""
    return contracts.Timings(**dict(zip(steps.MEASURED_PARTS, parts, strict=True)), began_at=at(began))


def ray_error(diagnosis: contracts.Diagnosis, remote: contracts.Remote, measured: contracts.Timings) -> Exception:
    """The error of a Ray job, made as ray/job_adapter and the driver make it."""
    told = {"remote": remote.model_dump(), "log_tail": "", "timings": measured.model_dump(mode="json")}
    error: errors.FlexcoreError = job_diagnosis.typed_error(remote.name, diagnosis, None, **told)
    driver.add_attempt(error, 2, remote)
    return error


def node(
    name: str,
    job: Job | None = None,
    children: Sequence[monitoring.Node] = (),
    type: str = "Success",
    **state: Any,
) -> monitoring.Node:
    return monitoring.Node(name, job, {"id": name, "type": type, **state}, list(children))


def read_steps(
    nodes: Sequence[monitoring.Node], summaries: Mapping[str, str] | None = None, live: bool = False
) -> list[dict[str, Any]]:
    """As the page gets them. summaries: by module."""
    root = node("", job(0, 0, 1200, job_kind="flow", script_path=FLOW), nodes)
    view = monitoring.View("", "dev", at(1200), RUNTIMES)
    known = {(FLOW, name): text for name, text in (summaries or {}).items()}
    reader = steps.StepReader(view.runtime_of, redaction.Redactor(), known)
    return [step.model_dump(mode="json") for step in reader.read(root, live)]
