# requirements: flexcore_kubernetes
"""What carries the shares of two versions on a cluster, and how they are read and written: always on top of what was
read (resourceVersion), as field manager flexcore.

RouteTarget     an HTTPRoute or VirtualService; record and weights are one write
(ReplicaTarget in traffic_replicas: a shared Service, where there is neither)

discover(…) says which kind the cluster has; find_backend(…) a version's Service and port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import traffic_decision, traffic_record, traffic_route
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
Shares = traffic_decision.Shares
# Controllers tell within a second that they have taken up a route; a busy one may take longer.
ROUTE_TIMEOUT_S = 30.0


class Target(Protocol):
    """Where the shares of one pair of versions are kept. shares: percents, or replicas."""

    @property
    def what(self) -> str:
        """As messages name it."""

    @property
    def uid_kind(self) -> str:
        """The kind of the object that carries the record."""

    @property
    def settle_timeout_s(self) -> float:
        """How long what was written may take to be in effect."""

    def read(self) -> Object | None: ...

    def create(self, labels: Mapping[str, str]) -> Object | None:
        """The object with all requests at the stable version; None when its name was taken meanwhile."""

    def read_shares(self, item: Object) -> Shares: ...

    def find_before(self, item: Object) -> Shares:
        """The shares to go back to."""

    def plan_shares(self, weight: int, before: Mapping[str, int]) -> Shares: ...

    def is_as_written(self, shares: Mapping[str, int], record: traffic_record.ShiftRecord) -> bool:
        """Whether nobody else has moved them."""

    def write(self, item: Object, metadata: Mapping[str, Any], shares: Mapping[str, int] | None) -> Object | None:
        """The stored object; None when somebody has changed it since it was read."""

    def settle(self, item: Object, shares: Mapping[str, int], *, is_urgent: bool = False) -> traffic_route.Settlement:
        """Whether what was written is in effect; does what could not be done before. is_urgent: the candidate must
        go, even where the stable version has not all its pods yet."""

    def name_writer(self, item: Object) -> str: ...


@dataclass(slots=True)
class RouteTarget:
    """A route and the two Services that it leads to. spec: for one that is not there yet."""

    kubernetes: client.Kubernetes
    kind: traffic_route.RouteKind
    spec: traffic_route.RouteSpec
    stable: traffic_route.Backend
    candidate: traffic_route.Backend
    settle_timeout_s: float = ROUTE_TIMEOUT_S
    uid_kind: str = field(init=False)

    def __post_init__(self) -> None:
        self.uid_kind = self.kind.kind

    @property
    def what(self) -> str:
        return f"{self.kind.kind} {self.spec.name}"

    def read(self) -> Object | None:
        return self.kubernetes.get(self._path(self.spec.name), self._call("get"))

    def create(self, labels: Mapping[str, str]) -> Object | None:
        if self.kind.kind == traffic_route.HttpRoute.kind and not self.spec.gateway:
            raise errors.InvalidInput(
                f"gateway is empty, and {self.what} does not exist in namespace {self.spec.namespace}",
                subject="gateway",
                remedy="Name the Gateway that takes its requests (NAME or NAMESPACE/NAME), or an existing route.",
            )
        body = self.kind.make(self.spec, labels, self.stable, self.candidate)
        return self.kubernetes.create(self._path(), body, self._call("create"))

    def read_shares(self, item: Object) -> Shares:
        return self.kind.read_shares(item, self.stable.key(self.spec.namespace))

    def find_before(self, item: Object) -> Shares:
        return self.read_shares(item)

    def plan_shares(self, weight: int, before: Mapping[str, int]) -> Shares:
        namespace = self.spec.namespace
        return traffic_decision.split_weights(self.stable.key(namespace), self.candidate.key(namespace), weight)

    def is_as_written(self, shares: Mapping[str, int], record: traffic_record.ShiftRecord) -> bool:
        return without_zeros(shares) == without_zeros(record.current)

    def write(self, item: Object, metadata: Mapping[str, Any], shares: Mapping[str, int] | None) -> Object | None:
        changes = pin_version(item, metadata)
        if shares is not None:
            changes["spec"] = self.kind.change_shares(item, (self.stable, self.candidate), shares)
        return self.kubernetes.patch(self._path(self.spec.name), changes, self._call("patch"))

    def settle(self, item: Object, shares: Mapping[str, int], *, is_urgent: bool = False) -> traffic_route.Settlement:
        return self.kind.check_settled(item)

    def name_writer(self, item: Object) -> str:
        return traffic_record.name_writer(item, self.kind.weights_field)

    def _path(self, name: str = "") -> str:
        path = f"{traffic_route.prefix(self.kind)}/namespaces/{self.spec.namespace}/{self.kind.plural}"
        return f"{path}/{name}" if name else path

    def _call(self, verb: str) -> api_errors.Call:
        resource = f"{self.kind.plural}.{self.kind.group}"
        return api_errors.Call(verb, resource, self.spec.namespace, self.spec.name)


def without_zeros(shares: Mapping[str, int]) -> Shares:
    """A version at 0 and one that is not there get the same: nothing."""
    return {name: share for name, share in shares.items() if share}


def pin_version(item: Mapping[str, Any], metadata: Mapping[str, Any]) -> Object:
    """A merge patch of the metadata, on the condition that the object is as it was read."""
    known = item["metadata"]
    return {"metadata": {**metadata, "resourceVersion": known["resourceVersion"], "uid": known["uid"]}}


def make_labels(key: identity.ExecutionKey) -> dict[str, str]:
    """Of a route, Service or ReferenceGrant that we make: it outlives the run."""
    return {**key.labels(1), identity.OUTLIVES_RUN: "true"}


def check_ours(item: Mapping[str, Any], what: str) -> None:
    """Raises InvalidInput, naming the owner, for a route or Service that flexcore was not given."""
    metadata = item["metadata"]
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    manager = labels.get(identity.MANAGED_BY, "")
    tracked = {
        "Argo CD": "argocd.argoproj.io/tracking-id" in notes or "argocd.argoproj.io/instance" in labels,
        "Flux": any(name.endswith("toolkit.fluxcd.io/name") for name in labels),
        f"Helm (release {notes.get('meta.helm.sh/release-name')})": "meta.helm.sh/release-name" in notes,
        "Argo Rollouts": "rollouts.argoproj.io/managed-by-rollouts" in notes,
    }
    owner = next((name for name, is_owner in tracked.items() if is_owner), "")
    if owner or manager != "flexcore":
        whose = f"belongs to {owner or manager}" if owner or manager else "was not made by flexcore"
        how = (
            "Change its weights there, or choose another route name."
            if owner
            else "Choose another route name, or hand it over: "
            f"kubectl label --overwrite … {identity.MANAGED_BY}=flexcore."
        )
        raise errors.InvalidInput(f"{what} exists and {whose}", subject="route", category="not_ours", remedy=how)
    if metadata.get("deletionTimestamp"):
        raise errors.Unavailable(f"{what} is being deleted", subject="route", remedy="Run again when it is gone.")


# --- what the cluster has


def has_api(kubernetes: client.Kubernetes, kind: traffic_route.RouteKind) -> bool:
    """Whether the cluster serves this kind of route. Raises NotFound when it does in other versions alone."""
    call = api_errors.Call("get", kind.group)
    code, payload = kubernetes.request_raw("GET", f"/apis/{kind.group}", None, call)
    if code == 404:
        return False
    if code >= 300 or not isinstance(payload, dict):
        raise api_errors.to_error(code, payload, call)
    versions = [str(item.get("version")) for item in payload.get("versions") or ()]
    if kind.version not in versions:
        raise errors.NotFound(
            f"The cluster has {kind.group} in {', '.join(versions) or 'no version'}, and {kind.version} is needed",
            subject="mode",
            category="api_version",
            remedy=f"Upgrade its CRDs to {kind.version}, or choose mode replicas.",
        )
    code, payload = kubernetes.request_raw("GET", traffic_route.prefix(kind), None, call)
    names = [item.get("name") for item in (payload or {}).get("resources") or ()] if isinstance(payload, dict) else []
    return kind.plural in names


def require_api(kubernetes: client.Kubernetes, kind: traffic_route.RouteKind) -> None:
    """Raises NotFound unless the cluster serves this kind of route."""
    if not has_api(kubernetes, kind):
        raise errors.NotFound(
            f"The cluster has no {kind.plural}.{kind.group}",
            subject="mode",
            category="api_missing",
            remedy="Install it, or choose mode auto or replicas.",
        )


def has_route(kubernetes: client.Kubernetes, kind: traffic_route.RouteKind, namespace: str, name: str) -> bool:
    path = f"{traffic_route.prefix(kind)}/namespaces/{namespace}/{kind.plural}/{name}"
    return kubernetes.get(path, api_errors.Call("get", f"{kind.plural}.{kind.group}", namespace, name)) is not None


def find_backend(kubernetes: client.Kubernetes, given: str, namespace: str, subject: str) -> traffic_route.Backend:
    """A version by NAME or NAMESPACE/NAME: its Service, and of its ports the one named http, else the first.

    Raises NotFound."""
    other, _, name = given.rpartition("/")
    where = other or namespace
    call = api_errors.Call("get", "services", where, name)
    service = kubernetes.get(f"/api/v1/namespaces/{where}/services/{name}", call)
    if service is None:
        raise errors.NotFound(
            f"{subject}: there is no Service {name} in namespace {where}",
            subject=subject,
            remedy="Deploy it first (kubernetes/deploy_model), or correct its name.",
        )
    ports = service["spec"].get("ports") or []
    if not ports:
        raise errors.InvalidInput(f"{subject}: Service {name} has no port", subject=subject, remedy="Give it one.")
    port = next((item for item in ports if item.get("name") == "http"), ports[0])
    return traffic_route.Backend(name, where, int(port["port"]))


def count_ready(kubernetes: client.Kubernetes, backend: traffic_route.Backend) -> int:
    """How many endpoints of a Service take requests."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{backend.namespace}/endpointslices"
    call = api_errors.Call("list", "endpointslices.discovery.k8s.io", backend.namespace)
    page = kubernetes.list(path, {"labelSelector": f"kubernetes.io/service-name={backend.name}"}, call)
    return sum(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for item in page.get("items") or ()
        for endpoint in item.get("endpoints") or ()
    )


def ensure_grant(
    kubernetes: client.Kubernetes, namespace: str, backend: traffic_route.Backend, labels: Mapping[str, str]
) -> bool:
    """Lets HTTPRoutes of `namespace` lead to a Service of another one; whether a ReferenceGrant was made."""
    if backend.namespace == namespace:
        return False
    path = f"/apis/{traffic_route.HttpRoute.group}/v1beta1/namespaces/{backend.namespace}/referencegrants"
    resource = f"referencegrants.{traffic_route.HttpRoute.group}"
    grants = kubernetes.list(path, {}, api_errors.Call("list", resource, backend.namespace)).get("items") or []
    if traffic_route.is_granted(grants, namespace, backend.name):
        return False
    body = traffic_route.make_grant(namespace, backend, labels)
    name = body["metadata"]["name"]
    return kubernetes.create(path, body, api_errors.Call("create", resource, backend.namespace, name)) is not None
