# requirements: flexcore_kubernetes
"""Runs a batch/v1 Job to its verdict: create or attach, watch Job and pods together, follow logs, give up cleanly.

find ──none──────────────→ create ──name taken──→ attach
  ├─running, complete────→ attach
  ├─failed in this call, or for good ──→ tell its failure again
  └─failed before────────→ create the next attempt
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import (
    api_errors,
    categories,
    client,
    deletion,
    diagnosis,
    job_conditions,
    job_manifest,
    job_timings,
    pod_logs,
    progress,
    watching,
)

Object = dict[str, Any]

# While pods do not run, their events are looked at; they tell what no status tells (quota, volumes).
EVENTS_EVERY_S = 2.0
TICK_S = 1.0
# A Job that a quota refuses is asked for again, until its queue's time is spent.
QUOTA_RETRY_S = 5.0
# Of a Job of a hundred pods the first ones tell enough.
MAX_PODS_ASKED = 3
# Kubernetes' own, where a pod names none.
DEFAULT_GRACE_S = 30
# Ends of which the pod's events may say more: a probe that had failed, an image that was pulled too long.
TOLD_BY_EVENTS = (
    categories.Category.KILLED,
    categories.Category.EXIT_CODE,
    categories.Category.DEADLINE,
    categories.Category.UNKNOWN,
)


@dataclass(slots=True)
class Outcome:
    """A Job that ended, as last seen. problem is None when it is complete."""

    job: Object
    attempt: int
    pods: list[Object]
    log_tail: str
    exit_code: int | None
    timings: contracts.Timings
    problem: categories.Problem | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What is known of a running Job. job is None while it was not reported, or is gone. known: every pod as it was
    seen last, since a Job that fails takes its pods away."""

    job: Object | None = None
    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)
    known: dict[str, Object] = field(default_factory=dict)

    def remember(self, pods: list[Object]) -> None:
        self.known |= {str(pod["metadata"].get("uid")): pod for pod in pods}


