"""The run index: two writers, compaction, what is damaged or of another version, and what goes on below Windmill."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import resources, workloads
from f.flexcore.lib.dashboard import figures, index_update, older_rows, run_index, shapes
from f.flexcore.lib.operations import history
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client
from tests.dashboard_data.conftest import call, run_flow
from wmlocal.engine import Engine

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> resources.Settings:
    return resources.Settings(storage_uri=f"file://{tmp_path}/store")


@pytest.fixture
def index(settings: resources.Settings) -> run_index.RunIndex:
    return run_index.RunIndex(object_store.Store(settings), "ours")


def row(number: int, days_ago: int = 0, **more: Any) -> run_index.IndexRow:
    created = NOW - timedelta(days=days_ago, seconds=number)
    id = f"{days_ago:08d}-0000-4000-8000-{number:012d}"
    run = workloads.Run(workflow_type="x", runtime="ray", started_at=created, duration_s=number + 1, success=True)
    fields = {"workflow": "data_pipeline", "status": "success", "run": run, "ended_at": created, **more}
    return run_index.IndexRow(id=id, created_at=created, **fields)


def test_a_row_comes_back_as_it_was_written(index: run_index.RunIndex) -> None:
    given = row(1, runtime="ray", rows=5, cost=0.25, currency="USD", duration_s=2.5, error=None)
    assert index.add([given]) == 1
    assert index.read([NOW.date()]) == {given.id: given}
    assert given.shown().source == "index" and "run" not in given.shown().model_dump()


def test_a_row_of_one_runtime_is_written_as_an_earlier_version_reads_it(index: run_index.RunIndex) -> None:
    index.add([row(1, runtime="ray", runtimes=["ray"]), row(2, runtime=None, runtimes=["meltano", "ray"])])
    (name,) = index.days()[NOW.date()]
    content: Any = index.store.read_json(f"{index.folder}/{name}")
    one, several = sorted(content["rows"], key=lambda plain: str(plain["id"]))
    assert (one["runtime"], one.get("runtimes")) == ("ray", None)
    assert several["runtimes"] == ["meltano", "ray"]


def test_two_writers_and_two_compactors_at_once_lose_no_row(index: run_index.RunIndex) -> None:
    stop = threading.Event()

    def compact() -> None:
        while not stop.is_set():
            for day, names in index.days().items():
                if len(names) > 1:
                    index.compact(day, names)

    def write(first: int) -> None:
        for number in range(first, first + 40):
            index.add([row(number)])

    compactors = [threading.Thread(target=compact) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 40)]
    for thread in [*compactors, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in compactors:
        thread.join()
    assert len(index.read([NOW.date()])) == 80
    for day, names in index.days().items():
        index.compact(day, names)
    assert len(index.read([NOW.date()])) == 80
    assert len(index.days()[NOW.date()]) == 1, "one file for the day"


def test_a_compactor_that_died_half_way_leaves_duplicates_that_count_once(index: run_index.RunIndex) -> None:
    index.add([row(1), row(2)])
    index.add([row(2), row(3)])
    assert set(index.read([NOW.date()])) == {row(number).id for number in (1, 2, 3)}


def test_damaged_files_and_rows_of_another_form_are_passed_over(index: run_index.RunIndex) -> None:
    index.add([row(1)])
    folder = object_store.local_path(index.folder)
    (folder / f"{NOW.date()}.{'0' * 32}.json").write_text('{"rows": [{"id"')
    (folder / f"{NOW.date()}.{'1' * 32}.json").write_text('{"format": 9, "rows": [{"id": 1, "new": 2}]}')
    (folder / "notes.txt").write_text("x")
    (folder / f"2026-99-99.{'2' * 32}.json").write_text("{}")
    assert set(index.read([NOW.date()])) == {row(1).id}


LATER: dict[str, Any] = {"format": 1, "rows": [{"id": "x", "workflow": "w", "status": "success", "tomorrow": 1}]}


@pytest.mark.parametrize(
    ("text", "stays"),
    [('{"rows": [{"id"', True), ('{"format": 9, "rows": []}', True), ("[]", True), (json.dumps(LATER), False)],
    ids=["damaged", "another format", "no index", "rows of a later version"],
)
def test_what_this_version_cannot_read_survives_when_a_day_is_made_one_file(
    index: run_index.RunIndex, text: str, stays: bool
) -> None:
    index.add([row(1)])
    index.add([row(2)])
    file = object_store.local_path(index.folder) / f"{NOW.date()}.{'0' * 32}.json"
    file.write_text(text)
    for _ in range(2):
        index.add([row(3)])
        assert index.compact(NOW.date(), index.days()[NOW.date()])
    assert file.exists() is stays
    names = index.days()[NOW.date()]
    assert len(names) == 1 + stays and set(index.read([NOW.date()])) == {row(number).id for number in (1, 2, 3)}
    if stays:
        assert file.read_text() == text and not index.compact(NOW.date(), names), "nothing is left to be made one"
    else:
        content: Any = index.store.read_json(f"{index.folder}/{names[0]}")
        assert content["rows"][-1] == LATER["rows"][0] and len(content["rows"]) == 4, "once"


def test_two_workspaces_with_one_store_have_an_index_each(index: run_index.RunIndex) -> None:
    other = run_index.RunIndex(index.store, "theirs")
    index.add([row(1)])
    other.add([row(2)])
    assert set(index.read(index.days())) == {row(1).id} and set(other.read(other.days())) == {row(2).id}


def test_a_day_is_bounded_and_old_days_go(index: run_index.RunIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "MAX_ROWS_PER_DAY", 3)
    index.add([row(number) for number in range(4)])
    index.add([row(4)])
    index.add([row(9, days_ago=run_index.MAX_DAYS + 1)])
    index.compact(NOW.date(), index.days()[NOW.date()])
    assert set(index.read([NOW.date()])) == {row(number).id for number in range(3)}, "the newest stay"
    assert index.prune(NOW.date()) == 1 and list(index.days()) == [NOW.date()]


def test_older_rows_are_read_in_their_order_page_by_page(index: run_index.RunIndex) -> None:
    every = [row(number, days_ago) for days_ago in range(5) for number in range(4)]
    index.add(every)
    got: list[shapes.Row] = []
    position: str | None = f"{2**53:017d}_{'f' * 8}"
    while position:
        page, position = older_rows.read_index(index, shapes.Filter(), position, 3)
        assert len(page) <= 3
        got += page
    expected = sorted(every, key=lambda item: item.position, reverse=True)
    assert [item.id for item in got] == [item.id for item in expected]
    some, _ = older_rows.read_index(index, shapes.Filter(workflow="none"), f"{2**53:017d}_f", 3)
    assert some == []


def test_months_of_figures_come_from_the_index(index: run_index.RunIndex, settings: resources.Settings) -> None:
    index.add([row(number, days_ago) for days_ago, runs in ((0, 20), (100, 6)) for number in range(runs)])
    runs = [item.run for item in figures._index_rows(settings, "ours", NOW) if item.run]
    found = figures.compare("x", runs)
    assert [day.day for day in found.days] == [(NOW - timedelta(days=100)).date().isoformat(), NOW.date().isoformat()]
    assert found.days[0].runs == 6 and found.days[0].p50_s == 3.5
    assert found.days[0].p95_s is None, "a p95 of few runs is the longest of them"
    assert found.days[1].p95_s == pytest.approx(19.05)
    assert found.recommendation and found.recommendation.runtime == "ray"


def test_the_index_follows_windmill_and_is_rebuilt_from_it(
    engine: Engine, index: run_index.RunIndex, as_caller: None
) -> None:
    good, bad = run_flow(engine, "toy", note="n"), run_flow(engine, "toy_fails", note="n")
    now = datetime.now(UTC)
    windmill = client.Client()
    first = index_update.update_index(windmill, index, history.run_from_job, now)
    assert first.added >= 2 and first.left == 0
    rows = index.read(index.days())
    kept = rows[good.id].run
    assert kept and kept.workflow_type == "toy" and rows[good.id].rows == 7
    assert rows[bad.id].error == "the table <b>t</b> is missing" and rows[bad.id].run is None
    again = index_update.update_index(windmill, index, history.run_from_job, now)
    assert again.added == 0, "nothing ended since"
    for day, names in index.days().items():
        for name in names:
            index.store.remove(f"{index.folder}/{name}")
        assert day
    rebuilt = index_update.update_index(windmill, index, history.run_from_job, now, rebuild=True)
    assert rebuilt.added == first.added and index.read(index.days()).keys() == rows.keys()


def test_a_pass_takes_what_it_can_and_leaves_the_rest_in_order(
    engine: Engine, index: run_index.RunIndex, as_caller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_update, "MAX_RESULTS", 1)
    for _ in range(3):
        run_flow(engine, "toy", note="n")
    left = [
        index_update.update_index(client.Client(), index, history.run_from_job, datetime.now(UTC)).left
        for _ in range(3)
    ]
    assert left[0] - left[1] == left[1] - left[2] == 1


def test_what_windmill_has_forgotten_is_read_below_its_list(
    engine: Engine, read: Callable[..., Any], tmp_path: Path
) -> None:
    run = run_flow(engine, "toy", note="n")
    settings = {"storage_uri": f"file://{tmp_path}/kept"}
    engine.store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", "")
    try:
        done = call(engine, "maintain", settings=settings)
        assert done.success and done.result["added"] >= 1, done.result
        engine.store._write("DELETE FROM jobs WHERE id = ?", [run.id])
        newest = run_flow(engine, "toy", note="n")
        first = read("executions", "comparison")
        assert run.id not in {item["id"] for item in first["executions"]["rows"]}
        older = first["executions"]["older"]
        assert older, "the index goes on"
        top = f"{2**53:017d}_{'f' * 8}-0000-4000-8000-000000000000"
        below = call(engine, "read_executions", older=top).result
        sources = {item["id"]: item["source"] for item in below["rows"]}
        assert sources[newest.id] == "windmill"
        assert run.id not in sources or sources[run.id] == "index"
        assert any(item["workflow"] == "toy" and item["days"] for item in first["comparison"])
    finally:
        engine.store.delete_resource("f/flexcore/settings")


FORGOTTEN = "templates/toy_fails"


def test_where_windmill_has_nothing_of_a_filter_the_index_is_asked(
    engine: Engine, read: Callable[..., Any], tmp_path: Path
) -> None:
    forget = ("DELETE FROM jobs WHERE path = ?", [f"f/flexcore/{FORGOTTEN}"])
    engine.store._write(*forget)
    run = run_flow(engine, "toy_fails", note="n")
    settings = {"storage_uri": f"file://{tmp_path}/kept"}
    engine.store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", "")
    try:
        assert call(engine, "maintain", settings=settings).success
        engine.store._write(*forget)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        for more in ({}, {"status": "failure"}, {"until": tomorrow}):
            filter = {"workflow": FORGOTTEN, **more}
            first = read("executions", filter=filter)["executions"]
            assert first["rows"] == [] and first["older"] and first["counts"] is None, "not all was read"
            older = call(engine, "read_executions", older=first["older"], filter=filter).result
            assert [(item["id"], item["source"]) for item in older["rows"]] == [(run.id, "index")]
            assert older["older"] is None
        for more in ({"status": "running"}, {"since": tomorrow}, {"until": "2001-01-01T00:00:00Z"}):
            nothing = read("executions", filter={"workflow": FORGOTTEN, **more})["executions"]
            assert nothing["older"] is None, f"the index has nothing of {more}"
    finally:
        engine.store.delete_resource("f/flexcore/settings")


def test_a_position_of_another_form_is_refused(engine: Engine) -> None:
    assert call(engine, "read_executions", older="yesterday").result["error"]["name"] == "InvalidInput"


def test_days_are_those_of_utc(index: run_index.RunIndex) -> None:
    late = datetime.fromisoformat("2026-11-30T01:30:00+05:00")
    index.add([run_index.IndexRow(id="x", workflow="w", status="success", created_at=late)])
    assert list(index.days()) == [date(2026, 11, 29)]
