# requirements: flexcore_base
"""The jobs that wait for their turn on a Ray head, one small object each in the store, and the admissions of now.

`ray-queue/<digest of the head's address>/`
    w.<since>.<owner>.<b or d>.<until>.<job>    waits; its content says whose it is and how reconcile submits it
    a.<at>.<job>                                was admitted, and is about to be submitted or was just now

A step that is killed leaves its entry: its repeat takes the place over, reconcile takes away that of an owner that has
ended, and meanwhile the others pass it by. The store must be one that all workers share; with a folder of one worker
each of them has a queue of its own, and the head's jobs alone hold the limit.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import admission, dashboard, job_observer
from f.flexcore.lib.storage import object_store

FOLDER = "ray-queue"
# The next ones look often, those far behind seldom: each look is a request to the head and one to the store.
NEXT_INTERVAL_S, INTERVAL_PER_PLACE_S, MAX_INTERVAL_S = 1.0, 0.25, 10.0
REPORT_INTERVAL_S = 60.0
# Whoever does not take his turn for so long is passed by; a deferred job waits for the next pass of reconcile.
TURN_GRACE_S, DEFERRED_TURN_GRACE_S = 20.0, 120.0
# The shortest time that a job waits for its turn; else it is the time that it may run.
MIN_WAIT_S = 900.0


@dataclass(slots=True)
class JobQueue:
    """One job at the door of one head. limit: jobs of ours at once; owner: by admission.owner_digest.

    Raises Unreachable when the store cannot be used, and the errors of RayApi."""

    observer: job_observer.JobObserver
    store: object_store.Store
    limit: int
    owner: str
    # What the last look at the head's jobs has shown.
    head: admission.Head | None = None
    # When the job was admitted, by the head's clock.
    admitted_at: float | None = None
    _admission: str = ""
    _entries: list[str] = field(default_factory=list)
    # Job → since when it has been its turn, by our clock; those of them that are passed by.
    _turns: dict[str, float] = field(default_factory=dict)
    _absent: set[str] = field(default_factory=set)

    @property
    def api(self) -> dashboard.RayApi:
        return self.observer.api

    def note_jobs(self, jobs: list[dashboard.Json]) -> None:
        self.head = admission.parse_head(jobs, self.api.now())

    def enter(self, job: str, timeout_s: int, content: dict[str, Any], waits: bool) -> bool:
        """Whether the job may be submitted now. Without `waits` it is left in the queue when it may not.

        Raises DeadlineExceeded when its turn does not come in time."""
        if self._admit(job):
            return True
        entry = self._take_place(job, timeout_s, content, is_deferred=not waits)
        reported: tuple[int, float] | None = None
        while True:
            queue, place, free = self.look(job)
            if place < free and self._admit(job):
                return True
            if not waits:
                self.observer.report(self._describe(place, queue, free))
                return False
            if self.api.now() >= entry.until:
                self.leave()
                raise self._too_late(job, place)
            now = self.observer.clock()
            if reported is None or place != reported[0] or now - reported[1] >= REPORT_INTERVAL_S:
                reported = (place, now)
                self.observer.report(self._describe(place, queue, free))
            pause = min(NEXT_INTERVAL_S + INTERVAL_PER_PLACE_S * place, MAX_INTERVAL_S)
            self.observer.sleep(pause * random.uniform(0.8, 1.2))

    def look(self, job: str) -> tuple[list[admission.Waiting], int, int]:
        """(those that wait in the order of their turns, the job's place among them from 0, free slots)"""
        queue = self.read()
        self._ask_jobs(job)
        assert self.head is not None
        now = self.api.now()
        free = self.limit - len(admission.find_taken(queue, self.head, now))
        ordered = admission.order(queue, self.head, now)
        self._note_turns(ordered[: max(free, 0)], job)
        if self._absent:
            ordered = admission.order(queue, self.head, now, self._absent)
        return ordered, admission.find_position(job, ordered), free

    def leave(self) -> None:
        """Takes the job out of the queue: it was submitted, or is given up."""
        for name in self._entries:
            self.store.remove(self._uri(name))
        self._entries = []

    def release(self) -> None:
        """Takes back the admission of a job that has ended."""
        if self._admission:
            self.store.remove(self._uri(self._admission))
        self._admission = ""

    def read(self) -> admission.Queue:
        return admission.parse_queue(self.store.names(self._uri()))

    def read_entry(self, entry: admission.Waiting) -> dict[str, Any]:
        """What stands in an entry; {} when it was taken away meanwhile, or is not readable."""
        try:
            content = self.store.read_json(self._uri(entry.name))
        except errors.DataError:
            return {}
        return content if isinstance(content, dict) else {}

    def remove(self, name: str) -> None:
        self.store.remove(self._uri(name))

    def is_stale(self) -> bool:
        """Whether the admission is so old that the job must be admitted anew before it is submitted."""
        return self.admitted_at is None or self.api.now() - self.admitted_at > admission.ADMISSION_S / 2

    def _admit(self, job: str) -> bool:
        """Admits the job, when that leaves no more than `limit` there."""
        self.release()
        mark = admission.Admitted(job, self.api.now())
        self.store.write_bytes(self._uri(mark.name), b"")
        queue = self.read()
        if self.head is None or self.api.now() - self.head.at > admission.MAX_AGE_S:
            self._ask_jobs(job)
        assert self.head is not None
        if admission.may_submit(job, queue, self.head, self.limit, self._absent):
            self.admitted_at, self._admission = mark.at, mark.name
            self._entries = [entry.name for entry in queue.waiting if entry.job == job]
            return True
        self.store.remove(self._uri(mark.name))
        return False

    def _take_place(self, job: str, timeout_s: int, content: dict[str, Any], is_deferred: bool) -> admission.Waiting:
        """The job's entry: the one that it has, when an earlier call has made it."""
        known = [entry for entry in self.read().waiting if entry.job == job]
        if known:
            self._entries = [entry.name for entry in known]
            return known[0]
        now = self.api.now()
        entry = admission.Waiting(job, self.owner, now, now + max(float(timeout_s), MIN_WAIT_S), is_deferred)
        self.store.write_json(self._uri(entry.name), content)
        self._entries = [entry.name]
        return entry

    def _ask_jobs(self, job: str) -> None:
        """Looks at the head's jobs; a head that is away for a moment costs nobody his place."""
        self.note_jobs(self.observer.wait_for_answer(job, self.api.jobs))

    def _note_turns(self, first: list[admission.Waiting], job: str) -> None:
        """Notes whose turn it is, and who of them has not taken it for long."""
        now = self.observer.clock()
        self._turns = {entry.job: self._turns.get(entry.job, now) for entry in first if entry.job != job}
        graces = {entry.job: DEFERRED_TURN_GRACE_S if entry.is_deferred else TURN_GRACE_S for entry in first}
        self._absent = {other for other, since in self._turns.items() if now - since > graces[other]}

    def _uri(self, *names: str) -> str:
        head = hashlib.sha256(self.api.address.encode()).hexdigest()[:12]
        return self.store.uri(FOLDER, head, *names)

    def _describe(self, place: int, queue: list[admission.Waiting], free: int) -> str:
        return (
            f"Waiting for a turn on the Ray head: position {place + 1} of {max(len(queue), place + 1)} "
            f"({self.limit - free} of {self.limit} jobs of flexcore are there)"
        )

    def _too_late(self, job: str, place: int) -> errors.DeadlineExceeded:
        return errors.DeadlineExceeded(
            f"The turn of the Ray job {job} did not come in time: it waited at position {place + 1}",
            subject="cluster.max_jobs",
            remedy="Run it again when the head has less to do, or raise max_jobs of the cluster if it has memory.",
            category="queue_timeout",
        )
