# requirements: flexcore_api
"""Metrics of our executions for Prometheus, read from Windmill in a bounded number of requests.

flexcore_executions_total              counter    ended, by workflow, runtime, status; without plans, and one that a
                                                  stopped workflow refused is canceled
flexcore_executions_live               gauge      not ended, by workflow, runtime, status
flexcore_execution_duration_seconds    histogram  of those that ended by themselves
flexcore_rows_total                    counter    rows moved, as far as they were measured
flexcore_cost_usd_total                counter    as far as prices are known
flexcore_forecast_error_ratio          histogram  |actual - forecast| / forecast of the duration
flexcore_orphans                       gauge      without a living owner, as the last pass of reconcile saw it
flexcore_reconcile_timestamp_seconds   gauge      when that pass ended; both are absent when there was none
flexcore_executions_unread             gauge      ended, but beyond what one scrape reads of rows, cost and forecasts

Counters and histograms count from midnight UTC, so that they only rise, and fall to zero once a day, which Prometheus
takes for a restart. A runtime that is not known, or of which there are several, is an absent label. To who accepts
OpenMetrics, each bucket of the durations tells the trace of its latest execution, where the workspace traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from f.flexcore.lib.core import contracts, errors, trace_context
from f.flexcore.lib.windmill import client, execution_models, result_figures, trace_links

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_CONTENT_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
# From a quick step to a training of a day.
DURATION_BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
ERROR_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5)
INFINITY = float("inf")
LABEL_NAMES = ["workflow", "runtime"]
PAGE_SIZE = 1000
# Of one day; a bundle that runs more of them is beyond one scrape.
MAX_PAGES = 10
# Results read in one scrape, the day's first ones, so that the counters never fall. Each takes some milliseconds.
MAX_RESULTS = 1000
MAX_PARALLEL_REQUESTS = 8
RECONCILE = "f/flexcore/operations/reconcile"
FLOWS = {"job_kinds": "flow", "has_null_parent": "true", "script_path_start": execution_models.BUNDLE_FOLDER}
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """figures: by execution, of those whose result was read; orphans: of the last pass, by place and runtime; traces:
    the trace's id by execution."""

    ended: Sequence[execution_models.Execution]
    live: Sequence[execution_models.Execution] = ()
    figures: Mapping[str, result_figures.ResultFigures] = field(default_factory=dict)
    unread: int = 0
    orphans: Mapping[Labels, int] | None = None
    reconciled_at: float | None = None
    traces: Mapping[str, str] = field(default_factory=dict)


def read_snapshot(windmill: client.Client, now: datetime) -> Snapshot:
    """What the metrics are made of. now: in UTC. Raises as the client does."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat()
    live = _executions_from(windmill.get("jobs/queue/list", per_page=PAGE_SIZE, **FLOWS))
    # Oldest first, so that a bound cuts off the newest and no counter falls.
    query = {**FLOWS, "completed_after": midnight, "order_desc": "false"}
    listed = _executions_from(windmill.pages("jobs/completed/list", PAGE_SIZE, MAX_PAGES, **query))
    # A plan does no work.
    ended = [item for item in listed if contracts.PLAN_LABEL not in item.labels]
    read = ended[:MAX_RESULTS]
    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
        results = dict(pool.map(lambda item: (item.id, _read_result(windmill, item)), read))
    figures = {id: told.figures for id, told in results.items()}
    ended = [_count_as(item, results.get(item.id)) for item in ended]
    orphans, reconciled_at = _read_last_pass(windmill)
    links = trace_links.read_trace_links(windmill)
    found = {id: links.link(id, told.trace) for id, told in results.items()} if links else {}
    traces = {id: link.trace_id for id, link in found.items() if link}
    return Snapshot(ended, live, figures, len(ended) - len(read), orphans, reconciled_at, traces)


def _executions_from(jobs: Iterable[execution_models.Job]) -> list[execution_models.Execution]:
    return [execution_models.execution_from_job(job) for job in jobs if execution_models.is_execution(job)]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a result tells."""

    figures: result_figures.ResultFigures = field(default_factory=result_figures.ResultFigures)
    trace: trace_context.Told | None = None
    was_refused: bool = False


def _read_result(windmill: client.Client, item: execution_models.Execution) -> _Told:
    """Nothing when it cannot be read."""
    if item.status not in ("success", "failure"):
        return _Told()
    try:
        result = windmill.get(f"jobs_u/completed/get_result/{item.id}")
    except errors.FlexcoreError:
        return _Told()
    refused = execution_models.was_refused(item.labels, result)
    return _Told(result_figures.read_figures(result), trace_context.read_told(result), refused)


def _count_as(item: execution_models.Execution, told: _Told | None) -> execution_models.Execution:
    refused = told.was_refused if told else execution_models.was_refused(item.labels, None)
    return item.model_copy(update={"status": "canceled"}) if refused else item


def _read_last_pass(windmill: client.Client) -> tuple[Counter[Labels] | None, float | None]:
    query: dict[str, Any] = {"script_path_exact": RECONCILE, "success": "true", "per_page": 1, "order_desc": "true"}
    jobs = windmill.get("jobs/completed/list", **query)
    if not jobs:
        return None, None
    ended = execution_models.execution_from_job(jobs[0]).ended_at
    result = windmill.get(f"jobs_u/completed/get_result/{jobs[0]['id']}")
    return count_orphans(result), ended.timestamp() if ended else None


