# requirements: flexcore_kubernetes
"""Asks several clusters at once what they are and have now; one that does not answer in time delays no other.

resource ─→ version, server time ─→ identity, API groups, nodes and pods, quotas ─→ Contact
What may not be seen is not measured. A cluster that answers and refuses is no cluster that is lost.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import daemon_threads, dimensions, errors, resources
from f.flexcore.lib.kubernetes import connection, placement, placement_request

if TYPE_CHECKING:
    from f.flexcore.lib.kubernetes_api import client

Object = Mapping[str, Any]
# The resource at a path, its references resolved; raises FlexcoreError.
ReadResource = Callable[[str], Any]
# What a cluster has by its API groups.
DETECTED = {
    "kueue.x-k8s.io": "kueue",
    "gateway.networking.k8s.io": "gateway-api",
    "networking.istio.io": "istio",
    "keda.sh": "keda",
    "serving.kserve.io": "kserve",
    "ray.io": "kuberay",
}
# What a cluster has by its nodes.
OF_NODES = ("gpu", "amd64", "arm64")
# What an error of the API's client is about when it says that nobody answers, or nobody can now.
ABOUT_CONTACT = ("cluster", "cluster.server")
ARCHITECTURE = "kubernetes.io/arch"


@dataclass(frozen=True, slots=True)
class Contact:
    """What one cluster answered. at: our time then, server_time: its own, both in seconds since the epoch. uid: of the
    namespace kube-system, which no two clusters share; "" where it may not be seen. session: None where the resource is
    not one. error: why it cannot be used."""

    cluster: placement.Cluster
    at: float
    server_time: float | None = None
    version: str = ""
    server: str = ""
    uid: str = ""
    namespace: str = ""
    round_trip_s: float | None = None
    session: connection.Session | None = field(default=None, repr=False)
    error: errors.FlexcoreError | None = None

    @property
    def name(self) -> str:
        return self.cluster.name

    @property
    def is_lost(self) -> bool:
        """Whether nobody answered, or only that nothing can be answered now: it says nothing about what runs there."""
        return is_lost_contact(self.error)


def is_lost_contact(error: BaseException | None) -> bool:
    """Whether a cluster could not be asked. What it has answered about a job or a quota is no loss, nor is a store or a
    Windmill that is silent."""
    if not isinstance(error, errors.Unreachable | errors.Unavailable) or error.subject not in ABOUT_CONTACT:
        return False
    return error.category in (errors.Unreachable.category, errors.Unavailable.category)


@dataclass(slots=True)
class Inquiry:
    """clock: seconds since the epoch."""

    read_resource: ReadResource
    settings: resources.Settings
    namespace: str = ""
    clock: Callable[[], float] = time.time

    def ask(self, names: Sequence[str], timeout_s: float, lost: Container[str] = ()) -> list[Contact]:
        """One Contact for each, in order, within `timeout_s` whatever happens there. lost: those that did not answer
        just now; they are not asked, and nobody waits for them."""
        found: dict[str, Contact] = {}
        opened: dict[str, Contact] = {}

        def ask_one(name: str) -> None:
            found[name] = self._describe_lost(name) if name in lost else self._ask_one(name, opened)

        daemon_threads.run_for([partial(ask_one, name) for name in names], timeout_s)
        return [found.get(name) or self._late(name, opened.get(name), timeout_s) for name in names]

    def _describe_lost(self, name: str) -> Contact:
        """What its resource says of it, alone."""
        contact = Contact(placement.Cluster(name), self.clock())
        try:
            resource = errors.validate(resources.KubernetesCluster, self.read_resource(name) or {}, name)
        except errors.FlexcoreError as error:
            return fail(contact, error)
        return fail(
            replace(contact, cluster=describe(name, resource)),
            errors.Unreachable(f"The cluster {name} did not answer just now", subject="cluster.server"),
        )

    def _ask_one(self, name: str, opened: dict[str, Contact]) -> Contact:
        contact = Contact(placement.Cluster(name), self.clock())
        try:
            resource = errors.validate(resources.KubernetesCluster, self.read_resource(name) or {}, name)
            contact = replace(contact, cluster=describe(name, resource))
            session = connection.connect(resource, self.namespace, self.settings)
            kubernetes = session.kubernetes
            contact = replace(
                contact, session=session, namespace=session.namespace, server=kubernetes.access.server.rstrip("/")
            )
            opened[name] = contact
            return self._measure(contact, session)
        except errors.FlexcoreError as error:
            return fail(contact, error)

    def _measure(self, contact: Contact, session: connection.Session) -> Contact:
        from f.flexcore.lib.kubernetes import health
        from f.flexcore.lib.kubernetes_api import api_errors

        kubernetes, begin = session.kubernetes, time.monotonic()
        version = kubernetes.list("/version", {}, api_errors.Call("get", "version"), retry_s=0).get("gitVersion")
        contact = replace(
            contact,
            at=self.clock(),
            server_time=kubernetes.now().timestamp(),
            version=str(version or ""),
            round_trip_s=round(time.monotonic() - begin, 4),
            uid=_read_uid(kubernetes),
        )
        groups = _read_groups(kubernetes)
        nodes = _list(kubernetes, "/api/v1/nodes", "nodes")
        query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed", "limit": health.MAX_PODS}
        pods = None if nodes is None else _list(kubernetes, "/api/v1/pods", "pods", query)
        quotas = _list(kubernetes, f"/api/v1/namespaces/{session.namespace}/resourcequotas", "resourcequotas")
        usable = None if nodes is None else health.schedulable_nodes(nodes)
        found = {DETECTED[name] for name in groups or () if name in DETECTED}
        cluster = replace(
            contact.cluster,
            nodes=None if usable is None else group_nodes(usable, pods),
            quota=read_quota(quotas or ()),
            capabilities=contact.cluster.capabilities | found | find_node_capabilities(usable or ()),
            is_complete=groups is not None and usable is not None,
        )
        return replace(contact, cluster=cluster)

    def _late(self, name: str, opened: Contact | None, timeout_s: float) -> Contact:
        """One that was not asked, because its resource could not be read in time, is not lost."""
        error = errors.Unreachable(
            f"The {'cluster' if opened else 'resource'} {name} does not answer within {timeout_s:g} s",
            subject="cluster.server" if opened else name,
            remedy="Check that this worker can reach it, or give more time (contact_timeout_s).",
        )
        return fail(opened or Contact(placement.Cluster(name), self.clock()), error)


def fail(contact: Contact, error: errors.FlexcoreError) -> Contact:
    cluster = replace(contact.cluster, problem=str(error), is_passing=error.retryable, is_complete=False)
    return replace(contact, cluster=cluster, error=error)


def describe(name: str, resource: resources.KubernetesCluster) -> placement.Cluster:
    """What its resource says of a cluster."""
    return placement.Cluster(
        name=name,
        cloud=resource.cloud,
        region=resource.region,
        cpu_hour_usd=resource.cpu_hour_usd,
        memory_gib_hour_usd=resource.memory_gib_hour_usd,
        gpu_hour_usd=resource.gpu_hour_usd,
        egress_gib_usd=resource.egress_gib_usd,
        capabilities=frozenset(resource.capabilities),
        data_location=resource.data_location,
        latency=resource.latency,
    )


def check_distinct(contacts: Iterable[Contact]) -> None:
    """Raises InvalidInput when two resources name the same namespace of the same cluster: by its address, or by the
    identity that it says itself."""
    seen: dict[tuple[str, str], str] = {}
    for contact in contacts:
        for identity in filter(None, (contact.server, contact.uid)):
            other = seen.setdefault((identity, contact.namespace), contact.name)
            if other != contact.name:
                raise errors.InvalidInput(
                    f"clusters: {other} and {contact.name} name the same cluster "
                    f"({contact.server}, namespace {contact.namespace})",
                    subject="clusters",
                    remedy="Leave one of them out, or correct its address or namespace.",
                )


# --- what a cluster has


def group_nodes(nodes: Sequence[Object], pods: Sequence[Object] | None) -> tuple[placement.Node, ...]:
    """Nodes that are alike, with what no pod reserves on them (pods None: not measured)."""
    reserved: dict[str, list[float]] = {}
    for pod in pods or ():
        spec = pod.get("spec") or {}
        if name := spec.get("nodeName"):
            had = reserved.setdefault(name, [0.0, 0.0, 0.0])
            for index, amount in enumerate(placement_request.sum_requests(spec)):
                had[index] += amount
    kinds: Counter[tuple[Any, ...]] = Counter()
    for node in nodes:
        amounts = (node.get("status") or {}).get("allocatable") or {}
        offered = [
            dimensions.parse_amount(amounts.get(key, 0)) or 0.0 for key in ("cpu", "memory", placement_request.GPU)
        ]
        used = reserved.get(node["metadata"]["name"], [0.0, 0.0, 0.0])
        free = [None] * 3 if pods is None else [round(had - less, 6) for had, less in zip(offered, used, strict=True)]
        kinds[(*offered, *free)] += 1
    return tuple(placement.Node(count, *kind) for kind, count in kinds.items())


def find_node_capabilities(nodes: Iterable[Object]) -> frozenset[str]:
    found = set()
    for node in nodes:
        found.add((node["metadata"].get("labels") or {}).get(ARCHITECTURE))
        amounts = (node.get("status") or {}).get("allocatable") or {}
        if dimensions.parse_amount(amounts.get(placement_request.GPU, 0)):
            found.add("gpu")
    return frozenset(word for word in OF_NODES if word in found)


def read_quota(quotas: Iterable[Object]) -> dict[str, tuple[float, float]]:
    """resource → (hard, left); of several quotas the narrowest. One with scopes may be about other pods."""
    found: dict[str, tuple[float, float]] = {}
    for item in quotas:
        if (item.get("spec") or {}).get("scopes") or (item.get("spec") or {}).get("scopeSelector"):
            continue
        status = item.get("status") or {}
        for resource, amount in (status.get("hard") or {}).items():
            name = f"requests.{resource}" if resource in ("cpu", "memory") else resource
            hard = dimensions.parse_amount(amount)
            used = dimensions.parse_amount((status.get("used") or {}).get(resource, 0))
            if hard is not None and used is not None:
                had = found.get(name, (hard, hard - used))
                found[name] = (min(had[0], hard), min(had[1], hard - used))
    return found


def _read_uid(kubernetes: client.Kubernetes) -> str:
    stored = _read(kubernetes, "/api/v1/namespaces/kube-system", "get", "namespaces", "kube-system")
    return str(((stored or {}).get("metadata") or {}).get("uid") or "")


def _read_groups(kubernetes: client.Kubernetes) -> dict[str, list[str]] | None:
    """None where they may not be seen."""
    from f.flexcore.lib.kubernetes_api import api_groups

    try:
        return api_groups.read_api_groups(kubernetes, retry_s=0)
    except errors.UserError:
        return None


def _list(kubernetes: client.Kubernetes, path: str, resource: str, query: Any = None) -> list[dict[str, Any]] | None:
    page = _read(kubernetes, path, "list", resource, query=query)
    return None if page is None or (page.get("metadata") or {}).get("continue") else list(page.get("items") or [])


def _read(
    kubernetes: client.Kubernetes, path: str, verb: str, resource: str, name: str = "", query: Any = None
) -> dict[str, Any] | None:
    """None where it may not be seen. Raises what says that contact is lost."""
    from f.flexcore.lib.kubernetes_api import api_errors

    try:
        return kubernetes.list(path, query or {}, api_errors.Call(verb, resource, "", name), retry_s=0)
    except errors.UserError:
        return None
