# requirements: flexcore_base
"""Runs a step with a trace: its spans go to the collector at its end, and its result says where they are.

A collector that is down, slow or refuses costs the step one second at most and one line of its log. A step that is
killed writes nothing; operations/reconcile then does, as for what the collector has not taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import BaseModel

from f.flexcore.lib.core import contracts, errors, identity, otlp, redaction, resources, trace_context, trace_spans

GRPC_PORT, HTTP_PORT = 4317, 4318


class Invocation(Protocol):
    """What a trace says of an operation's call (operation.Invocation)."""

    @property
    def runtime(self) -> str: ...
    @property
    def request(self) -> BaseModel: ...
    @property
    def service(self) -> BaseModel: ...
    @property
    def settings(self) -> resources.Settings: ...
    @property
    def key(self) -> identity.ExecutionKey: ...
    @property
    def call(self) -> str: ...
    @property
    def is_deferred(self) -> bool: ...


def run_traced(
    execute: Callable[[Any], dict[str, Any]], invocation: Any, env: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The plain result of the step, with its trace. invocation: an operation.Invocation. Raises what the step raises,
    the trace in its details."""
    settings, key = invocation.settings, invocation.key
    context = trace_context.read_context(env, key.root_job, settings.trace_sample_ratio)
    trace = StepTrace(invocation, context, env)
    header = context.traceparent(trace.span_id)
    print(describe_trace(context.trace_id, settings), flush=True)
    try:
        result = execute(replace(invocation, key=replace(key, trace=header), on_attempt=trace.add_attempt))
    except errors.FlexcoreError as error:
        error.details["trace"] = trace.finish(error=error)
        raise
    trace.add_unwatched(result)
    told = trace.finish(result)
    return result | {"trace": told} if "execution_key" in result else result


def describe_trace(trace_id: str, settings: resources.Settings) -> str:
    page = settings.trace_page(trace_id)
    return f"Trace {trace_id}" + (f": {page}" if page else "")


@dataclass(slots=True)
class StepTrace:
    """The spans of one step, gathered while it runs. began: seconds since the epoch."""

    invocation: Invocation
    context: trace_context.TraceContext
    env: Mapping[str, str]
    began: float = field(default_factory=time.time)
    spans: list[otlp.Span] = field(default_factory=list)

    @property
    def span_id(self) -> str:
        return trace_context.span_of_job(self.env.get("WM_JOB_ID") or self.invocation.key.owner_job)

    @property
    def redactor(self) -> redaction.Redactor:
        invocation = self.invocation
        own = (invocation.settings, invocation.service, invocation.request)
        return redaction.Redactor([text for form in own for text in resources.secret_values(form)])

    def add_attempt(
        self,
        number: int,
        remote: contracts.Remote,
        watched: tuple[float, float],
        result: contracts.StepResult | None,
        error: errors.FlexcoreError | None,
    ) -> None:
        """An attempt that has ended. One with neither result nor error has found out what the next one needs."""
        if not self.context.is_sampled:
            return
        attributes: dict[str, otlp.Value | None] = {"flexcore.outcome": "abandoned"}
        timings, message = contracts.Timings(), None
        if result is not None:
            remote, timings = result.remote or remote, result.timings
            attributes = trace_spans.describe_result(
                result.model_dump(include={"metrics", "resource_usage", "output", "data"})
            )
        elif error is not None:
            redactor = self.redactor
            timings, message = trace_spans.read_timings(error), trace_spans.describe_message(error, redactor)
            attributes = trace_spans.describe_error(error, redactor)
        key = self.invocation.key
        attempt = trace_spans.Attempt(
            key.name(number),
            number,
            self.invocation.runtime,
            remote,
            watched,
            timings,
            {"flexcore.execution_key": key.value, **attributes},
            message,
            result is not None,
        )
        # The job that has submitted deferred work is the one that asked for it.
        parent = trace_context.span_of_job(self.invocation.call) if self.invocation.call else self.span_id
        self.spans += trace_spans.make_attempt_spans(attempt, self.context.trace_id, parent)

    def add_unwatched(self, result: Mapping[str, Any]) -> None:
        """The remote object of an operation that has no attempts, such as a deployment."""
        if self.spans or self.invocation.is_deferred or not (result.get("remote") and "execution_key" in result):
            return
        step = errors.validate(contracts.StepResult, result, "result")
        if step.remote:
            self.add_attempt(step.attempt, step.remote, (self.began, time.time()), step, None)

    def finish(
        self, result: Mapping[str, Any] | None = None, error: errors.FlexcoreError | None = None
    ) -> dict[str, Any]:
        """Exports the spans; the plain Trace of the step's result."""
        told = contracts.Trace(
            trace_id=self.context.trace_id,
            span_id=self.span_id,
            caller=self.context.caller,
            is_sampled=self.context.is_sampled,
        )
        if self.context.is_sampled:
            settings = self.invocation.settings
            spans = [self._make_step_span(result or {}, error), *self.spans]
            resource = describe_resource(self.env)
            problem = otlp.export(settings.otlp_endpoint, settings.trace_headers(), spans, resource)
            told.is_exported = problem is None
            if problem:
                print(describe_problem(settings.otlp_endpoint, problem.text), flush=True)
        return told.model_dump(mode="json")

    def _make_step_span(self, result: Mapping[str, Any], error: errors.FlexcoreError | None) -> otlp.Span:
        invocation, env, key = self.invocation, self.env, self.invocation.key
        job, redactor = env.get("WM_JOB_ID") or key.owner_job, self.redactor if error else None
        # What a collecting step goes on with was begun by another job.
        is_collecting = bool(invocation.call and invocation.call != job)
        links = [(self.context.trace_id, trace_context.span_of_job(invocation.call))] if is_collecting else []
        outcome = "failed" if error else "submitted" if invocation.is_deferred else "succeeded"
        return otlp.Span(
            self.context.trace_id,
            self.span_id,
            find_parent(env, self.context, job, key.root_job),
            name_step(env.get("WM_FLOW_STEP_ID"), env.get("WM_JOB_PATH")),
            self.began,
            time.time(),
            attributes={
                **describe_job(job, key.workspace, env.get("WM_JOB_PATH"), key.step),
                "flexcore.runtime": invocation.runtime,
                "flexcore.execution_key": key.value,
                "flexcore.workflow": key.workflow or None,
                "flexcore.team": key.team or None,
                "flexcore.attempt": result.get("attempt"),
                "flexcore.outcome": outcome,
                **(trace_spans.describe_error(error, redactor) if error and redactor else {}),
            },
            links=links,
            error=trace_spans.describe_message(error, redactor) if error and redactor else None,
            succeeded=error is None,
        )


def find_parent(env: Mapping[str, str], context: trace_context.TraceContext, job: str, root_job: str) -> str:
    """The flow's job that the step is a part of; of a lone script the caller, where there is one."""
    flow_job = env.get("WM_FLOW_JOB_ID")
    if flow_job:
        return trace_context.span_of_job(flow_job)
    return context.caller if job == root_job or not root_job else trace_context.span_of_job(root_job)


def name_step(step: str | None, path: str | None) -> str:
    return step or path or "step"


def describe_job(job: str, workspace: str, path: str | None, step: str | None) -> dict[str, otlp.Value | None]:
    """Attributes by which Windmill finds a job."""
    return {
        "windmill.job.id": job,
        "windmill.workspace": workspace or None,
        "windmill.path": path or None,
        "flexcore.step": step or None,
    }


def describe_resource(env: Mapping[str, str]) -> dict[str, otlp.Value]:
    """What the spans of this process have in common."""
    names = {"service.namespace": "WM_WORKSPACE", "host.name": "HOSTNAME", "windmill.worker_group": "WM_WORKER_GROUP"}
    return {"service.name": "flexcore", **{name: env[source] for name, source in names.items() if env.get(source)}}


def describe_problem(endpoint: str, problem: str) -> str:
    """One line for the log: why spans were not delivered, and what becomes of them."""
    hint = ""
    if f":{GRPC_PORT}" in endpoint:
        hint = f" Port {GRPC_PORT} is usually that of gRPC; OTLP over HTTP listens at {HTTP_PORT}."
    return f"The trace was not delivered to otlp_endpoint ({problem}); operations/reconcile tries again.{hint}"