def exposition_text(snapshot: Snapshot) -> str:
    """Text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    return generate_latest(registry).decode()


def openmetrics_text(snapshot: Snapshot) -> str:
    """OpenMetrics 1.0, with exemplars."""
    from prometheus_client.openmetrics import exposition

    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def count_orphans(result: Any) -> Counter[Labels]:
    """Of a pass of operations/reconcile: what it stopped or would have stopped, by place and runtime."""
    lines = result.get("table-row-object") if isinstance(result, dict) else None
    stopped = [line for line in lines or () if isinstance(line, dict) and line.get("action") == "stop"]
    return Counter((str(line.get("place")), str(line.get("runtime"))) for line in stopped)


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        ended, live, figures = self._snapshot.ended, self._snapshot.live, self._snapshot.figures
        names = [*LABEL_NAMES, "status"]
        yield _count(CounterMetricFamily("flexcore_executions", "Ended since midnight UTC.", labels=names), ended)
        yield _count(GaugeMetricFamily("flexcore_executions_live", "Not ended yet.", labels=names), live)
        timed = [item for item in ended if item.status in ("success", "failure")]
        yield _histogram(
            "flexcore_execution_duration_seconds",
            "From start to end, those waiting included.",
            DURATION_BUCKETS_S,
            [(_labels(item), item.duration_s) for item in timed],
            [self._exemplar(item) for item in timed],
        )
        read = [(_labels(item), figures[item.id]) for item in ended if item.id in figures]
        yield _sums("flexcore_rows", "Rows moved, as far as measured.", [(by, item.rows) for by, item in read])
        yield _sums("flexcore_cost_usd", "Cost, as far as priced.", [(by, item.cost_usd) for by, item in read])
        yield _histogram(
            "flexcore_forecast_error_ratio",
            "|actual - forecast| / forecast of the duration.",
            ERROR_BUCKETS,
            [(by, _forecast_error(item)) for by, item in read],
        )
        yield GaugeMetricFamily("flexcore_executions_unread", "Beyond what one scrape reads.", self._snapshot.unread)
        yield from self._reconcile_metrics()

    def _exemplar(self, item: execution_models.Execution) -> Exemplar | None:
        trace = self._snapshot.traces.get(item.id)
        if not trace or item.duration_s is None:
            return None
        return Exemplar({"trace_id": trace}, item.duration_s, item.ended_at.timestamp() if item.ended_at else None)

    def _reconcile_metrics(self) -> Iterator[Metric]:
        orphans, reconciled_at = self._snapshot.orphans, self._snapshot.reconciled_at
        if orphans is None or reconciled_at is None:
            return
        about = "Objects without a living owner, at the last pass."
        family = GaugeMetricFamily("flexcore_orphans", about, labels=["place", "runtime"])
        for labels, count in orphans.items():
            family.add_metric(labels, count)
        yield family
        about = "When the last pass of reconcile ended."
        yield GaugeMetricFamily("flexcore_reconcile_timestamp_seconds", about, reconciled_at)


def _labels(item: execution_models.Execution) -> Labels:
    return item.workflow, item.runtime or ""


def _count(family: Any, items: Iterable[execution_models.Execution]) -> Metric:
    for labels, count in sorted(Counter((*_labels(item), item.status) for item in items).items()):
        family.add_metric(labels, count)
    metric: Metric = family
    return metric


def _sums(name: str, about: str, values: Iterable[tuple[Labels, float | None]]) -> Metric:
    sums: dict[Labels, float] = {}
    for labels, value in values:
        if value is not None:
            sums[labels] = sums.get(labels, 0) + value
    family = CounterMetricFamily(name, about, labels=LABEL_NAMES)
    for labels, value in sorted(sums.items()):
        family.add_metric(labels, value)
    return family


def _histogram(
    name: str,
    about: str,
    bounds: Sequence[float],
    values: Sequence[tuple[Labels, float | None]],
    exemplars: Sequence[Exemplar | None] = (),
) -> Metric:
    """exemplars: one for each value; a bucket shows the last of those that fall into it and into no smaller one."""
    groups: dict[Labels, list[float]] = {}
    shown: dict[tuple[Labels, float], Exemplar] = {}
    for (labels, value), exemplar in zip(values, exemplars or [None] * len(values), strict=True):
        if value is None:
            continue
        groups.setdefault(labels, []).append(value)
        if exemplar:
            shown[labels, next((bound for bound in bounds if value <= bound), INFINITY)] = exemplar
    family = HistogramMetricFamily(name, about, labels=LABEL_NAMES)
    for labels, group in sorted(groups.items()):
        buckets: list[Any] = [
            (str(float(bound)), sum(value <= bound for value in group), shown.get((labels, bound))) for bound in bounds
        ]
        buckets.append(("+Inf", len(group), shown.get((labels, INFINITY))))
        family.add_metric(labels, buckets, sum(group))
    return family


def _forecast_error(figures: result_figures.ResultFigures) -> float | None:
    if not figures.forecast_s or figures.actual_s is None:
        return None
    return abs(figures.actual_s - figures.forecast_s) / figures.forecast_s
