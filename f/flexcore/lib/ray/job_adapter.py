# requirements: flexcore_base
"""One execution on a Ray cluster, as the driver asks for it: an attempt is the job `<execution key>-<attempt>`.

    find     with a limit of jobs on the head, by the list of all, which then says whether one more may be submitted
    create   what the cluster lacks is known from earlier attempts' findings; before deferred work, from a helper job
    observe  the job's end as a verdict; findings when it only found out what the next attempt needs

A helper job is named `<job>-probe`, does none of the work, and is deleted once it was read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import attempts, contracts, driver, errors, identity, log_text, operation, redaction, resources
from f.flexcore.lib.ray import admission, cluster, dashboard, job_diagnosis, job_observer, job_queue
from f.flexcore.lib.ray import job as ray_job
from f.flexcore.lib.ray.remote import job_entry
from f.flexcore.lib.storage import attempt_records, object_store

PROBE = "probe"
# What opens the adapter of a job with a cluster of its own, which drives this one on its head. Imported when it is
# needed: a step on a cluster that is there pays nothing for Kubernetes.
OWN_CLUSTER = "f.flexcore.lib.ray.ray_job_adapter:open_adapter"
# Attempts that are followed by another of their own accord when the head has lost them.
MAX_LOST_ATTEMPTS = 3
SUPERVISOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
# Of Ray's own message about a job, its end.
MAX_MESSAGE_CHARACTERS = 2000


def return_unchanged(result: contracts.StepResult) -> contracts.StepResult:
    return result


@dataclass(frozen=True, slots=True)
class Work:
    """What an operation gives the adapter: the job, what its result means as a step's, and what follows that result
    (safe to repeat). resumes: whether the next attempt goes on from what a lost one has left in the store."""

    job: ray_job.Job
    to_result: Callable[[ray_job.FinishedJob], contracts.StepResult]
    finish: Callable[[contracts.StepResult], contracts.StepResult] = field(default=return_unchanged)
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a call has at hand: the head, the store, and what must not be seen. call: the Windmill job that asks;
    owner: for whom, when many wait for the head."""

    api: dashboard.RayApi
    store: object_store.Store
    key: identity.ExecutionKey
    redactor: redaction.Redactor
    call: str = ""
    owner: str = "0-0"


