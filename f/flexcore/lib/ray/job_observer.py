# requirements: flexcore_base
"""Watches a Ray job to its end: follows its log, waits out hiccups of the head, and stops what is past its time.

A log never decides: Ray's status and the outcome file that the program left do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors, redaction
from f.flexcore.lib.ray import dashboard, job_diagnosis, logs

# (seconds since the start, pause): Ray takes most of the first second to start a job's process, longer when it is asked
# all the time meanwhile; a short job ends soon after.
POLL_INTERVALS_S = ((0.8, 0.1), (3.0, 0.02), (6.0, 0.1), (30.0, 0.4), (float("inf"), 1.5))
RETRY_INTERVAL_S = 1.0
# A head that cannot be reached for longer is taken for gone; its job may go on and is attached to by a repeat.
LOST_CONTACT_TIMEOUT_S = 120.0
# A proxy that refuses once may be renewing its own credentials; one that keeps refusing is right.
FORBIDDEN_GRACE_S = 10.0
# At the first contact a short hiccup is waited for, a wrong address is not.
FIRST_CONTACT_TIMEOUT_S = 3.0
# A head that answers but is still starting takes jobs within a minute.
BUSY_TIMEOUT_S = 60.0
# A job that Ray does not know right after it was created may be one of a moment's leader change.
UNKNOWN_JOB_GRACE_S = 5.0
# A job waits this long for free CPUs and for its packages, then it is given up.
START_TIMEOUT_S = 900
# A job that has not started by then is worth a word.
PENDING_NOTICE_S = 15.0
STOP_TIMEOUT_S = 30.0
# Ray looks after a job once a second. When it meets one that was deleted meanwhile, it writes a new record of it, with
# neither entry point nor labels, which reconcile could never ascribe to us.
DELETE_SETTLES_S = 2.5
MAX_DELETES = 5


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended: Ray's record of it, the outcome that its program left (None: none), and the end of its log.
    error: why it was stopped, when it was past its time."""

    details: dashboard.Json
    outcome: dashboard.Json | None = None
    log_tail: str = ""
    error: errors.FlexcoreError | None = None


class LostJob(Exception):
    """Ray no longer knows the job."""


