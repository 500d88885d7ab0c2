"""Where state is kept, and reading and writing it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from f.flexcore.lib.core.errors import ExecutionFailed, Unreachable
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.meltano import installation, system_database
from f.flexcore.lib.meltano.installation import inspection_folder
from f.flexcore.lib.meltano.resolved_project import Project, Value
from f.flexcore.lib.meltano.state_store import (
    SYSTEM_DATABASE,
    StatePlace,
    StateStore,
    choose_state_place,
    compare_states,
    write_back,
)
from f.flexcore.lib.meltano.system_database import has_tables, make_database, open_database
from f.flexcore.lib.storage.object_store import Store

KEY = "dev:tap-x-to-target-y"
STATE = {"completed": {"singer_state": {"bookmarks": {"a": 1}}}, "partial": {}}
# The tables as Meltano 4.4.1 makes them.
TABLES = """
CREATE TABLE state (state_id VARCHAR(900) NOT NULL, partial_state VARCHAR, completed_state VARCHAR, updated_at DATETIME,
                    PRIMARY KEY (state_id), UNIQUE (state_id));
CREATE TABLE runs (id INTEGER NOT NULL, job_name VARCHAR, state VARCHAR);
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "key-for-tests", "secret": "secret-for-tests", "endpoint_url": f"http://{host}:{port}"}
    s3fs.S3FileSystem(**options).mkdir("states")
    yield options
    server.stop()


@pytest.fixture(params=["sqlite", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StatePlace:
    base = StatePlace(SYSTEM_DATABASE, f"sqlite:///{tmp_path}/meltano.db", private=True)
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "meltano.db") as database:
            database.executescript("PRAGMA journal_mode=WAL;" + TABLES)
        return base
    if request.param == "file":
        return replace(base, uri=f"file://{tmp_path}/states")
    return replace(base, uri=f"s3://states/{tmp_path.name}", options=request.getfixturevalue("s3"))


def project(source: str = "meltano_yml", **settings: str) -> Project:
    """A project with settings of Meltano's own, dots in their names written as two underscores."""
    values = {name.replace("__", "."): Value(value, source) for name, value in settings.items()}
    return Project(Path("/p"), "dev", values)


def test_a_state_is_read_as_it_was_written_and_absence_is_none(place: StatePlace) -> None:
    store = StateStore(place)
    assert store.is_readable and store.read(KEY) is None
    store.write(KEY, STATE)
    store.write("other", {"completed": {}, "partial": {"x": 1}})
    assert store.read(KEY) == STATE
    store.write(KEY, {**STATE, "partial": {"b": 2}})
    assert store.read(KEY) == {**STATE, "partial": {"b": 2}}
    assert store.check() is True


def test_writing_back_twice_is_once_and_never_undoes_a_later_run(place: StatePlace) -> None:
    store = StateStore(place)
    newer = {"completed": {"n": 2}, "partial": {}}
    changes = compare_states({KEY: None}, {KEY: STATE})
    write_back(place, changes)
    write_back(place, changes)
    assert store.read(KEY) == STATE
    store.write(KEY, newer)
    write_back(place, changes)
    assert store.read(KEY) == newer
    write_back(place, None)


def spoil_as_a_killed_first_run(path: Path) -> None:
    """Meltano's first migration without its end: tables, and no version."""
    with open_database(path) as database:
        database.execute("DELETE FROM alembic_version")
        database.execute("DROP TABLE state")


@pytest.mark.usefixtures("home")
def test_of_first_runs_at_once_all_find_a_whole_database(tmp_path: Path) -> None:
    path = tmp_path / "state" / "meltano.db"
    with ThreadPoolExecutor(8) as at_once:
        list(at_once.map(make_database, [path] * 8))
    assert has_tables(path) and sorted(item.name for item in path.parent.iterdir()) == ["meltano.db", "meltano.lock"]
    store = StateStore(StatePlace(SYSTEM_DATABASE, f"sqlite:///{path}", private=True))
    assert store.read(KEY) is None
    store.write(KEY, STATE)
    store.make_database()
    assert store.read(KEY) == STATE


@pytest.mark.usefixtures("home")
def test_what_a_killed_first_run_has_left_is_no_database_and_what_is_none_at_all_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "meltano.db"
    assert not has_tables(path)
    make_database(path)
    spoil_as_a_killed_first_run(path)
    assert not has_tables(path)
    make_database(path)
    assert has_tables(path)
    path.write_text("this is no database" * 100)
    with pytest.raises(Unreachable, match="file is not a database"):
        StateStore(StatePlace("file:///x", f"sqlite:///{path}", private=True)).make_database()
    assert path.read_text().startswith("this is no database")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("echo 'Traceback' >&2; echo 'ImportError: no alembic' >&2; exit 1", "ImportError: no alembic"),
        ("exit 3", "it printed nothing"),
        ("exec sleep 60", "it did not end within 0.5 s"),
    ],
)
def test_a_meltano_that_makes_no_database_is_named_with_its_reason_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    python = tmp_path / "tool" / "tools" / "meltano" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(installation, "meltano_python", lambda: python)
    monkeypatch.setattr(system_database, "MAKE_TIMEOUT_S", 0.5)
    with pytest.raises(ExecutionFailed, match=re.escape(f"cannot make a system database: {reason}")) as failed:
        make_database(tmp_path / "meltano.db")
    assert str(tmp_path / "tool") in failed.value.remedy and not [*tmp_path.rglob("*.db")]


