# requirements: flexcore_kubernetes
"""The two kinds of route whose weights a canary moves, as pure functions of their objects.

HTTPRoute        gateway.networking.k8s.io/v1; its status says whether a controller has taken it up
VirtualService   networking.istio.io/v1; says so only where Istio writes statuses

A backend is named as in the form: NAME in the route's own namespace, else NAMESPACE/NAME.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import traffic_decision

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backend:
    """A version's Service and its port."""

    name: str
    namespace: str
    port: int

    def key(self, namespace: str) -> str:
        return self.name if self.namespace == namespace else f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """What a route that does not exist yet is made of. gateway: NAME or NAMESPACE/NAME."""

    name: str
    namespace: str
    gateway: str
    host: str = ""
    path: str = "/"


@dataclass(frozen=True, slots=True)
class Settlement:
    """Whether what was written is in effect; problem: what stands against it."""

    is_settled: bool
    problem: str = ""


class HttpRoute:
    kind = "HTTPRoute"
    group = "gateway.networking.k8s.io"
    version = "v1"
    plural = "httproutes"
    weights_field = "rules"

    def make(self, spec: RouteSpec, labels: Mapping[str, str], stable: Backend, candidate: Backend) -> Object:
        refs = [_http_ref(stable, spec.namespace, traffic_decision.WHOLE), _http_ref(candidate, spec.namespace, 0)]
        namespace, _, gateway = spec.gateway.rpartition("/")
        match = {"path": {"type": "PathPrefix", "value": spec.path}}
        body: Object = {
            "parentRefs": [{"name": gateway, **({"namespace": namespace} if namespace else {})}],
            "rules": [{"matches": [match], "backendRefs": refs}],
        }
        if spec.host:
            body["hostnames"] = [spec.host]
        return _make_object(self, spec, labels, body)

    def read_shares(self, item: Mapping[str, Any], stable: str) -> dict[str, int]:
        """Percents of the rules that lead to the stable version. Raises Conflict when they differ."""
        namespace = item["metadata"]["namespace"]
        found = [
            {_ref_key(ref, namespace): int(ref.get("weight", 1)) for ref in rule.get("backendRefs") or ()}
            for rule in item["spec"].get("rules") or ()
        ]
        return _agree([shares for shares in found if stable in shares], item, stable)

    def change_shares(self, item: Mapping[str, Any], backends: Iterable[Backend], shares: Mapping[str, int]) -> Object:
        """The spec (of a merge patch) with these shares in every rule that leads to one of the backends."""
        namespace = item["metadata"]["namespace"]
        refs = {backend.key(namespace): _http_ref(backend, namespace, 0) for backend in backends}
        rules = copy.deepcopy(item["spec"].get("rules") or [])
        for rule in rules:
            stored = {_ref_key(ref, namespace): ref for ref in rule.get("backendRefs") or ()}
            if refs.keys() & stored.keys():
                # Filters of a ref are kept, and what gets no requests and was not asked about goes.
                names = [name for name in {**stored, **refs} if name in shares]
                rule["backendRefs"] = [
                    {**refs.get(name, {}), **stored.get(name, {}), "weight": shares[name]} for name in names
                ]
        return {"rules": rules}

    def list_hosts(self, item: Mapping[str, Any]) -> list[str]:
        """By which callers reach it; none where it takes any."""
        return [str(host) for host in item["spec"].get("hostnames") or ()]

    def check_settled(self, item: Mapping[str, Any]) -> Settlement:
        """Every Gateway of the route has taken up this generation, and found all backends."""
        generation = item["metadata"].get("generation", 0)
        parents = (item.get("status") or {}).get("parents") or []
        for ref in item["spec"].get("parentRefs") or [{}]:
            status = next((parent for parent in parents if _same_parent(parent.get("parentRef") or {}, ref)), None)
            if status is None:
                return Settlement(False, f"no controller of Gateway {ref.get('name')} has answered")
            conditions = {item["type"]: item for item in status.get("conditions") or ()}
            for kind in ("Accepted", "ResolvedRefs"):
                condition = conditions.get(kind)
                if condition is None or condition.get("observedGeneration", 0) < generation:
                    return Settlement(False, f"{kind} is not told for generation {generation} yet")
                if condition.get("status") != "True":
                    return Settlement(False, f"{kind} is {condition.get('status')}: {_describe_condition(condition)}")
        return Settlement(True)