@dataclass(frozen=True, slots=True)
class JobObserver:
    """Every method raises TransientError once the head has been away for long, and Forbidden once it keeps refusing;
    neither says how the job ended."""

    api: dashboard.RayApi
    redactor: redaction.Redactor
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = field(default=print)

    def watch(self, name: str, timeout_s: int) -> JobEnd:
        """The job's end. timeout_s: of a job that does not name its own deadline."""
        try:
            return self._watch(name, timeout_s)
        except LostJob:
            return JobEnd({}, error=dashboard.lost_job_error(name))

    def contact(self, call: Callable[[], Any]) -> Any:
        """What the head answers at the first contact, a short hiccup waited out."""
        began = self.clock()
        while True:
            try:
                return call()
            except errors.TransientError as error:
                limit = BUSY_TIMEOUT_S if error.category == "busy" else FIRST_CONTACT_TIMEOUT_S
                if self.clock() - began > limit:
                    raise
            self.sleep(0.5)

    def attempt(self, call: Callable[[], Any]) -> None:
        """Does what is not worth failing for; a failure is reported."""
        try:
            self.contact(call)
        except errors.FlexcoreError as error:
            self.report(f"Warning: {error}")

    def delete(self, name: str) -> None:
        """Deletes an ended job, and the record that Ray may make of it anew; a failure is reported."""
        self.attempt(lambda: self.api.delete(name))
        until, tries = self.clock() + DELETE_SETTLES_S, 1
        while self.clock() < until and tries < MAX_DELETES:
            self.sleep(0.5)
            try:
                self.api.job(name)
            except errors.FlexcoreError:
                continue
            self.attempt(lambda: self.api.delete(name))
            until, tries = self.clock() + DELETE_SETTLES_S, tries + 1

    def _watch(self, name: str, timeout_s: int) -> JobEnd:
        began, is_noticed = self.clock(), False
        details = self._look(name)
        follower = logs.LogFollower(JobLog(self.api, name, lambda: details), self.report, self.redactor)
        deadline, start_deadline = self._deadlines(details, timeout_s)
        while details["status"] not in job_diagnosis.TERMINAL:
            now, head_now = self.clock(), self.api.now()
            if head_now >= deadline or (details["status"] == "PENDING" and head_now >= start_deadline):
                return self._give_up(name, details, follower)
            if details["status"] == "PENDING" and not is_noticed and now - began > PENDING_NOTICE_S:
                is_noticed = True
                self.report(f"The job waits for CPUs or for its packages{self._describe_capacity()}")
            if details["status"] == "RUNNING" and now - began > 1:
                follower.look(now)
            self.sleep(next(pause for until, pause in POLL_INTERVALS_S if now - began < until))
            details = self._look(name)
        return self._end(name, details, follower)

    def _end(self, name: str, details: dashboard.Json, follower: logs.LogFollower) -> JobEnd:
        return JobEnd(details, self._read_outcome(name, details), follower.finish())

    def _deadlines(self, details: dashboard.Json, timeout_s: int) -> tuple[float, float]:
        """(end, latest start) by the head's clock. A job that was attached to keeps its own deadline."""
        own = (details.get("metadata") or {}).get("flexcore/deadline")
        end = float(own) if own else self.api.now() + timeout_s
        return end, min(end, end - timeout_s + START_TIMEOUT_S)

    def _look(self, name: str) -> dashboard.Json:
        """The job's details. Raises LostJob for a job that stays unknown, which is no success."""
        began = self.clock()
        while True:
            try:
                details: dashboard.Json = self.wait_for_answer(name, lambda: self.api.job(name))
                return details
            except errors.NotFound:
                if self.clock() - began > UNKNOWN_JOB_GRACE_S:
                    raise LostJob from None
            self.sleep(RETRY_INTERVAL_S)

    def wait_for_answer(self, name: str, call: Callable[[], Any]) -> Any:
        """What the head answers about the job, hiccups waited out."""
        began = self.clock()
        while True:
            try:
                return call()
            except errors.Forbidden:
                if self.clock() - began > FORBIDDEN_GRACE_S:
                    raise
            except errors.TransientError as error:
                if self.clock() - began > LOST_CONTACT_TIMEOUT_S:
                    raise lost_contact_error(name, error) from None
            self.sleep(RETRY_INTERVAL_S)

    def _give_up(self, name: str, details: dashboard.Json, follower: logs.LogFollower) -> JobEnd:
        """Stops a job that is past its time and waits until it has stopped; its end, which may be a success after all.
        Raises DeadlineExceeded while Ray has not confirmed that it stopped."""
        is_pending = details["status"] == "PENDING"
        last, is_confirmed = self._stop(name)
        if last["status"] == "SUCCEEDED":
            return self._end(name, last, follower)
        log_tail = follower.finish()
        if is_confirmed:
            # Ray may still be at the end of a job that it calls stopped.
            self.delete(name)
        problem = f"The Ray job {name} did not {'start' if is_pending else 'end'} in time"
        hint = self._describe_capacity() if is_pending else ""
        end = "it was stopped" if is_confirmed else "it was asked to stop, which Ray has not confirmed"
        error = errors.DeadlineExceeded(
            f"{problem}; {end}{hint}",
            subject=name,
            remedy="Free CPUs, or ask for fewer." if is_pending else "Raise timeout_s, or give the job more resources.",
            remote=remote_job(self.api, name, details).model_dump(),
            log_tail=log_tail,
            confirmed=is_confirmed,
        )
        if not is_confirmed:
            raise error
        return JobEnd(last, None, log_tail, error)

    def _stop(self, name: str) -> tuple[dashboard.Json, bool]:
        """(the job's last details, whether it has stopped)"""
        try:
            self.api.stop(name)
        except errors.FlexcoreError as error:
            self.report(f"Warning: {error}")
        until = self.clock() + STOP_TIMEOUT_S
        last = self._look(name)
        while last["status"] not in job_diagnosis.TERMINAL and self.clock() < until:
            self.sleep(0.5)
            last = self._look(name)
        return last, last["status"] in job_diagnosis.TERMINAL

    def _describe_capacity(self) -> str:
        try:
            used, total = self.api.cluster_status()["loadMetricsReport"]["usage"]["CPU"]
        except (errors.FlexcoreError, KeyError, TypeError, ValueError):
            return ""
        return f" (the cluster has {total:g} CPUs, {used:g} of them in use)"

    def _read_outcome(self, name: str, details: dashboard.Json) -> dashboard.Json | None:
        node = details.get("driver_node_id")
        if not node:
            return None
        try:
            content = self.wait_for_answer(name, lambda: self.api.log_file(node, f"flexcore-{name}.json"))
        except (errors.NotFound, errors.Unavailable):
            # Said by the head itself: the node with the file is gone. One that cannot be reached says nothing, and the
            # job must not be recorded as failed for it.
            return None
        return job_diagnosis.parse_outcome(content, name)


@dataclass(frozen=True, slots=True)
class JobLog:
    """What a job printed: a file on the node of its driver, which `details` names once there is one."""

    api: dashboard.RayApi
    name: str
    details: Callable[[], dashboard.Json]

    def start(self, max_bytes: int) -> bytes:
        return self.api.log_start(*self._file(), max_bytes)

    def end(self, lines: int, max_bytes: int) -> bytes:
        return self.api.log_end(*self._file(), lines, max_bytes)

    def _file(self) -> tuple[str, str]:
        node = self.details().get("driver_node_id")
        if not node:
            raise errors.NotFound(f"The Ray job {self.name} has no driver yet", subject=self.name)
        return node, f"job-driver-{self.name}.log"


def remote_job(api: dashboard.RayApi, name: str, details: dashboard.Json) -> contracts.Remote:
    """uid: Ray's own id, which a job gets when its driver starts."""
    uid = details.get("job_id")
    return contracts.Remote(kind="ray_job", name=name, uid=uid, url=f"{api.address}/#/jobs/{uid or name}")


def lost_contact_error(name: str, error: errors.TransientError) -> errors.TransientError:
    return type(error)(
        f"Lost contact with the Ray job {name}, which may go on: {error}",
        subject=name,
        remedy="A retry of the step attaches to the job if the head still has it; a new run takes partial_results.",
    )