class JobAdapter:
    """Raises TransientError when the head or the store cannot be reached; a repeat then attaches."""

    def __init__(
        self,
        context: Context,
        work: Work,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = print,
        checks_first: bool = False,
    ) -> None:
        # Whether what the cluster lacks is looked for beforehand: where another attempt costs another cluster.
        self.checks_first = checks_first
        self.api, self.store, self.key, self.redactor = context.api, context.store, context.key, context.redactor
        self.work, self.job, self.report = work, work.job, report
        self.records = attempt_records.StoreRecords(self.store, self.key)
        self.observer = job_observer.JobObserver(self.api, self.redactor, clock, sleep, report)
        self.call, limit = context.call, self.api.cluster.max_jobs
        self.queue = job_queue.JobQueue(self.observer, self.store, limit, context.owner) if limit else None

    def find(self, number: int) -> attempts.Attempt | None:
        """The job by its name, running or ended: how it ended, `observe` says."""
        name = self.key.name(number)
        details = self._look_up(name)
        if details is None:
            return attempts.Attempt(number, "abandoned") if self.work.resumes and self._has_begun(number) else None
        return attempts.Attempt(number, "running", job_observer.remote_job(self.api, name, details))

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        """Submits the job; a deferred one whose turn has not come is left to reconcile, in the queue.

        Raises InvalidInput for what the cluster can never give or Ray refuses, and DeadlineExceeded when the turn of a
        job that is waited for does not come."""
        cluster.check_capacity(self.api, self.job.needs)
        name = self.key.name(number)
        remote = job_observer.remote_job(self.api, name, {})
        if not self._admit(name):
            return remote
        job = self._apply_findings(self.job, (attempt.findings for attempt in earlier))
        if (job.deferred or self.checks_first) and job == self.job and (job.check or job.packages):
            # Found out only by the work itself, it would keep waiting whoever collects: for another attempt.
            self.report("Checking whether the cluster has what the job needs")
            job = self._apply_findings(job, [self._probe(number, job)])
        if self.queue and self.queue.is_stale() and not self._admit(name):
            return remote
        is_new = self._submit(job, name, number)
        if self.queue:
            self.queue.leave()
        self.report(f"{'Submitted' if is_new else 'Attaching to'} the Ray job {name}")
        return remote

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        end = self.observer.watch(remote.name, self.job.timeout_s)
        if self.queue:
            self.observer.attempt(self.queue.release)
        if self._is_lost(number, end):
            self.report("Ray has lost the job with its head: the next attempt goes on from what this one has stored")
            return driver.Verdict(findings={})
        if end.error:
            return driver.Verdict(error=end.error)
        packages = ray_job.installed_packages(end.details)
        missing = job_diagnosis.find_missing_packages(end.outcome)
        if missing and not packages:
            return driver.Verdict(findings=read_findings(end.outcome))
        if packages and job_diagnosis.lacks_pip(end.details) and not self._has_pip_wheel(number):
            return self._find_pip(number, packages)
        return self._judge(number, remote.name, end, packages)

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return self.work.finish(result)

    def _has_begun(self, number: int) -> bool:
        """Whether the job of this attempt has run: a head that does not know it has lost it."""
        try:
            return self.store.read_json(self.records.uri(number, "began.json")) is not None
        except errors.DataError:
            return True

    def _is_lost(self, number: int, end: job_observer.JobEnd) -> bool:
        """Whether the job is gone with its head, and its work worth going on with. A head that dies again and again may
        do so for the job: then its error is the last word."""
        if not self.work.resumes or number > MAX_LOST_ATTEMPTS:
            return False
        is_head_gone = end.details.get("error_type") == SUPERVISOR_DIED and end.outcome is None
        return (end.error is not None and end.error.category == "job_lost") or is_head_gone

    def _look_up(self, name: str) -> dashboard.Json | None:
        """The job's details; with a limit, all jobs are looked at in the one request that it takes."""
        if self.queue:
            jobs = self.observer.contact(self.api.jobs)
            self.queue.note_jobs(jobs)
            return next((job for job in jobs if job.get("submission_id") == name), None)
        try:
            details: dashboard.Json = self.observer.contact(lambda: self.api.job(name))
        except errors.NotFound:
            return None
        return details

    def _admit(self, name: str) -> bool:
        """Whether the job may be submitted now. How it ends is recorded in the store: one that cannot be written is
        reported before anything has run."""
        if self.queue is None:
            self.store.check()
            return True
        entry = {"job": name, "operation": self.job.kind, "call": self.call, "key": asdict(self.key)}
        return self.queue.enter(name, self.job.timeout_s, entry, waits=not self.job.deferred)

    def _apply_findings(self, job: ray_job.Job, findings: Iterable[Any]) -> ray_job.Job:
        """The job with the packages that the cluster was found to lack, and with the pip that it was found to have."""
        for item in findings:
            packages, wheel = item.get("packages") or [], str(item.get("pip_wheel") or "")
            if packages and not job.packages:
                self.report(f"The cluster lacks {', '.join(packages)}; they are installed for this job")
                job = replace(job, packages=list(packages))
            job = replace(job, pip_wheel=wheel or job.pip_wheel)
        return job

    def _submit(self, job: ray_job.Job, name: str, number: int) -> bool:
        """Whether the job is new: a name that is taken already is a job of this execution."""
        version = str(self.observer.contact(self.api.version).get("ray_version")) if job.packages else ""
        # The head has answered by now, so its clock is known: ours may be minutes off.
        now = self.api.now()
        package = ray_job.package(job, name, self.records.uri(number), now)
        # A submission that is cut off may have arrived: asking again is safe, since the name is taken by then.
        uri = self.observer.contact(lambda: self.api.upload(*package))
        environment = ray_job.runtime_env(job, version) | {"working_dir": uri}
        if trace := self.key.trace_environment(number):
            environment["env_vars"] = {**trace, **(environment.get("env_vars") or {})}
        labels = self.key.labels(number) | ({admission.OWNER: self.queue.owner} if self.queue else {})
        body = ray_job.submission(job, name, labels, environment, now)
        return bool(self.observer.contact(lambda: self.api.submit(body)))

    def _probe(self, number: int, job: ray_job.Job) -> dict[str, Any]:
        """What a helper job found out: it asks for nothing, and does nothing but look at Ray's Python environment."""
        name = f"{self.key.name(number)}-{PROBE}"
        check = job.check if not job.packages else ""
        files = (job.files if check else {}) | {job_entry.PROGRAM: check or "pass"}
        helper = ray_job.Job(kind=PROBE, files=files, parameters=job.parameters if check else {})
        self._submit(helper, name, number)
        end = self.observer.watch(name, helper.timeout_s)
        self.observer.delete(name)
        return read_findings(end.outcome)

    def _has_pip_wheel(self, number: int) -> bool:
        earlier = (self.records.read(before) for before in range(1, number))
        return any(attempt and attempt.findings.get("pip_wheel") for attempt in earlier)

    def _find_pip(self, number: int, packages: list[str]) -> driver.Verdict:
        """The verdict of an attempt whose packages Ray could not install for want of a pip."""
        self.report("Ray's environment has no pip; looking for one that can be borrowed")
        wheel = self._probe(number, replace(self.job, packages=packages))["pip_wheel"]
        if wheel:
            return driver.Verdict(findings={"packages": packages, "pip_wheel": wheel})
        error = errors.ExecutionFailed(
            f"Ray cannot install {', '.join(packages)}: its Python environment has no pip",
            subject="packages",
            category="runtime_env_failed",
            remedy="Install pip, or the packages themselves, in the environment that Ray runs in.",
        )
        return driver.Verdict(error=error, is_deterministic=True)

    def _judge(self, number: int, name: str, end: job_observer.JobEnd, packages: list[str]) -> driver.Verdict:
        message = self.redactor.text(log_text.clean_log(str(end.details.get("message") or "")))
        deadline = (end.details.get("metadata") or {}).get("flexcore/deadline")
        details = end.details | {"message": message[-MAX_MESSAGE_CHARACTERS:], "deadline": deadline}
        remote = job_observer.remote_job(self.api, name, details)
        diagnosis = job_diagnosis.diagnose(details, end.outcome)
        if diagnosis is not None:
            diagnosis = diagnosis.model_copy(update={"detail": self.redactor.text(diagnosis.detail)})
            measured = measure_timings(details, end.outcome or {}).model_dump(mode="json")
            error = job_diagnosis.typed_error(
                name, diagnosis, end.outcome, remote=remote.model_dump(), log_tail=end.log_tail, timings=measured
            )
            return driver.Verdict(error=error)
        assert end.outcome is not None, "a success without an outcome has a diagnosis"
        timings = measure_timings(details, end.outcome)
        result, tail = end.outcome["result"], end.log_tail
        finished = ray_job.FinishedJob(self.key, number, result, timings, remote, tail, packages)
        return driver.Verdict(result=self.work.to_result(finished))


