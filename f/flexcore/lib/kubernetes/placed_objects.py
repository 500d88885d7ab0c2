# requirements: flexcore_kubernetes
"""Copies that were left on a cluster which did not answer, as operations/reconcile sees them once it does again.

    left copy   its cluster is silent                  not shown, and not forgotten
                it is gone there, or is another's      forgotten
                it is there, the one in use is seen    superseded: it goes
                it is there, the one in use is not     kept: it may be the only one
    record      its work ended KEEP_S ago, none left   finished, and deleted
What the record names stays; every other copy goes. A Job that has ended there is left to the cluster's own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from f.flexcore.lib.core import errors, remote_objects, resources
from f.flexcore.lib.kubernetes import cluster_contact, placement_moves, placement_records
from f.flexcore.lib.kubernetes_api import api_errors, job_status
from f.flexcore.lib.storage import object_store

Object = dict[str, Any]
# Kind → (API, collection, how rights name it).
KINDS = {
    "Job": ("/apis/batch/v1", "jobs", "jobs.batch"),
    "Deployment": ("/apis/apps/v1", "deployments", "deployments.apps"),
}
RECORD = "placement"
CONTACT_TIMEOUT_S = 5.0
# Those of ended work stay for a week; each costs a pass two requests to the store.
MAX_RECORDS = 300
Contacts = Mapping[str, cluster_contact.Contact]


class PlacedObjects:
    """Of the records in the settings' store. Raises the errors of the store."""

    def __init__(
        self,
        place: str,
        resource: Any,
        namespace: str = "",
        read_resource: cluster_contact.ReadResource | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.place, self.clock = place, clock
        self.settings = errors.validate(resources.Settings, resource or {}, "settings")
        self.book = placement_records.PlacementBook(object_store.Store(self.settings), clock)
        self._read_resource = read_resource or _read_from_windmill
        # By what a pass has found: the record that it is of.
        self._found: dict[tuple[str, str, str], tuple[str, str]] = {}

    def find(self) -> list[remote_objects.RemoteObject]:
        """Of more than MAX_RECORDS records some, others in the next pass."""
        described = self._describe(list(self.book.list(MAX_RECORDS)))
        self._found = {_name(item): (record.kind, record.id) for record, item in described}
        return [item for _, item in described]

    def _describe(
        self, records: list[placement_records.PlacementRecord]
    ) -> list[tuple[placement_records.PlacementRecord, remote_objects.RemoteObject]]:
        names = {copy.cluster for record in records if record.left for copy in [*record.left, *record.copies[:1]]}
        inquiry = cluster_contact.Inquiry(self._read_resource, self.settings, "", self.clock)
        contacts = {item.name: item for item in inquiry.ask(sorted(names), CONTACT_TIMEOUT_S)} if names else {}
        found = []
        for record in records:
            found += [(record, item) for copy in record.left if (item := self._find_left(record, copy, contacts))]
            if record.ended_at is not None and not record.left:
                found.append((record, self._describe_record(record)))
        return found

    def stop(self, item: remote_objects.RemoteObject) -> str:
        """What became of it. Looked at again first: it goes only while the copy in use stands."""
        record = self.book.read(*self._found[_name(item)]) if _name(item) in self._found else None
        for _, now in self._describe([record] if record else []):
            if _name(now) == _name(item):
                if now.state != "superseded":
                    return f"is {now.state}"
                session = self._open(item.place, item.namespace)
                prefix, plural, resource = KINDS[item.kind]
                path = f"{prefix}/namespaces/{item.namespace}/{plural}/{item.name}"
                session.kubernetes.delete(
                    path, item.uid, api_errors.Call("delete", resource, item.namespace, item.name)
                )
                return "deleted"
        return "had gone"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        if item.kind != RECORD:
            return "is left to the cluster"
        kind, _, id = item.uid.partition("/")
        self.book.remove(kind, id)
        return "deleted"

    def _find_left(
        self, record: placement_records.PlacementRecord, copy: placement_moves.PlacedCopy, contacts: Contacts
    ) -> remote_objects.RemoteObject | None:
        stored = read_copy(copy, contacts)
        if stored is None:
            return None
        if not stored or not is_same(copy, stored):
            self.book.change(
                record.kind,
                record.id,
                lambda now: now and placement_records.forget_left(now, copy.cluster, copy.uid),
            )
            return None
        return remote_objects.RemoteObject(
            runtime="kubernetes",
            place=copy.cluster,
            kind=copy.kind,
            name=copy.name,
            uid=stored["metadata"]["uid"],
            state=self._find_state(record, stored, contacts),
            labels=record.labels,
            namespace=copy.namespace,
        )

    def _find_state(
        self, record: placement_records.PlacementRecord, stored: Object, contacts: Contacts
    ) -> remote_objects.State:
        if stored["metadata"].get("deletionTimestamp"):
            return "leaving"
        if job_status.find_verdict(stored) and record.kind == "jobs":
            return "finished"
        if record.ended_at is not None:
            return "superseded"
        used = read_copy(record.copies[0], contacts) if record.copies else None
        return "superseded" if used and stands(used) else "kept"

    def _describe_record(self, record: placement_records.PlacementRecord) -> remote_objects.RemoteObject:
        assert record.ended_at is not None
        return remote_objects.RemoteObject(
            runtime="kubernetes",
            place=self.place,
            kind=RECORD,
            name=record.name,
            uid=f"{record.kind}/{record.id}",
            state="finished",
            labels=record.labels,
            delete_after=record.ended_at + placement_records.KEEP_S,
        )

    def _open(self, cluster: str, namespace: str) -> Any:
        from f.flexcore.lib.kubernetes import connection

        return connection.connect(self._read_resource(cluster), namespace, self.settings)


def _name(item: remote_objects.RemoteObject) -> tuple[str, str, str]:
    return item.kind, item.place, item.uid


def read_copy(copy: placement_moves.PlacedCopy, contacts: Contacts) -> Object | None:
    """The stored object; {} when there is none; None when its cluster does not say."""
    contact = contacts.get(copy.cluster)
    if contact is None or contact.error is not None or contact.session is None or not copy.name:
        return None
    prefix, plural, resource = KINDS[copy.kind]
    path = f"{prefix}/namespaces/{copy.namespace}/{plural}/{copy.name}"
    try:
        call = api_errors.Call("get", resource, copy.namespace, copy.name)
        return contact.session.kubernetes.get(path, call, retry_s=0) or {}
    except errors.NotFound:
        return {}
    except errors.FlexcoreError:
        return None


def is_same(copy: placement_moves.PlacedCopy, stored: Object) -> bool:
    """Whether it is what was placed, and not a namesake that somebody has made since."""
    if copy.uid:
        return bool(stored["metadata"]["uid"] == copy.uid)
    labels = stored["metadata"].get("labels") or {}
    # Its step died before it had seen it; then its name says whose it is, and for a model its key.
    return copy.kind == "Job" or labels.get("flexcore/key") == copy.key


def stands(stored: Object) -> bool:
    """Whether a copy in use does its work: a Job that is there, a Deployment of which a pod answers."""
    if "replicas" not in stored["spec"]:
        return not stored["metadata"].get("deletionTimestamp")
    return bool((stored.get("status") or {}).get("availableReplicas"))


def _read_from_windmill(path: str) -> Any:
    from f.flexcore.lib.windmill import client

    return client.Client().resource(path)
