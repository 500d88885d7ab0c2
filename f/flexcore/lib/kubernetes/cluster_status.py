# requirements: flexcore_kubernetes
"""All clusters and our work on them, in two tables. Behind kubernetes/check_clusters. Changes nothing but the record of
contacts.

    clusters   what each is and has, and when it was last heard of
    work       every Job and model server of ours there; of a silent cluster what the placement records say
Two clocks: the last contact is by ours, a Job's deadline by the cluster's own. Unreachable is not dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.kubernetes import (
    cluster_contact,
    contact_records,
    placement,
    placement_moves,
    placement_records,
)
from f.flexcore.lib.kubernetes_api import api_errors, job_status
from f.flexcore.lib.storage import object_store

MAX_PARALLEL_LISTS = 8
PAGE_SIZE = 500
OURS = f"{identity.MANAGED_BY}=flexcore"
KINDS = (
    ("Job", "/apis/batch/v1", "jobs", "jobs.batch"),
    ("Deployment", "/apis/apps/v1", "deployments", "deployments.apps"),
)
Row = dict[str, Any]


@dataclass(slots=True)
class ClusterStatus:
    """clock: seconds since the epoch."""

    settings: resources.Settings
    read_resource: cluster_contact.ReadResource
    clock: Callable[[], float] = time.time

    def run(self, names: Iterable[str], timeout_s: float) -> tuple[list[Row], list[Row]]:
        """(clusters, work). A cluster that cannot be asked is a row that says so; so is one that refuses."""
        inquiry = cluster_contact.Inquiry(self.read_resource, self.settings, "", self.clock)
        contacts = inquiry.ask(list(names), timeout_s)
        store = object_store.Store(self.settings)
        known = contact_records.record(store, contacts)
        placed = list(placement_records.PlacementBook(store, self.clock).list())
        with ThreadPoolExecutor(MAX_PARALLEL_LISTS) as pool:
            listed = list(pool.map(lambda contact: self._list_work(contact, known[contact.name]), contacts))
        work = []
        for contact, rows in zip(contacts, listed, strict=True):
            work += _recorded_work(contact.name, known[contact.name], placed, self.clock()) if rows is None else rows
        note_records(work, placed)
        counts = {contact.name: rows for contact, rows in zip(contacts, listed, strict=True)}
        clusters = [_describe(item, known[item.name], counts[item.name], self.clock()) for item in contacts]
        return clusters, work

    def _list_work(self, contact: cluster_contact.Contact, last: contact_records.LastContact) -> list[Row] | None:
        """None where it could not be listed, which is not the same as that there is none."""
        if contact.error is not None or contact.session is None:
            return None
        rows: list[Row] = []
        for kind, prefix, plural, resource in KINDS:
            path = f"{prefix}/namespaces/{contact.namespace}/{plural}"
            call = api_errors.Call("list", resource, contact.namespace)
            try:
                page = contact.session.kubernetes.list(
                    path, {"labelSelector": OURS, "limit": PAGE_SIZE}, call, retry_s=0
                )
            except errors.FlexcoreError:
                return None
            describe = _describe_job if kind == "Job" else _describe_deployment
            rows += [describe(contact.name, item, last, self.clock()) for item in page.get("items") or []]
        return rows


def _describe(
    contact: cluster_contact.Contact, last: contact_records.LastContact, work: list[Row] | None, now: float
) -> Row:
    cluster, room = contact.cluster, sum_nodes(contact.cluster.nodes)
    state = "ready" if contact.error is None else "unreachable" if contact.is_lost else "refuses"
    return {
        "cluster": contact.name,
        "state": state,
        "cloud": cluster.cloud,
        "region": cluster.region,
        "latency": cluster.latency,
        "version": contact.version or last.version,
        "namespace": contact.namespace,
        **room,
        "cpu_hour_usd": cluster.cpu_hour_usd,
        "capabilities": sorted(cluster.capabilities),
        "running_jobs": None if work is None else sum(row["state"] == "running" for row in work),
        "models": None if work is None else sum(row["kind"] == "Deployment" for row in work),
        "round_trip_s": contact.round_trip_s,
        "last_contact": last.at,
        "lost_s": None if last.first_failed is None else round(now - last.first_failed, 1),
        "detail": str(contact.error) if contact.error else "",
    }


def sum_nodes(nodes: tuple[placement.Node, ...] | None) -> Row:
    """Null for what was not measured."""
    names = ("nodes", "cpus", "free_cpus", "free_memory_bytes", "gpus", "free_gpus")
    if nodes is None:
        return dict.fromkeys(names)
    is_measured = all(node.free_cpu is not None for node in nodes)
    free = {
        "free_cpus": round(sum(node.number * (node.free_cpu or 0) for node in nodes), 3),
        "free_memory_bytes": sum(node.number * (node.free_memory or 0) for node in nodes),
        "free_gpus": sum(node.number * (node.free_gpus or 0) for node in nodes),
    }
    return {
        "nodes": sum(node.number for node in nodes),
        "cpus": sum(node.number * node.cpu for node in nodes),
        "gpus": sum(node.number * node.gpus for node in nodes),
        **(free if is_measured else dict.fromkeys(free)),
    }


# --- work


def _describe_job(name: str, item: Mapping[str, Any], last: contact_records.LastContact, now: float) -> Row:
    from f.flexcore.lib.kubernetes import far_job

    copy = placement_moves.PlacedCopy(cluster=name, kind="Job", was_sent=True, **far_job.describe_job(item))
    verdict = job_status.find_verdict(item)
    state = {"complete": "succeeded", "failed": "failed"}.get(str(verdict), "running")
    if item["metadata"].get("deletionTimestamp"):
        state = "leaving"
    elif state == "running" and (item.get("spec") or {}).get("suspend"):
        state = "queued"
    return _work_row(copy, item["metadata"]["namespace"], item["metadata"]["name"], state, "", last, now)


def _describe_deployment(name: str, item: Mapping[str, Any], last: contact_records.LastContact, now: float) -> Row:
    metadata, status = item["metadata"], item.get("status") or {}
    copy = placement_moves.PlacedCopy(cluster=name, kind="Deployment", uid=metadata["uid"], was_sent=True)
    labels = (item["spec"]["template"]["metadata"] or {}).get("labels") or {}
    state = "serving" if status.get("availableReplicas") else "not ready"
    version = str(labels.get("flexcore/model-version") or "")
    return _work_row(copy, metadata["namespace"], metadata["name"], state, version, last, now)


def _recorded_work(
    name: str, last: contact_records.LastContact, placed: Iterable[placement_records.PlacementRecord], now: float
) -> list[Row]:
    """What was placed there, of a cluster that does not say what runs."""
    rows = []
    for record in placed:
        for copy in [*record.copies, *record.left]:
            if copy.cluster == name and copy.was_sent and not (copy.kind == "Job" and copy.has_ended):
                rows.append(_work_row(copy, copy.namespace, copy.name, "not known", copy.version, last, now))
    return rows


def _work_row(
    copy: placement_moves.PlacedCopy,
    namespace: str,
    name: str,
    state: str,
    version: str,
    last: contact_records.LastContact,
    now: float,
) -> Row:
    clocks = placement_moves.read_clocks(copy, last.at, last.server_time, now)
    ends = state in ("running", "queued", "not known") and copy.kind == "Job"
    return {
        "cluster": copy.cluster,
        "kind": copy.kind,
        "namespace": namespace,
        "name": name,
        "uid": copy.uid,
        "state": state,
        "version": version,
        "placed": "",
        "last_contact": clocks.last_contact,
        "server_now": clocks.server_now,
        "deadline": clocks.deadline if ends else None,
        "deadline_in_s": None if not ends or clocks.left_s is None else round(clocks.left_s),
    }


def note_records(work: Iterable[Row], placed: Iterable[placement_records.PlacementRecord]) -> None:
    """Writes into `placed` which copy is in use, which one stands by, and which one another has replaced."""
    roles: dict[tuple[str, str, str, str], str] = {}
    for record in placed:
        for index, copy in enumerate(record.copies):
            roles[_identity(copy)] = "stands by" if index else "in use"
        for copy in record.left:
            roles[_identity(copy)] = "left"
    for row in work:
        row["placed"] = roles.get((row["cluster"], row["kind"], row["namespace"], row["name"]), "")


def _identity(copy: placement_moves.PlacedCopy) -> tuple[str, str, str, str]:
    return copy.cluster, copy.kind, copy.namespace, copy.name


def check_clusters(
    clusters: list[str] | None, timeout_s: float, settings: Any, read_resource: cluster_contact.ReadResource
) -> dict[str, list[Row]]:
    """{clusters, work}. Raises InvalidInput when there is no cluster to ask."""
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    given = errors.check_value(list[str], clusters or [], "clusters")
    limit = errors.check_value(float, timeout_s, "timeout_s")
    names = [name.removeprefix("$res:") for name in given or chosen.kubernetes_clusters]
    if not names:
        raise errors.InvalidInput(
            "clusters is empty: name at least one",
            subject="clusters",
            remedy="Give paths of c_kubernetes_cluster resources, or settings with kubernetes_clusters.",
        )
    found, work = ClusterStatus(chosen, read_resource).run(dict.fromkeys(names), limit)
    for row in found:
        detail = f" ({row['detail']})" if row["detail"] else ""
        print(f"{row['cluster']}: {row['state']}{detail}", flush=True)
    return {"clusters": found, "work": work}
