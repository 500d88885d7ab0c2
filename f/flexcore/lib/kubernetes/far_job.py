# requirements: flexcore_kubernetes
"""Writes down what is seen of a placed Job while its step follows it: what decides later, when its cluster is silent.

    before a creation   was_sent              after it   uid, limit, queue
    every few seconds   last contact, the cluster's time, status.startTime, whether it has ended
The record outlives the step, which may be killed at any moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import attempts, contracts, driver, errors, redaction
from f.flexcore.lib.kubernetes import (
    cluster_contact,
    contact_records,
    container_job,
    job_manifest,
    job_observer,
    multikueue,
    placement,
    placement_records,
)
from f.flexcore.lib.kubernetes_api import api_errors, job_status

Object = Mapping[str, Any]
# Until it has started, and then; a start that was not seen can never be proved to be over.
FIRST_INTERVAL_S, CONTACT_INTERVAL_S = 0.5, 10.0


@dataclass(slots=True)
class JobKeeper:
    """The record of one Job on one cluster, kept up by a thread of its own while the driver observes it."""

    book: placement_records.PlacementBook
    id: str
    cluster: str
    clock: Callable[[], float] = time.time
    _stopped: threading.Event = field(default_factory=threading.Event)
    _seen: dict[str, Any] = field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        """Writes facts about the copy that are new."""
        if facts.items() <= self._seen.items():
            return
        self.book.change(
            "jobs", self.id, lambda record: record and placement_records.update_copy(record, self.cluster, **facts)
        )
        self._seen |= facts

    def stop(self) -> None:
        self._stopped.set()

    def follow(self, adapter: container_job.JobAdapter, name: str) -> None:
        """Asks for the Job until it has ended, or is stopped. It never raises: a step goes by its own watch."""
        path = job_status.jobs_path(adapter.namespace, name)
        call = api_errors.Call("get", "jobs.batch", adapter.namespace, name)
        while not self._stopped.is_set():
            try:
                job = adapter.kubernetes.get(path, call, retry_s=0)
                self._record_contact(adapter)
                if job is None:
                    return
                self.note(**describe_job(job))
                if self._seen.get("has_ended"):
                    return
            except errors.FlexcoreError as error:
                self._record_loss(error)
            self._stopped.wait(CONTACT_INTERVAL_S if self._seen.get("started") else FIRST_INTERVAL_S)

    def _record_contact(self, adapter: container_job.JobAdapter) -> None:
        at, server_time = self.clock(), adapter.kubernetes.now().timestamp()
        found = cluster_contact.Contact(placement.Cluster(self.cluster), at, server_time)
        contact_records.record(self.book.store, [found])

    def _record_loss(self, error: errors.FlexcoreError) -> None:
        found = cluster_contact.fail(cluster_contact.Contact(placement.Cluster(self.cluster), self.clock()), error)
        contact_records.record(self.book.store, [found])


def describe_job(job: Object) -> dict[str, Any]:
    """The facts of a stored Job that a PlacedCopy keeps."""
    spec, status = job["spec"], job.get("status") or {}
    pod = spec["template"]["spec"]
    started = status.get("startTime")
    return {
        "uid": str(job["metadata"]["uid"]),
        "started": datetime.fromisoformat(started).timestamp() if started and not spec.get("suspend") else None,
        "limit_s": spec.get("activeDeadlineSeconds"),
        "grace_s": float(pod.get("terminationGracePeriodSeconds", job_observer.DEFAULT_TERMINATION_GRACE_S)),
        # A queue may suspend a running Job, whose time then counts anew from its next start.
        "is_queued": bool(spec.get("suspend") or multikueue.find_queue(job)),
        "is_dispatched": spec.get("managedBy") == multikueue.CONTROLLER,
        "has_ended": bool(job_status.find_verdict(job)),
    }


@dataclass(slots=True)
class KeptJob:
    """A JobAdapter whose Job is written down."""

    inner: container_job.JobAdapter
    keeper: JobKeeper

    @property
    def records(self) -> driver.Records | None:
        return self.inner.records

    @property
    def redactor(self) -> redaction.Redactor:
        return self.inner.redactor

    def find(self, number: int) -> attempts.Attempt | None:
        return self.inner.find(number)

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        # Before it is sent: an answer may be lost, and this step may be killed in between.
        self.keeper.note(
            namespace=self.inner.namespace,
            name=self.inner.key.name(number),
            was_sent=True,
            uid="",
            started=None,
            has_ended=False,
        )
        return self.inner.create(number, earlier)

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        self.keeper.note(namespace=self.inner.namespace, name=remote.name, was_sent=True)
        thread = threading.Thread(target=self.keeper.follow, args=(self.inner, remote.name), daemon=True)
        thread.start()
        try:
            return self.inner.observe(number, remote)
        finally:
            self.keeper.stop()

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return self.inner.finish(result)


@contextmanager
def open_kept_job(invocation: container_job.Invocation, keeper: JobKeeper) -> Iterator[KeptJob]:
    assert isinstance(invocation.request, job_manifest.JobRequest)
    with container_job.open_job(invocation) as adapter:
        yield KeptJob(adapter, keeper)
