# requirements: flexcore_api
"""What Windmill knows of our executions, as Prometheus metrics. Pure.

flexcore_executions_total              counter    ended, by workflow, runtime, status
flexcore_executions_live               gauge      not ended, by workflow, runtime, status
flexcore_execution_duration_seconds    histogram  of those that ended by themselves
flexcore_rows_total                    counter    rows moved, as far as they were measured
flexcore_cost_usd_total                counter    as far as prices are known
flexcore_forecast_error_ratio          histogram  |actual - forecast| / forecast of the duration
flexcore_orphans                       gauge      without a living owner, as the last pass of reconcile saw it
flexcore_reconcile_timestamp_seconds   gauge      when that pass ended; both are absent when there was none
flexcore_executions_unread             gauge      ended, but beyond what one scrape reads of rows, cost and forecasts

Counters and histograms count from midnight UTC, so that they only rise, and fall to zero once a day, which Prometheus
takes for a restart. A runtime that is not known, or of which there are several, is an absent label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from f.flexcore.lib.api import executions

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a quick step to a training of a day.
DURATION_BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
ERROR_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5)
BY = ["workflow", "runtime"]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What an execution's result tells of it; None is not known."""

    rows: float | None = None
    cost_usd: float | None = None
    forecast_s: float | None = None
    actual_s: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """numbers: by execution, of those whose result was read; orphans: of the last pass, by place and runtime."""

    ended: Sequence[executions.Execution]
    live: Sequence[executions.Execution] = ()
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    unread: int = 0
    orphans: Mapping[Labels, int] | None = None
    reconciled_at: float | None = None


def exposition(measured: Measured) -> str:
    """Text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collector(measured))
    return generate_latest(registry).decode()


def numbers_of(result: Any) -> Numbers:
    """Of a data pipeline's result, a step's, or the hybrid pipeline's extraction."""
    if not isinstance(result, dict):
        return Numbers()
    if isinstance(actual := result.get("actual"), dict):
        p50 = _at(result, "forecast", "duration_s", "p50")
        return Numbers(
            _number(actual.get("rows")), _number(actual.get("cost_usd")), p50, _number(actual.get("duration_s"))
        )
    stages = result.get("stages") or result.get("partial_results")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict) and stage.get("stage") == "extraction":
            return Numbers() if stage.get("reused") else numbers_of(stage.get("result"))
    rows = _at(result, "output", "rows")
    return Numbers(rows if rows is not None else _at(result, "metrics", "rows"))


def orphans_of(result: Any) -> Counter[Labels]:
    """Of a pass of operations/reconcile: what it stopped or would have stopped, by place and runtime."""
    lines = result.get("table-row-object") if isinstance(result, dict) else None
    found = [line for line in lines or () if isinstance(line, dict) and line.get("action") == "stop"]
    return Counter((str(line.get("place")), str(line.get("runtime"))) for line in found)


class _Collector(Collector):
    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        told = self._measured
        yield _executions(
            CounterMetricFamily("flexcore_executions", "Ended since midnight UTC.", labels=[*BY, "status"]), told.ended
        )
        yield _executions(
            GaugeMetricFamily("flexcore_executions_live", "Not ended yet.", labels=[*BY, "status"]), told.live
        )
        spent = [(_labels(item), item.duration_s) for item in told.ended if item.status in ("success", "failure")]
        yield _histogram(
            "flexcore_execution_duration_seconds",
            "From start to end, those waiting included.",
            DURATION_BUCKETS_S,
            spent,
        )
        known = [(_labels(item), told.numbers[item.id]) for item in told.ended if item.id in told.numbers]
        yield _sums("flexcore_rows", "Rows moved, as far as measured.", [(by, item.rows) for by, item in known])
        yield _sums("flexcore_cost_usd", "Cost, as far as priced.", [(by, item.cost_usd) for by, item in known])
        yield _histogram(
            "flexcore_forecast_error_ratio",
            "|actual - forecast| / forecast of the duration.",
            ERROR_BUCKETS,
            [(by, _error(item)) for by, item in known],
        )
        yield GaugeMetricFamily("flexcore_executions_unread", "Beyond what one scrape reads.", told.unread)
        if told.orphans is not None and told.reconciled_at is not None:
            family = GaugeMetricFamily(
                "flexcore_orphans", "Objects without a living owner, at the last pass.", labels=["place", "runtime"]
            )
            for labels, count in told.orphans.items():
                family.add_metric(labels, count)
            yield family
            yield GaugeMetricFamily(
                "flexcore_reconcile_timestamp_seconds", "When the last pass of reconcile ended.", told.reconciled_at
            )


def _labels(item: executions.Execution) -> Labels:
    return item.workflow, item.runtime or ""


def _executions(family: Any, items: Iterable[executions.Execution]) -> Metric:
    for labels, count in sorted(Counter((*_labels(item), item.status) for item in items).items()):
        family.add_metric(labels, count)
    metric: Metric = family
    return metric


def _sums(name: str, about: str, values: Iterable[tuple[Labels, float | None]]) -> Metric:
    sums: dict[Labels, float] = {}
    for labels, value in values:
        if value is not None:
            sums[labels] = sums.get(labels, 0) + value
    family = CounterMetricFamily(name, about, labels=BY)
    for labels, value in sorted(sums.items()):
        family.add_metric(labels, value)
    return family


def _histogram(name: str, about: str, bounds: Sequence[float], values: Iterable[tuple[Labels, float | None]]) -> Metric:
    groups: dict[Labels, list[float]] = {}
    for labels, value in values:
        if value is not None:
            groups.setdefault(labels, []).append(value)
    family = HistogramMetricFamily(name, about, labels=BY)
    for labels, group in sorted(groups.items()):
        buckets = [(str(float(bound)), sum(value <= bound for value in group)) for bound in bounds]
        family.add_metric(labels, [*buckets, ("+Inf", len(group))], sum(group))
    return family


def _error(numbers: Numbers) -> float | None:
    if not numbers.forecast_s or numbers.actual_s is None:
        return None
    return abs(numbers.actual_s - numbers.forecast_s) / numbers.forecast_s


def _at(value: Any, *names: str) -> float | None:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return _number(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
