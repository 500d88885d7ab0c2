# requirements: flexcore_kubernetes
"""What two versions did within one window, at the same time: readiness, requests, errors, latency.

PrometheusSource   of requests that users sent: p95 latency. Series are looked for under the names of PRESETS, first hit
                   wins, or by the queries of the form.
ProbeSource        of requests that we send, to both versions side by side, through the API server's service
                   proxy: median latency, the way through the API server included. They say that a version answers.

What could not be measured is None, with a note that says why. Prometheus without a series is a window without requests.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import traffic_decision, traffic_route, traffic_target
from f.flexcore.lib.kubernetes_api import api_errors, client

Sample = traffic_decision.Sample
PROMETHEUS_TIMEOUT_S = 5.0
# Scrapes come every 15 to 60 s; `increase` needs two of them.
BASELINE_WINDOW_S = 300
# The API server's proxy is not for load.
MAX_PROBES_PER_CHECK = 20
# A version that needs longer does not answer; the API server itself would be waited for much longer.
PROBE_TIMEOUT_S = 4.0
PROBES_AT_ONCE = 2
POD = 'namespace="$namespace",pod=~"$name-[a-z0-9]+-[a-z0-9]+"'
DESTINATION = 'reporter="destination",destination_service_namespace="$namespace",destination_service_name="$name"'
BALANCED = 'service=~".*-svc-$namespace-$name-[0-9]+@kubernetesgateway"'


@dataclass(frozen=True, slots=True)
class Queries:
    """PromQL with $name, $namespace and $window (e.g. 60s): requests and errors are counts, latency_s is in seconds."""

    requests: str
    errors: str
    latency_s: str = ""


def _count(metric: str, selector: str, failed: str) -> tuple[str, str]:
    return (
        f"sum(increase({metric}{{{selector}}}[$window]))",
        f"sum(increase({metric}{{{selector},{failed}}}[$window]))",
    )


def _p95(metric: str, selector: str, unit_s: str = "") -> str:
    return f"histogram_quantile(0.95, sum by (le) (increase({metric}_bucket{{{selector}}}[$window]))){unit_s}"


# Sources: Traefik 3.7 pkg/observability/metrics and provider/kubernetes/gateway (names of services); Istio's standard
# metrics; MLServer 1.7 rest/app.py (starlette_exporter).
PRESETS: dict[str, Queries] = {
    "model server": Queries(
        *_count("flexcore_requests_total", POD, 'code=~"5.."'), _p95("flexcore_request_seconds", POD)
    ),
    "Istio": Queries(
        *_count("istio_requests_total", DESTINATION, 'response_code=~"5.."'),
        _p95("istio_request_duration_milliseconds", DESTINATION, " / 1000"),
    ),
    "Traefik": Queries(
        *_count("traefik_service_requests_total", BALANCED, 'code=~"5.."'),
        _p95("traefik_service_request_duration_seconds", BALANCED),
    ),
    "MLServer": Queries(
        *_count("rest_server_requests_total", f'{POD},path!~"/v2/health/.*|.*/ready"', 'status_code=~"5.."'),
        _p95("rest_server_request_duration_seconds", f'{POD},path!~"/v2/health/.*|.*/ready"'),
    ),
}


@dataclass(frozen=True, slots=True)
class Measurement:
    candidate: Sample
    baseline: Sample
    note: str = ""


class Source(Protocol):
    """Where requests are counted. name: for the result."""

    @property
    def name(self) -> str: ...

    def begin(self) -> None:
        """A new window."""

    def measure(self, window_s: float) -> Measurement:
        """Requests of the window so far, without readiness."""

    def baseline_latency_s(self) -> float | None:
        """The stable version's before anything was moved."""


# --- Prometheus


@dataclass(slots=True)
class PrometheusSource:
    """get: (query) → (HTTP status, parsed body); raises OSError for a server that does not answer."""

    get: Callable[[str], tuple[int, Any]]
    stable: traffic_route.Backend
    candidate: traffic_route.Backend
    queries: Queries | None = None
    name: str = "Prometheus"

    def begin(self) -> None:
        """Windows are counted back from now."""

    def measure(self, window_s: float) -> Measurement:
        try:
            queries = self._choose(window_s)
            if queries is None:
                nothing = Sample(requests=0, errors=0)
                return Measurement(nothing, nothing, f"Prometheus has no series of {self.candidate.name} yet")
            return Measurement(
                self._sample(queries, self.candidate, window_s), self._sample(queries, self.stable, window_s)
            )
        except errors.TransientError as error:
            return Measurement(Sample(), Sample(), str(error))

    def baseline_latency_s(self) -> float | None:
        try:
            queries = self._choose(BASELINE_WINDOW_S)
            return self._ask(queries.latency_s, self.stable, BASELINE_WINDOW_S) if queries else None
        except errors.TransientError:
            return None

    def _choose(self, window_s: float) -> Queries | None:
        """The queries of the form, else the first preset that has a series of either version."""
        for name, queries in PRESETS.items() if self.queries is None else ():
            if any(
                self._ask(queries.requests, version, window_s) is not None for version in (self.candidate, self.stable)
            ):
                self.queries, self.name = queries, f"Prometheus ({name})"
                break
        return self.queries

    def _sample(self, queries: Queries, version: traffic_route.Backend, window_s: float) -> Sample:
        requests = self._ask(queries.requests, version, window_s) or 0.0
        failed = self._ask(queries.errors, version, window_s) or 0.0
        latency_s = self._ask(queries.latency_s, version, window_s) if requests and queries.latency_s else None
        return Sample(math.floor(requests + 0.5), math.floor(failed + 0.5), latency_s)

    def _ask(self, query: str, version: traffic_route.Backend, window_s: float) -> float | None:
        """The one value of a query; None when there is no series, or no number in it."""
        text = fill(query, version, window_s)
        try:
            code, payload = self.get(text)
        except OSError as error:
            raise errors.Unreachable(
                f"Prometheus does not answer ({error})", subject="cluster.prometheus_url"
            ) from None
        if code == 400:
            problem = payload.get("error") if isinstance(payload, dict) else ""
            raise errors.InvalidInput(
                f"Prometheus refuses the query {text!r}: {problem}", subject="queries", remedy="Correct it."
            )
        if code != 200 or not isinstance(payload, dict) or payload.get("status") != "success":
            raise errors.Unavailable(f"Prometheus answered HTTP {code}", subject="cluster.prometheus_url")
        found = (payload.get("data") or {}).get("result") or []
        if isinstance(found, list) and found and isinstance(found[0], dict):
            value = float(found[0]["value"][1])
            return value if math.isfinite(value) else None
        return None


