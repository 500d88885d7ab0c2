# requirements: flexcore_base
"""One execution with a Ray cluster of its own, as the driver asks for it: an attempt is the RayJob `<key>-<attempt>`.

    create   the RayJob alone, which a step that is killed at any moment finds again; deferred work is submitted, too,
             unless a queue holds its cluster back
    observe  waits for the cluster, submits by the very JobAdapter that serves an address, reads the end from Ray, looks
             at the RayJob beside it; a cluster that a queue has taken back is waited for and the job submitted anew
    write    of the records: first the record, then the RayJob and its cluster go
Ray's own word decides over the operator's copy of it. Not found is never success.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from f.flexcore.lib.core import attempts, contracts, driver, errors, identity, operation, redaction, resources
from f.flexcore.lib.kubernetes_api import progress
from f.flexcore.lib.ray import (
    dashboard,
    job_adapter,
    job_archive,
    job_observer,
    kubernetes_session,
    ray_job_api,
    ray_job_head,
    ray_job_manifest,
    ray_job_place,
    ray_job_status,
    ray_job_waiter,
)
from f.flexcore.lib.ray import job as ray_job
from f.flexcore.lib.storage import attempt_records, object_store

KIND = "kuberay_job"
# Of jobs that Ray does not know any more, or whose head does not answer: the RayJob may say why.
LOST = ("job_lost",)


class RayJobAdapter:
    """Raises TransientError when the API server, the head or the store cannot be reached; a repeat then attaches."""

    def __init__(
        self,
        place: ray_job_place.Place,
        prepare: ray_job_place.Prepare,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = progress.report_now,
    ) -> None:
        self.place, self.prepare, self.api = place, prepare, place.api
        self.redactor = redaction.Redactor(place.secrets)
        self.clock, self.sleep = clock, sleep
        self.report: Callable[[str], None] = lambda text: report(self.redactor.text(text))
        self.attempt_records = attempt_records.StoreRecords(place.store, place.key)
        self.records = ray_job_place.ReleasingRecords(self.attempt_records, self._release)
        self._uids: dict[int, str] = {}
        self._finish: Callable[[contracts.StepResult], contracts.StepResult] | None = None

    # --- the driver's verbs

    def find(self, number: int) -> attempts.Attempt | None:
        """The RayJob by its name, running or ended: how it ended, `observe` says."""
        stored = self.api.get(self.place.key.name(number))
        if stored is None:
            return None
        self._check_ours(stored, number)
        return attempts.Attempt(number, "running", self._remote(number, stored))

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        """Makes the RayJob. Raises InvalidInput for what KubeRay or the cluster's rules refuse, NotFound when KubeRay
        is not there."""
        place, name = self.place, self.place.key.name(number)
        # How the job ends is recorded there: a store that cannot be written is reported before anything has run.
        place.store.check()
        # What the work itself lacks is said before a cluster is made for it.
        timeout_s = self.prepare(None, self.redactor).job.timeout_s

        def build(known_fields: frozenset[str]) -> dict[str, Any]:
            return ray_job_manifest.ray_job(
                place.own,
                place.key,
                number,
                self.api.namespace,
                timeout_s=timeout_s,
                now=self.api.now(),
                is_deferred=place.is_deferred,
                known_fields=known_fields,
            )

        created = self.api.create(build)
        stored = created or self.api.get(name)
        if stored is None:
            raise errors.Unavailable(
                f"RayJob {name} is being deleted", subject=name, remedy="Try again when it is gone."
            )
        self._check_ours(stored, number)
        self.report(f"{'Created' if created else 'Attaching to'} RayJob {self.api.namespace}/{name}")
        remote = self._remote(number, stored)
        if place.is_deferred:
            self._submit_deferred(number, remote, earlier)
        return remote

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        waiter = self._waiter(number)
        try:
            self._ensure_companions(remote)
            while True:
                state = waiter.wait(remote.name, str(remote.uid))
                verdict = self._run(number, state, waiter)
                if verdict is not None:
                    return self._describe(verdict, remote, waiter)
        except ray_job_waiter.StoppedWaiting as stopped:
            return self._give_up(number, remote, stopped)

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        """What follows a result needs the store alone: its cluster may be gone."""
        finish = self._finish or self.prepare(None, self.redactor).finish
        return finish(result)

    # --- waiting and running

    def _waiter(self, number: int) -> ray_job_waiter.RayJobWaiter:
        labels = ray_job_manifest.select_pods(self.place.key.labels(number))
        return ray_job_waiter.RayJobWaiter(self.api, self.place.own, labels, self.report, self.clock, self.sleep)

    def _submit_deferred(self, number: int, remote: contracts.Remote, earlier: Sequence[attempts.Attempt]) -> None:
        """Submits when the cluster is there. What a queue holds back is left to the step that collects: reconcile
        resumes it as soon as its cluster is ready."""
        try:
            self._ensure_companions(remote)
            state = self._waiter(number).wait(remote.name, str(remote.uid), until_queued=True)
        except ray_job_waiter.StoppedWaiting as stopped:
            verdict = self._give_up(number, remote, stopped)
            assert verdict.error is not None
            raise verdict.error from None
        if state.phase == "queued":
            self.report(
                "A queue holds the cluster back: the flow is resumed when it is ready, and then submits the job"
            )
        elif state.phase == "ready":
            with self._open(state) as api:
                self._inner(api).create(number, earlier)

    def _run(
        self, number: int, state: ray_job_status.RayJobState, waiter: ray_job_waiter.RayJobWaiter
    ) -> driver.Verdict | None:
        """The verdict of the job on the present cluster; None when a queue has taken the cluster back."""
        if state.is_ended and not state.cluster:
            return driver.Verdict(error=self._ended_error(state))
        try:
            with self._open(state) as api:
                return self._run_on_head(api, number, state)
        except ray_job_head.ClusterTaken:
            return self._explain_loss(number, state, waiter, None)
        except errors.TransientError as error:
            return self._explain_loss(number, state, waiter, error)
        except errors.NotFound as error:
            # The RayCluster, or its Secret.
            return self._explain_loss(number, state, waiter, error)

    def _run_on_head(self, api: dashboard.RayApi, number: int, state: ray_job_status.RayJobState) -> driver.Verdict:
        watch = ray_job_head.ClusterWatch(self._head(), state)
        inner = self._inner(api, watch.sleep)
        attempt = inner.find(number)
        if attempt is None:
            if state.job_status or state.is_ended:
                # The operator has seen it on this very cluster: its head was restarted since.
                raise ray_job_head.ClusterTaken
            try:
                inner.create(number, self._earlier(number))
            except errors.NotFound:
                raise
            except (errors.UserError, errors.DataError) as error:
                return driver.Verdict(error=error)
        remote = job_observer.remote_job(api, state.name, {})
        verdict = inner.observe(number, remote)
        if verdict.error is not None and verdict.error.category in LOST:
            raise ray_job_head.ClusterTaken
        return self._archive(api, inner, number, verdict, state)

    def _explain_loss(
        self,
        number: int,
        before: ray_job_status.RayJobState,
        waiter: ray_job_waiter.RayJobWaiter,
        error: errors.FlexcoreError | None,
    ) -> driver.Verdict | None:
        """What the RayJob says of a job that Ray does not know, or of a head that does not answer. None when the
        cluster was taken back and the job goes on with the next one. Raises `error` when the RayJob says nothing."""
        state = waiter.look(before.name, before.uid)
        if state.is_ended:
            return self._read_kept_result(number, state) or driver.Verdict(error=self._ended_error(state))
        if state.phase == "queued" or state.is_suspended or state.cluster != before.cluster:
            waiter.evictions += 1
            self.report(
                f"The cluster of RayJob {state.name} was taken back (time {waiter.evictions}); the job is submitted "
                "again when it is back"
            )
            return None
        if error is not None:
            raise error
        return driver.Verdict(error=dashboard.lost_job_error(state.name))

    def _read_kept_result(self, number: int, state: ray_job_status.RayJobState) -> driver.Verdict | None:
        """The verdict of a job that has succeeded and left its result in the store, though its cluster has gone."""
        kept = None if state.has_failed else job_archive.read_result(self.attempt_records, number)
        if kept is None:
            return None
        work = self.prepare(None, self.redactor)
        self._finish = work.finish
        remote = contracts.Remote(kind=KIND, name=state.name, uid=state.uid)
        finished = ray_job.FinishedJob(
            self.place.key, number, kept["result"], contracts.Timings(), remote, log_tail="", packages=[]
        )
        self.report("The cluster has gone; the job's result is read from the store")
        return driver.Verdict(result=work.to_result(finished))

    def _ended_error(self, state: ray_job_status.RayJobState) -> errors.FlexcoreError:
        diagnosis = ray_job_status.diagnose_end(state)
        if diagnosis is None:
            diagnosis = contracts.Diagnosis(
                category="outcome_lost",
                detail="The job succeeded, but its cluster went before its outcome was read",
                remedy="Run the step again, with a longer own_cluster.keep_s.",
            )
        return ray_job_status.to_error(state, diagnosis)

    def _give_up(self, number: int, remote: contracts.Remote, stopped: ray_job_waiter.StoppedWaiting) -> driver.Verdict:
        """The verdict of a RayJob that cannot get on. It is taken away first; while that is not confirmed, nothing is
        recorded and the error is raised."""
        error = stopped.error
        error.details.setdefault("remote", remote.model_dump())
        if stopped.state is None:
            return driver.Verdict(error=error)
        is_gone = self.api.delete_for_good(remote.name, str(remote.uid), self.clock, self.sleep)
        error.details["confirmed"] = is_gone
        if not is_gone:
            self.report(f"Warning: RayJob {remote.name} was asked to go, which is not confirmed")
            raise error
        return driver.Verdict(error=error)

    # --- the end

    def _archive(
        self,
        api: dashboard.RayApi,
        inner: job_adapter.JobAdapter,
        number: int,
        verdict: driver.Verdict,
        state: ray_job_status.RayJobState,
    ) -> driver.Verdict:
        """The verdict with the log's place in the store: the cluster is about to go."""
        if verdict.findings is not None:
            return verdict
        extra: dict[str, Any] = {}
        try:
            details = inner.observer.contact(lambda: api.job(state.name))
            extra["log_uri"] = job_archive.archive_log(
                job_observer.JobLog(api, state.name, lambda: details), self.attempt_records, number, self.redactor
            )
            if note := ray_job_status.contradicts(self._look_again(state), str(details.get("status"))):
                self.report(f"Note: {note}; Ray's own word counts")
            session = str(inner.observer.contact(api.version).get("session_name") or "")
            where = (self.place.own, self.api.namespace, state.name)
            extra["history_url"] = ray_job_place.history_url(*where, session)
        except errors.FlexcoreError as error:
            self.report(f"Warning: the job's log was not copied to the store: {error}")
        return ray_job_place.add_details(verdict, {name: value for name, value in extra.items() if value})

    def _look_again(self, state: ray_job_status.RayJobState) -> ray_job_status.RayJobState:
        stored = self.api.get(state.name)
        return ray_job_status.parse_ray_job(stored) if stored else state

    def _describe(
        self, verdict: driver.Verdict, remote: contracts.Remote, waiter: ray_job_waiter.RayJobWaiter
    ) -> driver.Verdict:
        """The verdict with what is known of its cluster."""
        own = {
            "ray_job": remote.name,
            "namespace": self.api.namespace,
            "evictions": waiter.evictions,
            "queued_s": round(waiter.queued_s, 1),
            "starting_s": round(waiter.starting_s, 1),
        }
        verdict = ray_job_place.add_details(verdict, {"own_cluster": own})
        if verdict.result is None:
            return verdict
        timings = verdict.result.timings
        starting = (timings.starting or 0.0) + waiter.starting_s
        before = timedelta(seconds=waiter.queued_s + waiter.starting_s)
        began_at = timings.began_at and timings.began_at - before
        timings = timings.model_copy(update={"queued": waiter.queued_s, "starting": starting, "began_at": began_at})
        return replace(verdict, result=verdict.result.model_copy(update={"timings": timings, "remote": remote}))

    def _release(self, number: int) -> None:
        """Takes the RayJob away, whose end is recorded; what cannot be reached now goes by its own time to live."""
        uid = self._uids.get(number)
        if uid is None:
            return
        try:
            self.api.delete(self.place.key.name(number), uid)
        except errors.FlexcoreError as error:
            self.report(f"Warning: the cluster goes later, by its own time to live: {error}")

    # --- helpers

    def _inner(self, api: dashboard.RayApi, sleep: Callable[[float], None] | None = None) -> job_adapter.JobAdapter:
        """The adapter of the job itself, on the cluster's head."""
        context = job_adapter.Context(api, self.place.store, self.place.key, self.redactor)
        work = self.prepare(api, self.redactor)
        self._finish = work.finish
        job = job_archive.keep_result(replace(work.job, deferred=self.place.is_deferred))
        work = replace(work, job=job)
        return job_adapter.JobAdapter(context, work, self.clock, sleep or self.sleep, self.report, checks_first=True)

    @contextmanager
    def _open(self, state: ray_job_status.RayJobState) -> Iterator[dashboard.RayApi]:
        """The head's dashboard, once it answers; its token is a secret from then on."""
        with self._head().open(state) as api:
            self.redactor = redaction.Redactor([*self.place.secrets, *api.secrets()])
            yield api

    def _head(self) -> ray_job_head.OwnHead:
        return ray_job_head.OwnHead(self.api, self.place.service, self.clock, self.sleep)

    def _earlier(self, number: int) -> list[attempts.Attempt]:
        read = (self.attempt_records.read(before) for before in range(1, number))
        return [attempt for attempt in read if attempt is not None]

    def _ensure_companions(self, remote: contracts.Remote) -> None:
        stored = self.api.get(remote.name)
        if stored is not None and stored["metadata"]["uid"] == remote.uid:
            self.api.ensure_companions(self.place.own, stored)

    def _check_ours(self, stored: dict[str, Any], number: int) -> None:
        """Raises Conflict for a RayJob of this name that another execution has made."""
        labels = stored["metadata"].get("labels") or {}
        wanted = self.place.key.labels(number)
        if any(labels.get(name) != wanted[name] for name in ("flexcore/key", "flexcore/attempt", identity.MANAGED_BY)):
            name = stored["metadata"]["name"]
            raise errors.Conflict(
                f"RayJob {self.api.namespace}/{name} exists, and is not this execution's",
                subject=name,
                remedy="Delete it, or use another namespace.",
            )
        self._uids[number] = str(stored["metadata"]["uid"])

    def _remote(self, number: int, stored: dict[str, Any]) -> contracts.Remote:
        name = str(stored["metadata"]["name"])
        return contracts.Remote(kind=KIND, name=name, uid=str(stored["metadata"]["uid"]))


@contextmanager
def open_adapter(
    invocation: operation.Invocation[Any, Any],
    prepare: Callable[[operation.Invocation[Any, Any], job_adapter.Context], job_adapter.Work],
) -> Iterator[RayJobAdapter]:
    """The adapter of an invocation whose request has `own_cluster`."""
    secrets = [*invocation.service.secrets(), *invocation.settings.secrets()]
    secrets += resources.secret_values(invocation.request)
    with kubernetes_session.open_session(invocation.service, invocation.settings) as session:
        secrets += session.kubernetes.access.secrets()
        store = object_store.Store(invocation.settings)

        def prepare_on(api: dashboard.RayApi | None, redactor: redaction.Redactor) -> job_adapter.Work:
            context = job_adapter.Context(cast(dashboard.RayApi, api), store, invocation.key, redactor)
            return prepare(replace(invocation, service=api.cluster) if api else invocation, context)

        place = ray_job_place.Place(
            ray_job_api.RayJobApi(session),
            invocation.service,
            invocation.request.own_cluster,
            store,
            invocation.key,
            tuple(secret for secret in secrets if secret),
            invocation.is_deferred,
        )
        yield RayJobAdapter(place, prepare_on)
