# requirements: flexcore_kubernetes
"""Half-done shifts of traffic in one cluster, as operations/reconcile sees them: routes and Services with our mark.

A shift runs until its deadline; stopped, its weights go back to what its record says was before. Weights that somebody
else has moved meanwhile are left, and only the mark is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from f.flexcore.lib.core import errors, remote_objects
from f.flexcore.lib.kubernetes import (
    connection,
    traffic_record,
    traffic_replicas,
    traffic_route,
    traffic_session,
    traffic_target,
)
from f.flexcore.lib.kubernetes_api import api_errors

Object = dict[str, Any]
Item = remote_objects.RemoteObject
KIND = "shift"
SERVICE = "Service"
PAGE_SIZE = 500
ROUTE_KINDS = {kind.kind: kind for kind in traffic_route.KINDS.values()}


class ShiftObjects:
    """`place` is the resource's path. Raises the errors of Kubernetes."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place = place
        session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
        self.kubernetes, self.namespace = session.kubernetes, session.namespace

    def find(self) -> list[Item]:
        return [item for kind, stored in self._list() if (item := to_remote_object(self.place, kind, stored))]

    def stop(self, item: Item) -> str:
        """Moves the weights back, as they were seen; what became of them."""
        kind, _, name = item.name.partition("/")
        target = self._target(kind, name, item)
        stored = target.read() if target else None
        record = traffic_record.read_record(stored) if stored else None
        if target is None or stored is None or record is None:
            return "had ended"
        if f"{stored['metadata']['uid']}/{record.token}" != item.uid:
            return "goes on with another driver"
        session = traffic_session.ShiftSession(target, record)
        text = record.reason or "The step that moved them has ended half-way"
        category = record.category or "abandoned"
        last = traffic_record.LastShift(record.key, record.attempt, "back", record.before, text, category)
        try:
            stored = session.change(record.before, state="back", reason=text, category=category)
            settled = target.settle(stored, record.before, is_urgent=True)
            if kind == SERVICE and not settled.is_settled:
                return f"moves back to {traffic_session.describe(record.before)}; the next pass sees to the rest"
            session.end(last)
        except errors.Conflict as error:
            session.release()
            return f"left: {error}"
        return f"moved back to {traffic_session.describe(record.before)}"

    def delete(self, item: Item) -> str:
        return "is in use"

    def _target(self, kind: str, name: str, item: Item) -> traffic_target.Target | None:
        """The target of a mark; its versions are those of the record."""
        call = api_errors.Call("get", _resource(kind), item.namespace, name)
        stored = self.kubernetes.get(f"{_path(kind, item.namespace)}/{name}", call)
        record = traffic_record.read_record(stored) if stored else None
        if record is None:
            return None
        stable, candidate = (_backend(key, item.namespace) for key in (record.stable, record.candidate))
        if kind == SERVICE:
            return traffic_replicas.ReplicaTarget(self.kubernetes, name, item.namespace, stable, candidate)
        spec = traffic_route.RouteSpec(name, item.namespace, "")
        return traffic_target.RouteTarget(self.kubernetes, ROUTE_KINDS[kind], spec, stable, candidate)

    def _list(self) -> Iterable[tuple[str, Object]]:
        for kind in (*ROUTE_KINDS, SERVICE):
            if kind == SERVICE or traffic_target.has_api(self.kubernetes, ROUTE_KINDS[kind]):
                for stored in self._list_kind(kind):
                    yield kind, stored

    def _list_kind(self, kind: str) -> list[Object]:
        query: dict[str, str | int] = {"labelSelector": traffic_record.SHIFT, "limit": PAGE_SIZE}
        try:
            page = self.kubernetes.list(_path(kind), query, api_errors.Call("list", _resource(kind)))
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
            call = api_errors.Call("list", _resource(kind), self.namespace)
            page = self.kubernetes.list(_path(kind, self.namespace), query, call)
        return list(page.get("items") or [])


def to_remote_object(place: str, kind: str, item: Mapping[str, Any]) -> Item | None:
    """None for a mark that cannot be read: a person has to look, and nothing is moved."""
    try:
        record = traffic_record.read_record(item)
    except errors.DataError:
        return None
    if record is None:
        return None
    metadata = item["metadata"]
    return Item(
        runtime="kubernetes",
        place=place,
        kind=KIND,
        name=f"{kind}/{metadata['name']}",
        uid=f"{metadata['uid']}/{record.token}",
        state="leaving" if metadata.get("deletionTimestamp") else "running",
        labels=record.labels(),
        namespace=metadata["namespace"],
        deadline=record.deadline,
    )


def _backend(key: str, namespace: str) -> traffic_route.Backend:
    """Of a version that the route has a reference to already, which keeps its port."""
    other, _, name = key.rpartition("/")
    return traffic_route.Backend(name, other or namespace, 0)


def _resource(kind: str) -> str:
    return "services" if kind == SERVICE else f"{ROUTE_KINDS[kind].plural}.{ROUTE_KINDS[kind].group}"


def _path(kind: str, namespace: str = "") -> str:
    plural, prefix = (
        ("services", "/api/v1")
        if kind == SERVICE
        else (
            ROUTE_KINDS[kind].plural,
            traffic_route.prefix(ROUTE_KINDS[kind]),
        )
    )
    return f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
