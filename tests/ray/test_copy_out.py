"""Tables of a real PostgreSQL into Parquet files: parts, the snapshot, the cursor, and what goes wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from f.flexcore.lib.ray.remote import copy_in, copy_out, part_files, part_runner, row_hash, table_parts, table_snapshot
from f.flexcore.lib.ray.remote.shared_storage import Problem, RemoteStore
from tests.ray.tables import PASSWORD, Tables

Json = dict[str, Any]
MANY = "CREATE TABLE many AS SELECT g AS id, g % 7 AS k, 'row ' || g AS name FROM generate_series(1, 60000) g"


def folders(tables: Tables) -> list[Path]:
    return list(tables.root.glob("*/copy/*"))


# --- parts


PARTED: dict[str, Json] = {
    "blocks": {"partitions": 7},
    "many small ranges": {"partitions": 40},
    "a number": {"partition_column": "id", "partitions": 5},
    "a text": {"partition_column": "name", "partitions": 4},
    "few values": {"partition_column": "k", "partitions": 12},
}


@pytest.mark.parametrize("how", PARTED)
def test_every_row_is_in_exactly_one_part(tables: Tables, how: str) -> None:
    tables.run(MANY)
    copied = tables.copy_out("many", **PARTED[how])
    assert copied["rows"] == 60000 and copied["parts"] > 1
    ids = tables.files(copied)["id"].to_pylist()
    assert sorted(ids) == list(range(1, 60001))


def test_rows_whose_partition_column_is_null_are_a_part_of_their_own_and_named(tables: Tables) -> None:
    tables.run("CREATE TABLE t AS SELECT g AS id, CASE WHEN g > 10 THEN g END AS k FROM generate_series(1, 100) g")
    copied = tables.copy_out("t", partition_column="k", partitions=4)
    assert sorted(tables.files(copied)["id"].to_pylist()) == list(range(1, 101))
    assert "k is null in 10 of 100 rows of public.t; they are a part of their own" in copied["notes"]


def test_a_skewed_partition_column_is_named(tables: Tables) -> None:
    tables.run(
        "CREATE TABLE t AS SELECT g AS id, CASE WHEN g > 95 THEN g ELSE 0 END AS k FROM generate_series(1, 100) g"
    )
    copied = tables.copy_out("t", partition_column="k", partitions=10)
    assert copied["rows"] == 100
    assert any(note.startswith("k is skewed: its values make 2 parts instead of 10") for note in copied["notes"])


def test_a_partitioned_table_is_read_by_the_blocks_of_its_partitions(tables: Tables) -> None:
    tables.run(
        "CREATE TABLE p (id int, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE p2 (name text, extra int, id int)",
        "ALTER TABLE p2 DROP COLUMN extra",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (1000) TO (100000)",
        "CREATE TABLE p3 PARTITION OF p DEFAULT",
        "INSERT INTO p SELECT g, 'n' || g FROM generate_series(0, 20000) g",
    )
    copied = tables.copy_out("p", partitions=4)
    assert sorted(tables.files(copied)["id"].to_pylist()) == list(range(20001))
    assert copied["parts"] >= 3


def test_a_view_is_read_whole_or_by_a_column(tables: Tables) -> None:
    tables.run(MANY, "CREATE VIEW v AS SELECT id, upper(name) AS name FROM many WHERE k < 3")
    rows = tables.value("SELECT count(*) FROM v")
    whole, parted = tables.copy_out("v"), tables.copy_out("v", partition_column="id", partitions=4)
    assert whole["rows"] == parted["rows"] == rows and whole["row_hash"] == parted["row_hash"]
    assert whole["parts"] == 1 and parted["parts"] == 5
    assert any("name a partition_column" in note for note in whole["notes"])


def test_a_view_whose_rows_change_from_query_to_query_is_no_copy(tables: Tables) -> None:
    tables.run("CREATE VIEW v AS SELECT g AS id, random() AS r FROM generate_series(1, 10) g")
    with pytest.raises(Problem, match="has values that are not the table's at its snapshot") as refused:
        tables.copy_out("v")
    assert "random()" in refused.value.flexcore["remedy"]


def test_a_table_without_rows_is_a_file_with_its_columns(tables: Tables) -> None:
    tables.run("CREATE TABLE empty (id int, amount numeric, at timestamptz)")
    copied = tables.copy_out("empty")
    table = tables.files(copied)
    assert (copied["rows"], table.num_rows, table.column_names) == (0, 0, ["id", "amount", "at"])


def test_names_that_need_quotes_are_quoted(tables: Tables) -> None:
    tables.run('CREATE SCHEMA IF NOT EXISTS "od d"', 'CREATE TABLE "od d"."Ta""ble" ("Or der" int, "a\'b" text)')
    tables.run("""INSERT INTO "od d"."Ta""ble" VALUES (1, 'x')""")
    copied = tables.copy_out('od d.Ta"ble', partition_column="a'b")
    assert tables.files(copied).to_pylist() == [{"Or der": 1, "a'b": "x"}]
    tables.run('DROP SCHEMA "od d" CASCADE')


def test_columns_can_be_chosen(tables: Tables) -> None:
    tables.run(MANY)
    assert list(tables.copy_out("many", columns=["name", "id"])["types"]) == ["id", "name"]
    with pytest.raises(Problem, match=r"columns: public.many has no column nam; did you mean name") as refused:
        tables.copy_out("many", columns=["nam"])
    assert refused.value.flexcore["subject"] == "columns"


# --- the snapshot and what goes on beside it


class Pausing:
    """Stops a copy after its snapshot was taken, until something has been done to the table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, do: Any) -> None:
        lay_out = copy_out.Copy.lay_out

        def paused(copy: copy_out.Copy, server: Json) -> Any:
            do()
            return lay_out(copy, server)

        monkeypatch.setattr(copy_out.Copy, "lay_out", paused)


