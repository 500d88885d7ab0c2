"""A pass of the run index where Windmill answers badly, has more than one pass can take, or has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from f.flexcore.lib.core import resources
from f.flexcore.lib.dashboard import index_update, run_index
from f.flexcore.lib.operations import history
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import executions
from tests.operations.listing_windmill import ListingWindmill, make_job

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Server(ListingWindmill):
    def begin(self, number: int, age: timedelta) -> str:
        return self.add(make_job(number, NOW - age))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def index(tmp_path: Path) -> run_index.RunIndex:
    return run_index.RunIndex(object_store.Store(resources.Settings(storage_uri=f"file://{tmp_path}")), "test")


def update(server: Server, index: run_index.RunIndex, rebuild: bool = False) -> index_update.Update:
    return index_update.update_index(server.client(), index, history.run_from_job, NOW, rebuild)


def read(index: run_index.RunIndex) -> run_index.Rows:
    return index.read(index.days())


@pytest.mark.parametrize("status", [500, 503, 400])
def test_a_job_that_could_not_be_read_once_gets_its_whole_row_from_the_next_pass(
    server: Server, index: run_index.RunIndex, status: int
) -> None:
    first, second, third = (server.begin(number, timedelta(minutes=30 - number)) for number in range(3))
    server.refused = {second: status}
    broken_off = update(server, index)
    assert (broken_off.added, broken_off.left) == (1, 2) and list(read(index)) == [first]
    server.refused = {}
    assert update(server, index).left == 0
    assert all(read(index)[id].run for id in (first, second, third))


def test_a_job_that_windmill_does_not_show_gets_what_the_list_says_until_a_rebuild_may_read_it(
    server: Server, index: run_index.RunIndex
) -> None:
    hidden, seen = (server.begin(number, timedelta(minutes=30 - number)) for number in range(2))
    server.refused = {hidden: 403}
    assert update(server, index).left == 0
    assert read(index)[hidden].run is None and read(index)[seen].run
    server.refused = {}
    assert update(server, index).added == 0
    assert update(server, index, rebuild=True).added == 1
    assert read(index)[hidden].run
    again = update(server, index, rebuild=True)
    assert (again.added, again.left, again.compacted) == (0, 0, 0)


def test_a_job_that_cannot_be_read_for_a_day_no_longer_holds_up_those_after_it(
    server: Server, index: run_index.RunIndex
) -> None:
    broken, other = (server.begin(number, timedelta(hours=26 - number)) for number in range(2))
    server.refused = {broken: 500}
    assert update(server, index).left == 0
    assert read(index)[broken].is_bare and read(index)[other].run


def test_a_windmill_that_answers_for_no_job_is_not_asked_for_each(server: Server, index: run_index.RunIndex) -> None:
    for number in range(200):
        server.refused[server.begin(number, timedelta(minutes=300 - number))] = 500
    assert update(server, index).left == 200
    assert len([path for path in server.requests if "/jobs_u/get/" in path]) < 50


def test_a_rebuild_looks_past_what_it_has_already_to_the_end_of_what_windmill_remembers(
    server: Server, index: run_index.RunIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "MAX_PAGE_SIZE", 2)
    monkeypatch.setattr(index_update, "MAX_RESULTS", 2)
    old = [server.begin(number, timedelta(days=300 - number)) for number in range(50)]
    assert update(server, index).added == 0, "a first pass looks back for sixty days"
    done = update(server, index, rebuild=True)
    assert (done.added, done.left) == (50, 0) and read(index).keys() == set(old)
    new = server.begin(99, timedelta(minutes=1))
    assert update(server, index, rebuild=True).added == 1 and new in read(index)


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_pass_that_cannot_hold_all_that_is_missing_says_that_some_is_left(
    server: Server, index: run_index.RunIndex, monkeypatch: pytest.MonkeyPatch, rebuild: bool
) -> None:
    monkeypatch.setattr(index_update, "MAX_MISSING", 4)
    ids = {server.begin(number, timedelta(hours=20, seconds=-number)) for number in range(9)}
    left = [update(server, index, rebuild).left for _ in range(3)]
    assert left == [1, 1, 0] and read(index).keys() == ids


def test_files_that_no_other_workspace_wrote_are_taken_over_with_the_months_that_windmill_has_forgotten(
    server: Server, index: run_index.RunIndex
) -> None:
    ours = server.begin(1, timedelta(days=10))
    write_old(index, [make_row(0, 200), make_row(1, 10)])
    damaged = object_store.local_path(index.store.uri("run_index")) / f"2026-06-01.{'0' * 32}.json"
    damaged.write_text("{")
    assert update(server, index).added == 0
    assert read(index).keys() == {make_row(0, 200).id, ours}
    assert index.store.names(index.store.uri("run_index")) == [damaged.name]


def test_files_in_which_several_workspaces_wrote_are_left_and_what_windmill_has_is_indexed(
    server: Server, index: run_index.RunIndex
) -> None:
    ours = [server.begin(1, timedelta(days=10)), server.begin(2, timedelta(days=5))]
    write_old(index, [make_row(0, 200), make_row(1, 10), make_row(7, 6)])
    before = index.store.names(index.store.uri("run_index"))
    for _ in range(2):
        update(server, index)
        assert read(index).keys() == set(ours)
        assert index.store.names(index.store.uri("run_index")) == before


def test_a_workspace_that_has_no_execution_yet_takes_no_files_over(server: Server, index: run_index.RunIndex) -> None:
    write_old(index, [make_row(0, 200)])
    update(server, index)
    assert not read(index)
    server.begin(1, timedelta(days=1))
    update(server, index)
    assert make_row(0, 200).id in read(index), "it is decided once there is something to tell from"


def make_row(number: int, days_ago: int) -> run_index.IndexRow:
    row = index_update.make_row(make_job(number, NOW - timedelta(days=days_ago)), history.run_from_job)
    assert row
    return row


def write_old(index: run_index.RunIndex, rows: list[run_index.IndexRow]) -> None:
    """As earlier versions did, for all workspaces together."""
    run_index.RunIndex(index.store, ".").add(rows)
