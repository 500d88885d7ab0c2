# requirements: flexcore_base
"""What a workload is, from measures at its source and the hints of its requests. Pure.

measured      read at the source itself: file sizes, relation sizes, counted rows
declared      given by the caller, or by a manifest
estimated     derived: a database's statistics, rows by a sample, complexity and resources by the requests' hints
not measured  not known; the value is null, and the detail says why
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors, forms, workloads

Source = Literal["measured", "declared", "estimated", "not measured"]
# From the surest to none; of several parts a sum is only as sure as its least sure one.
SURENESS: tuple[Source, ...] = ("measured", "declared", "estimated", "not measured")
COMPLEXITIES: tuple[workloads.Complexity, ...] = ("simple", "complex", "ml")
SCALINGS: tuple[workloads.Scaling, ...] = ("low", "medium", "high")


class Measure(contracts.Contract):
    """One number or word of an analysis, and where it comes from."""

    what: str
    value: float | int | str | bool | None = None
    source: Source
    detail: str = ""


class Part(contracts.Contract):
    """One piece of the data as a probe measured it: files, a table, a manifest's stream. None: not known, `detail` says
    why."""

    place: str
    bytes: int | None = None
    rows: int | None = None
    bytes_source: Source = "not measured"
    rows_source: Source = "not measured"
    detail: str = ""


def list_manifest_parts(manifest: contracts.DataManifest) -> list[Part]:
    """Return the streams of a manifest, which the stage that wrote them has counted."""
    return [
        Part(
            place=f"{manifest.uri} {stream.name}",
            bytes=stream.bytes,
            rows=stream.rows,
            bytes_source="declared",
            rows_source="not measured" if stream.rows is None else "declared",
        )
        for stream in manifest.streams
    ]


def measure_data(source: forms.DataSource, parts: Sequence[Part], notes: Sequence[str] = ()) -> list[Measure]:
    """Return data_size and rows: as declared, else the sum of the parts; null when a part of the sum is not known."""
    reason = "; ".join(notes)
    sizes = [(part.bytes, part.bytes_source, part) for part in parts]
    rows = [(part.rows, part.rows_source, part) for part in parts]
    return [
        _declared_or_sum("data_size", source.size, sizes, reason),
        _declared_or_sum("rows", source.rows, rows, reason),
    ]


def _declared_or_sum(
    what: str, declared: int | None, amounts: Sequence[tuple[int | None, Source, Part]], reason: str
) -> Measure:
    known = [value for value, _, _ in amounts if value is not None]
    total = sum(known)
    if declared is not None:
        differs = known and len(known) == len(amounts) and total != declared
        detail = f"{reason}; at the source {total}" if differs else reason
        return Measure(what=what, value=declared, source="declared", detail=detail.strip("; "))
    if not amounts:
        return Measure(what=what, source="not measured", detail=reason or "no data source is given")
    if len(known) < len(amounts):
        unknown = next(part for value, _, part in amounts if value is None)
        others = f"the other {len(known)} parts have {total}"
        detail = f"{unknown.place}: {unknown.detail or 'not known'}; {others}"
        return Measure(what=what, source="not measured", detail=detail)
    least_sure = max((source for _, source, _ in amounts), key=SURENESS.index)
    details = "; ".join(dict.fromkeys(part.detail for _, _, part in amounts if part.detail))
    summary = f"{len(amounts)} parts: {details}" if details else f"{len(amounts)} parts"
    return Measure(what=what, value=total, source=least_sure, detail="; ".join(filter(None, [summary, reason])))


def merge_hints(candidates: Sequence[workloads.WorkHints]) -> workloads.WorkHints:
    """Return what the requests of all candidates say together: they are ways to do the same work.

    Resources are the most that one asks for. Work with a model or a GPU is ml; else it is as complex as the request
    that has the least to do, since the others say no more than that they run something.
    """
    gpu = max((hints.gpu for hints in candidates if hints.gpu is not None), default=None)
    rated = [hints for hints in candidates if hints.complexity]
    decisive = next((hints for hints in rated if hints.complexity == "ml"), None)
    if decisive is None and gpu:
        decisive = workloads.WorkHints(complexity="ml", complexity_reason="it asks for GPUs")
    if decisive is None:
        decisive = min(rated, key=lambda hints: COMPLEXITIES.index(hints.complexity or "complex"), default=None)
    scaled = [hints for hints in candidates if hints.scaling]
    widest = max(scaled, key=lambda hints: SCALINGS.index(hints.scaling or "low"), default=None)
    return workloads.WorkHints(
        complexity=decisive.complexity if decisive else None,
        complexity_reason=decisive.complexity_reason if decisive else "",
        cpu=max((hints.cpu for hints in candidates if hints.cpu is not None), default=None),
        memory_bytes=max((hints.memory_bytes for hints in candidates if hints.memory_bytes is not None), default=None),
        gpu=gpu,
        scaling=widest.scaling if widest else None,
        scaling_reason=widest.scaling_reason if widest else "",
        parallelizable=any(hints.parallelizable for hints in candidates),
        containerized=any(hints.containerized for hints in candidates),
    )


def estimate_complexity(hints: workloads.WorkHints, declared: forms.DeclaredWork) -> Measure:
    """Return the complexity: as declared, else by the requests' hints."""
    if declared.complexity:
        return Measure(what="complexity", value=declared.complexity, source="declared")
    reason = hints.complexity_reason or "no request says it"
    return Measure(what="complexity", value=hints.complexity or "complex", source="estimated", detail=reason)


