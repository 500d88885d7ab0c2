"""Which traces are due, and which no longer: a Windmill that answers badly, clocks that differ, and each refusal of a
collector."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import resources, trace_context
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.remote_objects import RemoteObject
from f.flexcore.lib.operations import trace_delivery
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill.client import Client
from tests.core.otlp_receiver import Answer, Collector
from tests.operations.listing_windmill import ListingWindmill, make_job

NOW = time.time()
PARTLY = Answer(200, b"\x0a\x02\x08\x01")


@pytest.fixture
def windmill() -> Iterator[ListingWindmill]:
    with ListingWindmill() as running:
        yield running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


class Passes:
    """One after the other, with what each has said."""

    def __init__(self, windmill: ListingWindmill, collector: Collector, store: Path) -> None:
        self.windmill, self.collected = windmill, collector.collected
        self.settings = resources.Settings(otlp_endpoint=collector.address, storage_uri=f"file://{store}")
        self.said: list[str] = []
        self.file = store / "traces/test/delivery.json"

    def run(self, now: float = NOW, workspace: str = "test", orphans: tuple[RemoteObject, ...] = ()) -> int:
        client = Client("token", workspace=workspace, url=self.windmill.address)
        store = object_store.Store(self.settings)
        say = self.said.append
        return trace_delivery.Delivery(client, self.settings, store, say, now, env={}, orphans=orphans).run()

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def sent(self) -> list[str]:
        """The traces that the collector has got, in their order."""
        return list(dict.fromkeys(span.trace_id.hex() for span in self.collected.spans))


@pytest.fixture
def passes(windmill: ListingWindmill, collector: Collector, tmp_path: Path) -> Passes:
    return Passes(windmill, collector, tmp_path)


def ended(number: int, ago_s: float, **more: Any) -> dict[str, Any]:
    return make_job(number, datetime.fromtimestamp(NOW - ago_s - 1, UTC), **more)


def trace(id: str) -> str:
    return trace_context.trace_of_job(id)


@pytest.mark.parametrize("answer", [PARTLY, Answer(400), Answer(413)], ids=["in part", "400", "413"])
def test_what_a_collector_refuses_for_good_is_said_once_and_never_sent_again(
    windmill: ListingWindmill, passes: Passes, answer: Answer
) -> None:
    ids = [windmill.add(ended(number, 100 - number)) for number in range(3)]
    passes.collected.answer = answer
    assert passes.run() == 0
    assert passes.sent() == [trace(id) for id in ids], "none of them holds up the others"
    assert len(passes.said) == 3 and all("is not sent again" in line for line in passes.said)
    passes.collected.answer = Answer()
    assert passes.run() == 0 and len(passes.collected.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_a_trace_that_is_not_taken_now_goes_behind_the_others(
    windmill: ListingWindmill, passes: Passes, status: int
) -> None:
    first, second, third = (windmill.add(ended(number, 100 - number)) for number in range(3))
    passes.collected.answer = Answer(status)
    assert passes.run() == 0 and passes.sent() == [trace(first)], "a collector that is away is asked once"
    passes.collected.requests.clear()
    passes.collected.answer = Answer()
    assert passes.run() == 3
    assert passes.sent() == [trace(id) for id in (second, third, first)]


def test_spans_of_stopped_objects_that_are_refused_or_a_week_old_are_not_sent_again(passes: Passes) -> None:
    flow = "01998f1c-7a00-7000-9223-456789abcde0"
    key = execution_key({"WM_JOB_ID": "j", "WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": "run"})
    left = RemoteObject("kubernetes", "p", "Job", key.name(1), "u-1", "running", key.labels(1), created_at=1000.0)
    passes.collected.answer = PARTLY
    passes.run(orphans=(left,))
    assert passes.state["orphans"] == [] and "not sent again" in passes.said[0]
    passes.collected.answer = Answer(503)
    passes.run(orphans=(left,))
    assert len(passes.state["orphans"]) == 1
    passes.run(NOW + trace_delivery.MAX_AGE_S + 1)
    assert passes.state["orphans"] == []


def test_a_trace_stays_due_until_windmill_says_that_it_has_no_such_job(
    windmill: ListingWindmill, passes: Passes
) -> None:
    kept, forgotten = (windmill.add(ended(number, 100 - number)) for number in range(2))
    windmill.refused = {kept: 500, forgotten: 404}
    assert passes.run() == 0 and list(passes.state["due"]) == [kept]
    windmill.refused = {forgotten: 404}
    assert passes.run() == 1 and passes.sent() == [trace(kept)]


def test_a_trace_waits_an_hour_for_a_step_that_windmill_cannot_answer_for_and_then_goes_without_it(
    windmill: ListingWindmill, passes: Passes
) -> None:
    step = windmill.add(ended(2, 101, job_kind="script", parent_job=ended(1, 100)["id"]))
    modules = [{"id": "a", "type": "Failure", "job": step}]
    flow = windmill.add(ended(1, 100, flow_status={"modules": modules}))
    other = windmill.add(ended(3, 90))
    windmill.refused = {step: 500}
    assert passes.run() == 1 and passes.sent() == [trace(other)]
    assert passes.run(NOW + trace_delivery.PATIENCE_S + 1) == 1 and passes.sent()[-1] == trace(flow)
    assert len([span for span in passes.collected.spans if span.trace_id.hex() == trace(flow)]) == 1


def test_a_flow_whose_parent_could_not_be_read_is_no_trace_of_its_own(
    windmill: ListingWindmill, passes: Passes
) -> None:
    root = windmill.add(ended(1, 10_000))
    flow = windmill.add(ended(2, 10_000, parent_job=root))
    windmill.add(ended(3, 102, job_kind="script", parent_job=flow))
    windmill.refused = {flow: 500}
    assert passes.run() == 0
    windmill.refused = {}
    assert [passes.run(), passes.run()] == [1, 0]
    assert passes.sent() == [trace(root)]


def test_executions_for_which_there_is_no_room_are_found_when_there_is(
    windmill: ListingWindmill, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_delivery, "MAX_DUE", 2)
    ids = [windmill.add(ended(number, 3000 - 500 * number)) for number in range(5)]
    # What is not traced has ended later than those for which there is no room.
    windmill.add(ended(9, 5, script_path="f/flexcore/operations/reconcile", job_kind="script"))
    passes.collected.answer = Answer(503)
    passes.run()
    assert list(passes.state["due"]) == [ids[1], ids[0]]
    assert any("2 traces are due" in line for line in passes.said)
    passes.collected.answer = Answer()
    assert [passes.run() for _ in range(4)] == [2, 2, 1, 0]
    assert set(passes.sent()) == {trace(id) for id in ids}


@pytest.mark.parametrize("ahead_s", [-600, 600, 3000])
def test_a_worker_whose_clock_is_wrong_delivers_each_trace_once(
    windmill: ListingWindmill, passes: Passes, ahead_s: float
) -> None:
    windmill.add(ended(0, 10))
    passes.run(NOW + ahead_s)
    late = windmill.add(ended(1, -60))
    assert passes.run(NOW + 62 + ahead_s) == 1 and passes.sent()[-1] == trace(late)
    requests = len(passes.collected.requests)
    for hours in range(1, 5):
        assert passes.run(NOW + ahead_s + 3600 * hours) == 0
    assert len(passes.collected.requests) == requests, "nothing has ended since"


def test_two_workspaces_with_one_store_have_a_state_each_and_take_over_what_was_due_before(
    windmill: ListingWindmill, passes: Passes
) -> None:
    old = windmill.add(ended(0, 2 * 86_400))
    state = {"until": NOW - 600, "due": {old: NOW - 86_400, "another's": NOW}, "delivered": {}, "orphans": []}
    before = passes.file.parent.parent / "delivery.json"
    before.parent.mkdir()
    before.write_text(json.dumps(state))
    assert passes.run() == 1 and passes.sent() == [trace(old)]
    passes.run(workspace="other")
    assert passes.state["due"] == {} and passes.file.parent.with_name("other").is_dir()
    assert json.loads(before.read_text()) == state, "the others still have theirs there"