def read_findings(outcome: dashboard.Json | None) -> dict[str, Any]:
    """What a job found out about Ray's environment for the next one."""
    wheel = str((outcome or {}).get("pip_wheel") or "")
    return {"packages": job_diagnosis.find_missing_packages(outcome), "pip_wheel": wheel}


def measure_timings(job: dashboard.Json, outcome: dashboard.Json) -> contracts.Timings:
    """Ray's and the job's clocks are the head's: start_time and end_time in milliseconds since the epoch."""
    submitted, ended = job.get("start_time"), job.get("end_time")
    began, finished = outcome.get("started_at"), outcome.get("finished_at")
    began_at = datetime.fromtimestamp(submitted / 1000, UTC) if submitted else None
    if not (submitted and began and finished):
        return contracts.Timings(began_at=began_at)
    return contracts.Timings(
        starting=max(0.0, began - submitted / 1000),
        running=max(0.0, finished - began),
        finishing=max(0.0, ended / 1000 - finished) if ended else None,
        began_at=began_at,
    )


Prepare = Callable[[operation.Invocation[Any, Any], Context], Work]
Check = Callable[[Any, Any, resources.Settings], None]


def check_again(invocation: operation.Invocation[Any, Any], api: dashboard.RayApi, check: Check) -> None:
    """The operation's own check, of the cluster that its resource names: before it was read there was no telling where
    that is. Raises InvalidInput."""
    if invocation.service.resource:
        check(invocation.request, api.place, invocation.settings)


def execute_with(
    prepare: Prepare, check: Check = operation.check_nothing
) -> Callable[[operation.Invocation[Any, Any]], dict[str, Any]]:
    """The `execute` of an operation whose work is a job. check: the operation's."""

    @contextmanager
    def open_adapter(invocation: operation.Invocation[Any, Any]) -> Iterator[JobAdapter]:
        secrets = [*invocation.service.secrets(), *invocation.settings.secrets()]
        with dashboard.RayApi(invocation.service) as api:
            check_again(invocation, api, check)
            redactor = redaction.Redactor([*secrets, *api.secrets(), *resources.secret_values(invocation.request)])
            # Whoever prepares the work sees the cluster that a reference stands for.
            invocation = replace(invocation, service=api.cluster)
            store, owner = object_store.Store(invocation.settings), admission.owner_digest(os.environ)
            context = Context(api, store, invocation.key, redactor, invocation.call, owner)
            work = prepare(invocation, context)
            job = replace(work.job, deferred=invocation.is_deferred)
            yield JobAdapter(context, replace(work, job=job))

    def execute(invocation: operation.Invocation[Any, Any]) -> dict[str, Any]:
        if not getattr(invocation.request, "own_cluster", None):
            return driver.drive(open_adapter, invocation)
        open_own = operation.resolve(OWN_CLUSTER)
        return driver.drive(lambda item: open_own(item, prepare), invocation)

    return execute


def plan_with(check: Check) -> Callable[[operation.Invocation[Any, Any]], contracts.StepResult]:
    """The `plan` of such an operation, whose check this is."""
    return lambda invocation: plan(invocation, check)


def plan(invocation: operation.Invocation[Any, Any], check: Check = operation.check_nothing) -> contracts.StepResult:
    """The measures of the cluster. Raises InvalidInput when it can never give what the request needs."""
    if getattr(invocation.request, "own_cluster", None):
        from f.flexcore.lib.ray import ray_job_plan

        return ray_job_plan.plan(invocation)
    with dashboard.RayApi(invocation.service) as api:
        check_again(invocation, api, check)
        data = cluster.measure(api)
        cluster.check_capacity(api, invocation.request.needs)
    return cluster.plan_result(invocation.key, data)