def estimate_resources(hints: workloads.WorkHints, declared: forms.DeclaredWork) -> list[Measure]:
    """Return cpu, memory, gpu, scaling, parallelizable and containerized: as declared, else by the requests' hints."""
    most = "the most that a request asks for"
    workers = hints.scaling_reason or "no request names workers"
    estimates: dict[str, tuple[float | int | str | bool | None, str]] = {
        "cpu": (hints.cpu, most),
        "memory": (hints.memory_bytes, most),
        "gpu": (hints.gpu, most),
        "scaling": (hints.scaling, workers),
        "parallelizable": (hints.parallelizable, workers),
        "containerized": (hints.containerized, f"{'a' if hints.containerized else 'no'} container is given"),
    }
    return [_choose_value(what, getattr(declared, what), *each) for what, each in estimates.items()]


def _choose_value(what: str, declared: Any, value: float | int | str | bool | None, detail: str) -> Measure:
    if declared is not None:
        return Measure(what=what, value=declared, source="declared")
    if value is None:
        return Measure(what=what, source="not measured", detail="no request says it")
    return Measure(what=what, value=value, source="estimated", detail=detail)


def compute_seconds_left(deadline_s: float | None, deadline: str, now: datetime) -> float | None:
    """Return the seconds from now to the deadline; None without one.

    Raises InvalidInput for a deadline in the past, and for two."""
    if deadline_s is not None and deadline:
        raise _deadline_error("deadline_s and deadline are both given", "Give one of them.")
    if not deadline:
        deadline_s = errors.check_value(float | None, deadline_s, "deadline_s")
        if deadline_s is not None and not 0 < deadline_s < float("inf"):
            raise _deadline_error(f"deadline_s: {deadline_s:g} is not after now", "Give seconds from now, e.g. 3600.")
        return deadline_s
    try:
        at = datetime.fromisoformat(deadline)
    except (TypeError, ValueError):
        raise _deadline_error(
            f"deadline: {deadline!r} is not a time", "Write it as 2026-01-31T06:00:00+00:00."
        ) from None
    left = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    if left <= 0:
        raise _deadline_error(f"deadline: {deadline} has passed", "Give a later one, or none.")
    return left


def _deadline_error(message: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(message, subject="deadline", remedy=remedy)


def build_workload(
    measures: Sequence[Measure],
    *,
    workflow_type: str,
    runtimes: Sequence[str],
    step_type: str | None,
    deadline_s: float | None,
    objective: str,
    pin: str | None,
) -> workloads.Workload:
    """Return the workload with these measures. Raises InvalidInput through the contract's own rules."""
    values = {item.what: item.value for item in measures}
    return errors.validate(
        workloads.Workload,
        {
            "workflow_type": workflow_type,
            **{name: values.get(name) for name in ("data_size", "rows", "complexity")},
            "resources": {name: values.get(name) for name in workloads.WorkloadResources.model_fields},
            "step_type": step_type,
            "runtimes": list(runtimes),
            "deadline_s": deadline_s,
            "objective": objective,
            "pin": pin,
        },
        "workload",
    )
