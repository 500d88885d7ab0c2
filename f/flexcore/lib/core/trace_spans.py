# requirements: flexcore_base
"""The spans of a step and of the attempts that it has seen end. Pure: a step makes them, and reconcile makes the same
ones of what is stored of a step that could not.

    step                          of its Windmill job
    └── attempt                   the remote object: Job, Ray job, Meltano run
        ├── queued ├── starting ├── running └── finishing      by the runtime's own clock, as far as it tells them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors, otlp, redaction, trace_context

PARTS = ("queued", "starting", "running", "finishing")
# Names of the OpenTelemetry semantic conventions for what they know, by a remote object's kind.
K8S_KINDS = {"Job": "job", "Deployment": "deployment"}
MAX_REMEDY_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """name: by which its key and number are known; parent: the span that asked for it; watched: seconds since the epoch
    from and to which somebody looked, which stand in for what its runtime does not tell."""

    name: str
    number: int
    runtime: str
    remote: contracts.Remote
    watched: tuple[float, float]
    timings: contracts.Timings = field(default_factory=contracts.Timings)
    attributes: Mapping[str, otlp.Value | None] = field(default_factory=dict)
    error: str | None = None
    succeeded: bool = False


def make_attempt_spans(attempt: Attempt, trace_id: str, parent: str) -> Iterator[otlp.Span]:
    """The attempt, then those of its parts whose times are known."""
    span, timings = trace_context.span_of(attempt.name), attempt.timings
    parts = list(_place_parts(timings))
    began, ended = attempt.watched
    if timings.began_at:
        began = timings.began_at.timestamp()
    if len(parts) and all(getattr(timings, name) is not None for name in PARTS[PARTS.index(parts[0][0]) :]):
        ended = parts[-1][2]
    yield otlp.Span(
        trace_id,
        span,
        parent,
        name_attempt(attempt),
        began,
        ended,
        "client",
        {
            "flexcore.runtime": attempt.runtime,
            "flexcore.attempt": attempt.number,
            "flexcore.remote.kind": attempt.remote.kind,
            "flexcore.remote.name": attempt.remote.name,
            "flexcore.remote.uid": attempt.remote.uid,
            **_k8s_names(attempt.remote),
            **attempt.attributes,
        },
        error=attempt.error,
        succeeded=attempt.succeeded,
    )
    for name, since, until in parts:
        yield otlp.Span(trace_id, trace_context.span_of(f"{attempt.name} {name}"), span, name, since, until)


def name_attempt(attempt: Attempt) -> str:
    """The same for all of its kind: `kubernetes Job`, `ray job`, `meltano run`."""
    kind = attempt.remote.kind.replace("_", " ")
    return kind if attempt.runtime in kind.lower() else f"{attempt.runtime} {kind}"


def _place_parts(timings: contracts.Timings) -> Iterator[tuple[str, float, float]]:
    """(name, from, to) of each part up to the first whose length is not known: those behind it could be anywhere."""
    if timings.began_at is None:
        return
    at, has_begun = timings.began_at.timestamp(), False
    for name in PARTS:
        seconds = getattr(timings, name)
        if seconds is None and has_begun:
            return
        if seconds is not None:
            has_begun = True
            yield name, at, at + seconds
            at += seconds


def _k8s_names(remote: contracts.Remote) -> dict[str, otlp.Value | None]:
    kind = K8S_KINDS.get(remote.kind)
    return {f"k8s.{kind}.name": remote.name, f"k8s.{kind}.uid": remote.uid} if kind else {}


def describe_result(result: Mapping[str, Any]) -> dict[str, otlp.Value | None]:
    """Attributes of a plain StepResult: figures and names alone, no text of a user."""
    metrics, usage, data = (result.get(name) or {} for name in ("metrics", "resource_usage", "data"))
    output = result.get("output") or {}
    pods = [str(pod) for pod in data.get("pods") or ()]
    return {
        "flexcore.rows": _number(metrics.get("rows", output.get("rows"))),
        "flexcore.bytes": _number(metrics.get("bytes", output.get("bytes"))),
        "flexcore.cpu_seconds": _number(usage.get("cpu_seconds")),
        "flexcore.peak_memory_bytes": _number(usage.get("peak_memory_bytes")),
        "flexcore.exit_code": _number(data.get("exit_code")),
        "k8s.namespace.name": str(data["namespace"]) if data.get("namespace") else None,
        "k8s.pod.name": pods[0] if len(pods) == 1 else None,
    }


def describe_error(error: errors.FlexcoreError, redactor: redaction.Redactor) -> dict[str, otlp.Value | None]:
    """Attributes of a failure; error.type is its stable category."""
    pod, container = error.details.get("pod"), error.details.get("container")
    return {
        "error.type": error.category,
        "flexcore.error.kind": type(error).__name__,
        "flexcore.error.subject": redactor.text(error.subject)[:MAX_REMEDY_CHARACTERS] or None,
        "flexcore.error.remedy": redactor.text(error.remedy)[:MAX_REMEDY_CHARACTERS] or None,
        "flexcore.error.retryable": error.retryable,
        "flexcore.exit_code": _number(error.details.get("exit_code")),
        "k8s.pod.name": str(pod) if pod else None,
        "k8s.container.name": str(container) if container else None,
    }


def describe_message(error: errors.FlexcoreError, redactor: redaction.Redactor) -> str:
    """What stands in a span's status."""
    return redactor.text(str(error)[: 4 * otlp.MAX_TEXT_CHARACTERS])[: otlp.MAX_TEXT_CHARACTERS]


def read_timings(error: errors.FlexcoreError) -> contracts.Timings:
    """Those of a failed attempt, where its runtime told them."""
    try:
        return contracts.Timings.model_validate(error.details.get("timings") or {})
    except ValueError:
        return contracts.Timings()


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
