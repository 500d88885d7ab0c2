"""ray/copy_table on a real Ray head and a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, FlexcoreError, InvalidInput, NotFound
from f.flexcore.lib.ray import copy_job
from f.flexcore.ray.copy_table import main
from tests.ray.tables import PASSWORD, Tables

pytestmark = pytest.mark.slow
Json = dict[str, Any]
ROWS = 400_000
MADE = f"CREATE TABLE big AS SELECT g AS id, md5(g::text) AS name, g * 1.5 AS n FROM generate_series(1, {ROWS}) g"


def begin_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a flow run of its own: the head knows those of other tests."""
    monkeypatch.setenv("WM_FLOW_JOB_ID", str(uuid.uuid4()))
    monkeypatch.setenv("WM_FLOW_STEP_ID", "copy")


def settings(tables: Tables) -> Json:
    return {"storage_uri": f"file://{tables.root}"}


def find_job_process(name: str) -> int | None:
    """The process that runs a job's program, below the shell that Ray starts it by."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment, command = ((entry / part).read_bytes().split(b"\0") for part in ("environ", "cmdline"))
            is_of_job = any(name.encode() in item for item in environment)
            if is_of_job and b"flexcore_job.py" in command:
                return int(entry.name)
    return None


@pytest.mark.fault(33, "I6", real=True)
def test_a_table_goes_into_the_store_and_into_another_table_and_the_password_nowhere(
    cluster: Json, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.run("CREATE TABLE few AS SELECT g AS id, 'n' || g AS name FROM generate_series(1, 1000) g")
    out = main(cluster, tables.resource, "few", settings=settings(tables))
    assert out["output"]["rows"] == 1000 and out["data"]["row_hash"] and out["metrics"]["rows_per_s"] > 0
    back = main(
        cluster, tables.resource, "again", direction="to_database", source=out["output"], settings=settings(tables)
    )
    assert (back["data"]["publish"], back["metrics"]["rows"]) == ("create", 1000)
    assert back["data"]["row_hash"] == out["data"]["row_hash"]
    assert tables.value("SELECT count(*) FROM few JOIN again USING (id, name)") == 1000
    told = "".join(httpx.get(f"{cluster['address']}/api/jobs/{done['remote']['name']}").text for done in (out, back))
    assert PASSWORD not in f"{told}{out}{back}{capsys.readouterr().out}"


@pytest.mark.fault(1, "I1", "I2", real=True)
def test_a_killed_copy_goes_on_with_its_parts_at_the_same_snapshot(
    cluster: Json, tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_flow(monkeypatch)
    tables.run(MADE)
    asked: Json = {"spread": "always", "partitions": 12, "num_workers": 1, "settings": settings(tables)}

    def kill() -> None:
        until = time.monotonic() + 120
        while len(list(tables.root.glob("*/copy/*/records/*.json"))) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        headers = {"Authorization": f"Bearer {cluster['token']}"}
        jobs = httpx.get(f"{cluster['address']}/api/jobs/", headers=headers).json()
        (name,) = [item["submission_id"] for item in jobs if item["status"] == "RUNNING"]
        pid = find_job_process(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    monkeypatch.setenv("WM_JOB_ID", "018f0000-0000-7000-8000-00000000000a")
    with pytest.raises(FlexcoreError) as killed:
        main(cluster, tables.resource, "big", **asked)
    killer.join()
    assert isinstance(killed.value, ExecutionFailed) and killed.value.category in copy_job.RESUMABLE
    assert killed.value.retryable
    tables.run("DELETE FROM big WHERE id > 10")
    monkeypatch.setenv("WM_JOB_ID", "018f0000-0000-7000-8000-00000000000b")
    done = main(cluster, tables.resource, "big", **asked)
    assert done["attempt"] == 2 and done["output"]["rows"] == ROWS and done["data"]["resumed_parts"] >= 3
    assert "are there from an earlier attempt at the same snapshot" in capsys.readouterr().out
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    until = time.monotonic() + 20
    while tables.value(idle) and time.monotonic() < until:
        time.sleep(0.2)
    assert tables.value(idle) == 0


@pytest.mark.fault(4, "I1", "I2", real=True)
def test_the_cursor_moves_once_and_a_repeat_returns_what_was_copied(
    cluster: Json, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_flow(monkeypatch)
    tables.run("CREATE TABLE events AS SELECT g AS id FROM generate_series(1, 10) g")
    asked: Json = {"cursor_column": "id", "state_id": "events", "settings": settings(tables)}
    first = main(cluster, tables.resource, "events", **asked)
    tables.run("INSERT INTO events VALUES (11)")
    again = main(cluster, tables.resource, "events", **asked)
    assert again["attempt"] == 1 and again["output"] == first["output"]
    begin_flow(monkeypatch)
    second = main(cluster, tables.resource, "events", **asked)
    assert second["output"]["rows"] == 2 and second["data"]["cursor"]["value"] == "11"
    state = (tables.root / "state/copy_table/events.json").read_text()
    assert '"generation": 2' in state and '"value": "11"' in state


def test_a_table_that_does_not_exist_is_a_typed_error_with_near_names(cluster: Json, tables: Tables) -> None:
    tables.run("CREATE TABLE customers (id int)")
    with pytest.raises(NotFound, match=r"did you mean public.customers\?"):
        main(cluster, tables.resource, "custmers", settings=settings(tables))


BAD: dict[str, tuple[Json, str]] = {
    "mysql": ({"database": {"host": "h", "database": "d"}}, "database: is the resource of another kind of database"),
    "no table": ({"table": " "}, "table"),
    "three parts": ({"table": "a.b.c"}, "table: is not the name of a table: write it as SCHEMA.TABLE"),
    "merge without keys": ({"direction": "to_database", "write": "merge"}, "merge needs key_columns"),
    "overlap alone": ({"overlap": 3}, "overlap needs a cursor_column"),
    "cursor to the database": ({"direction": "to_database", "cursor_column": "id"}, "cursor_column is for to_parquet"),
    "no source": ({"direction": "to_database"}, "source is missing"),
    "a loopback database and a cluster elsewhere": (
        {"cluster": {"address": "http://ray.example:8265"}},
        "database.host",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_request_is_named_before_anything_runs(case: str) -> None:
    changed, message = BAD[case]
    database = {"host": "127.0.0.1", "dbname": "postgres", "user": "u", "password": PASSWORD}
    given: Json = {"cluster": {}, "database": database, "table": "t", "settings": {"storage_uri": "s3://b"}}
    with pytest.raises(InvalidInput, match=message) as refused:
        main(**given | changed)
    assert PASSWORD not in str(refused.value)
