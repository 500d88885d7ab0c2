# requirements: flexcore_kubernetes
"""What a request means on its cluster: which kind of target, the two versions, and where requests are counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import identity, operation, resources
from f.flexcore.lib.kubernetes import (
    connection,
    traffic_measure,
    traffic_replicas,
    traffic_request,
    traffic_route,
    traffic_target,
)
from f.flexcore.lib.kubernetes_api import client

Object = dict[str, Any]
Invocation = operation.Invocation[traffic_request.TrafficRequest, resources.KubernetesCluster]


@dataclass(slots=True)
class Opened:
    """names: (stable, candidate) as the target's shares have them."""

    kubernetes: client.Kubernetes
    namespace: str
    mode: str
    target: traffic_target.Target
    stable: traffic_route.Backend
    candidate: traffic_route.Backend
    source: traffic_measure.Source

    @property
    def names(self) -> tuple[str, str]:
        return self.stable.key(self.namespace), self.candidate.key(self.namespace)

    def prepare(self, key: identity.ExecutionKey) -> list[str]:
        """What was made so that the route may lead to both versions, as notes."""
        if self.mode != "gateway":
            return []
        labels = traffic_target.make_labels(key)
        return [
            f"Created a ReferenceGrant for {version.name} in namespace {version.namespace}"
            for version in (self.stable, self.candidate)
            if traffic_target.ensure_grant(self.kubernetes, self.namespace, version, labels)
        ]


def open_traffic(invocation: Invocation) -> Opened:
    """Raises NotFound for a version that is not there, InvalidInput for what the cluster cannot do."""
    request = invocation.request
    session = connection.open_session(invocation, [invocation.service.prometheus_token])
    kubernetes, namespace = session.kubernetes, session.namespace
    stable = traffic_target.find_backend(kubernetes, request.stable, namespace, "stable")
    candidate = traffic_target.find_backend(kubernetes, request.candidate, namespace, "candidate")
    mode = choose_mode(kubernetes, request, namespace)
    target: traffic_target.Target
    if mode == "replicas":
        target = traffic_replicas.ReplicaTarget(kubernetes, request.route, namespace, stable, candidate)
    else:
        kind = traffic_route.KINDS[mode]
        spec = traffic_route.RouteSpec(request.route, namespace, request.gateway, request.host, request.path)
        target = traffic_target.RouteTarget(kubernetes, kind, spec, stable, candidate)
    source = open_source(invocation, kubernetes, stable, candidate)
    return Opened(kubernetes, namespace, mode, target, stable, candidate, source)


def choose_mode(kubernetes: client.Kubernetes, request: traffic_request.TrafficRequest, namespace: str) -> str:
    """gateway, istio or replicas. Raises NotFound for a mode whose API the cluster has not."""
    for mode, kind in traffic_route.KINDS.items():
        if request.mode == mode:
            traffic_target.require_api(kubernetes, kind)
            return mode
        if request.mode == "auto" and traffic_target.has_api(kubernetes, kind):
            is_meant = mode == "istio" or bool(request.gateway)
            if is_meant or traffic_target.has_route(kubernetes, kind, namespace, request.route):
                return mode
    traffic_request.check_replicas(request)
    return "replicas"


def open_source(
    invocation: Invocation,
    kubernetes: client.Kubernetes,
    stable: traffic_route.Backend,
    candidate: traffic_route.Backend,
) -> traffic_measure.Source:
    request, service = invocation.request, invocation.service
    if request.measure != "probes" and service.prometheus_url:
        get = traffic_measure.open_prometheus(service.prometheus_url, service.prometheus_token)
        queries = traffic_measure.Queries(**request.queries) if request.queries else None
        return traffic_measure.PrometheusSource(get, stable, candidate, queries)
    # As many as the step needs, one more for each check that is late.
    per_check = math.ceil(request.min_requests / request.pause_s) + 1
    return traffic_measure.ProbeSource(kubernetes, stable, candidate, request.probe_path, request.probe_body, per_check)
