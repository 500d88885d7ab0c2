# requirements: flexcore_base
"""Runs a program as a Ray job, exactly once per attempt: look it up, attach to it or create it, observe it to its end.

An attempt's job is named `<execution key>-<attempt>`; how it ended is recorded in the store, so that a repeat of the
step returns the recorded result even when Ray has forgotten the job.

    recorded as succeeded → its result        recorded as failed for good → its error
    known to Ray          → attach            recorded as failed          → the next attempt
    neither               → create; a create that answers "exists" attaches
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from f.flexcore.lib.core import contracts, deferral, errors, identity, log_text, module_source, redaction
from f.flexcore.lib.ray import capacity, dashboard, job_diagnosis, logs, package
from f.flexcore.lib.ray.remote import job_entry
from f.flexcore.lib.storage import object_store

# Within these a job usually starts, and a short one ends; afterwards nobody minds a second.
POLL_S = ((5.0, 0.1), (30.0, 0.4), (float("inf"), 1.5))
# A head that cannot be reached for longer is taken for gone; its job may go on and is attached to by a repeat.
LOST_CONTACT_S = 120.0
# A proxy that refuses once may be renewing its own credentials; one that keeps refusing is right.
REFUSED_S = 10.0
# At the first contact a short hiccup is waited for, a wrong address is not.
FIRST_CONTACT_S = 3.0
# A head that answers but is still starting takes jobs within a minute.
BUSY_S = 60.0
# A job that Ray does not know right after it was created may be one of a moment's leader change.
UNKNOWN_S = 5.0
# A job waits this long for free CPUs and for its packages, then it is given up.
START_S = 900
# A job that has not started by then is worth a word.
WAITS_S = 15.0
STOP_CONFIRMED_S = 30.0
# How long finished jobs are worth keeping: `operations/reconcile` deletes them after this.
KEEP_S = 7 * 24 * 3600
UV_SINCE = (2, 43)
# A job that looks at Ray's Python environment.
PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: `files` by name, the program among them, with its JSON parameters. storage: how the job reaches the
    store ({uri, …keys}, to which the attempt's own `folder` is added); secrets: the program's environment
    variables. Both travel in the package, never in an argument, a label, the job's metadata or its runtime environment.
    needs: what the job takes in all, which the cluster must be able to give."""

    kind: str
    files: dict[str, str]
    parameters: dashboard.Json
    storage: dashboard.Json | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    num_cpus: float = 0
    num_gpus: float = 0
    memory_bytes: int = 0
    packages: list[str] = field(default_factory=list)
    pip_wheel: str = ""
    runtime_env: dashboard.Json = field(default_factory=dict)
    needs: capacity.Needs = field(default_factory=capacity.Needs)
    timeout_s: int = 3600
    deferred: bool = False
    # A program of the same files that ends as the job's own does when the cluster lacks packages, else well.
    check: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that succeeded: `result` is what its program returned."""

    attempt: int
    result: Any
    usage: dict[str, float | int]
    timings: contracts.Timings
    remote: contracts.Remote
    log_tail: str
    packages: list[str]


class JobRunner:
    """Runs jobs for one execution key. Raises the program's own typed error, ExecutionFailed or DeadlineExceeded, and
    TransientError when the cluster cannot be reached; a repeat then attaches."""

    def __init__(
        self,
        api: dashboard.RayApi,
        store: object_store.Store,
        key: identity.ExecutionKey,
        redactor: redaction.Redactor,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        emit: Callable[[str], None] = print,
    ) -> None:
        self.api, self.store, self.key, self.redactor = api, store, key, redactor
        self.clock, self.sleep, self.emit = clock, sleep, emit

    def run(self, job: Job) -> Finished:
        """The result of the first attempt that succeeds; earlier failures of this key are stepped over."""
        attempt = 0
        while True:
            attempt += 1
            record, known = self._attempt(job, attempt)
            informed = self._informed(job, record)
            if informed:
                job = informed
                continue
            if job_diagnosis.lacks_pip(record["job"]) and not job.pip_wheel:
                attempt += 1
                job = replace(job, pip_wheel=self._find_pip(job, attempt))
                continue
            ended = self._judge(record, attempt)
            if isinstance(ended, Finished):
                return replace(ended, packages=job.packages)
            if not known or job_diagnosis.is_final(ended):
                raise ended

    def submit(self, job: Job) -> tuple[int, contracts.Remote]:
        """(attempt, job): created or found, and not waited for. A repeat under the same key attaches to it.

        What the cluster lacks is found out before, by a job of a moment: the work itself would end with that after
        the flow was suspended, and whoever collects would have to wait for the next attempt.
        """
        attempt = 1
        if self._recorded(1) is None and (job.check or job.packages):
            self.emit("Looking whether the cluster has what the job needs")
            self._probe(job, 1)
        while (record := self._recorded(attempt)) is not None:
            attempt += 1
            informed = self._informed(job, record)
            if informed:
                job = informed
                continue
            ended = self._judge(record, attempt - 1)
            if isinstance(ended, Finished):
                return attempt - 1, self._remote(record["submission_id"], record["job"])
            if job_diagnosis.is_final(ended):
                raise ended
        identity.check_attempt(self.key, attempt)
        name = self.key.name(attempt)
        if self._first_contact(lambda: self._find(name)) is None:
            self._create(job, attempt)
        return attempt, self._remote(name, {})

    def _informed(self, job: Job, record: dashboard.Json) -> Job | None:
        """The job with the packages that the attempt has found to be missing, and with the pip that it found; None when
        the attempt was the work itself."""
        wheel, wanted = (
            str((record["outcome"] or {}).get("pip_wheel") or ""),
            job_diagnosis.missing_packages(record["outcome"]),
        )
        if wanted and not job.packages:
            self.emit(f"The cluster lacks {', '.join(wanted)}; they are installed for this job")
            return replace(job, packages=wanted, pip_wheel=wheel)
        return replace(job, pip_wheel=wheel or job.pip_wheel) if record.get("kind") == PROBE else None

    def _probe(self, job: Job, attempt: int) -> dashboard.Json:
        """How an attempt ended that asks for nothing and does nothing but look at Ray's Python environment."""
        looks = job.check if not job.packages else ""
        files = (job.files if looks else {}) | {job_entry.PROGRAM: looks or "pass"}
        parameters = job.parameters if looks else {}
        record, known = self._attempt(Job(kind=PROBE, files=files, parameters=parameters), attempt)
        if not known:
            self._quietly(lambda: self.api.delete(record["submission_id"]))
        return record

    def _attempt(self, job: Job, attempt: int) -> tuple[dashboard.Json, bool]:
        """(how the attempt ended, whether that was recorded before)"""
        identity.check_attempt(self.key, attempt)
        record = self._recorded(attempt)
        return (record, True) if record is not None else (self._execute(job, attempt), False)

    def _find_pip(self, job: Job, attempt: int) -> str:
        """Where the cluster has a pip that Ray can use; raises ExecutionFailed when it has none."""
        self.emit("Ray's environment has no pip; looking for one that can be borrowed")
        record = self._probe(job, attempt)
        wheel = str((record["outcome"] or {}).get("pip_wheel") or "")
        if not wheel:
            raise errors.ExecutionFailed(
                f"Ray cannot install {', '.join(job.packages)}: its Python environment has no pip",
                subject="packages",
                category="runtime_env_failed",
                remedy="Install pip, or the packages themselves, in the environment that Ray runs in.",
            )
        return wheel

    def _execute(self, job: Job, attempt: int) -> dashboard.Json:
        """Creates or attaches, observes to the end, and records how it ended."""
        name = self.key.name(attempt)
        found = self._first_contact(lambda: self._find(name))
        if found is None:
            self._create(job, attempt)
        else:
            self.emit(f"Attached to the job {name}, which is {found['status'].lower()}")
        record = self._observe(name, job)
        self.store.write_json(self._record_uri(attempt), record)
        return record

    def _find(self, name: str) -> dashboard.Json | None:
        try:
            return self.api.job(name)
        except errors.NotFound:
            return None

    def _create(self, job: Job, attempt: int) -> None:
        name = self.key.name(attempt)
        self._check_capacity(job)
        # How the job ends is recorded there: a store that cannot be written is told before anything has run.
        self.store.check()
        # The head has answered by now, so its clock is known: ours may be minutes off.
        now = self.api.now()
        request = {
            "submission_id": name,
            "kind": job.kind,
            "parameters": job.parameters,
            "environment": job.secrets,
            "timeout_s": job.timeout_s,
            "deadline": now + job.timeout_s,
            **({"storage": job.storage | {"folder": self._folder(attempt)}} if job.storage else {}),
        }
        files = job.files | {
            "flexcore_job.py": module_source.module_source(job_entry),
            job_entry.REQUEST: json.dumps(request),
        }
        # A submission that is cut off may have arrived: asking again is safe, since the name is taken by then.
        uri = self._first_contact(lambda: self.api.upload(*package.package(files)))
        body = {
            "entrypoint": "python flexcore_job.py",
            "submission_id": name,
            "runtime_env": self._runtime_env(job) | {"working_dir": uri},
            "metadata": self.key.labels(attempt)
            | deferral.deferral_labels(job.deferred)
            | {
                "flexcore/kind": job.kind,
                "flexcore/deadline": str(int(now + job.timeout_s)),
                "flexcore/delete-after": str(int(now + job.timeout_s + KEEP_S)),
            },
            "entrypoint_num_cpus": job.num_cpus,
            "entrypoint_num_gpus": job.num_gpus,
            "entrypoint_memory": job.memory_bytes,
        }
        created = self._first_contact(lambda: self.api.submit(body))
        self.emit(f"{'Submitted' if created else 'Attached to'} the Ray job {name}")

    def _check_capacity(self, job: Job) -> None:
        if not (job.needs.cpus or job.needs.gpus):
            return
        try:
            problem = capacity.shortage(self.api.cluster_status(), job.needs)
        except errors.FlexcoreError:
            # Whether it can be reached, the submission tells.
            return
        if problem:
            raise errors.InvalidInput(
                problem, subject=job.needs.subject, remedy="Ask for less, or add nodes to the cluster."
            )

    def _runtime_env(self, job: Job) -> dashboard.Json:
        if not job.packages:
            return dict(job.runtime_env)
        version = str(self._first_contact(self.api.version).get("ray_version"))
        known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        environment = job.runtime_env | {"uv" if known >= UV_SINCE else "pip": job.packages}
        if job.pip_wheel:
            environment["env_vars"] = (environment.get("env_vars") or {}) | {"PYTHONPATH": job.pip_wheel}
        return environment

    def _observe(self, name: str, job: Job) -> dashboard.Json:
        """Watches until Ray reports an end, or the deadline has passed; returns the record of it."""
        started, told = self.clock(), False
        details = self._look(name)
        follower = logs.LogFollower(JobLog(self.api, name, lambda: details), self.emit, self.redactor)
        deadline, start_deadline = self._deadlines(details, job)
        while details["status"] not in job_diagnosis.TERMINAL:
            now, heads = self.clock(), self.api.now()
            if heads >= deadline or (details["status"] == "PENDING" and heads >= start_deadline):
                details = self._give_up(name, details, follower)
                break
            if details["status"] == "PENDING" and not told and now - started > WAITS_S:
                told = True
                self.emit(f"The job waits for CPUs or for its packages{self._capacity_hint()}")
            if details["status"] == "RUNNING" and now - started > 1:
                follower.look(now)
            self.sleep(next(pause for until, pause in POLL_S if now - started < until))
            details = self._look(name)
        outcome = self._outcome(name, details)
        kept = ("status", "error_type", "message", "driver_exit_code", "start_time", "end_time", "job_id")
        return {
            "submission_id": name,
            "kind": job.kind,
            "job": {item: details.get(item) for item in kept}
            | {"message": self._message(details), "deadline": (details.get("metadata") or {}).get("flexcore/deadline")},
            "outcome": outcome,
            "log_tail": follower.finish(),
        }

    def _deadlines(self, details: dashboard.Json, job: Job) -> tuple[float, float]:
        """(end, latest start) by the head's clock. A job that was attached to keeps its own deadline."""
        given = (details.get("metadata") or {}).get("flexcore/deadline")
        end = float(given) if given else self.api.now() + job.timeout_s
        return end, min(end, end - job.timeout_s + START_S)

    def _look(self, name: str) -> dashboard.Json:
        """The job's details; waits out hiccups. A job that stays unknown is lost, which is no success."""
        began = self.clock()
        while True:
            try:
                details: dashboard.Json = self._patiently(name, lambda: self.api.job(name))
                return details
            except errors.NotFound:
                if self.clock() - began > UNKNOWN_S:
                    raise dashboard.job_lost(name) from None
            self.sleep(1.0)

    def _patiently(self, name: str, call: Callable[[], Any]) -> Any:
        """What the head answers about the job, hiccups waited out."""
        began = self.clock()
        while True:
            try:
                return call()
            except errors.Forbidden:
                if self.clock() - began > REFUSED_S:
                    raise
            except errors.TransientError as error:
                if self.clock() - began > LOST_CONTACT_S:
                    raise self._lost_contact(name, error) from None
            self.sleep(1.0)

    def _give_up(self, name: str, details: dashboard.Json, follower: logs.LogFollower) -> dashboard.Json:
        """Stops a job that is past its time and waits until it has stopped; returns its details if it succeeded after
        all, else raises DeadlineExceeded that says whether it is gone."""
        waited = details["status"] == "PENDING"
        last, confirmed = self._stop(name)
        if last["status"] == "SUCCEEDED":
            return last
        tail = follower.finish()
        if confirmed:
            # Ray may still be at the end of a job that it calls stopped.
            self._quietly(lambda: self._first_contact(lambda: self.api.delete(name)))
        what = f"The Ray job {name} did not {'start' if waited else 'end'} in time"
        hint = self._capacity_hint() if waited else ""
        end = "it was stopped" if confirmed else "it was told to stop, which Ray has not confirmed"
        remedy = "Free CPUs, or ask for fewer." if waited else "Raise timeout_s, or give the job more to work with."
        raise errors.DeadlineExceeded(
            f"{what}; {end}{hint}",
            subject=name,
            remedy=remedy,
            remote=self._remote(name, details).model_dump(),
            log_tail=tail,
            confirmed=confirmed,
        )

    def _stop(self, name: str) -> tuple[dashboard.Json, bool]:
        self._quietly(lambda: self.api.stop(name))
        until = self.clock() + STOP_CONFIRMED_S
        last = self._look(name)
        while last["status"] not in job_diagnosis.TERMINAL and self.clock() < until:
            self.sleep(0.5)
            last = self._look(name)
        return last, last["status"] in job_diagnosis.TERMINAL

    def _capacity_hint(self) -> str:
        try:
            used, total = self.api.cluster_status()["loadMetricsReport"]["usage"]["CPU"]
        except (errors.FlexcoreError, KeyError, TypeError, ValueError):
            return ""
        return f" (the cluster has {total:g} CPUs, {used:g} of them in use)"

    def _outcome(self, name: str, details: dashboard.Json) -> dashboard.Json | None:
        node = details.get("driver_node_id")
        if not node:
            return None
        try:
            content = self._patiently(name, lambda: self.api.log_file(node, f"flexcore-{name}.json"))
        except (errors.NotFound, errors.Unavailable):
            # Said by the head itself: the node with the file is gone. One that cannot be reached says nothing, and the
            # job must not be recorded as failed for it.
            return None
        return job_diagnosis.parse_outcome(content, name)

    def _judge(self, record: dashboard.Json, attempt: int) -> Finished | errors.FlexcoreError:
        name, job, outcome = record["submission_id"], record["job"], record["outcome"]
        diagnosis = job_diagnosis.diagnose(job, outcome)
        remote, log_tail = self._remote(name, job), record["log_tail"]
        if diagnosis is None and outcome is not None:
            usage, timings = outcome.get("usage") or {}, timings_of(job, outcome)
            return Finished(attempt, outcome["result"], usage, timings, remote, log_tail, [])
        if diagnosis is None:
            return errors.ExecutionFailed(f"The Ray job {name} left no outcome", subject=name)
        diagnosis = diagnosis.model_copy(update={"detail": self.redactor.text(diagnosis.detail)})
        return job_diagnosis.failure(name, diagnosis, outcome, remote=remote.model_dump(), log_tail=log_tail)

    def _remote(self, name: str, details: dashboard.Json) -> contracts.Remote:
        uid = details.get("job_id")
        return contracts.Remote(kind="ray_job", name=name, uid=uid, url=f"{self.api.address}/#/jobs/{uid or name}")

    def _message(self, details: dashboard.Json) -> str:
        return self.redactor.text(log_text.clean_log(str(details.get("message") or "")))[-2000:]

    def _recorded(self, attempt: int) -> dashboard.Json | None:
        record = self.store.read_json(self._record_uri(attempt))
        return record if isinstance(record, dict) else None

    def _record_uri(self, attempt: int) -> str:
        return f"{self._folder(attempt)}/ray_job.json"

    def _folder(self, attempt: int) -> str:
        return self.store.uri(self.key.value, str(attempt))

    def _first_contact(self, call: Callable[[], Any]) -> Any:
        began = self.clock()
        while True:
            try:
                return call()
            except errors.TransientError as error:
                if self.clock() - began > (BUSY_S if error.category == "busy" else FIRST_CONTACT_S):
                    raise
            self.sleep(0.5)

    def _quietly(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except errors.FlexcoreError as error:
            self.emit(f"Warning: {error}")

    def _lost_contact(self, name: str, error: errors.TransientError) -> errors.TransientError:
        return type(error)(
            f"Lost contact with the Ray job {name}, which may go on: {error}",
            subject=name,
            remedy="A retry of the step attaches to the job if the head still has it; a new run takes partial_results.",
        )


@dataclass(frozen=True, slots=True)
class JobLog:
    """What a job printed: a file on the node of its driver, which `details` names once there is one."""

    api: dashboard.RayApi
    name: str
    details: Callable[[], dashboard.Json]

    def start(self, most: int) -> bytes:
        return self.api.log_start(*self._file(), most)

    def end(self, lines: int, most: int) -> bytes:
        return self.api.log_end(*self._file(), lines, most)

    def _file(self) -> tuple[str, str]:
        node = self.details().get("driver_node_id")
        if not node:
            raise errors.NotFound(f"The Ray job {self.name} has no driver yet", subject=self.name)
        return node, f"job-driver-{self.name}.log"


def timings_of(job: dashboard.Json, outcome: dashboard.Json) -> contracts.Timings:
    """Ray's and the job's clocks are the head's: start_time and end_time in milliseconds since the epoch."""
    submitted, ended = job.get("start_time"), job.get("end_time")
    began, finished = outcome.get("started_at"), outcome.get("finished_at")
    if not (submitted and began and finished):
        return contracts.Timings()
    return contracts.Timings(
        starting=max(0.0, began - submitted / 1000),
        running=max(0.0, finished - began),
        finishing=max(0.0, ended / 1000 - finished) if ended else None,
    )


def step_result(key: identity.ExecutionKey, finished: Finished, **more: Any) -> contracts.StepResult:
    """The common part of every Ray step's result."""
    return contracts.StepResult(
        success=True,
        runtime="ray",
        execution_key=key.value,
        attempt=finished.attempt,
        timings=finished.timings,
        remote=finished.remote,
        log_tail=finished.log_tail,
        **more,
    )
