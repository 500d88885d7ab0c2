# requirements: flexcore_base
"""What a workload is, from what was measured at its source and what its request says. Pure.

measured      read at the source itself: file sizes, relation sizes, counted rows
declared      said by the caller, or by a manifest
estimated     worked out: a database's statistics, rows by a sample, complexity by the request's parts
not measured  nobody knows; the value is null, and the detail says why
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors, forms, requests, tables, workloads

Source = Literal["measured", "declared", "estimated", "not measured"]
# From the surest to none; of several parts a sum is only as sure as its least sure one.
SURENESS: tuple[Source, ...] = ("measured", "declared", "estimated", "not measured")
# From so many workers on, a training is spread as far as one usually is.
MANY_WORKERS = 8


class Measure(contracts.Contract):
    """One number or word of an analysis, and where it comes from."""

    what: str
    value: float | int | str | bool | None = None
    source: Source
    detail: str = ""


class Part(contracts.Contract):
    """One piece of the data as a probe saw it: files, a table, a manifest's stream. None: not known (`detail`)."""

    place: str
    bytes: int | None = None
    rows: int | None = None
    bytes_source: Source = "not measured"
    rows_source: Source = "not measured"
    detail: str = ""


def manifest_parts(manifest: contracts.DataManifest) -> list[Part]:
    """An earlier stage counted them when it wrote them."""
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


def data_measures(source: forms.DataSource, parts: Sequence[Part], notes: Sequence[str] = ()) -> list[Measure]:
    """data_size and rows: what the caller says, else the sum of the parts; null when a part of the sum is not known."""
    reason = "; ".join(notes)
    return [
        _declared_or_sum("data_size", source.size, [(part.bytes, part.bytes_source, part) for part in parts], reason),
        _declared_or_sum("rows", source.rows, [(part.rows, part.rows_source, part) for part in parts], reason),
    ]


def _declared_or_sum(
    what: str, said: int | None, found: Sequence[tuple[int | None, Source, Part]], reason: str
) -> Measure:
    known = [value for value, _, _ in found if value is not None]
    total = sum(known)
    if said is not None:
        seen = f"; at the source {total}" if known and len(known) == len(found) and total != said else ""
        return Measure(what=what, value=said, source="declared", detail=f"{reason}{seen}".strip("; "))
    if not found:
        return Measure(what=what, source="not measured", detail=reason or "no data source is described")
    if len(known) < len(found):
        unknown = next(part for value, _, part in found if value is None)
        told = f"{unknown.place}: {unknown.detail or 'not known'}; the other {len(known)} parts have {total}"
        return Measure(what=what, source="not measured", detail=told)
    least_sure = max((source for _, source, _ in found), key=SURENESS.index)
    details = [part.detail for _, _, part in found if part.detail]
    told = f"{len(found)} parts" + (f": {'; '.join(dict.fromkeys(details))}" if details else "")
    return Measure(what=what, value=total, source=least_sure, detail="; ".join(filter(None, [told, reason])))


def complexity_of(work: Mapping[str, Mapping[str, Any]], declared: forms.DeclaredWork) -> Measure:
    """simple: one tap into its target; complex: more than that; ml: something is trained, or needs a GPU."""
    if declared.complexity:
        return Measure(what="complexity", value=declared.complexity, source="declared")
    value, why = _complexity(work)
    return Measure(what="complexity", value=value, source="estimated", detail=why)


def _complexity(work: Mapping[str, Mapping[str, Any]]) -> tuple[workloads.Complexity, str]:
    ray, kubernetes, meltano = (work.get(name) or {} for name in ("ray", "kubernetes", "meltano"))
    if ray.get("operation") == "train":
        return "ml", "a model is trained"
    if gpus_of(work):
        return "ml", "it asks for GPUs"
    if len(meltano.get("taps") or []) == 1:
        return "simple", "one tap into one target"
    if meltano:
        return "complex", f"{len(meltano['taps'])} taps"
    return "complex", f"a {'program' if ray else 'container'} of the caller's own" if ray or kubernetes else "unknown"


