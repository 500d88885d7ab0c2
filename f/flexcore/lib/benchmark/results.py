# requirements: flexcore_base
"""A finished run of the race as a measurement and a row of history, and all of them as standings. Pure.

A run whose output is not the source's rows is disqualified: it has a time and no place. Ratios are of rows/s, taken
within a turn, so that both runs had the same machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from f.flexcore.lib.benchmark import legs, tables
from f.flexcore.lib.core import contracts, errors, redaction, workloads

MAX_ERROR_LENGTH = 300


class Marks(contracts.Contract):
    """The fingerprint of a table: of all its rows, and of each column by itself, which tells where two differ."""

    rows: int = Field(ge=0)
    whole: str
    columns: dict[str, str] = {}


class Spread(contracts.Contract):
    """Of the runs that count; all of them are null where there is none."""

    median: float | None = None
    low: float | None = None
    high: float | None = None


class Measurement(contracts.Contract):
    """One run. seconds: of the whole step or flow, by Windmill's clock; running_s: of the work itself, as the runtime
    says it; is_equal: whether the output holds the source's rows, null when the run failed; error: why it counts for
    nothing."""

    number: int
    turn: int
    work: str
    table: str
    runtime: str
    success: bool
    seconds: float | None = None
    running_s: float | None = None
    rows: int | None = None
    bytes: int | None = None
    is_equal: bool | None = None
    error: str = ""

    @property
    def rows_per_s(self) -> float | None:
        seconds = self.running_s or self.seconds
        return self.rows / seconds if self.success and self.rows and seconds else None


class Standing(contracts.Contract):
    """One runtime at one work on one table. to_reference, to_meltano: its rows/s as a multiple of theirs."""

    work: str
    table: str
    runtime: str
    runs: int = 0
    counted: int = 0
    seconds: Spread = Spread()
    rows_per_s: Spread = Spread()
    to_reference: Spread = Spread()
    to_meltano: Spread = Spread()
    note: str = ""


def read_step_result(result: Any) -> tuple[contracts.StepResult | None, str]:
    """(what a run's step has returned, why there is none)"""
    failure = result.get("error") if isinstance(result, Mapping) else None
    if isinstance(failure, Mapping):
        masked = redaction.Redactor().text(str(failure.get("message") or failure.get("name") or "failed"))
        return None, " ".join(masked.split())[:MAX_ERROR_LENGTH]
    try:
        return contracts.StepResult.model_validate(result), ""
    except ValidationError:
        return None, "it has no result"


def measure(
    leg: legs.Leg,
    step: contracts.StepResult | None,
    seconds: float | None,
    rows: int | None,
    difference: str | None,
    error: str,
) -> Measurement:
    """rows: the source's, None when they are not known. difference: why the output counts for nothing, "" when it is
    right, None when it could not be read (error says why)."""
    is_equal = None if difference is None else not difference
    return Measurement(
        number=leg.number,
        turn=leg.turn,
        work=leg.work,
        table=leg.table,
        runtime=leg.runtime,
        success=bool(step and step.success and is_equal),
        seconds=seconds,
        running_s=step.timings.running if step else None,
        rows=rows,
        bytes=step.output.bytes if step and step.output else None,
        is_equal=is_equal,
        error=difference or error,
    )


def explain_difference(source: Marks, output: Marks) -> str:
    """ "" when both are the same rows."""
    if source.rows != output.rows:
        return f"disqualified: its output has {output.rows:,} rows, the source has {source.rows:,}"
    if source.whole == output.whole:
        return ""
    differ = [name for name, mark in source.columns.items() if output.columns.get(name) != mark]
    where = f"other values in {', '.join(differ)}" if differ else "the values of other rows"
    return f"disqualified: its output has as many rows as the source, and {where}"


def explain_quality(rows: int, predicted: int | None, r2: float | None) -> str:
    """Why a model or its predictions count for nothing; "" when they do. predicted: None for a model."""
    if predicted is not None and predicted != rows:
        return f"disqualified: it predicted {predicted:,} rows, the source has {rows:,}"
    if r2 is None or not r2 >= legs.MIN_R2:
        told = "unknown" if r2 is None else f"{r2:.3f}"
        return (
            f"disqualified: the part of the variance that it explains is {told}, and should be at least {legs.MIN_R2}"
        )
    return ""


def build_run(leg: legs.Leg, measurement: Measurement, source: Mapping[str, Any]) -> workloads.Run | None:
    """The row of history; None for the reference, which is no runtime, and for what has no time."""
    if leg.runtime == legs.REFERENCE or measurement.seconds is None:
        return None
    return workloads.Run(
        workflow_type=leg.workflow_type,
        runtime=leg.runtime,
        data_size_bytes=source.get("bytes"),
        rows=source.get("rows"),
        complexity="ml" if leg.work in tables.LEARNING else "simple",
        duration_s=measurement.seconds,
        success=measurement.success,
    )


def build_labels(leg: legs.Leg) -> list[str]:
    """By which the history finds the run, as it finds a data pipeline's."""
    return [*contracts.LABELS, f"workflow:{leg.workflow_type}", f"runtime:{leg.runtime}"]


# Standings


def rank(plan: legs.Plan, measurements: Sequence[Measurement]) -> list[Standing]:
    """One for each runtime at each work on each table: the fastest first, what is not measured last."""
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for item in measurements:
        groups.setdefault((item.work, item.table, item.runtime), []).append(item)
    standings = [_stand(key, runs, groups) for key, runs in groups.items()]
    order: list[tuple[str, str]] = list(dict.fromkeys((leg.work, leg.table) for leg in plan.legs))
    standings += [
        Standing(work=work, table=table, runtime=gap.runtime, note=f"not measured: {gap.reason}")
        for gap in plan.gaps
        for work, table in order
        if work == gap.work
    ]
    return sorted(
        standings,
        key=lambda item: (order.index((item.work, item.table)), not item.counted, -(item.rows_per_s.median or 0)),
    )


def _stand(
    key: tuple[str, str, str], runs: Sequence[Measurement], groups: Mapping[tuple[str, str, str], Sequence[Measurement]]
) -> Standing:
    work, table, runtime = key
    counted = [run for run in runs if run.success]
    return Standing(
        work=work,
        table=table,
        runtime=runtime,
        runs=len(runs),
        counted=len(counted),
        seconds=_spread(run.seconds for run in counted),
        rows_per_s=_spread(run.rows_per_s for run in counted),
        to_reference=_relate(runs, groups.get((work, table, legs.REFERENCE), ()), runtime == legs.REFERENCE),
        to_meltano=_relate(runs, groups.get((work, table, "meltano"), ()), runtime == "meltano"),
        note="; ".join(dict.fromkeys(run.error for run in runs if run.error)),
    )


def _relate(runs: Iterable[Measurement], others: Iterable[Measurement], is_same: bool) -> Spread:
    """Ratios within turns; nothing for a runtime beside itself."""
    by_turn = {other.turn: other.rows_per_s for other in others}
    pairs = [(run.rows_per_s, by_turn.get(run.turn)) for run in runs]
    return Spread() if is_same else _spread(mine / theirs for mine, theirs in pairs if mine and theirs)


def _spread(values: Iterable[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    if not known:
        return Spread()
    return Spread(median=_round(statistics.median(known)), low=_round(min(known)), high=_round(max(known)))


def _round(value: float) -> float:
    """Four digits: more would say what no clock of a busy machine knows."""
    return float(f"{value:.4g}")


def read_measurement(leg: legs.Leg, item: Any) -> Measurement:
    """What a turn of the loop has left; a run whose output could not be compared or removed counts for nothing."""
    if isinstance(item, Mapping) and "measurement" in item:
        return errors.validate(Measurement, item["measurement"], "measured")
    _, error = read_step_result(item)
    return measure(leg, None, None, None, None, f"it could not be recorded: {error or 'it was not run'}")


def finish(plan: legs.Plan, data: Mapping[str, Any], measured: Sequence[Any]) -> dict[str, Any]:
    """The race as plain data. measured: what the loop over the legs has left."""
    items = [
        read_measurement(leg, measured[number] if number < len(measured) else None)
        for number, leg in enumerate(plan.legs)
    ]
    machine = dict(data["machine"])
    return {
        "success": any(item.success for item in items),
        "machine": {name: value for name, value in machine.items() if name != "versions"},
        "versions": {**plan.versions, **machine["versions"]},
        "rows": plan.rows,
        "repeats": plan.repeats,
        "tables": {name: {key: table[key] for key in ("rows", "bytes")} for name, table in data["tables"].items()},
        "standings": [item.plain() for item in rank(plan, items)],
        "measurements": [item.plain() for item in items],
    }
