# requirements: flexcore_base
"""The steps of an execution with what each did, where, for how long, and what happened to it. Pure.

A step's result is read with tolerance: it may be of another version of flexcore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from f.flexcore.lib.core import contracts, monitoring, redaction
from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.windmill import execution_models

STATUSES: dict[str, str] = {
    "failed": "failure",
    "cancelled": "canceled",
    # Its flow has ended without it.
    "not run": "skipped",
}
MAX_EVENTS = 50
MAX_TEXT_CHARS = 2000
Summaries = Mapping[tuple[str, str], str]


@dataclass(slots=True)
class StepReader:
    """summaries: by (path of the flow, module's id). strange: collects steps whose result this version cannot read."""

    runtime_of: Callable[[Any], str | None]
    redactor: redaction.Redactor
    summaries: Summaries = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def read(self, root: monitoring.Node, live: bool) -> list[shapes.Step]:
        path = str((root.job or {}).get("script_path") or "")
        return list(self._children(root, "", path, live))

    def _children(self, node: monitoring.Node, prefix: str, flow: str, live: bool) -> Iterator[shapes.Step]:
        for child in node.children:
            id = join_id(prefix, child.name)
            yield self._step(child, id, prefix, flow, live)
            inner = str((child.job or {}).get("script_path") or "")
            # A loop's iterations and a branch are flows of their own without a path that is deployed.
            deeper = inner if (inner, "") in self.summaries else flow
            yield from self._children(child, id, deeper, live)

    def _step(self, node: monitoring.Node, id: str, parent: str, flow: str, live: bool) -> shapes.Step:
        job = node.job or {}
        status = _status(node, live)
        result = {} if node.children else self._result(job, id)
        created, started = instant(job, "created_at"), instant(job, "started_at")
        ended = _ended_at(job)
        return shapes.Step(
            id=id,
            summary=self.summaries.get((flow, node.name)) or node.name,
            status=status,
            runtime=_text(result.get("runtime")) or self.runtime_of(job.get("script_path")),
            job=str(job["id"]) if job else None,
            attempt=_whole(result.get("attempt")),
            created_at=created,
            started_at=started,
            ended_at=ended,
            parts=_parts(result, created, started, ended),
            remote=self._mapping(result.get("remote")),
            diagnosis=self._mapping(result.get("diagnosis") or _error_details(job).get("diagnosis")),
            output=self._mapping(result.get("output")),
            events=self._events(node, created, started, ended),
            reused=_is_reused(job),
            parent=parent or None,
        )

    def _result(self, job: monitoring.Job, id: str) -> dict[str, Any]:
        """What the step returned, as far as it is a step's result."""
        result = job.get("result")
        if not isinstance(result, Mapping) or "execution_key" not in result:
            return {}
        if unknown := set(result) - set(contracts.StepResult.model_fields) - {"description"}:
            self.strange.append(f"{id} ({', '.join(sorted(map(str, unknown)))[:100]})")
        return dict(result)

    def _mapping(self, value: Any) -> dict[str, Any] | None:
        return dict(self.redactor.data(value)) if isinstance(value, Mapping) else None

    def _events(
        self, node: monitoring.Node, created: datetime | None, started: datetime | None, ended: datetime | None
    ) -> list[shapes.Event]:
        """What happened to the step, in its order, each with its cause where one is known."""
        job, events = node.job or {}, []
        if created:
            events.append(shapes.Event(at=created, kind="queued", message="Waits for a worker"))
        if started:
            worker = _text(job.get("worker"))
            events.append(shapes.Event(at=started, kind="started", message=f"Began{f' on {worker}' if worker else ''}"))
        if node.state.get("failed_retries"):
            count = len(node.state["failed_retries"])
            events.append(shapes.Event(kind="retried", message=f"Tried again after {count} failed attempts"))
        for approver in node.state.get("approvers") or ():
            who = approver.get("approver") if isinstance(approver, Mapping) else approver
            events.append(shapes.Event(kind="resumed", message="The flow went on", cause=f"resumed by {who}"))
        if ended:
            events.append(self._end(job, ended))
        return events[:MAX_EVENTS]

    def _end(self, job: monitoring.Job, ended: datetime) -> shapes.Event:
        if job.get("canceled"):
            cause = f"{job.get('canceled_by') or 'someone'}: {job.get('canceled_reason') or 'no reason given'}"
            return shapes.Event(at=ended, kind="canceled", message="Was canceled", cause=self._short(cause))
        failure = monitoring.failure_from_job(job)
        if failure:
            return shapes.Event(at=ended, kind="failed", message="Failed", cause=self._short(failure.message))
        return shapes.Event(at=ended, kind="succeeded", message="Ended well")

    def _short(self, text: str) -> str:
        return self.redactor.text(text)[:MAX_TEXT_CHARS]


def join_id(prefix: str, name: str) -> str:
    """`attempts`, `attempts[0]`, `attempts[0].attempt`."""
    return f"{prefix}{'' if name.startswith('[') or not prefix else '.'}{name}"


def _status(node: monitoring.Node, live: bool) -> shapes.StepStatus:
    if node.job is None:
        known = monitoring.MODULE_STATUSES.get(str(node.state.get("type")))
        status = known or ("waiting" if live else "not run")
    else:
        status = monitoring.job_status(node.job)
        if node.state.get("type") == "WaitingForEvents" and status == "success":
            status = "suspended"
        if node.state.get("skipped") and status == "success":
            status = "skipped"
    return cast(shapes.StepStatus, STATUSES.get(status, status))


def _parts(
    result: Mapping[str, Any], created: datetime | None, started: datetime | None, ended: datetime | None
) -> shapes.Parts:
    """As the step measured them at its runtime, else by Windmill's clock: what it waited for a worker, and ran."""
    timings = result.get("timings")
    if isinstance(timings, Mapping) and any(timings.get(name) is not None for name in shapes.Parts.model_fields):
        return shapes.Parts(**{name: _number(timings.get(name)) for name in shapes.Parts.model_fields})
    return shapes.Parts(queued=_between(created, started), running=_between(started, ended))


def _between(begin: datetime | None, end: datetime | None) -> float | None:
    """Never below zero: the clocks of server and workers may differ."""
    return max(0.0, round((end - begin).total_seconds(), 3)) if begin and end else None


def _ended_at(job: monitoring.Job) -> datetime | None:
    if job.get("type") != "CompletedJob":
        return None
    if completed := instant(job, "completed_at"):
        return completed
    begin = instant(job, "started_at") or instant(job, "created_at")
    return begin and begin + timedelta(milliseconds=job.get("duration_ms") or 0)


def _error_details(job: monitoring.Job) -> Mapping[str, Any]:
    """What a typed error knows besides its message."""
    value: Any = job.get("result")
    for name in ("error", "extra", "details"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _is_reused(job: monitoring.Job) -> bool:
    return str(job.get("script_path") or "").endswith("/reuse_stage")


def instant(job: monitoring.Job, name: str) -> datetime | None:
    return execution_models.parse_instant(job.get(name))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_summaries(flow_path: str, value: Any) -> dict[tuple[str, str], str]:
    """(flow, module's id) → summary, of a flow's definition; (flow, "") says that the flow is known."""
    found = {(flow_path, ""): flow_path}

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, Mapping):
            if isinstance(node.get("id"), str) and node.get("summary"):
                found[flow_path, node["id"]] = str(node["summary"])
            for name in ("modules", "default", "branches", "value", "failure_module", "preprocessor_module"):
                walk(node.get(name))

    walk(value)
    return found