class VirtualService:
    kind = "VirtualService"
    group = "networking.istio.io"
    version = "v1"
    plural = "virtualservices"
    weights_field = "http"

    def make(self, spec: RouteSpec, labels: Mapping[str, str], stable: Backend, candidate: Backend) -> Object:
        routes = [_istio_route(stable, traffic_decision.WHOLE), _istio_route(candidate, 0)]
        body: Object = {
            "hosts": [spec.host or _host_name(stable)],
            "http": [{"match": [{"uri": {"prefix": spec.path}}], "route": routes}],
        }
        if spec.gateway:
            body["gateways"] = [spec.gateway]
        return _make_object(self, spec, labels, body)

    def read_shares(self, item: Mapping[str, Any], stable: str) -> dict[str, int]:
        namespace = item["metadata"]["namespace"]
        found = []
        for rule in item["spec"].get("http") or ():
            routes = rule.get("route") or []
            default = traffic_decision.WHOLE if len(routes) == 1 else 0
            found.append({_istio_key(entry, namespace): int(entry.get("weight", default)) for entry in routes})
        return _agree([shares for shares in found if stable in shares], item, stable)

    def change_shares(self, item: Mapping[str, Any], backends: Iterable[Backend], shares: Mapping[str, int]) -> Object:
        namespace = item["metadata"]["namespace"]
        made = {backend.key(namespace): _istio_route(backend, 0) for backend in backends}
        rules = copy.deepcopy(item["spec"].get("http") or [])
        for rule in rules:
            stored = {_istio_key(entry, namespace): entry for entry in rule.get("route") or ()}
            if made.keys() & stored.keys():
                names = [name for name in {**stored, **made} if name in shares]
                rule["route"] = [
                    {**made.get(name, {}), **stored.get(name, {}), "weight": shares[name]} for name in names
                ]
        return {"http": rules}

    def list_hosts(self, item: Mapping[str, Any]) -> list[str]:
        return [str(host) for host in item["spec"].get("hosts") or () if host != "*"]

    def check_settled(self, item: Mapping[str, Any]) -> Settlement:
        """Istio's configuration analysis has passed this generation; settled at once where it writes no status."""
        status = item.get("status") or {}
        if not status.get("conditions"):
            return Settlement(True)
        if int(status.get("observedGeneration") or 0) < item["metadata"].get("generation", 0):
            return Settlement(False, "Istio has not looked at this generation yet")
        for condition in status["conditions"]:
            if condition.get("type") == "PassedAnalysis" and condition.get("status") == "False":
                return Settlement(False, f"Istio's analysis failed: {_describe_condition(condition)}")
        return Settlement(True)


RouteKind = HttpRoute | VirtualService
KINDS: dict[str, RouteKind] = {"gateway": HttpRoute(), "istio": VirtualService()}


def prefix(kind: RouteKind) -> str:
    return f"/apis/{kind.group}/{kind.version}"


def make_grant(route_namespace: str, backend: Backend, labels: Mapping[str, str]) -> Object:
    """The ReferenceGrant that lets routes of one namespace lead to a Service of another."""
    name = f"flexcore-{route_namespace}-{backend.name}"[:253]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": name, "namespace": backend.namespace, "labels": dict(labels)},
        "spec": {
            "from": [{"group": HttpRoute.group, "kind": HttpRoute.kind, "namespace": route_namespace}],
            "to": [{"group": "", "kind": "Service", "name": backend.name}],
        },
    }


def is_granted(grants: Iterable[Mapping[str, Any]], route_namespace: str, service: str) -> bool:
    """Whether one of the ReferenceGrants of the Service's namespace lets HTTPRoutes of that namespace lead to it."""
    return any(
        any(
            (source.get("group"), source.get("kind"), source.get("namespace"))
            == (HttpRoute.group, HttpRoute.kind, route_namespace)
            for source in grant["spec"].get("from") or ()
        )
        and any(
            target.get("kind") == "Service" and target.get("name") in (None, "", service)
            for target in grant["spec"].get("to") or ()
        )
        for grant in grants
    )


def _make_object(kind: RouteKind, spec: RouteSpec, labels: Mapping[str, str], body: Object) -> Object:
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": kind.kind,
        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": dict(labels)},
        "spec": body,
    }


def _agree(found: list[dict[str, int]], item: Mapping[str, Any], stable: str) -> dict[str, int]:
    name = item["metadata"]["name"]
    if not found:
        raise errors.Conflict(
            f"{name} has no rule that leads to {stable}",
            subject="stable",
            remedy="Name the version that gets its requests now, or another route.",
        )
    if any(shares != found[0] for shares in found):
        raise errors.Conflict(
            f"The rules of {name} split {stable}'s requests differently",
            subject="route",
            remedy="Give all its rules the same weights, or use a route for each.",
        )
    return found[0]


def _ref_key(ref: Mapping[str, Any], namespace: str) -> str:
    other = ref.get("namespace")
    return str(ref["name"]) if other in (None, "", namespace) else f"{other}/{ref['name']}"


def _http_ref(backend: Backend, namespace: str, weight: int) -> Object:
    ref: Object = {"group": "", "kind": "Service", "name": backend.name, "port": backend.port, "weight": weight}
    return ref if backend.namespace == namespace else {**ref, "namespace": backend.namespace}


def _host_name(backend: Backend) -> str:
    return f"{backend.name}.{backend.namespace}.svc.cluster.local"


def _istio_route(backend: Backend, weight: int) -> Object:
    destination = {"host": _host_name(backend), "port": {"number": backend.port}}
    return {"destination": destination, "weight": weight}


def _istio_key(entry: Mapping[str, Any], namespace: str) -> str:
    """A short host name is of the route's own namespace."""
    name, _, rest = str((entry.get("destination") or {}).get("host") or "").partition(".")
    other = rest.partition(".")[0]
    return name if other in ("", namespace) else f"{other}/{name}"


def _same_parent(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return all(left.get(name) == right.get(name) for name in ("name", "sectionName", "port")) and (
        right.get("namespace") is None or left.get("namespace") == right["namespace"]
    )


def _describe_condition(condition: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (str(condition.get("reason") or ""), str(condition.get("message") or ""))))