def test_all_parts_are_read_at_one_snapshot(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.run(MANY)
    Pausing(monkeypatch, lambda: tables.run("DELETE FROM many WHERE id > 100", "INSERT INTO many VALUES (0, 0, 'new')"))
    copied = tables.copy_out("many", partitions=6)
    assert sorted(tables.files(copied)["id"].to_pylist()) == list(range(1, 60001))


def test_a_change_of_the_columns_waits_and_the_copy_that_it_would_block_is_refused(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.run(MANY)
    altered = threading.Thread(target=tables.run, args=("ALTER TABLE many ADD COLUMN late int",))

    def alter() -> None:
        altered.start()
        until = time.monotonic() + 20
        while not tables.value("SELECT count(*) FROM pg_locks WHERE NOT granted") and time.monotonic() < until:
            time.sleep(0.05)

    Pausing(monkeypatch, alter)
    with pytest.raises(Problem, match=r"public.many is being changed: someone") as refused:
        tables.copy_out("many")
    assert refused.value.flexcore["type"] == "Unavailable"
    altered.join(20)
    assert not altered.is_alive()
    monkeypatch.undo()
    tables.monkeypatch = monkeypatch
    assert "late" in tables.copy_out("many")["types"]


def test_a_snapshot_that_is_too_old_ends_the_copy_and_says_which_limit(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.run(MANY)
    monkeypatch.setattr(table_snapshot, "WATCH_INTERVAL_S", 0.05)
    Pausing(monkeypatch, lambda: time.sleep(1.5))
    with pytest.raises(Problem, match="is gone") as refused:
        tables.copy_out("many", snapshot_max_age_s=1)
    told = refused.value.flexcore
    assert told["type"] == "Unavailable" and "snapshot_max_age_s" in told["remedy"]
    assert tables.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == 0


def test_a_snapshot_that_a_job_works_on_is_not_taken_for_an_orphan(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    from f.flexcore.lib.ray.remote import postgres

    tables.run(MANY)
    monkeypatch.setattr(table_snapshot, "WATCH_INTERVAL_S", 0.05)
    monkeypatch.setattr(table_snapshot, "PING_INTERVAL_S", 0.05)
    holder = table_snapshot.Holder(postgres.Database(**tables.resource), "many", 60, grace_s=0.6)
    holder.open()
    snapshot = table_snapshot.Snapshot(holder)
    with snapshot.keep():
        time.sleep(1.5)
        assert not holder.ended
    until = time.monotonic() + 20
    while not holder.ended and time.monotonic() < until:
        time.sleep(0.05)
    assert holder.ping()["ended"] == "nobody has asked for it"


def test_a_connection_that_is_cut_is_begun_again(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.run(MANY)
    monkeypatch.setattr(part_runner, "RETRY_PAUSE_S", 0.1)
    write, cut = part_files.PartCopier.write, list[int]()

    def cutting(copier: part_files.PartCopier, store: RemoteStore, part: Any, batches: Iterator[Any]) -> Json:
        if not cut:
            cut.append(part.number)
            tables.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SET TRANSACTION SNAPSHOT%' "
                "AND pid <> pg_backend_pid()"
            )
        return write(copier, store, part, batches)

    monkeypatch.setattr(part_files.PartCopier, "write", cutting)
    copied = tables.copy_out("many", num_workers=1, partitions=3)
    assert copied["rows"] == 60000 and "A part is begun again" in capsys.readouterr().out


def test_a_part_that_fails_leaves_no_file_of_its_own(tables: Tables) -> None:
    tables.run("CREATE TABLE t AS SELECT g AS id, 'NaN'::numeric(5,1) AS v FROM generate_series(1, 10) g")
    with pytest.raises(Problem, match="holds NaN"):
        tables.copy_out("t")
    assert not list(tables.root.rglob("*.parquet"))


def test_a_full_disk_is_named(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.run(MANY)
    # The kernel's own device that is always full.
    monkeypatch.setattr(RemoteStore, "path", lambda store, uri: "/dev/full" if uri.endswith(".parquet") else uri[7:])
    with pytest.raises(Problem, match=r"The store file://.* is full") as refused:
        tables.copy_out("many")
    assert refused.value.flexcore["type"] == "Unavailable" and "Free space" in refused.value.flexcore["remedy"]


def test_the_parts_of_an_attempt_at_a_living_snapshot_are_not_copied_again(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.run(MANY)
    kept = list[Any]()

    def hold(database: Any, table: Any, max_age_s: float) -> table_snapshot.Snapshot:
        # The process that keeps it outlives the first attempt, as a detached actor does.
        if not kept:
            kept.append(table_snapshot.Holder(database, table.quoted, max_age_s))
            kept[0].open()
            return table_snapshot.Snapshot(kept[0])
        return table_snapshot.Snapshot(kept[0], is_resumed=True)

    monkeypatch.setattr(table_snapshot, "hold_here", hold)
    write = part_files.PartCopier.write

    def dying(copier: part_files.PartCopier, store: RemoteStore, part: Any, batches: Iterator[Any]) -> Json:
        if part.number == 3:
            raise KeyboardInterrupt
        return write(copier, store, part, batches)

    monkeypatch.setattr(part_files.PartCopier, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        tables.copy_out("many", partitions=6, num_workers=1, key="k", attempt=1)
    monkeypatch.setattr(part_files.PartCopier, "write", write)
    tables.run("DELETE FROM many")
    done = len(list(tables.root.glob("k/copy/*/records/*.json")))
    copied = tables.copy_out("many", partitions=6, num_workers=1, key="k", attempt=2)
    assert (copied["rows"], copied["resumed_parts"]) == (60000, done) and 3 <= done < 6
    assert f"{done} parts are there from an earlier attempt" in capsys.readouterr().out
    assert len(tables.files(copied)) == 60000


def test_without_its_snapshot_a_copy_starts_anew_and_removes_what_was_there(
    tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.run(MANY)
    first = tables.copy_out("many", partitions=3, key="k", attempt=1)
    tables.run("DELETE FROM many WHERE id > 10")
    second = tables.copy_out("many", partitions=3, key="k", attempt=2)
    assert (first["rows"], second["rows"], second["resumed_parts"]) == (60000, 10, 0)
    assert "the copy starts anew" in capsys.readouterr().out
    assert [f"file://{path}/data" for path in folders(tables)] == [second["uri"]]


# --- the cursor


EVENTS = "CREATE TABLE events (id int PRIMARY KEY, at timestamptz, n int)"


def copy_since(tables: Tables, earlier: Json | None = None, **fields: Any) -> tuple[Json, list[int]]:
    since = earlier["cursor"]["value"] if earlier else None
    copied = tables.copy_out("events", cursor_column="at", since=since, **fields)
    return copied, sorted(tables.files(copied)["id"].to_pylist())


def test_a_cursor_reads_its_last_value_again_so_that_no_tie_is_lost(tables: Tables) -> None:
    tables.run(EVENTS, "INSERT INTO events VALUES (1, '2024-01-01 00:00+00'), (2, '2024-01-02 00:00+00')")
    first, ids = copy_since(tables)
    assert ids == [1, 2] and first["cursor"]["value"].startswith("2024-01-02")
    tables.run("INSERT INTO events VALUES (3, '2024-01-02 00:00+00'), (4, '2024-01-03 00:00+00')")
    second, ids = copy_since(tables, first)
    assert ids == [2, 3, 4] and second["cursor"]["rows"] == 4
    assert any("deleted from public.events" in note and "not seen" in note for note in second["notes"])


def test_an_overlap_finds_rows_that_came_late(tables: Tables) -> None:
    tables.run(EVENTS, "INSERT INTO events VALUES (1, '2024-01-01 00:00+00'), (2, '2024-01-02 00:00+00')")
    first, _ = copy_since(tables)
    tables.run("INSERT INTO events VALUES (3, '2024-01-01 23:30+00')")
    assert copy_since(tables, first)[1] == [2]
    assert copy_since(tables, first, overlap=3600)[1] == [2, 3]


def test_rows_without_a_comparable_cursor_are_copied_every_time_and_do_not_move_it(tables: Tables) -> None:
    tables.run(EVENTS, "INSERT INTO events VALUES (1, '2024-01-01 00:00+00'), (2, NULL), (3, 'infinity')")
    first, ids = copy_since(tables, columns=["id"])
    assert ids == [1, 2, 3] and first["cursor"]["value"].startswith("2024-01-01")
    assert any("null or infinite in 2 of 3 rows" in note for note in first["notes"])
    tables.run("INSERT INTO events VALUES (4, '2024-01-05 00:00+00')")
    second, ids = copy_since(tables, first, columns=["id"])
    assert ids == [1, 2, 3, 4] and second["cursor"]["value"].startswith("2024-01-05")


def test_a_cursor_never_moves_back(tables: Tables) -> None:
    tables.run(EVENTS, "INSERT INTO events VALUES (1, '2024-01-05 00:00+00')")
    first, _ = copy_since(tables)
    tables.run("UPDATE events SET at = '2020-01-01 00:00+00'")
    second, ids = copy_since(tables, first)
    assert ids == [] and second["cursor"]["value"] == first["cursor"]["value"]
    assert any("at has gone back" in note for note in second["notes"])


CURSORS = {
    "int": ("1", "5", 3.0, [2, 3]),
    "numeric(10,2)": ("1.50", "5.25", 3.0, [2, 3]),
    "float8": ("1.5", "5.25", 3.0, [2, 3]),
    "date": ("'2024-01-01'", "'2024-01-05'", 2 * 86400.0, [2, 3]),
    "timestamp": ("'2024-01-01'", "'2024-01-05'", 2 * 86400.0, [2, 3]),
    "text": ("'a'", "'b'", 0.0, [2, 3]),
}


@pytest.mark.parametrize("kind", CURSORS)
def test_a_cursor_may_be_of_any_type_that_grows(tables: Tables, kind: str) -> None:
    low, high, overlap, expected = CURSORS[kind]
    tables.run(f"CREATE TABLE events (id int, at {kind})", f"INSERT INTO events VALUES (1, {low}), (2, {high})")
    first, _ = copy_since(tables)
    tables.run(f"INSERT INTO events VALUES (3, {high})")
    assert copy_since(tables, first, overlap=overlap)[1] == expected


def test_a_cursor_that_cannot_grow_is_refused(tables: Tables) -> None:
    tables.run("CREATE TABLE events (id int, at boolean, words text)")
    with pytest.raises(
        Problem, match=r"cursor_column: at of public.events is of type boolean, whose values do not grow"
    ):
        tables.copy_out("events", cursor_column="at")
    with pytest.raises(Problem, match="overlap: words is of type text, from which nothing can be taken away"):
        tables.copy_out("events", cursor_column="words", since="a", overlap=1)
    with pytest.raises(Problem, match=r"cursor_column: public.events has no column word; did you mean words"):
        tables.copy_out("events", cursor_column="word")


# --- bad input


def resource(tables: Tables, **changed: Any) -> Json:
    return {**tables.resource, **changed}


BAD: dict[str, tuple[Json, str, str, str]] = {
    "wrong password": ({"password": "sesame-shut-9876"}, "many", "Forbidden", "refuses the user flexcore"),
    "no server": ({"port": 1}, "many", "Unreachable", "cannot be reached from Ray"),
    "no database": ({"dbname": "nothing"}, "many", "NotFound", "has no database nothing"),
    "no table": ({}, "public.mani", "NotFound", "table: public.mani does not exist; did you mean public.many?"),
    "no right": ({"user": "guest"}, "many", "Forbidden", "permission denied for table many"),
    "no right to a column": ({"user": "half"}, "many", "Forbidden", "permission denied"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_the_database_is_named_without_a_secret(tables: Tables, case: str) -> None:
    changed, table, kind, message = BAD[case]
    tables.run(MANY)
    for user in ("guest", "half"):
        tables.run(
            f"DO $$ BEGIN CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'; EXCEPTION WHEN duplicate_object THEN END $$",
            f"GRANT USAGE ON SCHEMA public TO {user}",
        )
    tables.run("GRANT SELECT (id, k) ON many TO half")
    with pytest.raises(Problem, match=re.escape(message)) as refused:
        tables.copy_out(table, database=resource(tables, **changed))
    told = refused.value.flexcore
    assert told["type"] == kind and told["remedy"] and "sesame" not in str(told)
    assert not list(tables.root.rglob("*.parquet"))


def test_a_name_in_several_schemas_must_say_which(tables: Tables) -> None:
    tables.run("CREATE SCHEMA IF NOT EXISTS a", "CREATE SCHEMA IF NOT EXISTS b")
    tables.run("CREATE TABLE IF NOT EXISTS a.twin (id int)", "CREATE TABLE IF NOT EXISTS b.twin (id int)")
    with pytest.raises(Problem, match="table: twin is in several schemas: a, b"):
        tables.copy_out("twin")
    tables.run("DROP SCHEMA a CASCADE", "DROP SCHEMA b CASCADE")


def test_a_partition_column_without_an_order_is_refused(tables: Tables) -> None:
    tables.run("CREATE TABLE t (id int, shape point)", "INSERT INTO t VALUES (1, '(1,2)')")
    with pytest.raises(Problem, match=r"partition_column: shape of public.t is of type point, which has no order"):
        tables.copy_out("t", partition_column="shape")


def test_a_locked_table_is_named(tables: Tables) -> None:
    tables.run(MANY)
    given = {name: value for name, value in tables.resource.items() if name != "root_certificate_pem"}
    with psycopg.connect(**given) as other:
        other.execute("LOCK TABLE many IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Problem, match="many is being changed: someone holds it"):
            tables.copy_out("many")


# --- pure parts


@pytest.mark.parametrize(
    ("size", "workers", "expected"), [(0, 2, 1), (5 << 20, 2, 1), (100 << 20, 2, 2), (1 << 40, 2, 512)]
)
def test_a_table_is_divided_by_its_size(size: int, workers: int, expected: int) -> None:
    assert table_parts.count_parts(size, workers) == expected


def test_progress_says_rows_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = part_runner.Progress(4, 0.5, lambda: now[0])
    now[0] = 10.0
    progress.add(1000, 0.25)
    assert capsys.readouterr().out == "1 of 4 parts, 1000 rows, 100 rows/s, about 10 s left\n"


HASHED = {
    "int32": "(g - 50)::int4",
    "int64": "(g - 50)::int8 * 3000000000",
    "double": "CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN '-0' ELSE g / 7.0 END::float8",
    "bytes": "CASE WHEN g % 5 > 0 THEN repeat('ä', g) END",
    "date": "date '1999-12-31' + g",
    "timestamp": "timestamptz '1999-12-31 23:00+00' + g * interval '1 minute'",
    "list:int32": "CASE WHEN g % 3 > 0 THEN array_fill(g, ARRAY[g % 5]) || NULL::int4 END",
    "list:bytes": "ARRAY[repeat('x', g), NULL]",
}


@pytest.mark.parametrize("kind", HASHED)
def test_the_hash_of_a_row_is_postgresqls_own(tables: Tables, kind: str) -> None:
    from f.flexcore.lib.ray.remote import postgres

    given = {**tables.resource, "application": "test"}
    value = HASHED[kind]
    query = f"SELECT {value} AS v, hash_record_extended(ROW({value}, g), 0) AS h, g FROM generate_series(1, 99) g"
    with postgres.Database(**given).open() as session:
        (batch,) = list(session.batches(query))
    for start in (0, 13):
        part = batch.slice(start)
        hashes = row_hash.hash_rows([(part.column(0), kind), (part.column(2), "int32")])
        assert (hashes == np.array(part.column(1).to_pylist(), np.int64).view(np.uint64)).all()


# --- another store


def test_a_store_of_objects_is_written_begun_anew_and_read_back(
    tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    import httpx
    from moto.server import ThreadedMotoServer

    tables.run(MANY)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        httpx.put(f"{url}/bucket")
        keys = {"endpoint_url": url, "access_key": "flexcore-key", "secret_key": PASSWORD, "region": ""}
        copied: Json = {}
        for attempt in (1, 2):
            parameters, _ = tables.parameters("many", {"partitions": 3})
            storage = {"uri": "s3://bucket/x", "folder": f"s3://bucket/x/k/{attempt}", **keys}
            copied = copy_out.run(parameters, storage)
        assert copied["rows"] == 60000 and "the copy starts anew" in capsys.readouterr().out
        store = RemoteStore(storage)
        assert len(copy_out.list_folders(store, "s3://bucket/x/k/copy")) == 1
        parameters, _ = tables.parameters("back", {"direction": "to_database"})
        parameters["source"] = {"uri": copied["uri"], "files": copied["files"], "format": "parquet", "columns": {}}
        assert copy_in.run(parameters, storage)["row_hash"] == copied["row_hash"]
        with pytest.raises(Problem, match=r"refuses Ray|cannot use the store|does not exist") as refused:
            copy_out.run(tables.parameters("many", {})[0], {**storage, "folder": "s3://nobucket/x/k/1"})
        assert PASSWORD not in str(refused.value.flexcore)
        assert tables.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flexcore%'") == 0
    finally:
        server.stop()