@pytest.mark.usefixtures("home")
def test_the_projects_own_place_wins_over_the_resource_and_the_store(tmp_path: Path) -> None:
    local, remote = Store(Settings()), Store(Settings(storage_uri="s3://data/flex", storage_access_key="k"))

    def place_of(document: Project, resource: str, store: Store) -> StatePlace:
        return choose_state_place(document, "0a0b", resource, store, {})

    declared = project(state_backend__uri="s3://own/state", state_backend__s3__endpoint_url="http://e")
    assert place_of(declared, "file:///r", remote).uri == "s3://own/state"
    assert place_of(declared, "", local).options == {"endpoint_url": "http://e"}
    assert place_of(project(), "file:///r", remote).env == {"MELTANO_STATE_BACKEND_URI": "file:///r"}
    of_store = place_of(project(), "", remote)
    assert of_store.uri == "s3://data/flex/.state/0a0b"
    assert of_store.env["MELTANO_STATE_BACKEND_S3_AWS_ACCESS_KEY_ID"] == "k"
    own = place_of(project(), "", local)
    assert own.private and own.database.endswith("/home/meltano/state/0a0b/meltano.db")
    theirs = place_of(project(database_uri="postgresql://u:hunter2@db:5432/m"), "", remote)
    assert (theirs.uri, theirs.private, StateStore(theirs).is_readable) == (SYSTEM_DATABASE, False, False)
    assert theirs.label == "postgresql://db:5432/m"
    by_variable = place_of(project("env", state_backend__uri="file:///v"), "file:///r", local)
    assert by_variable.uri == "file:///v"
    assert place_of(project("default", state_backend__uri="systemdb"), "file:///r", local).uri == "file:///r"
    gone_after_a_run = project(database_uri=f"sqlite:///{inspection_folder()}/meltano.db")
    assert place_of(gone_after_a_run, "", local).private


def test_a_place_that_does_not_answer_is_named_without_its_credentials(tmp_path: Path) -> None:
    closed = StatePlace(SYSTEM_DATABASE, "postgresql://u:hunter2@127.0.0.1:9/m", private=False)
    with pytest.raises(Unreachable, match=r"state at postgresql://127.0.0.1:9/m cannot be used") as caught:
        StateStore(closed).check()
    assert "hunter2" not in str(caught.value)
    (tmp_path / "meltano.db").write_text("this is no database" * 100)
    with pytest.raises(Unreachable, match=r"sqlite.*cannot be used: file is not a database"):
        StateStore(StatePlace(SYSTEM_DATABASE, f"sqlite:///{tmp_path}/meltano.db", private=False)).check()
    assert StateStore(StatePlace("azure://container", "sqlite:///x", private=False)).check() is None


def test_an_s3_place_without_its_bucket_is_unreachable(s3: dict[str, str]) -> None:
    wrong = StatePlace(
        "s3://no-such-bucket/x", "sqlite:///x", private=False, options={**s3, "endpoint_url": "http://127.0.0.1:9"}
    )
    with pytest.raises(Unreachable, match=r"s3://no-such-bucket/x cannot be used"):
        StateStore(wrong).check()


def test_a_database_is_not_created_by_looking_at_it(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), open_database(tmp_path / "none.db"):
        pass
    assert not (tmp_path / "none.db").exists()
