"""A workflow stopped and released: by one, by two at once, after a crash half-way; and who may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import cancel, rights, shapes, stopping
from f.flexcore.lib.windmill import client, stops
from tests.dashboard_data.conftest import call, until
from wmlocal.engine import Engine

WORKFLOW = "templates/toy_stops"
PATH = f"f/flexcore/{WORKFLOW}"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def released(engine: Engine) -> Iterator[None]:
    yield
    for row in engine.store.resources():
        engine.store.delete_resource(row["path"])


def test_a_stop_cancels_what_runs_and_refuses_what_begins_until_it_is_undone(
    engine: Engine, read: Callable[..., Any]
) -> None:
    jobs = [engine.start(PATH, {}) for _ in range(2)]
    until(lambda: all(engine.store.job_status(job.id)["status"] == "running" for job in jobs))  # type: ignore[index]
    done = call(engine, "stop_workflow", workflow=WORKFLOW, reason="a runaway")
    assert done.success, done.result
    stop = done.result
    assert stop["by"] == "local" and stop["reason"] == "a runaway" and stop["undone"] is None
    assert set(stop["canceled"]) == {job.id for job in jobs}
    for job in jobs:
        ended = engine.wait(job)
        assert not ended.success
        assert stop["id"] in engine.store.job_status(job.id)["canceled_reason"]  # type: ignore[index]
    refused = engine.run(PATH, {})
    assert not refused.success and "is stopped since" in str(refused.result) and "a runaway" in str(refused.result)
    assert [item["id"] for item in read("stops")["stops"]] == [stop["id"]]
    restarted = call(engine, "restart_execution", execution=jobs[0].id)
    assert restarted.result["error"]["name"] == "Conflict" and "a runaway" in restarted.result["error"]["message"]
    undone = call(engine, "resume_workflow", stop=stop["id"])
    assert undone.success and undone.result["undone"]["by"] == "local"
    job = engine.start(PATH, {})
    until(lambda: len(engine.store.jobs("parent = ?", [job.id])) == 2)
    engine.cancel(job.id, "end of the test")
    (shown,) = read("stops")["stops"]
    assert shown["undone"]["by"] == "local" and set(shown["canceled"]) == set(stop["canceled"])
    again = call(engine, "resume_workflow", stop=stop["id"])
    assert again.success and again.result["undone"] == shown["undone"], "twice is the same as once"


def test_of_two_people_at_once_one_has_stopped_and_both_are_told_the_same(engine: Engine, as_caller: None) -> None:
    answers: list[shapes.Stop] = []

    def stop(who: str) -> None:
        answers.append(stopping.stop_workflow(client.Client(), WORKFLOW, f"asked by {who}", NOW))

    threads = [threading.Thread(target=stop, args=(who,)) for who in ("ann", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.id for answer in answers}) == 1 and len(answers) == 3
    assert len({answer.reason for answer in answers}) == 1


def test_of_two_undos_at_once_one_counts_and_a_new_stop_holds_after_it(engine: Engine, as_caller: None) -> None:
    windmill = client.Client()
    first = stopping.stop_workflow(windmill, WORKFLOW, "one", NOW)
    undone: list[shapes.Stop] = []
    threads = [
        threading.Thread(target=lambda: undone.append(stopping.resume_workflow(windmill, first.id, datetime.now(UTC))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item.undone.at for item in undone if item.undone}) == 1 and len(undone) == 3
    assert stops.find_stop(windmill, WORKFLOW) is None
    second = stopping.stop_workflow(windmill, WORKFLOW, "two", NOW)
    assert second.id != first.id
    stopping.resume_workflow(windmill, first.id, NOW)
    held = stops.find_stop(windmill, WORKFLOW)
    assert held and held["id"] == second.id, "the undo of an earlier stop leaves a later one"


class Interrupted(client.Client):
    """Calls `before` once, ahead of the first request that begins with `path` and whose body holds `text`."""

    def __init__(self, path: str, text: str, before: Callable[[], Any]) -> None:
        super().__init__()
        self.at, self.before = (path, text), [before]

    def post(self, path: str, body: Any, **query: Any) -> str:
        if self.before and path.startswith(self.at[0]) and self.at[1] in str(body):
            self.before.pop()()
        return super().post(path, body, **query)


class Breaking(client.Client):
    """Does not answer to the second cancel."""

    cancels = 0

    def post(self, path: str, body: Any, **query: Any) -> str:
        is_cancel = path.startswith("jobs_u/queue/cancel")
        self.cancels += is_cancel
        if is_cancel and self.cancels == 2:
            raise errors.Unreachable("Windmill does not answer", subject="windmill", remedy="Try again.")
        return super().post(path, body, **query)


def test_an_undo_that_comes_late_leaves_the_stop_that_was_made_meanwhile(engine: Engine, as_caller: None) -> None:
    windmill = client.Client()
    first = stopping.stop_workflow(windmill, WORKFLOW, "one", NOW)

    def be_faster() -> None:
        stopping.resume_workflow(windmill, first.id, NOW)
        stopping.stop_workflow(windmill, WORKFLOW, "two", NOW)

    late = Interrupted("resources/create", stops.HISTORY, be_faster)
    undone = stopping.resume_workflow(late, first.id, NOW)
    assert undone.id == first.id and undone.undone
    held = stops.find_stop(windmill, WORKFLOW)
    assert held and held["reason"] == "two"


def test_what_was_canceled_stays_on_record_when_the_stop_breaks_off(engine: Engine, as_caller: None) -> None:
    jobs = [engine.start("f/flexcore/templates/toy_sleeps", {}) for _ in range(2)]
    until(lambda: all(engine.store.job_status(job.id)["status"] == "running" for job in jobs))  # type: ignore[index]

    with pytest.raises(errors.Unreachable):
        stopping.stop_workflow(Breaking(), "templates/toy_sleeps", "a runaway", NOW)
    stop = stopping.stop_workflow(client.Client(), "templates/toy_sleeps", "a runaway", NOW)
    assert set(stop.canceled) == {job.id for job in jobs}


def test_what_a_pass_canceled_stays_on_record_when_it_breaks_off(engine: Engine, as_caller: None) -> None:
    stop = stopping.stop_workflow(client.Client(), "templates/toy_sleeps", "a runaway", NOW)
    jobs = [engine.start("f/flexcore/templates/toy_sleeps", {}) for _ in range(2)]
    until(lambda: all(engine.store.job_status(job.id)["status"] == "running" for job in jobs))  # type: ignore[index]
    with pytest.raises(errors.Unreachable):
        stopping.cancel_stopped(Breaking(), NOW)
    held = stops.find_stop(client.Client(), "templates/toy_sleeps")
    assert held and held["id"] == stop.id and len(held["canceled"]) == 1
    stopping.cancel_stopped(client.Client(), NOW)
    held = stops.find_stop(client.Client(), "templates/toy_sleeps")
    assert held and set(held["canceled"]) == {job.id for job in jobs}


def test_an_undo_while_a_stop_cancels_makes_a_new_stop_that_knows_what_was_canceled(
    engine: Engine, as_caller: None
) -> None:
    job = engine.start("f/flexcore/templates/toy_sleeps", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    windmill = client.Client()

    def undo() -> None:
        (stop,) = stopping.list_stops(windmill)
        stopping.resume_workflow(windmill, stop.id, NOW)

    stop = stopping.stop_workflow(
        Interrupted("jobs_u/queue/cancel", "", undo), "templates/toy_sleeps", "a runaway", NOW
    )
    held = stops.find_stop(windmill, "templates/toy_sleeps")
    assert held and held["id"] == stop.id and held["canceled"] == [job.id]
    assert sorted(item.undone is None for item in stopping.list_stops(windmill)) == [False, True]


def test_an_undo_that_died_half_way_is_ended_by_the_next_one(engine: Engine, as_caller: None) -> None:
    windmill = client.Client()
    stop = stopping.stop_workflow(windmill, WORKFLOW, "one", NOW)
    held = stops.find_stop(windmill, WORKFLOW)
    assert held
    stopping._add(windmill, stops.HISTORY + stop.id, {**held, "undone": {"at": NOW.isoformat(), "by": "ann"}})
    assert stopping.cancel_stopped(windmill, NOW) == []
    assert [item.undone is not None for item in stopping.list_stops(windmill)] == [True]
    later = stopping.stop_workflow(windmill, WORKFLOW, "two", NOW)
    assert later.id != stop.id and later.reason == "two", "a new stop takes the place"


def test_what_slipped_through_is_canceled_by_the_pass(engine: Engine, as_caller: None, tmp_path: Any) -> None:
    stopping.stop_workflow(client.Client(), "templates/toy_sleeps", "one", NOW)
    # Its first step does not look.
    job = engine.start("f/flexcore/templates/toy_sleeps", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    done = call(engine, "maintain", settings={"storage_uri": f"file://{tmp_path}/s"})
    assert done.success and done.result["canceled"] == [job.id]
    assert not engine.wait(job).success
    (stop,) = stopping.list_stops(client.Client())
    assert stop.canceled == [job.id], "it is on record, as what the stop itself has canceled"


@pytest.mark.parametrize(
    ("workflow", "reason", "kind"),
    [
        ("nothing_like_it", "why", "NotFound"),
        ("../x", "why", "InvalidInput"),
        ("", "why", "InvalidInput"),
        (WORKFLOW, " ", "InvalidInput"),
        (WORKFLOW, "\x00\x1b", "InvalidInput"),
        (WORKFLOW, "x" * 501, "InvalidInput"),
    ],
)
def test_a_stop_of_what_is_none_or_without_a_reason_is_refused(
    engine: Engine, workflow: str, reason: str, kind: str
) -> None:
    done = call(engine, "stop_workflow", workflow=workflow, reason=reason)
    assert not done.success and done.result["error"]["name"] == kind


@pytest.mark.parametrize("reason", ["a  runaway", "a\x00runaway\n", "a\ud800\trunaway\x1b", "a runaway"])
def test_a_reason_is_one_line_that_a_database_can_hold(reason: str) -> None:
    assert cancel.check_reason(reason) == "a runaway"


def test_an_undo_of_what_never_was_is_refused(engine: Engine) -> None:
    assert call(engine, "resume_workflow", stop="zonk").result["error"]["name"] == "InvalidInput"
    never = f"{WORKFLOW}/20260101T000000Z_00000000"
    assert call(engine, "resume_workflow", stop=never).result["error"]["name"] == "NotFound"


def test_the_first_step_asks_nothing_outside_a_flow_and_begins_when_windmill_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stops.refuse_stopped({})
    for name, value in {"BASE_INTERNAL_URL": "http://127.0.0.1:9", "WM_WORKSPACE": "w", "WM_TOKEN": "t"}.items():
        monkeypatch.setenv(name, value)
    stops.refuse_stopped({"WM_FLOW_PATH": "f/flexcore/data_pipeline"})
    assert "so it begins" in capsys.readouterr().out


USER = {"username": "ann", "is_admin": False, "operator": False, "folders": ["other"], "folders_owners": []}
JOB = {"type": "QueuedJob", "script_path": PATH, "created_by": "bob"}


@pytest.mark.parametrize(
    ("user", "job", "allowed"),
    [
        ({}, {}, False),
        ({"is_admin": True}, {}, True),
        ({"folders": ["flexcore"]}, {}, True),
        ({"folders_owners": ["flexcore"]}, {}, True),
        ({"folders": ["flexcore"], "operator": True}, {}, False),
        ({}, {"created_by": "ann"}, True),
        ({"is_admin": True}, {"type": "CompletedJob", "success": True}, False),
    ],
)
def test_who_may_cancel(user: dict[str, Any], job: dict[str, Any], allowed: bool) -> None:
    can = rights.can_cancel(USER | user, JOB | job)
    assert can.allowed is allowed and (can.reason is None) is allowed


def test_who_may_not_write_in_the_folder_may_not_stop() -> None:
    can = rights.can_stop(USER, WORKFLOW)
    assert not can.allowed and "f/flexcore" in str(can.reason)
    with pytest.raises(errors.Forbidden, match="You may not stop it"):
        rights.check(can, "stop it", "workflow")
