"""The lease of a head's Serve applications: one holder, followed when it stands still, fenced when it comes back."""

from __future__ import annotations

import json
import random
import threading

import pytest

from f.flexcore.lib.ray.remote import serve_lease
from f.flexcore.lib.ray.remote.shared_storage import Problem


class Memory:
    """A store whose put_new is atomic, as that of a head is."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.lock = threading.Lock()

    def put_new(self, key: str, value: str) -> bool:
        with self.lock:
            return self.values.setdefault(key, value) is value

    def put(self, key: str, value: str) -> None:
        with self.lock:
            self.values[key] = value

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def keys(self, prefix: str) -> list[str]:
        with self.lock:
            return [key for key in self.values if key.startswith(prefix)]

    def delete(self, key: str) -> None:
        with self.lock:
            self.values.pop(key, None)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def lease(kv: Memory, owner: str = "fc-a") -> tuple[serve_lease.Lease, Clock]:
    clock = Clock()
    return serve_lease.Lease(kv, owner, clock, clock.sleep), clock


def test_tokens_rise_and_one_record_is_left() -> None:
    kv, tokens = Memory(), []
    for _ in range(5):
        held, _ = lease(kv)
        tokens.append(held.take())
        held.check()
        held.release()
    assert tokens == [1, 2, 3, 4, 5]
    assert [json.loads(value)["released"] for value in kv.values.values()] == [True]


def test_a_waiter_is_told_who_holds_the_lease_when_it_beats_on() -> None:
    kv = Memory()
    holder, _ = lease(kv, "fc-holder")
    holder.take()
    waiter, clock = lease(kv, "fc-waiter")
    beats = iter(range(1, 10_000))

    def sleep(seconds: float) -> None:
        holder.beat(next(beats))
        clock.sleep(seconds)

    waiter.sleep = sleep
    with pytest.raises(Problem, match="being changed by fc-holder for longer than 60 s") as caught:
        waiter.take(timeout_s=60)
    assert caught.value.flexcore["type"] == "DeadlineExceeded"


def test_a_holder_that_stands_still_is_followed_and_fenced_off() -> None:
    kv = Memory()
    dead, _ = lease(kv, "fc-dead")
    dead.take()
    waiter, clock = lease(kv, "fc-next")
    assert waiter.take() == 2
    assert serve_lease.LEASE_TTL_S <= clock.now < serve_lease.LEASE_TTL_S + 1
    for late in (dead.check, lambda: dead.beat(1)):
        with pytest.raises(Problem, match="taken the lease over") as caught:
            late()
        assert caught.value.flexcore["type"] == "Unavailable"
    dead.release()
    waiter.check()
    assert json.loads(kv.values[serve_lease.key_of(2)])["owner"] == "fc-next"


def test_who_was_slow_cannot_take_a_token_that_was_used_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    kv = Memory()
    slow, _ = lease(kv, "fc-slow")
    honest, answers = slow._highest, [0]
    # It saw no record, then slept while three others came and went.
    monkeypatch.setattr(slow, "_highest", lambda: answers.pop() if answers else honest())
    for _ in range(3):
        other, _ = lease(kv)
        other.take()
        other.release()
    assert slow.take() == 4


def test_two_hundred_changes_by_eight_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_lease, "POLL_INTERVAL_S", 0.0005)
    kv, at_work, errors = Memory(), list[str](), list[list[str]]()
    shared: dict[str, list[str]] = {"applications": []}

    def work(name: str) -> None:
        rng = random.Random(name)
        for number in range(25):
            with serve_lease.hold(name, kv) as held:
                at_work.append(name)
                before = list(shared["applications"])
                threading.Event().wait(rng.random() / 2000)
                held.check()
                shared["applications"] = [*before, f"{name}-{number}"]
                if at_work != [name]:
                    errors.append(list(at_work))
                at_work.remove(name)

    threads = [threading.Thread(target=work, args=(f"fc-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(set(shared["applications"])) == len(shared["applications"]) == 200
