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
from f.flexcore.lib.dashboard import shapes, step_events

STATUSES: dict[str, str] = {
    "failed": "failure",
    "cancelled": "canceled",
    # Its flow has ended without it.
    "not run": "skipped",
}
MEASURED_PARTS = ("queued", "starting", "running", "finishing")
Summaries = Mapping[tuple[str, str], str]
# When a step was created, started, and ended.
Times = tuple[datetime | None, datetime | None, datetime | None]


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
        befores, followings = [None, *node.children], [*node.children[1:], None]
        for before, child, following in zip(befores, node.children, followings, strict=False):
            id = join_id(prefix, child.name)
            step = self._step(child, _times(child, before), id, flow, live)
            resumed_at = step_events.first_created(following) if following else None
            events = step_events.list_events(child, step, resumed_at, self.redactor)
            yield step.model_copy(update={"parent": prefix or None, "events": events})
            inner = str((child.job or {}).get("script_path") or "")
            # A loop's iterations and a branch are flows of their own without a path that is deployed.
            deeper = inner if (inner, "") in self.summaries else flow
            yield from self._children(child, id, deeper, live)

    def _step(self, node: monitoring.Node, times: Times, id: str, flow: str, live: bool) -> shapes.Step:
        """Without its parent and events."""
        job = node.job or {}
        result = {} if node.children else self._result(job, id)
        runtime = monitoring.read_text(result.get("runtime")) or self.runtime_of(job.get("script_path"))
        details = monitoring.error_details(job)
        # What is known of the attempt.
        known = result or ({} if step_events.repeats_another(node) else details)
        created, started, ended = times
        return shapes.Step(
            id=id,
            summary=self.summaries.get((flow, node.name)) or node.name,
            status=_status(node, live),
            runtime=runtime,
            job=str(job["id"]) if job else None,
            attempt=_whole(known.get("attempt")),
            created_at=created,
            started_at=started,
            ended_at=ended,
            parts=_parts(known.get("timings"), created, started, ended),
            remote=self._remote(known.get("remote")),
            diagnosis=self._diagnosis(result.get("diagnosis") or details.get("diagnosis")),
            output=self._mapping(result.get("output")),
            reused=_is_reused(job),
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

    def _remote(self, value: Any) -> contracts.Remote | None:
        """None for one without a name."""
        fields = self._texts(value, contracts.Remote, "name")
        return contracts.Remote.model_validate({"kind": "object", **fields}) if "name" in fields else None

    def _diagnosis(self, value: Any) -> contracts.Diagnosis | None:
        fields = self._texts(value, contracts.Diagnosis, "detail")
        missing = {"category": "", "detail": "No detail was recorded", "remedy": ""}
        return contracts.Diagnosis.model_validate(missing | fields) if fields else None

    def _texts(self, value: Any, model: type[contracts.Contract], main: str) -> dict[str, str]:
        """Those of the model's fields that the value has, as text; a value that is text alone is the field `main`."""
        plain = self.redactor.data({main: value} if isinstance(value, str) else value)
        if not isinstance(plain, Mapping):
            return {}
        given = {name: plain.get(name) for name in model.model_fields}
        return {name: str(text)[: step_events.MAX_TEXT_CHARS] for name, text in given.items() if text not in (None, "")}


def join_id(prefix: str, name: str) -> str:
    """`attempts`, `attempts[0]`, `attempts[0].attempt`."""
    return f"{prefix}{'' if name.startswith('[') or not prefix else '.'}{name}"


def _status(node: monitoring.Node, live: bool) -> shapes.StepStatus:
    if node.job is None:
        status = monitoring.module_status(node.state, live)
    else:
        status = monitoring.job_status(node.job)
        if node.state.get("skipped") and status == "success":
            status = "skipped"
    return cast(shapes.StepStatus, STATUSES.get(status, status))


def _times(node: monitoring.Node, before: monitoring.Node | None) -> Times:
    """A step before which its flow is suspended waits since the step before it has ended."""
    if node.state.get("type") == "WaitingForEvents":
        return _ended_at((before and before.job) or {}), None, None
    job = node.job or {}
    return step_events.instant(job, "created_at"), step_events.instant(job, "started_at"), _ended_at(job)


def _parts(timings: Any, created: datetime | None, started: datetime | None, ended: datetime | None) -> shapes.Parts:
    """As the step measured them at its runtime, else by Windmill's clock: what it waited for a worker, and ran."""
    told = timings if isinstance(timings, Mapping) else {}
    measured = {name: monitoring.read_number(told.get(name)) for name in MEASURED_PARTS}
    if any(seconds is not None for seconds in measured.values()):
        return shapes.Parts(**measured, began_at=_moment(told.get("began_at")))
    return shapes.Parts(queued=_between(created, started), running=_between(started, ended))


def _between(begin: datetime | None, end: datetime | None) -> float | None:
    """Never below zero: the clocks of server and workers may differ."""
    return max(0.0, round((end - begin).total_seconds(), 3)) if begin and end else None


def _ended_at(job: monitoring.Job) -> datetime | None:
    if job.get("type") != "CompletedJob":
        return None
    if completed := step_events.instant(job, "completed_at"):
        return completed
    begin = step_events.instant(job, "started_at") or step_events.instant(job, "created_at")
    return begin and begin + timedelta(milliseconds=job.get("duration_ms") or 0)


def _is_reused(job: monitoring.Job) -> bool:
    return str(job.get("script_path") or "").endswith("/reuse_stage")


def _moment(value: Any) -> datetime | None:
    """None for what is no time, or one without its zone."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


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
