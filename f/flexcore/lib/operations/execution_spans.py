# requirements: flexcore_base
"""The spans of a whole execution, made of its jobs when it has ended: of its flows, loops and branches, of steps that
have no operation, and of those that could not write their own (killed, or the collector did not answer). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import (
    contracts,
    errors,
    monitoring,
    otlp,
    redaction,
    step_trace,
    trace_context,
    trace_spans,
)

INBOUND = "_wm_traceparent"
OUTCOMES = {"success": "succeeded", "failed": "failed", "cancelled": "canceled", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class ExecutionTrace:
    """root: an ended execution with all below it; context: its trace. has_root: whether the root's own span is among
    them: where Windmill itself traces, it writes that one."""

    root: monitoring.Node
    context: trace_context.TraceContext
    redactor: redaction.Redactor
    has_root: bool = True

    def spans(self) -> Iterator[otlp.Span]:
        """Those that no step has delivered."""
        for node, step in walk(self.root):
            job = node.job or {}
            if job.get("type") != "CompletedJob" or is_exported(job):
                continue
            if node is not self.root or self.has_root:
                yield self._make_job_span(job, step, is_root=node is self.root)
            if not node.children:
                yield from self._make_attempt_spans(job)

    def _make_job_span(self, job: monitoring.Job, step: str, is_root: bool) -> otlp.Span:
        id, parent = str(job["id"]), str(job.get("parent_job") or "")
        began, ended = measure_span(job)
        failure = monitoring.failure_from_job(job)
        created, started = read_instant(job.get("created_at")), read_instant(job.get("started_at"))
        inbound = trace_context.parse_traceparent(str((job.get("args") or {}).get(INBOUND) or "")) if is_root else None
        is_foreign = inbound is not None and inbound.trace_id != self.context.trace_id
        return otlp.Span(
            self.context.trace_id,
            trace_context.span_of_job(id),
            self.context.caller if is_root else trace_context.span_of_job(parent),
            step_trace.name_step(step, job.get("script_path") or job.get("job_kind")),
            began,
            ended,
            attributes={
                **step_trace.describe_job(id, str(job.get("workspace_id") or ""), job.get("script_path"), step),
                "windmill.job.kind": job.get("job_kind"),
                "windmill.tag": job.get("tag"),
                "windmill.queued_s": max(0.0, started - created) if started and created else None,
                "flexcore.outcome": OUTCOMES.get(monitoring.job_status(job)),
                "error.type": (failure.category or failure.name) if failure else None,
                "flexcore.error.remedy": self._cut(failure.remedy) if failure and failure.remedy else None,
            },
            links=[(inbound.trace_id, inbound.caller)] if inbound and is_foreign else (),
            error=self._cut(failure.message) if failure else None,
            succeeded=failure is None,
        )

    def _cut(self, text: str) -> str:
        return self.redactor.text(text[: 4 * otlp.MAX_TEXT_CHARACTERS])[: otlp.MAX_TEXT_CHARACTERS]

    def _make_attempt_spans(self, job: monitoring.Job) -> Iterator[otlp.Span]:
        """Of the remote object that the step's result or error tells of."""
        attempt = read_result_attempt(job) or read_error_attempt(job, self.redactor)
        if attempt:
            parent = trace_context.span_of_job(str(job["id"]))
            yield from trace_spans.make_attempt_spans(attempt, self.context.trace_id, parent)


def read_result_attempt(job: monitoring.Job) -> trace_spans.Attempt | None:
    try:
        result = contracts.StepResult.model_validate(job.get("result"))
    except ValueError:
        return None
    if result.remote is None or "deferred" in result.data:
        return None
    described = {"metrics": result.metrics, "resource_usage": result.resource_usage.model_dump(), "data": result.data}
    attributes = {"flexcore.execution_key": result.execution_key, **trace_spans.describe_result(described)}
    return trace_spans.Attempt(
        f"{result.execution_key}-{result.attempt}",
        result.attempt,
        result.runtime,
        result.remote,
        measure_span(job),
        result.timings,
        attributes,
        succeeded=True,
    )


def read_error_attempt(job: monitoring.Job, redactor: redaction.Redactor) -> trace_spans.Attempt | None:
    """Of a failed step whose error names the object; its name is that of key and attempt."""
    error = restore_error(job)
    remote = error.details.get("remote") if error else None
    if error is None or not isinstance(remote, dict):
        return None
    name = str(remote.get("name") or "")
    key, _, number = name.rpartition("-")
    if not key.startswith("fc-") or not number.isdigit():
        return None
    uid = remote.get("uid")
    return trace_spans.Attempt(
        name,
        int(number),
        find_runtime(job),
        contracts.Remote(kind=str(remote.get("kind") or "object"), name=name, uid=str(uid) if uid else None),
        measure_span(job),
        trace_spans.read_timings(error),
        {"flexcore.execution_key": key, **trace_spans.describe_error(error, redactor)},
        trace_spans.describe_message(error, redactor),
    )


def restore_error(job: monitoring.Job) -> errors.FlexcoreError | None:
    """The typed error that a step has failed with; None for another."""
    stored = trace_context.dig(job.get("result"), "error")
    extra = trace_context.dig(stored, "extra")
    if not isinstance(extra, dict) or not isinstance(extra.get("details"), dict):
        return None
    words = {name: str(extra.get(name) or "") for name in ("subject", "category", "remedy")}
    told = {"type": stored.get("name"), "message": str(stored.get("message") or ""), "details": extra["details"]}
    try:
        return errors.restore_error(told | words)
    except TypeError:
        return None


def find_runtime(job: monitoring.Job) -> str:
    """The folder of the step's script."""
    return str(job.get("script_path") or "").rpartition("/")[0].rpartition("/")[2]


def is_exported(job: monitoring.Job) -> bool:
    """Whether the collector has its span already. A flow ends with the result of one of its steps, whose Trace is not
    its own."""
    told = trace_context.read_told(job.get("result"))
    return told is not None and told["is_exported"] and told["span_id"] == trace_context.span_of_job(str(job["id"]))


def read_context(root: monitoring.Node, sample_ratio: float) -> trace_context.TraceContext:
    """The trace that the execution's steps have joined, else that of its root."""
    for node, _ in walk(root):
        told = trace_context.read_told((node.job or {}).get("result"))
        if told:
            return trace_context.TraceContext(told["trace_id"], told["is_sampled"], told["caller"])
    trace = trace_context.trace_of_job(str((root.job or {}).get("id")))
    return trace_context.TraceContext(trace, trace_context.is_kept(trace, sample_ratio))


def walk(node: monitoring.Node, step: str = "") -> Iterator[tuple[monitoring.Node, str]]:
    """Each node with the id of its step: that of the loop, or of the retried step, for one of several; "" for the
    root. Windmill itself does not say it of a job."""
    own = step if node.name.startswith("[") else node.name
    yield node, own
    for child in node.children:
        yield from walk(child, own)


def measure_span(job: monitoring.Job) -> tuple[float, float]:
    """Seconds since the epoch from the job's start to its end, by Windmill's clock."""
    began = read_instant(job.get("started_at")) or read_instant(job.get("created_at")) or 0.0
    return began, began + (job.get("duration_ms") or 0) / 1000


def read_instant(text: Any) -> float | None:
    return datetime.fromisoformat(str(text)).timestamp() if text else None
