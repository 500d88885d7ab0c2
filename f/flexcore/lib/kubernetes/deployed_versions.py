# requirements: flexcore_kubernetes
"""The models that flexcore has deployed in a namespace, with the versions that their Deployments keep and the shares of
traffic that a route gives them. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import cluster_objects, connection, revisions, rollback

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """weight: per cent of the traffic, null where no route says it; ready: whether a pod of it answers."""

    version: str
    revision: int
    weight: int | None
    ready: bool
    created_at: str | None
    run: str | None


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """versions: the present one first. url: null where no route says it."""

    name: str
    namespace: str
    versions: list[Version]
    url: str | None = None


def list_deployed(resource: Any, namespace: str) -> list[DeployedModel]:
    """Raises as Kubernetes answers."""
    session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
    place = cluster_objects.Namespace(session.kubernetes, session.namespace)
    deployments = place.list_objects(cluster_objects.DEPLOYMENTS, cluster_objects.OURS)
    if not deployments:
        return []
    replica_sets = place.list_objects(cluster_objects.REPLICA_SETS)
    routes = _list_routes(place)
    return [describe_model(item, replica_sets, routes) for item in deployments]


def describe_model(deployment: Object, replica_sets: list[Any], routes: list[Any]) -> DeployedModel:
    metadata = deployment["metadata"]
    name, namespace = str(metadata["name"]), str(metadata.get("namespace") or "")
    weights, url = _read_shares(name, routes)
    own = revisions.read_digest(deployment["spec"]["template"])
    uid = metadata.get("uid")
    former = sorted(revisions.list_former(deployment, replica_sets), key=revisions.find_revision, reverse=True)
    present = [
        item
        for item in replica_sets
        if revisions.read_digest(item["spec"]["template"]) == own
        and any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
    ]
    versions = [_version(item, weights, position == 0) for position, item in enumerate([*present[:1], *former])]
    return DeployedModel(name, namespace, versions, url)


def _version(item: Object, weight: int | None, is_present: bool) -> Version:
    labels = item["spec"]["template"]["metadata"].get("labels") or {}
    return Version(
        version=rollback.read_version(item) or f"revision {revisions.find_revision(item)}",
        revision=revisions.find_revision(item),
        weight=weight if is_present else 0,
        ready=bool((item.get("status") or {}).get("availableReplicas")),
        created_at=item["metadata"].get("creationTimestamp"),
        run=labels.get("flexcore/root-job") or None,
    )


def _list_routes(place: cluster_objects.Namespace) -> list[Any]:
    """None where the cluster has no Gateway API, or the credentials may not see it."""
    kind = cluster_objects.Kind("/apis/gateway.networking.k8s.io/v1", "httproutes", "httproutes", "HTTPRoute")
    try:
        return place.list_objects(kind, "") if place.serves(kind) else []
    except (errors.Forbidden, errors.NotFound):
        return []


def _read_shares(name: str, routes: list[Any]) -> tuple[int | None, str | None]:
    """(per cent, address) of the first route that leads to the Service of that name."""
    for route in routes:
        for rule in route["spec"].get("rules") or ():
            weights = {ref.get("name"): int(ref.get("weight", 1)) for ref in rule.get("backendRefs") or ()}
            if name in weights and (total := sum(weights.values())):
                hosts = route["spec"].get("hostnames") or ()
                return round(100 * weights[name] / total), f"http://{hosts[0]}" if hosts else None
    return None, None
