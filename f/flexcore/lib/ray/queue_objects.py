# requirements: flexcore_base
"""The queue of a Ray head as `operations/reconcile` sees it: entries whose owner has ended go, what a killed step has
left goes, and a deferred job whose turn has come is submitted in place of its flow, which is suspended.

    entry                                               state
    its turn has not come                               waiting
    its turn has come                                   due
    its job is on the head, or its time is long over    finished: left by a step that was killed
    an admission of earlier                             finished
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, identity, operation, redaction, remote_objects, resources
from f.flexcore.lib.ray import admission, dashboard, job_observer, job_queue
from f.flexcore.lib.storage import object_store

# It takes a slot for half of that time and says nothing after it; a job that is submitted later is admitted anew. Every
# admission and every pass reads the names of all that are kept.
KEEP_ADMISSIONS_S = 2 * admission.ADMISSION_S
# By the kind of their job: all that may wait for its turn without a worker are among them.
OPERATIONS = {
    "program": "f.flexcore.lib.ray.program_job:RUN_PROGRAM",
    "train": "f.flexcore.lib.ray.train_job:TRAIN",
    "predict": "f.flexcore.lib.ray.predict_job:PREDICT",
    "search": "f.flexcore.lib.ray.search_job:SEARCH",
    "training_loop": "f.flexcore.lib.ray.loop_job:TRAINING_LOOP",
    "copy_table": "f.flexcore.lib.ray.copy_job:COPY_TABLE",
}
KEY_FIELDS = ("value", "owner_job", "root_job", "step", "workspace")


@dataclass(frozen=True, slots=True)
class QueueObjects:
    """`place` is the resource's path. Raises the errors of RayApi and of the store."""

    place: str
    resource: Any
    settings: resources.Settings

    def find(self) -> list[remote_objects.RemoteObject]:
        cluster = errors.validate(resources.RayCluster, self.resource, self.place)
        if not cluster.max_jobs:
            return []
        with dashboard.RayApi(cluster) as api:
            queue = self._open(api)
            known = queue.read()
            if not (known.waiting or known.admitted):
                return []
            queue.note_jobs(api.jobs())
            assert queue.head is not None
            now, ahead = api.now(), api.ahead
            free = max(cluster.max_jobs - len(admission.find_taken(known, queue.head, now)), 0)
            ordered = admission.order(known, queue.head, now)
            due = {entry.job for entry in self._of_reconcile(ordered)[:free]}
            waiting = {entry.job for entry in ordered}
            entries = [self._parse_entry(queue, entry, entry.job in due, waiting, ahead) for entry in known.waiting]
        return [*entries, *(self._parse_admission(item, ahead) for item in known.admitted)]

    def stop(self, item: remote_objects.RemoteObject) -> str:
        self._remove(item)
        return "taken out of the queue"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        self._remove(item)
        return "deleted"

    def submit(self, item: remote_objects.RemoteObject, arguments: dict[str, Any]) -> str:
        """Submits the job by the operation's own code, as the step would have done. Raises DataError for an entry that
        another version has written so that this one cannot read it."""
        chosen, key = find_operation(item), parse_key(item)
        request, service = chosen.parse(arguments), chosen.parse_service(arguments)
        settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
        chosen.check(request, service, settings)
        call = item.labels["flexcore/call"]
        chosen.execute(operation.Invocation("ray", request, service, settings, key, call, is_deferred=True))
        with dashboard.RayApi(service) as api:
            try:
                api.job(item.name)
            except errors.NotFound:
                return "waits on, others were faster"
        return "submitted"

    @staticmethod
    def _of_reconcile(ordered: list[admission.Waiting]) -> list[admission.Waiting]:
        """Deferred ones first among equals: a step that waits looks by itself again, every second."""
        return sorted(ordered, key=lambda entry: not entry.is_deferred)

    def _open(self, api: dashboard.RayApi) -> job_queue.JobQueue:
        observer = job_observer.JobObserver(api, redaction.Redactor(api.secrets()))
        return job_queue.JobQueue(observer, object_store.Store(self.settings), api.cluster.max_jobs, "0-0")

    def _parse_entry(
        self, queue: job_queue.JobQueue, entry: admission.Waiting, is_due: bool, waiting: set[str], ahead: float
    ) -> remote_objects.RemoteObject:
        content = queue.read_entry(entry)
        key = content["key"] if isinstance(content.get("key"), dict) else {}
        state: remote_objects.State = "due" if is_due else "waiting" if entry.job in waiting else "finished"
        # Of a job that is on the head its own label says so; for an entry that is too old its flow is resumed, which
        # then says that its turn did not come in time.
        is_deferred = entry.is_deferred and (state != "finished" or entry.until < queue.api.now())
        labels = {
            "flexcore/owner-job": str(key.get("owner_job") or ""),
            "flexcore/workspace": str(key.get("workspace") or ""),
            "flexcore/kind": str(content.get("operation") or ""),
            "flexcore/call": str(content.get("call") or ""),
            **operation.deferral_labels(is_deferred),
            **{f"flexcore/key-{name}": str(value) for name, value in key.items()},
        }
        return remote_objects.RemoteObject(
            runtime="ray",
            place=self.place,
            kind="queued job",
            name=entry.job,
            uid=entry.name,
            state=state,
            labels=labels,
            deadline=entry.until - ahead,
            delete_after=entry.since - ahead,
        )

    def _parse_admission(self, item: admission.Admitted, ahead: float) -> remote_objects.RemoteObject:
        return remote_objects.RemoteObject(
            runtime="ray",
            place=self.place,
            kind="admission",
            name=item.job,
            uid=item.name,
            state="finished",
            delete_after=item.at - ahead + KEEP_ADMISSIONS_S,
        )

    def _remove(self, item: remote_objects.RemoteObject) -> None:
        with dashboard.RayApi(errors.validate(resources.RayCluster, self.resource, self.place)) as api:
            self._open(api).remove(item.uid)


def find_operation(item: remote_objects.RemoteObject) -> operation.Operation[Any, Any]:
    kind = item.labels["flexcore/kind"]
    if kind not in OPERATIONS:
        raise _unreadable(item, f"this version knows no operation {kind!r}")
    found: operation.Operation[Any, Any] = operation.resolve(OPERATIONS[kind])
    return found


def parse_key(item: remote_objects.RemoteObject) -> identity.ExecutionKey:
    found = {name: item.labels.get(f"flexcore/key-{name}") for name in KEY_FIELDS}
    if missing := [name for name, value in found.items() if value is None]:
        raise _unreadable(item, f"its key has no {', '.join(missing)}")
    return identity.ExecutionKey(**{name: str(value) for name, value in found.items()})


def _unreadable(item: remote_objects.RemoteObject, problem: str) -> errors.DataError:
    return errors.DataError(
        f"The queued job {item.name} was written by another version of flexcore: {problem}",
        subject=item.name,
        remedy="Its flow submits it by itself.",
    )