@dataclass(slots=True)
class JobRunner:
    """One execution on one cluster. call: the Windmill job that asks for it."""

    kubernetes: client.Kubernetes
    key: identity.ExecutionKey
    namespace: str
    call: str
    request: job_manifest.JobRequest
    deferred: bool = False
    say: Callable[[str], None] = progress.say_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Outcome:
        """Raises the typed error of whatever ends it otherwise than well."""
        job = self.create_or_attach()
        logs = pod_logs.PodLogs(self.kubernetes, self.namespace, self.say)
        seen = Seen(job=job, pods=self._pods_of(job)) if job_conditions.verdict(job) else self.observe(job, logs)
        logs.see(seen.pods)
        outcome = self.outcome(seen, logs)
        if outcome.problem and job_conditions.failure(outcome.job)[0] == "DeadlineExceeded":
            raise self._give_up(outcome.job, outcome.pods, logs, outcome.problem, waited=True)
        return outcome

    def result(self) -> contracts.StepResult:
        """The step's result of a Job that is complete; the typed error of one that ended otherwise."""
        outcome = self.run()
        if outcome.problem:
            raise self.error(outcome.job, outcome.problem, outcome.log_tail, False, outcome.notes)
        return step_result(outcome, self.key, self.namespace, self.kubernetes)

    def submit(self) -> tuple[int, contracts.Remote]:
        """(attempt, Job): created or found, and not waited for."""
        job = self.create_or_attach()
        metadata = job["metadata"]
        return attempt_of(job), contracts.Remote(kind="Job", name=metadata["name"], uid=metadata["uid"])

    # --- create or attach

    def create_or_attach(self) -> Object:
        job = self._created_or_found()
        if not job_conditions.verdict(job):
            for body in job_manifest.owned_objects(self.request, job):
                self._create_owned(job, body)
        return job

    def _created_or_found(self) -> Object:
        found = self._attempts()
        latest = found[-1] if found else None
        if latest and not self._superseded(latest):
            self.say(f"Attaching to Job {latest['metadata']['name']} in namespace {self.namespace}")
            return latest
        if latest and latest["metadata"].get("deletionTimestamp"):
            self._wait_until_gone(latest)
        attempt = attempt_of(latest) + 1 if latest else 1
        identity.check_attempt(self.key, attempt)
        name = self.key.name(attempt)
        created = self._create_within_quota(name, attempt)
        if created is not None:
            self.say(f"Created Job {name} in namespace {self.namespace}")
            return created
        existing = self.kubernetes.get(self._path(name), self._asking("get", name))
        if existing is None or not self._is_ours(existing):
            raise errors.InvalidInput(
                f"A Job named {name} exists in namespace {self.namespace} and belongs to somebody else",
                subject=name,
                remedy="Remove it or use another namespace.",
            )
        self.say(f"Attaching to Job {name}, which another run of this step has created")
        return existing

    def _create_within_quota(self, name: str, attempt: int) -> Object | None:
        """The created Job, None when the name is taken. A quota that is used up may be given back by others."""
        until, is_announced = self.clock() + self.request.queue_timeout_s, False
        while True:
            deadline = (self.kubernetes.now() + timedelta(seconds=self.request.timeout_s)).isoformat()
            body = job_manifest.job_body(
                self.request, self.key, attempt, self.namespace, self.call, deadline, self.deferred
            )
            try:
                return self.kubernetes.create(self._path(), body, self._asking("create", name))
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
                    self.say(
                        f"Waiting (quota_exceeded), {self.request.queue_timeout_s} s at most (queue_timeout_s): {error}"
                    )
                self.sleep(min(QUOTA_RETRY_S, left))

    def _create_owned(self, job: Object, body: Object) -> None:
        """What the Job's pods read; what is there already was made by an earlier run of this step, which may have died
        before it. Without it no container starts: a Job that cannot have it is taken away."""
        name, kinds = job["metadata"]["name"], f"{body['kind'].lower()}s"
        asking = api_errors.Call("create", kinds, self.namespace, body["metadata"]["name"])
        try:
            self.kubernetes.create(f"/api/v1/namespaces/{self.namespace}/{kinds}", body, asking)
        except errors.TransientError:
            raise
        except errors.FlexcoreError:
            deletion.remove(self.kubernetes, self._path(name), job["metadata"]["uid"], self._asking("get", name))
            raise

    def _attempts(self) -> list[Object]:
        query = {"labelSelector": f"flexcore/key={self.key.value}"}
        page = self.kubernetes.list(self._path(), query, self._asking("list"))
        return sorted(page.get("items") or [], key=attempt_of)

    def _superseded(self, job: Object) -> bool:
        """Whether a new attempt is due: the last one is being deleted, or failed, for another call, in a way that may
        pass."""
        if job["metadata"].get("deletionTimestamp"):
            return job_conditions.verdict(job) != "complete"
        if (
            job_conditions.verdict(job) != "failed"
            or (job["metadata"].get("annotations") or {}).get(job_manifest.CALL_ANNOTATION) == self.call
        ):
            return False
        return not diagnosis.ending(job, self._pods_of(job))[0].deterministic

    def _wait_until_gone(self, job: Object) -> None:
        """Its pods still end; two attempts must not work at the same time."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        self.say(f"Job {name} is being deleted; waiting until it is gone")
        path, call = self._path(name), self._asking("get", name)
        if not deletion.until_gone(self.kubernetes, path, uid, call, clock=self.clock, sleep=self.sleep):
            raise errors.Unavailable(
                f"Job {name} is still being deleted", subject=name, remedy="Run again when it is gone."
            )

    def _pods_of(self, job: Object) -> list[Object]:
        subject = self._pods_subject(job)
        return list(self.kubernetes.list(subject.path, subject.query, subject.call).get("items") or [])

    def _is_ours(self, job: Object) -> bool:
        return bool((job["metadata"].get("labels") or {}).get("flexcore/key") == self.key.value)

    # --- observe

    def observe(self, job: Object, logs: pod_logs.PodLogs) -> Seen:
        """Until the Job has a verdict; otherwise gives up, by its deadline or for a trouble that does not pass."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        reports: queue.SimpleQueue[watching.Report] = queue.SimpleQueue()
        subjects = (self._job_subject(name), self._pods_subject(job))
        watchers = [watching.Watcher(self.kubernetes, subject, reports.put, clock=self.clock) for subject in subjects]
        for watcher in watchers:
            watcher.start()
        try:
            return self._until_verdict(job, uid, reports, logs)
        finally:
            for watcher in watchers:
                watcher.stop()

    def _until_verdict(
        self, job: Object, uid: str, reports: queue.SimpleQueue[watching.Report], logs: pod_logs.PodLogs
    ) -> Seen:
        seen = Seen(job=job)
        begun = self.clock() - job_timings.age(job, self.kubernetes.now())
        patience, looked = progress.Patience(self.clock), self.clock()
        told = progress.Told(lambda text: self.say(self.kubernetes.redactor.text(text)))
        while True:
            self._take(reports, seen, uid)
            logs.see(seen.pods)
            if seen.job is None:
                raise self._vanished(job, logs)
            told.progress(seen.pods)
            if job_conditions.verdict(seen.job) and "pods" in seen.reported:
                return seen
            now = self.clock()
            if not running(seen.pods) and now - looked >= EVENTS_EVERY_S:
                looked = now
                seen.events = self._events(seen.job, seen.pods[:1])
            found = diagnosis.trouble(seen.job, seen.pods, seen.events)
            if found and patience.is_worth_a_word(found):
                told.trouble(found, running(seen.pods))
            if found and patience.spent(found, self.request.queue_timeout_s):
                raise self._give_up(seen.job, seen.pods, logs, found, waited=found.grace_s is None)
            if now - begun >= self.request.timeout_s:
                raise self._give_up(seen.job, seen.pods, logs, self._late(seen), waited=True)

    def _late(self, seen: Seen) -> categories.Problem:
        assert seen.job is not None
        events = self._events(seen.job, seen.pods)
        spent = job_timings.describe_time(seen.job, seen.pods, events, self.kubernetes.now())
        said = f"It did not end within {self.request.timeout_s} s{f' ({spent})' if spent else ''}"
        return diagnosis.diagnose_lateness(seen.job, seen.pods, events, said)

    def _take(self, reports: queue.SimpleQueue[watching.Report], seen: Seen, uid: str) -> None:
        """The next report and all that wait behind it; returns after a tick when there is none."""
        try:
            report = reports.get(timeout=TICK_S)
            while True:
                if report.error:
                    raise report.error
                seen.reported.add(report.source)
                if report.source == "job":
                    seen.job = next((item for item in report.items if item["metadata"]["uid"] == uid), None)
                else:
                    seen.pods = report.items
                    seen.remember(report.items)
                if seen.job is None:
                    return
                report = reports.get_nowait()
        except queue.Empty:
            return

    def _events(self, job: Object, pods: Sequence[Object]) -> list[Object]:
        """The events of the Job and of its first pods; none when they may not be read."""
        found: list[Object] = []
        path = f"/api/v1/namespaces/{self.namespace}/events"
        # A Job's events tell of pods that cannot be created; where there are some, theirs tell more.
        for item in [*pods[:MAX_PODS_ASKED], *([] if pods else [job])]:
            uid = item["metadata"]["uid"]
            query: dict[str, str | int] = {"fieldSelector": f"involvedObject.uid={uid}", "limit": 100}
            try:
                page = self.kubernetes.list(
                    path, query, api_errors.Call("list", "events", self.namespace), patience_s=0
                )
            except errors.FlexcoreError:
                return found
            found += page.get("items") or []
        return found

    # --- end

    def outcome(self, seen: Seen, logs: pod_logs.PodLogs) -> Outcome:
        assert seen.job is not None
        job = seen.job
        pods = self._last_pods(seen)
        problem = self._problem(job, pods)
        program = (problem.pod, problem.container) if problem and problem.container else None
        logs.drain(program=program)
        said = [self.kubernetes.redactor.text(note) for note in diagnosis.notes(job, pods, problem)]
        for note in said:
            self.say(f"Note: {note}")
        return Outcome(
            job=job,
            attempt=attempt_of(job),
            pods=pods,
            log_tail=logs.tail(program, ends_in_error=problem is not None and problem.exit_code == 1),
            exit_code=diagnosis.exit_code(pods, job) if problem is None else problem.exit_code,
            timings=job_timings.timings(job, pods, self.kubernetes.now()),
            problem=problem,
            notes=said,
        )

    def _last_pods(self, seen: Seen) -> list[Object]:
        """The two watches are not in step: the Job's end may be told before its pod's, or a pod be gone by then."""
        assert seen.job is not None
        pods = seen.pods
        if diagnosis.exit_code(pods, seen.job) is None:
            pods = self._pods_of(seen.job)
        seen.remember(pods)
        return list(seen.known.values())

    def _problem(self, job: Object, pods: list[Object]) -> categories.Problem | None:
        if job_conditions.verdict(job) != "failed":
            return None
        problem, _ = diagnosis.ending(job, pods)
        if problem.category in TOLD_BY_EVENTS:
            failed = [pod for pod in pods if pod["metadata"]["name"] == problem.pod]
            problem, _ = diagnosis.ending(job, pods, self._events(job, failed or pods))
        return problem

    def _give_up(
        self,
        job: Object,
        pods: Sequence[Object],
        logs: pod_logs.PodLogs,
        problem: categories.Problem,
        waited: bool = False,
    ) -> errors.FlexcoreError:
        """Takes the Job away and says what is left of it; the error to raise. waited: the time that the caller gave was
        spent on it, and a retry would only spend it again."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        self.say(self.kubernetes.redactor.text(f"Giving up on Job {name}: {problem.detail}"))
        program = (problem.pod, problem.container) if problem.container else None
        logs.drain(1.0, program)
        said = [self.kubernetes.redactor.text(note) for note in diagnosis.notes(job, pods, problem)]
        gone = deletion.remove(
            self.kubernetes, self._path(name), uid, self._asking("get", name), clock=self.clock, sleep=self.sleep
        )
        self.say(f"Job {name} {'is deleted' if gone else self._describe_rest(job)}")
        error = self.error(job, problem, logs.tail(program), gone, said)
        error.retryable = error.retryable and not waited
        return error

    def _describe_rest(self, job: Object) -> str:
        """What becomes of a Job that is not seen to be gone."""
        name = job["metadata"]["name"]
        try:
            found = self.kubernetes.get(self._path(name), self._asking("get", name), patience_s=0)
        except errors.FlexcoreError:
            found = job
        if found is None:
            return "is deleted"
        if not found["metadata"].get("deletionTimestamp"):
            deadline = (job.get("spec") or {}).get("activeDeadlineSeconds")
            return f"could not be deleted; its deadline of {deadline} s ends it"
        grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        return f"is being deleted; its pods have {grace} s (terminationGracePeriodSeconds) to end, and are then killed"

    def _vanished(self, job: Object, logs: pod_logs.PodLogs) -> errors.FlexcoreError:
        logs.drain(1.0)
        return self.error(
            job, categories.Problem(categories.Category.DELETED, "It was deleted before it ended"), logs.tail(), True
        )

    def error(
        self, job: Object, problem: categories.Problem, log_tail: str, gone: bool, notes: Sequence[str] = ()
    ) -> errors.FlexcoreError:
        name = job["metadata"]["name"]
        remote = {"kind": "Job", "name": name, "namespace": self.namespace, "uid": job["metadata"]["uid"]}
        details: dict[str, Any] = {"pod": problem.pod, "container": problem.container, "exit_code": problem.exit_code}
        details = {key: value for key, value in details.items() if value not in ("", None)}
        if notes:
            details["notes"] = list(notes)
        return problem.with_detail(self.kubernetes.redactor.text(problem.detail)).to_error(
            f"Job {name} failed",
            name,
            remote=remote,
            attempt=attempt_of(job),
            log_tail=log_tail,
            deleted=gone,
            **details,
        )

    # --- addresses

    def _path(self, name: str = "") -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs" + (f"/{name}" if name else "")

    def _asking(self, verb: str, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, "jobs.batch", self.namespace, name)

    def _job_subject(self, name: str) -> watching.Subject:
        return watching.Subject(
            "job", self._path(), {"fieldSelector": f"metadata.name={name}"}, self._asking("watch", name)
        )

    def _pods_subject(self, job: Object) -> watching.Subject:
        selector = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return watching.Subject(
            "pods", path, {"labelSelector": selector}, api_errors.Call("watch", "pods", self.namespace)
        )


def step_result(
    outcome: Outcome, key: identity.ExecutionKey, namespace: str, kubernetes: client.Kubernetes
) -> contracts.StepResult:
    metadata = outcome.job["metadata"]
    nodes = sorted({str(pod["spec"]["nodeName"]) for pod in outcome.pods if pod["spec"].get("nodeName")})
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=key.value,
        attempt=outcome.attempt,
        data={
            "exit_code": outcome.exit_code,
            "namespace": namespace,
            "pods": [pod["metadata"]["name"] for pod in outcome.pods],
            "nodes": nodes,
            "message": kubernetes.redactor.text(diagnosis.termination_message(outcome.pods, outcome.job)),
            **({"notes": outcome.notes} if outcome.notes else {}),
        },
        metrics={"pods": len(outcome.pods), "succeeded": (outcome.job.get("status") or {}).get("succeeded")},
        timings=outcome.timings,
        remote=contracts.Remote(kind="Job", name=metadata["name"], uid=metadata["uid"]),
        log_tail=outcome.log_tail,
    )


def attempt_of(job: Object) -> int:
    label = str((job["metadata"].get("labels") or {}).get("flexcore/attempt") or "")
    return int(label) if label.isdigit() else 1


def running(pods: Sequence[Object]) -> bool:
    return any((pod.get("status") or {}).get("phase") not in (None, "Pending") for pod in pods)
