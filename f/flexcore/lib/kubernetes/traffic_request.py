# requirements: flexcore_kubernetes
"""The form of a canary or blue/green release, and what can be seen to be wrong with it without a cluster."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes import connection, pod_spec, serving_manifests, traffic_decision

HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Few requests find a version that fails at all, many one that fails now and then.
DEFAULT_WEIGHTS = [5, 25, 50, 100]
QUERIES = ("requests", "errors", "latency_s")
Weight = Annotated[int, Field(ge=0, le=100)]


class TrafficRequest(resources.Form):
    """Two deployed versions, the route before them, and how carefully requests move from one to the other."""

    stable: str = Field(description="Version that gets the requests now: its Service, as NAME or NAMESPACE/NAME.")
    candidate: str = Field(description="Version that shall get them: its Service, as NAME or NAMESPACE/NAME.")
    route: str = Field(description="Name of the HTTPRoute, VirtualService or shared Service; made where there is none.")
    namespace: str = Field(default="", description="Namespace; empty means the one of the cluster resource.")
    mode: Literal["auto", "gateway", "istio", "replicas"] = Field(
        default="auto",
        description="What splits the requests; auto takes an HTTPRoute where the cluster has Gateway API and gateway "
        "or such a route is given, else Istio where it is there, else replicas behind one Service.",
    )
    gateway: str = Field(default="", description="Gateway of a route that is to be made, as NAME or NAMESPACE/NAME.")
    host: str = Field(default="", description="Host name of a route that is to be made; empty means any.")
    path: str = Field(default="/", description="Path below which a route that is to be made takes requests.")
    weights: list[Weight] = Field(
        default=[],
        description="The candidate's percents, step by step; empty means 5, 25, 50, 100. 100 alone is blue/green, a "
        "last one below 100 is held for the next step, 0 alone goes back at once.",
    )
    pause_s: int = Field(
        default=60,
        ge=1,
        le=86400,
        description="How long each step is watched; twice that when the answer is not clear.",
    )
    min_requests: int = Field(default=50, ge=1, description="Requests that the candidate must get in each step.")
    max_error_rate: float = Field(
        default=0.01, ge=0, lt=1, description="Share of its requests that may fail, 0 to 1; or as many as with stable."
    )
    max_latency_ratio: float = Field(
        default=1.5, ge=0, description="How many times stable's latency it may take; 0 does not compare it."
    )
    measure: Literal["auto", "prometheus", "probes"] = Field(
        default="auto",
        description="Where requests are counted; auto means Prometheus where the cluster resource names one, else "
        "probes of our own through the API server.",
    )
    queries: dict[str, str] | None = Field(
        default=None,
        description="PromQL of your own: {requests, errors, latency_s} with $name, $namespace and $window.",
    )
    probe_path: str = Field(default="/v2/health/ready", description="Path that probes ask each version for.")
    probe_body: dict[str, Any] | None = Field(default=None, description="JSON that probes post to that path.")
    hold_s: int = Field(
        default=86400, ge=1, description="How long a last weight below 100 may stay without its next step, in seconds."
    )

    def requested_namespace(self) -> str:
        return self.namespace

    @property
    def steps(self) -> list[int]:
        """The candidate's percents."""
        return self.weights or DEFAULT_WEIGHTS

    @property
    def limits(self) -> traffic_decision.Limits:
        return traffic_decision.Limits(self.min_requests, self.max_error_rate, self.max_latency_ratio)


def check(request: TrafficRequest, service: resources.KubernetesCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput or MissingSetting for everything that can be known without a cluster."""
    connection.check_place(request.requested_namespace(), service, settings)
    for subject in ("stable", "candidate"):
        _check_version(getattr(request, subject), subject)
    if request.stable == request.candidate:
        raise _wrong("candidate", f"{request.candidate!r} is the stable version, too", "Name the other deployment.")
    if not serving_manifests.SERVICE_NAME.fullmatch(request.route):
        raise _wrong("route", f"{request.route!r} cannot name a route", "Use lower-case letters, digits and dashes.")
    if request.mode == "replicas":
        check_replicas(request)
    _check_address(request)
    _check_weights(request.weights)
    _check_measure(request, service)


def check_replicas(request: TrafficRequest) -> None:
    """Raises InvalidInput for what shares by replicas cannot do."""
    if "/" in f"{request.stable}{request.candidate}":
        raise _wrong("mode", "replicas needs both versions in the route's namespace", "Name them without a namespace.")
    if request.route in (request.stable, request.candidate):
        raise _wrong("route", f"{request.route!r} is the Service of one version", "Name a Service for both.")


def _check_version(given: str, subject: str) -> None:
    namespace, slash, name = given.rpartition("/")
    if slash:
        pod_spec.check_name(namespace, subject)
    if not serving_manifests.SERVICE_NAME.fullmatch(name):
        raise _wrong(subject, f"{given!r} cannot name a Service", "Use NAME or NAMESPACE/NAME of a deployed version.")


def _check_address(request: TrafficRequest) -> None:
    for part in request.gateway.split("/") if request.gateway else ():
        pod_spec.check_name(part, "gateway")
    if request.gateway.count("/") > 1:
        raise _wrong("gateway", f"{request.gateway!r} has more than one slash", "Use NAME or NAMESPACE/NAME.")
    if request.host and not HOST.fullmatch(request.host):
        raise _wrong("host", f"{request.host!r} is no host name", "Use e.g. models.example.com.")
    for subject in ("path", "probe_path"):
        value = getattr(request, subject)
        if not value.startswith("/") or any(character.isspace() for character in value):
            raise _wrong(subject, f"{value!r} is no path", "Begin with / and use no blanks.")


def _check_weights(weights: list[int]) -> None:
    if 0 in weights and weights != [0]:
        raise _wrong("weights", "0 goes back and must be the only one", "Leave it out, or give [0].")
    if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
        raise _wrong("weights", f"{weights} does not rise", "Give each step more than the one before.")


def _check_measure(request: TrafficRequest, service: resources.KubernetesCluster | None) -> None:
    if request.queries is not None:
        unknown = sorted(set(request.queries) - set(QUERIES))
        if unknown or not {"requests", "errors"} <= set(request.queries):
            what = f"{unknown[0]!r} is not a known query" if unknown else "requests and errors are both needed"
            raise _wrong("queries", what, "Give requests, errors and, to compare latency, latency_s.")
    if service is not None and request.measure == "prometheus" and not service.prometheus_url:
        raise errors.MissingSetting(
            "cluster.prometheus_url is empty, and measure is prometheus",
            subject="cluster.prometheus_url",
            remedy="Set it in the c_kubernetes_cluster resource, or measure by probes.",
        )


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
