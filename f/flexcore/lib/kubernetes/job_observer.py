# requirements: flexcore_kubernetes
"""Follows one Job to its verdict: Job and pods watched together, logs shown as they come, a Job that cannot get on
given up and deleted.

watch ──verdict─────────────────────────────────────────────→ Outcome
  └─problem that outlasts its grace period, or time limit──→ delete ──→ Outcome with its error
The watches alone decide; a log never does. Lost contact raises, and says nothing about the Job.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.kubernetes import job_diagnosis, job_notes, pod_logs
from f.flexcore.lib.kubernetes_api import (
    api_errors,
    categories,
    client,
    deletion,
    job_status,
    progress,
    queue_watch,
    watcher,
)

Object = dict[str, Any]

# While pods do not run, their events are read; they show what no status shows (quota, volumes).
EVENTS_INTERVAL_S = 2.0
TICK_S = 1.0
# Of a Job of a hundred pods the first ones show enough.
MAX_PODS_WITH_EVENTS = 3
# Kubernetes' own, where a pod names none.
DEFAULT_TERMINATION_GRACE_S = 30
# Ends of which the pod's events may say more: a probe that had failed, an image that was pulled too long.
EXPLAINED_BY_EVENTS = (
    categories.Category.KILLED,
    categories.Category.EXIT_CODE,
    categories.Category.DEADLINE,
    categories.Category.UNKNOWN,
)


@dataclass(slots=True)
class Outcome:
    """A Job at its end, as last seen. error: of one that failed, or was given up or deleted."""

    job: Object
    pods: list[Object] = field(default_factory=list)
    log_tail: str = ""
    exit_code: int | None = None
    timings: contracts.Timings = field(default_factory=contracts.Timings)
    notes: list[str] = field(default_factory=list)
    error: errors.FlexcoreError | None = None


@dataclass(slots=True)
class Snapshot:
    """What is known of a running Job. job is None while it was not reported, or is gone. queue: what its queue says
    while it is suspended; known: every pod as it was seen last, since a Job that fails takes its pods away."""

    job: Object | None = None
    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    queue: categories.Problem | None = None
    reported: set[str] = field(default_factory=set)
    known: dict[str, Object] = field(default_factory=dict)

    def remember(self, pods: list[Object]) -> None:
        self.known |= {str(pod["metadata"].get("uid")): pod for pod in pods}


@dataclass(slots=True)
class JobObserver:
    """time_limit_s: from the Job's creation to its end; queue_timeout_s: how long a queue may hold its pods back."""

    kubernetes: client.Kubernetes
    namespace: str
    time_limit_s: float
    queue_timeout_s: float
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, job: Object) -> Outcome:
        """The Job's end, waited for. Raises Unreachable or another error of the API when contact is lost."""
        logs = pod_logs.PodLogs(self.kubernetes, self.namespace, self.report)
        if job_status.find_verdict(job):
            return self._settle(Snapshot(job=job, pods=self.list_pods(job)), logs)
        watched = self.watch(job, logs)
        return watched if isinstance(watched, Outcome) else self._settle(watched, logs)

    def list_pods(self, job: Object) -> list[Object]:
        subject = self.pods_subject(job)
        return list(self.kubernetes.list(subject.path, subject.query, subject.call).get("items") or [])

    # --- watch

    def watch(self, job: Object, logs: pod_logs.PodLogs) -> Snapshot | Outcome:
        """The Job as it was when it had a verdict, or the Outcome of one that was given up or deleted."""
        reports: queue.SimpleQueue[watcher.Report] = queue.SimpleQueue()
        subjects = (self.job_subject(job["metadata"]["name"]), self.pods_subject(job))
        watchers = [watcher.Watcher(self.kubernetes, subject, reports.put, clock=self.clock) for subject in subjects]
        for thread in watchers:
            thread.start()
        try:
            return self._follow(job, reports, logs)
        finally:
            for thread in watchers:
                thread.stop()

    def _follow(
        self, job: Object, reports: queue.SimpleQueue[watcher.Report], logs: pod_logs.PodLogs
    ) -> Snapshot | Outcome:
        seen, uid = Snapshot(job=job), job["metadata"]["uid"]
        started = self.clock() - job_status.measure_age_s(job, self.kubernetes.now())
        grace, events_read = progress.GracePeriod(self.clock), self.clock()
        waiting = queue_watch.QueueWatch(self.kubernetes, self.namespace, self.clock)
        reporter = progress.ProgressReporter(lambda text: self.report(self.kubernetes.redactor.text(text)))
        while True:
            self._receive(reports, seen, uid)
            logs.update(seen.pods)
            if seen.job is None:
                return self._conclude_deleted(job, logs)
            reporter.report_pods(seen.pods)
            if job_status.find_verdict(seen.job) and "pods" in seen.reported:
                return seen
            now = self.clock()
            if not any_started(seen.pods) and now - events_read >= EVENTS_INTERVAL_S:
                events_read = now
                seen.events = self._list_events(seen.job, seen.pods[:1])
            seen.queue = waiting.diagnose(seen.job)
            problem = seen.queue or job_diagnosis.diagnose_active_job(seen.job, seen.pods, seen.events)
            if seen.queue:
                # Its place in the queue changes, and each is worth a line.
                reporter.report_once(f"Waiting ({seen.queue.category}): {seen.queue.detail}")
            elif problem and grace.is_noticeable(problem):
                reporter.report_problem(problem, any_started(seen.pods))
            if problem and grace.is_over(problem, self.queue_timeout_s):
                return self._give_up(seen.job, seen.pods, logs, problem, time_is_spent=problem.grace_s is None)
            if now - started >= self.time_limit_s:
                return self._give_up(seen.job, seen.pods, logs, self._diagnose_lateness(seen), time_is_spent=True)

    def _diagnose_lateness(self, seen: Snapshot) -> categories.Problem:
        assert seen.job is not None
        events = self._list_events(seen.job, seen.pods)
        spent = job_status.describe_time(seen.job, seen.pods, events, self.kubernetes.now())
        text = f"It did not end within {self.time_limit_s} s{f' ({spent})' if spent else ''}"
        if seen.queue:
            return seen.queue.with_detail(f"{seen.queue.detail} ({text[:1].lower()}{text[1:]})")
        return job_diagnosis.diagnose_lateness(seen.job, seen.pods, events, text)

    def _receive(self, reports: queue.SimpleQueue[watcher.Report], seen: Snapshot, uid: str) -> None:
        """Keeps what the next reports say; returns after a tick when there is none."""
        for report in watcher.drain(reports, TICK_S):
            seen.reported.add(report.source)
            if report.source == "job":
                seen.job = next((item for item in report.items if item["metadata"]["uid"] == uid), None)
            else:
                seen.pods = report.items
                seen.remember(report.items)
            if seen.job is None:
                return

    def _list_events(self, job: Object, pods: Sequence[Object]) -> list[Object]:
        """The events of the Job and of its first pods; none when they may not be read."""
        events: list[Object] = []
        path = f"/api/v1/namespaces/{self.namespace}/events"
        request = api_errors.Call("list", "events", self.namespace)
        # A Job's events say why pods cannot be created; where there are some, theirs say more.
        for item in [*pods[:MAX_PODS_WITH_EVENTS], *([] if pods else [job])]:
            query: client.Query = {"fieldSelector": f"involvedObject.uid={item['metadata']['uid']}", "limit": 100}
            try:
                page = self.kubernetes.list(path, query, request, retry_s=0)
            except errors.FlexcoreError:
                return events
            events += page.get("items") or []
        return events

    # --- end

    def _settle(self, seen: Snapshot, logs: pod_logs.PodLogs) -> Outcome:
        """The Outcome of a Job that has a verdict. One that its own deadline has ended is deleted."""
        assert seen.job is not None
        logs.update(seen.pods)
        job, pods = seen.job, self._find_last_pods(seen)
        problem = self._diagnose_failure(job, pods)
        program = (problem.pod, problem.container) if problem and problem.container else None
        logs.drain(program=program)
        notes = self._list_notes(job, pods, problem)
        for note in notes:
            self.report(f"Note: {note}")
        outcome = Outcome(
            job=job,
            pods=pods,
            log_tail=logs.tail(program, ends_in_error=problem is not None and problem.exit_code == 1),
            exit_code=job_notes.find_exit_code(pods, job),
            timings=job_status.measure_timings(job, pods, self.kubernetes.now()),
            notes=notes,
        )
        if problem and job_status.find_failure(job)[0] == "DeadlineExceeded":
            return self._give_up(job, pods, logs, problem, time_is_spent=True)
        if problem:
            outcome.error = self._error(job, problem, outcome.log_tail, is_deleted=False, notes=notes)
            outcome.error.details["timings"] = outcome.timings.model_dump(mode="json")
        return outcome

    def _find_last_pods(self, seen: Snapshot) -> list[Object]:
        """The two watches are not in step: the Job's end may be reported before its pod's, or a pod be gone by then."""
        assert seen.job is not None
        pods = seen.pods
        if job_notes.find_exit_code(pods, seen.job) is None:
            pods = self.list_pods(seen.job)
        seen.remember(pods)
        return list(seen.known.values())

    def _diagnose_failure(self, job: Object, pods: list[Object]) -> categories.Problem | None:
        if job_status.find_verdict(job) != "failed":
            return None
        problem = job_diagnosis.diagnose_failed_job(job, pods)
        if problem.category in EXPLAINED_BY_EVENTS:
            failed = [pod for pod in pods if pod["metadata"]["name"] == problem.pod]
            problem = job_diagnosis.diagnose_failed_job(job, pods, self._list_events(job, failed or pods))
        return problem

    def _list_notes(self, job: Object, pods: Sequence[Object], problem: categories.Problem | None) -> list[str]:
        return [self.kubernetes.redactor.text(note) for note in job_notes.list_notes(job, pods, problem)]

    def _give_up(
        self,
        job: Object,
        pods: Sequence[Object],
        logs: pod_logs.PodLogs,
        problem: categories.Problem,
        time_is_spent: bool = False,
    ) -> Outcome:
        """Deletes the Job. time_is_spent: the time that the caller gave, so that a retry would only spend it again."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        self.report(self.kubernetes.redactor.text(f"Giving up on Job {name}: {problem.detail}"))
        program = (problem.pod, problem.container) if problem.container else None
        logs.drain(1.0, program)
        notes = self._list_notes(job, pods, problem)
        path, request = job_status.jobs_path(self.namespace, name), self._request("get", name)
        is_deleted = deletion.delete_object(self.kubernetes, path, uid, request, clock=self.clock, sleep=self.sleep)
        self.report(f"Job {name} {'is deleted' if is_deleted else self._describe_rest(job)}")
        error = self._error(job, problem, logs.tail(program), is_deleted, notes)
        error.retryable = error.retryable and not time_is_spent
        return Outcome(job=job, error=error)

    def _describe_rest(self, job: Object) -> str:
        """What becomes of a Job that was not seen to be gone."""
        name = job["metadata"]["name"]
        stored: Object | None = job
        with suppress(errors.FlexcoreError):
            stored = self.kubernetes.get(
                job_status.jobs_path(self.namespace, name), self._request("get", name), retry_s=0
            )
        if stored is None:
            return "is deleted"
        if not stored["metadata"].get("deletionTimestamp"):
            deadline = (job.get("spec") or {}).get("activeDeadlineSeconds")
            return f"could not be deleted; its deadline of {deadline} s ends it"
        grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", DEFAULT_TERMINATION_GRACE_S)
        return f"is being deleted; its pods have {grace} s (terminationGracePeriodSeconds) to end, and are then killed"

    def _conclude_deleted(self, job: Object, logs: pod_logs.PodLogs) -> Outcome:
        logs.drain(1.0)
        problem = categories.Problem(categories.Category.DELETED, "It was deleted before it ended")
        return Outcome(job=job, error=self._error(job, problem, logs.tail(), is_deleted=True))

    def _error(
        self, job: Object, problem: categories.Problem, log_tail: str, is_deleted: bool, notes: Sequence[str] = ()
    ) -> errors.FlexcoreError:
        name = job["metadata"]["name"]
        details: dict[str, Any] = {"pod": problem.pod, "container": problem.container, "exit_code": problem.exit_code}
        details = {key: value for key, value in details.items() if value not in ("", None)}
        if notes:
            details["notes"] = list(notes)
        return problem.with_detail(self.kubernetes.redactor.text(problem.detail)).to_error(
            f"Job {name} failed",
            name,
            remote={"kind": "Job", "name": name, "namespace": self.namespace, "uid": job["metadata"]["uid"]},
            attempt=job_status.attempt_number(job),
            log_tail=log_tail,
            deleted=is_deleted,
            **details,
        )

    # --- what is watched

    def job_subject(self, name: str) -> watcher.Subject:
        query: client.Query = {"fieldSelector": f"metadata.name={name}"}
        return watcher.Subject("job", job_status.jobs_path(self.namespace), query, self._request("watch", name))

    def pods_subject(self, job: Object) -> watcher.Subject:
        selector = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        request = api_errors.Call("watch", "pods", self.namespace)
        return watcher.Subject("pods", path, {"labelSelector": selector}, request)

    def _request(self, verb: str, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, "jobs.batch", self.namespace, name)


def any_started(pods: Sequence[Object]) -> bool:
    return any((pod.get("status") or {}).get("phase") not in (None, "Pending") for pod in pods)
