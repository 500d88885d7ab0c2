"""Schedules on this machine: which seconds a cron expression names, and what starts when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.panel.cron_times import parse_cron
from flexcore.panel.scheduler import Scheduler
from tests.wmlocal.engine.conftest import Writer, engine, environments, eventually, home, write  # noqa: F401
from wmlocal.engine import Engine

# A Sunday.
START = datetime(2026, 11, 29, 2, 59, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "named", "not_named"),
    [
        ("0 0 3 * * *", "2026-11-29 03:00:00", "2026-11-29 03:00:01"),
        ("*/15 * * * * *", "2026-11-29 03:00:45", "2026-11-29 03:00:46"),
        ("0 10-20/5 * * * *", "2026-11-29 03:15:00", "2026-11-29 03:25:00"),
        ("0 5/20 * * * *", "2026-11-29 03:45:00", "2026-11-29 03:40:00"),
        ("0 0 3 * * 0", "2026-11-29 03:00:00", "2026-11-30 03:00:00"),
        ("0 0 3 * * 7", "2026-11-29 03:00:00", "2026-11-28 03:00:00"),
        ("0 0 3 * * MON-FRI", "2026-11-30 03:00:00", "2026-11-29 03:00:00"),
        ("0 0 3 * * fri-mon", "2026-11-29 03:00:00", "2026-12-01 03:00:00"),
        ("0 0 3 1,15 dec *", "2026-12-15 03:00:00", "2026-11-15 03:00:00"),
        # Both, as Windmill reads it: the first, when it is a Monday.
        ("0 0 3 1 * mon", "2027-02-01 03:00:00", "2026-12-01 03:00:00"),
        ("0 0 3 * * * 2027", "2027-11-29 03:00:00", "2026-11-29 03:00:00"),
        ("@daily", "2026-11-29 00:00:00", "2026-11-29 01:00:00"),
        ("@weekly", "2026-11-29 00:00:00", "2026-11-30 00:00:00"),
        ("0 0 0 ? * *", "2026-11-29 00:00:00", "2026-11-29 00:01:00"),
    ],
)
def test_a_cron_expression_names_its_seconds(cron: str, named: str, not_named: str) -> None:
    times = parse_cron(cron)
    assert times.names(datetime.fromisoformat(named)) and not times.names(datetime.fromisoformat(not_named))


def test_weekdays_of_the_first_version_begin_with_sunday_as_one() -> None:
    sunday, monday = datetime(2026, 11, 29), datetime(2026, 11, 30)
    assert parse_cron("0 0 0 * * 1", "v1").names(sunday) and not parse_cron("0 0 0 * * 1", "v1").names(monday)
    assert parse_cron("0 0 0 * * 1", "v2").names(monday) and parse_cron("0 0 0 * * mon", "v1").names(monday)
    assert all(parse_cron("0 0 0 * * *", "v1").names(day) for day in (sunday, monday))


@pytest.mark.parametrize(
    "cron", ["0 0 3 L * *", "0 0 3 * * 5#2", "0 0 3 15W * *", "0 3 * * *", "nonsense", "0 0 25 * * *"]
)
def test_what_is_not_understood_is_refused_and_never_guessed(cron: str) -> None:
    with pytest.raises(InvalidInput, match="schedule"):
        parse_cron(cron)


class Clock:
    def __init__(self) -> None:
        self.now = START.timestamp()

    def __call__(self) -> float:
        return self.now


class Following:
    """A scheduler whose time goes on when the test says so."""

    def __init__(self, engine: Engine) -> None:  # noqa: F811
        self.clock, self.said, self.engine = Clock(), [], engine
        self.scheduler = Scheduler(engine, self.said.append, self.clock)
        self.scheduler._last = int(self.clock())

    said: list[str]

    def pass_seconds(self, seconds: float) -> None:
        self.clock.now += seconds
        self.scheduler.tick()

    def runs(self) -> int:
        return len(self.engine.store.jobs("parent IS NULL"))


@pytest.fixture
def following(engine: Engine, write: Writer) -> Following:  # noqa: F811
    write.script("f/x/s", "def main(n: int):\n    return n\n")
    return Following(engine)


def schedule(write: Writer, **changes: Any) -> Path:  # noqa: F811
    document = {
        "enabled": True,
        "schedule": "0 0 3 * * *",
        "timezone": "UTC",
        "script_path": "f/x/s",
        "is_flow": False,
        "args": {"n": 7},
        "no_flow_overlap": False,
    }
    return write.file("f/x/s.schedule.yaml", yaml.safe_dump(document | changes))


def test_a_schedule_starts_once_at_its_time_with_its_arguments(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write)
    following.pass_seconds(1)
    assert following.runs() == 0
    for _ in range(4):
        following.pass_seconds(0.5)
    (job,) = following.engine.store.jobs("parent IS NULL")
    assert job["args"] == {"n": 7} and "started f/x/s" in following.said[0]


def test_a_schedule_goes_by_its_time_zone(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write, timezone="Europe/Berlin", schedule="0 0 4 * * *")
    following.pass_seconds(3)
    assert following.runs() == 1


def test_a_schedule_that_is_switched_off_meanwhile_starts_nothing(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write, schedule="* * * * * *", enabled=False)
    following.pass_seconds(3)
    schedule(write, schedule="* * * * * *")
    following.pass_seconds(3)
    assert following.runs() == 3


def test_a_machine_that_slept_does_not_catch_up(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write)
    following.pass_seconds(7200)
    assert following.runs() == 0


def test_a_run_that_lives_is_not_overlapped_where_that_is_asked(following: Following, write: Writer) -> None:  # noqa: F811
    write.script("f/x/s", "import time\ndef main(n: int):\n    time.sleep(60)\n")
    schedule(write, schedule="* * * * * *", no_flow_overlap=True)
    following.pass_seconds(2)
    following.pass_seconds(2)
    assert following.runs() == 1 and "this one is skipped" in following.said[-1]


def test_a_schedule_that_cannot_be_followed_is_told_once(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write, schedule="0 0 3 L * *")
    write.file("f/x/broken.schedule.yaml", "a: [")
    write.file(
        "f/x/gone.schedule.yaml", yaml.safe_dump({"enabled": True, "schedule": "* * * * * *", "script_path": "f/x/no"})
    )
    for _ in range(4):
        following.pass_seconds(3)
    assert len(following.said) == 3
    assert any("f/x/broken" in said for said in following.said) and any("f/x/no" in said for said in following.said)


def let_write(following: Following, allowed: bool) -> None:
    """What a full disk does to the store, by SQLite itself."""
    following.engine.store._db.execute(f"PRAGMA query_only = {'OFF' if allowed else 'ON'}")


def follow(following: Following, seconds: float) -> None:
    following.clock.now += seconds
    following.scheduler.follow()


def test_a_store_that_cannot_be_written_is_told_once_and_what_was_due_starts_when_it_can(
    following: Following,
    write: Writer,  # noqa: F811
) -> None:
    file = schedule(write)
    write.file("f/x/second.schedule.yaml", file.read_text())
    let_write(following, False)
    for _ in range(4):
        follow(following, 1)
    assert "readonly" in following.scheduler.problem
    assert following.runs() == 0 and len(following.said) == 1 and "Schedules are not followed" in following.said[0]
    let_write(following, True)
    follow(following, 1)
    assert following.runs() == 2 and following.scheduler.problem == ""


def test_what_cannot_be_started_for_long_is_left_out_and_said(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write)
    let_write(following, False)
    follow(following, 3)
    let_write(following, True)
    follow(following, 3600)
    assert following.runs() == 0 and "this run is left out" in following.said[-1]
    assert following.scheduler.problem == ""


def test_a_log_that_cannot_be_written_starts_no_run_twice(engine: Engine, write: Writer) -> None:  # noqa: F811
    def refuse(_: str) -> None:
        raise OSError("No space left on device")

    write.script("f/x/s", "def main(n: int):\n    return n\n")
    following = Following(engine)
    following.scheduler.report = refuse
    schedule(write)
    for _ in range(4):
        follow(following, 1)
    assert following.runs() == 1


def test_the_thread_goes_on_after_a_failure(following: Following, write: Writer) -> None:  # noqa: F811
    schedule(write, schedule="* * * * * *")
    scheduler = Scheduler(following.engine, following.said.append)
    let_write(following, False)
    scheduler.start()
    try:
        eventually(lambda: scheduler.problem)
        let_write(following, True)
        eventually(lambda: following.runs() and not scheduler.problem)
    finally:
        scheduler.stop()
