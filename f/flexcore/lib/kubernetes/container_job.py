# requirements: flexcore_kubernetes
"""The adapter of a container job: one container, or a whole manifest, as a batch/v1 Job.

driver ─find──→ the execution's Jobs, by label, in one list      ─create─→ the Job, then its Secret and ConfigMaps
       ─observe→ job_observer: verdict, logs, notes               (records: none; the Job is the record, for ttl_s)
What only following a Job needs is loaded once it is created: its pod starts meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from f.flexcore.lib.core import attempts, contracts, driver, errors, identity, operation, redaction, resources
from f.flexcore.lib.kubernetes import connection, default_resources, job_manifest, leftover_pods, multikueue
from f.flexcore.lib.kubernetes_api import api_errors, categories, client, deletion, job_status

if TYPE_CHECKING:
    from f.flexcore.lib.kubernetes import job_observer

Object = dict[str, Any]
Invocation = operation.Invocation[job_manifest.JobRequest, resources.KubernetesCluster]

# A Job that a quota refuses is asked for again, until its queue's time is spent.
QUOTA_RETRY_INTERVAL_S = 5.0


@dataclass(slots=True)
class JobAdapter:
    """One execution on one cluster. call: the Windmill job that asks for it; settings: with the store that its program
    may use; is_deferred: a flow waits for the Job's end without a worker; notes: what was changed of the manifest."""

    kubernetes: client.Kubernetes
    key: identity.ExecutionKey
    namespace: str
    call: str
    request: job_manifest.JobRequest
    is_deferred: bool = False
    notes: Sequence[str] = ()
    settings: resources.Settings = field(default_factory=resources.Settings)
    # Flushed: a step's output is a pipe, which would keep lines back until it is full.
    report: Callable[[str], None] = field(default=partial(print, flush=True))
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    records: driver.Records | None = None
    _jobs: dict[int, Object] = field(default_factory=dict)

    @property
    def redactor(self) -> redaction.Redactor:
        return self.kubernetes.redactor

    # --- find

    def find(self, number: int) -> attempts.Attempt | None:
        """Also completes a running Job whose step died before it had made its Secret; no other call would."""
        # The driver counts from 1; each count needs one list.
        if number == 1:
            self._jobs = self._list_jobs()
        last = max(self._jobs, default=0)
        if number > last:
            return None
        job = self._jobs.get(number)
        # A Job is gone after its time-to-live, or because it was deleted.
        if job is None:
            return attempts.Attempt(number, "abandoned")
        if number == last and is_running(job):
            self._create_companions(job)
        return attempts.Attempt(
            number,
            attempt_state(job),
            job_remote(job),
            creating_call(job),
            is_deterministic=number == last and self._would_repeat(job),
        )

    def _list_jobs(self) -> dict[int, Object]:
        query = {"labelSelector": f"flexcore/key={self.key.value}"}
        page = self.kubernetes.list(self._path(), query, self._request("list"))
        return {job_status.attempt_number(job): job for job in page.get("items") or []}

    def _would_repeat(self, job: Object) -> bool:
        """Whether a retry would fail in the same way. It costs a list of pods, so it is asked for retries alone."""
        if attempt_state(job) != "failed" or creating_call(job) == self.call:
            return False
        from f.flexcore.lib.kubernetes import job_diagnosis

        pods = self._observer().list_pods(job)
        return job_diagnosis.diagnose_failed_job(job, pods).is_deterministic

    # --- create

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        before = self._jobs.get(number - 1)
        if before and before["metadata"].get("deletionTimestamp"):
            self._wait_until_gone(before)
        leftover_pods.wait_until_ended(
            self.kubernetes, self.namespace, self.key, self.report, clock=self.clock, sleep=self.sleep
        )
        name = self.key.name(number)
        job = self._create_within_quota(name, number)
        if job is not None:
            self.report(f"Created Job {name} in namespace {self.namespace}")
        else:
            job = self._get_own(name)
            self.report(f"Attaching to Job {name}, which another run of this step has created")
        self._jobs[number] = job
        if not job_status.find_verdict(job):
            self._create_companions(job)
        return job_remote(job)

    def _create_within_quota(self, name: str, number: int) -> Object | None:
        """The created Job, None when the name is taken. A quota that is used up may be given back by others."""
        until, is_announced = self.clock() + self.request.queue_timeout_s, False
        while True:
            deadline = (self.kubernetes.now() + timedelta(seconds=self.request.time_limit_s)).isoformat()
            body = multikueue.hand_over(self.kubernetes, self.namespace, self._make_body(number, deadline))
            try:
                return self.kubernetes.create(self._path(), body, self._request("create", name))
            except errors.Unavailable as error:
                left = until - self.clock()
                if error.category != categories.Category.QUOTA_EXCEEDED:
                    raise
                if left <= 0:
                    # A retry would only spend the same time again.
                    error.retryable = False
                    raise
                if not is_announced:
                    is_announced = True
                    limit = f"{self.request.queue_timeout_s} s at most (queue_timeout_s)"
                    self.report(f"Waiting ({error.category}), {limit}: {error}")
                self.sleep(min(QUOTA_RETRY_INTERVAL_S, left))

    def _make_body(self, number: int, deadline: str) -> Object:
        body = job_manifest.make_job_body(
            self.request, self.key, number, self.namespace, self.call, deadline, self.is_deferred
        )
        if self._hands_over:
            from f.flexcore.lib.kubernetes import job_handover

            folder = job_handover.find_folder(self.settings, self.key, number)
            job_handover.add_to_job(body, self.request, self.settings, folder)
        return default_resources.settle(self.kubernetes, self.namespace, body)

    @property
    def _hands_over(self) -> bool:
        return job_manifest.hands_over(self.request)

    def _get_own(self, name: str) -> Object:
        """The Job that has taken the name; raises InvalidInput unless it is this execution's."""
        job = self.kubernetes.get(self._path(name), self._request("get", name))
        if job is None or (job["metadata"].get("labels") or {}).get("flexcore/key") != self.key.value:
            raise errors.InvalidInput(
                f"A Job named {name} exists in namespace {self.namespace} and belongs to another owner",
                subject=name,
                remedy="Remove it or use another namespace.",
            )
        return job

    def _create_companions(self, job: Object) -> None:
        """What the Job's pods read; what exists was made by an earlier run of this step. Without it no container
        starts: a Job that cannot have it is deleted."""
        for body in self._list_companions(job):
            kinds = f"{body['kind'].lower()}s"
            request = api_errors.Call("create", kinds, self.namespace, body["metadata"]["name"])
            try:
                self.kubernetes.create(f"/api/v1/namespaces/{self.namespace}/{kinds}", body, request)
            except errors.TransientError:
                raise
            except errors.FlexcoreError:
                name, uid = job["metadata"]["name"], job["metadata"]["uid"]
                deletion.delete_object(self.kubernetes, self._path(name), uid, self._request("get", name))
                raise

    def _list_companions(self, job: Object) -> Iterator[Object]:
        yield from job_manifest.companion_objects(self.request, job)
        if self.request.inputs:
            from f.flexcore.lib.kubernetes import job_handover

            yield job_manifest.own_companion(job_handover.make_inputs(self.request, job["metadata"]["name"]), job)

    def _wait_until_gone(self, job: Object) -> None:
        """Its pods still end; two attempts must not work at the same time."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        self.report(f"Job {name} is being deleted; waiting until it is gone")
        path, request = self._path(name), self._request("get", name)
        if not deletion.wait_until_gone(self.kubernetes, path, uid, request, clock=self.clock, sleep=self.sleep):
            raise errors.Unavailable(
                f"Job {name} is still being deleted", subject=name, remedy="Run again when it is gone."
            )

    # --- observe

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        outcome = self._observer().run(self._jobs[number])
        if outcome.error:
            return driver.Verdict(error=outcome.error)
        try:
            return driver.Verdict(result=self._result(number, outcome))
        except errors.DataError as error:
            # The program ended well, and what it hands on is not what was asked for.
            error.details |= {"remote": job_remote(outcome.job).plain(), "log_tail": outcome.log_tail}
            return driver.Verdict(error=error)

    def _observer(self) -> job_observer.JobObserver:
        from f.flexcore.lib.kubernetes import job_observer

        return job_observer.JobObserver(
            self.kubernetes,
            self.namespace,
            self.request.time_limit_s,
            self.request.queue_timeout_s,
            report=self.report,
            clock=self.clock,
            sleep=self.sleep,
        )

    def _result(self, number: int, outcome: job_observer.Outcome) -> contracts.StepResult:
        from f.flexcore.lib.kubernetes import job_notes

        nodes = sorted({str(pod["spec"]["nodeName"]) for pod in outcome.pods if pod["spec"].get("nodeName")})
        notes = [*self.notes, *outcome.notes]
        output, value = None, None
        if self._hands_over:
            from f.flexcore.lib.kubernetes import job_handover

            output, value = job_handover.read_output(self.request, outcome.job, outcome.pods, self.settings)
        return contracts.StepResult(
            success=True,
            runtime="kubernetes",
            execution_key=self.key.value,
            attempt=number,
            data={
                "exit_code": outcome.exit_code,
                "namespace": self.namespace,
                "pods": [pod["metadata"]["name"] for pod in outcome.pods],
                "nodes": nodes,
                "message": self.redactor.text(job_notes.find_termination_message(outcome.pods, outcome.job)),
                **({"output": value} if value is not None else {}),
                **({"notes": notes} if notes else {}),
            },
            output=output,
            metrics={"pods": len(outcome.pods), "succeeded": (outcome.job.get("status") or {}).get("succeeded")},
            timings=outcome.timings,
            remote=job_remote(outcome.job),
            log_tail=outcome.log_tail,
        )

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return result

    # --- addresses

    def _path(self, name: str = "") -> str:
        return job_status.jobs_path(self.namespace, name)

    def _request(self, verb: str, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, "jobs.batch", self.namespace, name)


def attempt_state(job: Object) -> attempts.State:
    """A Job that is being deleted before it was complete did not do the work."""
    verdict = job_status.find_verdict(job)
    if verdict == "complete":
        return "succeeded"
    if job["metadata"].get("deletionTimestamp"):
        return "abandoned"
    return "failed" if verdict == "failed" else "running"


def is_running(job: Object) -> bool:
    return attempt_state(job) == "running"


def job_remote(job: Object) -> contracts.Remote:
    return contracts.Remote(kind="Job", name=job["metadata"]["name"], uid=job["metadata"]["uid"])


def creating_call(job: Object) -> str:
    """The Windmill job that has created it."""
    return str((job["metadata"].get("annotations") or {}).get(job_manifest.CALL_ANNOTATION) or "")


@contextmanager
def open_job(invocation: Invocation) -> Iterator[JobAdapter]:
    """Reports what is changed of the manifest; an error that passes through has it in details.notes."""
    request = _add_store_keys(invocation.request, invocation.settings)
    session = connection.open_session(invocation, job_manifest.secret_values(request))
    build = job_manifest.build(request, invocation.key.name(1), session.namespace)
    notes = [session.kubernetes.redactor.text(note) for note in build.notes]
    adapter = JobAdapter(
        session.kubernetes,
        invocation.key,
        session.namespace,
        invocation.call,
        request,
        invocation.is_deferred,
        notes,
        invocation.settings,
    )
    for note in notes:
        adapter.report(f"Note: {note}")
    try:
        yield adapter
    except errors.FlexcoreError as error:
        if notes:
            error.details["notes"] = [*notes, *error.details.get("notes", [])]
        raise


def _add_store_keys(request: job_manifest.JobRequest, settings: resources.Settings) -> job_manifest.JobRequest:
    """The request with the keys of the store among its secrets, where it asks for them."""
    if not request.options or not request.options.store_keys:
        return request
    from f.flexcore.lib.kubernetes import job_handover

    keys = {name: SecretStr(value) for name, value in job_handover.list_store_keys(request, settings).items()}
    return request.model_copy(update={"secrets": {**keys, **request.secrets}})
