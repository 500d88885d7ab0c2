# requirements: flexcore_base
"""Who may submit a job to a Ray head next, when only so many jobs of ours may be there at once. Pure.

    the head's jobs with our labels ─┐
    admissions in the store          ├─→ slots that are taken
    waiting entries in the store ────┴─→ fair order ─→ the first ones, as many as there are free slots

No slot is counted: it is taken while the head has its job, and, from the admission on, for as long as a submission may
take. An entry, an admission and a job belong together by the job's name. All times are by the head's clock.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import identity
from f.flexcore.lib.ray import job_diagnosis

# The label of a job that says for whom it runs: digests, since everybody on the cluster may read it.
OWNER = "flexcore/queue-owner"
DIGEST_LENGTH = 8
# From its admission to its appearance on the head a job takes a few requests. Whoever stands still for longer between
# the two (a suspended machine) may put one job above the limit.
ADMISSION_S = 60.0
# The head was asked before the admission was written; admissions of that time are all still there.
MAX_AGE_S = 20.0
KEY = re.compile(r"fc-[0-9a-f]{20}")
# Not more than that: a file that is being written has a longer name.
JOB = rf"(?P<job>{KEY.pattern}-\d+)"
WAITING = re.compile(rf"w\.(?P<since>\d+)\.(?P<owner>[0-9a-f]+-[0-9a-f]+)\.(?P<kind>[bd])\.(?P<until>\d+)\.{JOB}")
ADMITTED = re.compile(rf"a\.(?P<at>\d+)\.{JOB}")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for its turn; everything that decides stands in its object's name, so that one listing says it.

    until: when its step gives it up; is_deferred: no step waits for it, reconcile submits it."""

    job: str
    owner: str
    since: float
    until: float
    is_deferred: bool = False

    @property
    def key(self) -> str:
        return key_of(self.job)

    @property
    def name(self) -> str:
        kind = "d" if self.is_deferred else "b"
        return f"w.{self.since * 1000:013.0f}.{self.owner}.{kind}.{self.until:.0f}.{self.job}"


@dataclass(frozen=True, slots=True)
class Admitted:
    job: str
    at: float

    @property
    def name(self) -> str:
        return f"a.{self.at * 1000:013.0f}.{self.job}"


@dataclass(frozen=True, slots=True)
class Queue:
    waiting: tuple[Waiting, ...] = ()
    admitted: tuple[Admitted, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The jobs of ours on a head, as seen `at`. running: key → owner; ended: names."""

    at: float
    running: Mapping[str, str] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()


def parse_queue(names: Iterable[str]) -> Queue:
    """What is no entry of ours is left out."""
    waiting, admitted = [], []
    for name in names:
        if match := WAITING.fullmatch(name):
            since, until = int(match["since"]) / 1000, float(match["until"])
            waiting.append(Waiting(match["job"], match["owner"], since, until, match["kind"] == "d"))
        elif match := ADMITTED.fullmatch(name):
            admitted.append(Admitted(match["job"], int(match["at"]) / 1000))
    return Queue(tuple(waiting), tuple(admitted))


def parse_head(jobs: Iterable[Mapping[str, Any]], at: float) -> Head:
    running, ended = {}, set()
    for job in jobs:
        labels = job.get("metadata") or {}
        if labels.get(identity.MANAGED_BY) != "flexcore":
            continue
        if job.get("status") in job_diagnosis.TERMINAL:
            ended.add(str(job.get("submission_id")))
        else:
            running[str(labels.get("flexcore/key"))] = str(labels.get(OWNER) or "")
    return Head(at, running, frozenset(ended))


def key_of(job: str) -> str:
    match = KEY.match(job)
    return match[0] if match else job


def owner_digest(env: Mapping[str, str]) -> str:
    """For whom a job runs: the workspace's user, and the flow (or script) among those of the same user."""
    user = f"{env.get('WM_WORKSPACE', '')}/{env.get('WM_EMAIL') or env.get('WM_USERNAME') or ''}"
    parts = user, f"{user}/{env.get('WM_FLOW_PATH') or env.get('WM_JOB_PATH') or ''}"
    return "-".join(hashlib.sha256(part.encode()).hexdigest()[:DIGEST_LENGTH] for part in parts)


def find_taken(queue: Queue, head: Head, now: float) -> dict[str, str]:
    """Key → owner ("" when unknown) of all that takes a slot."""
    waiting = {entry.job: entry.owner for entry in queue.waiting}
    taken = dict(head.running)
    for item in queue.admitted:
        if abs(now - item.at) < ADMISSION_S and item.job not in head.ended:
            taken.setdefault(key_of(item.job), waiting.get(item.job, ""))
    return taken


def order(queue: Queue, head: Head, now: float, absent: Collection[str] = ()) -> list[Waiting]:
    """The entries in the order of their turns: always one of the user, and of his flow, that has fewest jobs there or
    before it; then the oldest. absent: jobs whose turn came and that nobody has submitted."""
    taken = find_taken(queue, head, now)
    left = {
        entry.job: entry
        for entry in sorted(queue.waiting, key=lambda entry: (entry.since, entry.job), reverse=True)
        if entry.key not in taken and entry.job not in head.ended and entry.until >= now and entry.job not in absent
    }
    users, owners = Counter(_user(owner) for owner in taken.values()), Counter(taken.values())
    ordered: list[Waiting] = []
    pending = list(left.values())
    while pending:
        turn = min(pending, key=lambda item: (users[_user(item.owner)], owners[item.owner], item.since, item.job))
        pending.remove(turn)
        ordered.append(turn)
        users[_user(turn.owner)] += 1
        owners[turn.owner] += 1
    return ordered


def may_submit(job: str, queue: Queue, head: Head, limit: int, absent: Collection[str] = ()) -> bool:
    """Whether the job, whose own admission is in the queue, may be submitted. now: when the queue was listed.

    Whoever sees too many admissions takes its own back, whatever the others do: of any two, the later one sees the
    earlier one, since both write first and look then."""
    key, now = key_of(job), max((item.at for item in queue.admitted if item.job == job), default=head.at)
    others = {other: owner for other, owner in find_taken(queue, head, now).items() if other != key}
    if len(others) >= limit:
        return False
    rest = Queue(queue.waiting, tuple(item for item in queue.admitted if key_of(item.job) != key))
    first = order(rest, head, now, absent)[: limit - len(others)]
    mine = [entry for entry in queue.waiting if entry.job == job]
    # One that has not waited yet comes after all that have.
    return any(entry.job == job for entry in first) if mine else len(first) < limit - len(others)


def find_position(job: str, ordered: Sequence[Waiting]) -> int:
    """Of the job among those that wait, from 0; behind all of them when it is not there."""
    return next((place for place, entry in enumerate(ordered) if entry.job == job), len(ordered))


def _user(owner: str) -> str:
    return owner.partition("-")[0]