def resource_measures(work: Mapping[str, Mapping[str, Any]], declared: forms.DeclaredWork) -> list[Measure]:
    """cpu, memory, gpu, scaling, parallelizable, containerized: as declared, else from the runtimes' forms."""
    workers = workers_of(work)
    ray, kubernetes = work.get("ray") or {}, work.get("kubernetes") or {}
    found: dict[str, tuple[Any, str]] = {
        "cpu": (cpus_of(work), "the most that a form asks for"),
        "memory": (memory_of(work), "the most that a form asks for"),
        "gpu": (gpus_of(work), "the most that a form asks for"),
        "scaling": (
            None if not ray else "high" if workers >= MANY_WORKERS else "medium" if workers > 1 else "low",
            f"{workers} Ray workers",
        ),
        "parallelizable": (workers > 1 or ray.get("operation") == "train", "Ray workers" if ray else "no Ray form"),
        "containerized": (bool(kubernetes), "a container is given" if kubernetes else "no container is given"),
    }
    measures = []
    for what, (value, detail) in found.items():
        said = getattr(declared, what)
        if said is not None:
            measures.append(Measure(what=what, value=said, source="declared"))
        elif value is None:
            measures.append(Measure(what=what, source="not measured", detail="no form says it"))
        else:
            measures.append(Measure(what=what, value=value, source="estimated", detail=detail))
    return measures


def workers_of(work: Mapping[str, Mapping[str, Any]]) -> int:
    ray = work.get("ray") or {}
    return int(ray.get("num_workers") or 1) if ray.get("operation") == "train" else 1


def cpus_of(work: Mapping[str, Mapping[str, Any]]) -> float | None:
    ray, kubernetes = work.get("ray") or {}, work.get("kubernetes") or {}
    training = workers_of(work) * float(ray.get("cpus_per_worker") or 0) if ray.get("operation") == "train" else 0.0
    asked = [
        training,
        float(ray.get("num_cpus") or 0),
        requests.quantity(kubernetes["cpu"]) if kubernetes.get("cpu") else 0.0,
    ]
    return max(asked) or None


def memory_of(work: Mapping[str, Mapping[str, Any]]) -> int | None:
    ray, kubernetes = work.get("ray") or {}, work.get("kubernetes") or {}
    asked = [
        float(ray.get("memory_gib") or 0) * requests.GIB,
        requests.quantity(kubernetes["memory"]) if kubernetes.get("memory") else 0,
    ]
    return int(max(asked)) or None


def gpus_of(work: Mapping[str, Mapping[str, Any]]) -> float | None:
    ray, kubernetes = work.get("ray") or {}, work.get("kubernetes") or {}
    training = float(workers_of(work)) if ray.get("operation") == "train" and ray.get("use_gpu") else 0.0
    return max(training, float(ray.get("num_gpus") or 0), float(kubernetes.get("gpus") or 0)) or None


def seconds_left(deadline_s: float | None, deadline: str, now: datetime) -> float | None:
    """Seconds from now to the deadline; None without one. Raises InvalidInput for one in the past, or for two."""
    if deadline_s is not None and deadline:
        raise _deadline("deadline_s and deadline are both given", "Give one of them.")
    if not deadline:
        deadline_s = errors.checked(float | None, deadline_s, "deadline_s")
        if deadline_s is not None and not 0 < deadline_s < float("inf"):
            raise _deadline(f"deadline_s: {deadline_s:g} is not after now", "Give seconds from now, e.g. 3600.")
        return deadline_s
    try:
        at = datetime.fromisoformat(deadline)
    except (TypeError, ValueError):
        raise _deadline(f"deadline: {deadline!r} is no time", "Write it as 2026-01-31T06:00:00+00:00.") from None
    left = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    if left <= 0:
        raise _deadline(f"deadline: {deadline} has passed", "Give a later one, or none.")
    return left


def _deadline(message: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(message, subject="deadline", remedy=remedy)


def workload_of(
    measures: Sequence[Measure],
    *,
    workflow_type: str,
    runtimes: Sequence[str],
    step_type: str | None,
    deadline_s: float | None,
    objective: str,
    pin: str | None,
) -> workloads.Workload:
    """The measures as the selection wants them. Raises InvalidInput through the contract's own rules."""
    value = {item.what: item.value for item in measures}
    resources = {name: value.get(name) for name in workloads.WorkloadResources.model_fields}
    return errors.validated(
        workloads.Workload,
        {
            "workflow_type": workflow_type,
            "data_size": value.get("data_size"),
            "rows": value.get("rows"),
            "complexity": value.get("complexity"),
            "resources": resources,
            "step_type": step_type,
            "runtimes": list(runtimes),
            "deadline_s": deadline_s,
            "objective": objective,
            "pin": pin,
        },
        "workload",
    )


def html(measures: Sequence[Measure]) -> str:
    """For Windmill's job page."""
    return tables.html_table(HEAD, [(item.what, shown(item), item.source, item.detail) for item in measures])


HEAD = ("What", "Value", "Source", "Detail")


def shown(item: Measure) -> str:
    if item.value is None:
        return tables.NONE
    if item.what in ("data_size", "memory"):
        return tables.size_text(float(item.value))
    return f"{item.value:,}" if isinstance(item.value, int) and not isinstance(item.value, bool) else str(item.value)
