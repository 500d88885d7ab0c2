# requirements: flexcore_kubernetes
"""The models that flexcore has deployed in a namespace, with the versions that their Deployments keep and the shares of
traffic that a route gives them. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import deployed_models, errors
from f.flexcore.lib.kubernetes import cluster_objects, connection, revisions, rollback, traffic_route

Object = Mapping[str, Any]
NO_FORMER = "No earlier version that has answered is kept"


def list_deployed(resource: Any, namespace: str) -> list[deployed_models.DeployedModel]:
    """Raises as Kubernetes answers."""
    session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
    place = cluster_objects.Namespace(session.kubernetes, session.namespace)
    deployments = place.list_objects(cluster_objects.DEPLOYMENTS, cluster_objects.OURS)
    if not deployments:
        return []
    replica_sets = place.list_objects(cluster_objects.REPLICA_SETS)
    routes = [(kind, item) for kind in traffic_route.KINDS.values() for item in _list_routes(place, kind)]
    return [describe_model(item, replica_sets, routes) for item in deployments]


def describe_model(
    deployment: dict[str, Any], replica_sets: list[Any], routes: list[tuple[traffic_route.RouteKind, Any]]
) -> deployed_models.DeployedModel:
    metadata = deployment["metadata"]
    name, namespace = str(metadata["name"]), str(metadata.get("namespace") or "")
    weight, url = _read_share(name, routes)
    own = revisions.read_digest(deployment["spec"]["template"])
    uid = metadata.get("uid")
    former = sorted(revisions.list_former(deployment, replica_sets), key=revisions.find_revision, reverse=True)
    present = [
        item
        for item in replica_sets
        if revisions.read_digest(item["spec"]["template"]) == own
        and any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
    ][:1]
    versions = [*(_version(item, weight) for item in present), *(_version(item, 0) for item in former)]
    now = revisions.find_revision(deployment) or None
    try:
        target = rollback.choose_revision(deployment, replica_sets, 0)
    except errors.NotFound:
        return deployed_models.DeployedModel(name, namespace, versions, url, no_way_back=NO_FORMER, revision=now)
    then = revisions.find_revision(target) or None
    return deployed_models.DeployedModel(
        name, namespace, versions, url, _name_version(target), revision=now, former_revision=then
    )


def _version(item: Object, weight: int | None) -> deployed_models.DeployedVersion:
    labels = item["spec"]["template"]["metadata"].get("labels") or {}
    return deployed_models.DeployedVersion(
        version=_name_version(item),
        weight=weight,
        ready=bool((item.get("status") or {}).get("availableReplicas")),
        created_at=item["metadata"].get("creationTimestamp"),
        run=labels.get("flexcore/root-job") or None,
    )


def _name_version(item: Object) -> str:
    return rollback.read_version(item) or f"revision {revisions.find_revision(item)}"


def _list_routes(place: cluster_objects.Namespace, route: traffic_route.RouteKind) -> list[Any]:
    """None where the cluster has no routes of that kind, or the credentials may not see them."""
    group = f"/apis/{route.group}/{route.version}"
    kind = cluster_objects.Kind(group, route.plural, f"{route.plural}.{route.group}", route.kind)
    try:
        return place.list_objects(kind, "") if place.serves(kind) else []
    except (errors.Forbidden, errors.NotFound):
        return []


def _read_share(name: str, routes: list[tuple[traffic_route.RouteKind, Any]]) -> tuple[int | None, str | None]:
    """(per cent, address) of the first route that leads to the Service of that name."""
    for kind, route in routes:
        try:
            shares = kind.read_shares(route, name)
        except errors.Conflict:
            # Its rules disagree: there is no one number.
            continue
        if total := sum(shares.values()):
            hosts = kind.list_hosts(route)
            return round(100 * shares[name] / total), f"http://{hosts[0]}" if hosts else None
    return None, None
