# requirements: flexcore_base
"""What an execution with a Ray cluster of its own has at hand, and what it adds to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from f.flexcore.lib.core import attempts, driver, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, job_adapter, job_cluster, ray_job_api
from f.flexcore.lib.storage import attempt_records, object_store


@dataclass(frozen=True, slots=True)
class Place:
    """What an execution with a cluster of its own has at hand."""

    api: ray_job_api.RayJobApi
    service: resources.RayCluster
    own: job_cluster.OwnCluster
    store: object_store.Store
    key: identity.ExecutionKey
    secrets: tuple[str, ...]
    is_deferred: bool = False


# The work on a head that is open now; without one, what can be said of it beforehand and afterwards.
Prepare = Callable[[dashboard.RayApi | None, redaction.Redactor], job_adapter.Work]


@dataclass(frozen=True, slots=True)
class ReleasingRecords:
    """The records of attempts, with which an attempt's cluster goes as soon as its end is written."""

    records: attempt_records.StoreRecords
    release: Callable[[int], None]

    def read(self, number: int) -> attempts.Attempt | None:
        return self.records.read(number)

    def write(self, number: int, verdict: driver.Verdict, call: str) -> None:
        self.records.write(number, verdict, call)
        self.release(number)


def add_details(verdict: driver.Verdict, extra: dict[str, Any]) -> driver.Verdict:
    """The verdict with more data in its result, or in its error's details."""
    if verdict.error is not None:
        verdict.error.details.update(extra)
    if verdict.result is None:
        return verdict
    return replace(verdict, result=verdict.result.model_copy(update={"data": {**verdict.result.data, **extra}}))


def history_url(own: job_cluster.OwnCluster, namespace: str, name: str, session: str) -> str:
    """The job's pages on KubeRay's history server: historyserver/README.md of KubeRay 1.7."""
    if not own.history_server or not session:
        return ""
    return f"{own.history_server.rstrip('/')}/enter_cluster/{namespace}/rayjob/{name}/{session}"