def fill(query: str, version: traffic_route.Backend, window_s: float) -> str:
    values = {"$namespace": version.namespace, "$name": version.name, "$window": f"{max(1, math.ceil(window_s))}s"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def open_prometheus(url: str, token: str = "") -> Callable[[str], tuple[int, Any]]:
    """How PrometheusSource asks a server."""
    from f.flexcore.lib.core import lean_httpx

    httpx = lean_httpx.httpx
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = httpx.Client(headers=headers, timeout=PROMETHEUS_TIMEOUT_S)

    def get(query: str) -> tuple[int, Any]:
        try:
            answer = connection.get(f"{url.rstrip('/')}/api/v1/query", params={"query": query})
        except httpx.HTTPError as error:
            raise OSError(type(error).__name__) from None
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, None

    return get


# --- probes


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    errors: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, seconds: float | None) -> None:
        self.requests += 1
        if seconds is None:
            self.errors += 1
        else:
            self.seconds.append(seconds)

    def to_sample(self) -> Sample:
        median_s = statistics.median(self.seconds) if self.seconds else None
        low_s = traffic_decision.median_lower_bound(sorted(self.seconds))
        return Sample(self.requests, self.errors, median_s, low_s)


@dataclass(slots=True)
class ProbeSource:
    """per_check: requests to each version at each check; body: posted, else the path is read."""

    kubernetes: client.Kubernetes
    stable: traffic_route.Backend
    candidate: traffic_route.Backend
    path: str
    body: Mapping[str, Any] | None
    per_check: int
    name: str = "probes through the API server"
    _counts: dict[str, _Counts] = field(default_factory=dict)

    def begin(self) -> None:
        self._counts = {"candidate": _Counts(), "stable": _Counts()}

    def measure(self, window_s: float) -> Measurement:
        versions = {"candidate": self.candidate, "stable": self.stable}
        count = min(self.per_check, MAX_PROBES_PER_CHECK)
        with ExitStack() as stack:
            # Threads of its own for each: a version that hangs must not keep the other one waiting.
            pools = {name: ThreadPoolExecutor(PROBES_AT_ONCE) for name in versions}
            for pool in pools.values():
                stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            asked: list[tuple[_Counts, list[float], Future[float | None]]] = []
            for name, version in versions.items():
                for _ in range(count):
                    begun: list[float] = []
                    asked.append((self._counts[name], begun, pools[name].submit(self._probe, version, begun)))
            wait([probe for _, _, probe in asked], timeout=PROBE_TIMEOUT_S)
            try:
                for counts, begun, probe in asked:
                    # One that has not begun says nothing.
                    if not probe.cancel():
                        counts.add(self._await(probe, begun))
            except (errors.TransientError, errors.Forbidden) as error:
                return Measurement(Sample(), Sample(), f"Probes are not possible: {error}")
        return Measurement(self._counts["candidate"].to_sample(), self._counts["stable"].to_sample())

    def _await(self, probe: Future[float | None], begun: Sequence[float]) -> float | None:
        """What the probe found; None for one that has had its time."""
        try:
            spent_s = time.monotonic() - begun[0] if begun else 0.0
            return probe.result(timeout=max(0.0, PROBE_TIMEOUT_S - spent_s))
        except TimeoutError:
            return None

    def baseline_latency_s(self) -> float | None:
        """Both versions are probed all the time."""
        return None

    def _probe(self, version: traffic_route.Backend, begun: list[float]) -> float | None:
        """Seconds until it answered; None when it has failed. Raises Forbidden without the right to take this way,
        Unreachable when the API server does not answer."""
        url = f"/api/v1/namespaces/{version.namespace}/services/{version.name}:{version.port}/proxy{self.path}"
        method = "POST" if self.body else "GET"
        call = api_errors.Call("create" if self.body else "get", "services/proxy", version.namespace, version.name)
        started = time.monotonic()
        begun.append(started)
        code, payload = self.kubernetes.request_raw(method, url, dict(self.body) if self.body else None, call)
        if api_errors.trusted_status(payload) and code in (401, 403, 429):
            raise api_errors.to_error(code, payload, call)
        return None if code >= 400 else time.monotonic() - started


# --- readiness beside either


def add_readiness(
    kubernetes: client.Kubernetes, found: Measurement, stable: traffic_route.Backend, candidate: traffic_route.Backend
) -> Measurement:
    """The measurement with the ready endpoints of both versions; None where the API does not say."""

    def count(version: traffic_route.Backend) -> int | None:
        try:
            return traffic_target.count_ready(kubernetes, version)
        except errors.TransientError:
            return None

    return Measurement(
        replace(found.candidate, ready=count(candidate)), replace(found.baseline, ready=count(stable)), found.note
    )
