# requirements: flexcore_base
"""Which trace a job belongs to, and which span it is. Pure, and the same wherever it is reckoned: in a step, in
reconcile, in the API.

    trace    the root job's UUID as 128 bits; of a run that was called from within a trace, that one
    span     of a job: the lower 64 bits of its UUID; of a remote object: from its execution key and attempt
    parent   of a job: the flow's job that it is a step of; of a remote object: the job that asked for it

Windmill's own spans (its Enterprise edition writes them) have these very ids, so that ours stand among them. Source:
get_otel_context_envs and its tests in windmill-worker/src/worker.rs and tests/otel.rs, 1.743.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

HEX = re.compile("[0-9a-f]+")
SAMPLED = 1
MAX_RATIO_VALUE = 1 << 64


@dataclass(frozen=True, slots=True)
class TraceContext:
    """caller: the span of a foreign trace that the run was called from; "" for a trace of our own."""

    trace_id: str
    is_sampled: bool = True
    caller: str = ""

    def traceparent(self, span: str) -> str:
        """The header, or the value of the variable, by which a callee joins the trace below `span`."""
        return f"00-{self.trace_id}-{span}-0{int(self.is_sampled)}"


def read_context(env: Mapping[str, str], root_job: str, sample_ratio: float) -> TraceContext:
    """Of the job that runs with this environment. A caller has decided for us whether its trace is kept.

    Windmill itself gives every job a TRACEPARENT that is made of that job's own id: no caller's, and another trace for
    each step.
    """
    caller = parse_traceparent(env.get("TRACEPARENT") or "")
    if caller and caller.trace_id != trace_of_job(env.get("WM_JOB_ID") or ""):
        return caller
    trace = trace_of_job(root_job)
    return TraceContext(trace, is_kept(trace, sample_ratio))


def parse_traceparent(text: str) -> TraceContext | None:
    """What a caller has sent; None for what is no such header. Source: W3C Trace Context, where versions after the
    first may have more fields behind these."""
    version, *fields = text.strip().split("-")
    known = len(fields) == 3 or (version != "00" and len(fields) > 3)
    if not known or not all(HEX.fullmatch(part) for part in (version, *fields[:3])) or version == "ff":
        return None
    trace, span, flags = fields[:3]
    if (
        [len(part) for part in (version, trace, span, flags)] != [2, 32, 16, 2]
        or not trace.strip("0")
        or not span.strip("0")
    ):
        return None
    return TraceContext(trace, bool(int(flags, 16) & SAMPLED), span)


def is_kept(trace_id: str, sample_ratio: float) -> bool:
    """Whether a trace is among the share that is kept: the same answer for all of its spans, whoever writes them.

    Source: TraceIdRatioBased of the OpenTelemetry specification, by the lower 64 bits.
    """
    return int(trace_id[16:], 16) < round(sample_ratio * MAX_RATIO_VALUE)


def trace_of_job(job: str) -> str:
    """32 hexadecimal digits."""
    return _job_uuid(job).hex


def span_of_job(job: str) -> str:
    """16 hexadecimal digits."""
    return _job_uuid(job).hex[16:]


def span_of(name: str) -> str:
    """Of what is no job: the same name has the same span."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


class Told(TypedDict):
    """The plain Trace in a result (contracts.Trace)."""

    trace_id: str
    span_id: str
    caller: str
    is_sampled: bool
    is_exported: bool


def read_told(result: Any) -> Told | None:
    """What a step has left of its trace in its result or in its error; None without it. A result may be a user's."""
    told = dig(result, "trace") or dig(result, "error", "extra", "details", "trace")
    if not isinstance(told, dict):
        return None
    trace_id, span_id, caller = (str(told.get(name) or "") for name in ("trace_id", "span_id", "caller"))
    if not parse_traceparent(f"00-{trace_id}-{span_id}-01"):
        return None
    is_sampled, is_exported = told.get("is_sampled") is not False, told.get("is_exported") is True
    return Told(
        trace_id=trace_id,
        span_id=span_id,
        caller=caller if parse_traceparent(f"00-{trace_id}-{caller}-01") else "",
        is_sampled=is_sampled,
        is_exported=is_exported,
    )


def dig(value: Any, *names: str) -> Any:
    """What stands there in nested objects; None when nothing does."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _job_uuid(job: str) -> uuid.UUID:
    try:
        return uuid.UUID(job)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, job)
