"""Parquet files into tables of a real PostgreSQL: how they are published, and that nothing is half published."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from f.flexcore.lib.ray.remote import part_runner, publishing, staging
from f.flexcore.lib.ray.remote.shared_storage import Problem
from tests.ray.tables import Tables

Json = dict[str, Any]


def write_files(tables: Tables, *parts: Any, **options: Any) -> Json:
    """Arrow tables as files of the store, in the form of a copy's result."""
    import hashlib

    import pyarrow.parquet

    folder = tables.root / "given"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, part in enumerate(parts):
        path = folder / f"{number}.parquet"
        pyarrow.parquet.write_table(part, path, **options)
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        files.append({"path": path.name, "bytes": path.stat().st_size, "checksum": checksum})
    return {"uri": f"file://{folder}", "files": files}


@pytest.fixture
def copied(tables: Tables) -> Json:
    import pyarrow as pa

    return write_files(
        tables,
        pa.table({"id": pa.array(range(500), pa.int64()), "name": [f"n{number}" for number in range(500)]}),
        pa.table({"id": pa.array(range(500, 1000), pa.int64()), "name": [f"n{number}" for number in range(500, 1000)]}),
    )


def test_a_table_that_does_not_exist_is_made(tables: Tables, copied: Json) -> None:
    done = tables.copy_in(copied, "fresh")
    assert (done["publish"], done["rows"], done["parts"]) == ("create", 1000, 2)
    assert tables.rows("SELECT count(*), sum(id), max(name) FROM fresh") == [(1000, 499500, "n999")]
    assert not tables.left_overs()


TARGET = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL DEFAULT 'x', extra int DEFAULT 7)"


def test_a_plain_table_is_swapped_and_keeps_what_belongs_to_it(tables: Tables, copied: Json) -> None:
    tables.run(
        TARGET,
        "CREATE INDEX by_name ON t (lower(name)) WHERE id > 5",
        "CREATE INDEX by_extra ON t (extra DESC, id)",
        "ALTER TABLE t ADD CONSTRAINT long_enough CHECK (length(name) > 1)",
        "COMMENT ON TABLE t IS 'ours'",
        "COMMENT ON COLUMN t.id IS 'number'",
        "DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN END $$",
        "GRANT SELECT ON t TO reader",
        "INSERT INTO t VALUES (-1, 'old')",
    )
    kept = (
        "SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass ORDER BY 1",
        "SELECT obj_description(oid), col_description(oid, 1), relacl::text, relowner FROM pg_class "
        "WHERE oid = 't'::regclass",
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute "
        "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 't'::regclass AND attnum > 0",
    )
    before = [tables.rows(query) for query in kept]
    done = tables.copy_in(copied, "t")
    assert done["publish"] == "swap"
    assert [tables.rows(query) for query in kept] == before
    assert tables.rows("SELECT count(*), min(id), sum(extra) FROM t") == [(1000, 0, 7000)]


# What depends on it → (statements, the reason that is told)
DEPENDING: dict[str, tuple[list[str], str]] = {
    "a view": (["CREATE VIEW v AS SELECT id FROM t"], "the view v"),
    "a trigger": (
        [
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        ],
        "the trigger tr",
    ),
    "a policy": (["CREATE POLICY mine ON t USING (id > 0)"], "the policy mine"),
    "a foreign key": (
        [
            "CREATE TABLE k (id int PRIMARY KEY)",
            "INSERT INTO k VALUES (7)",
            "ALTER TABLE t ADD FOREIGN KEY (extra) REFERENCES k",
        ],
        "the foreign key t_extra_fkey",
    ),
    "a sequence": (["ALTER TABLE t ADD COLUMN number serial"], "the sequence t_number_seq"),
    "a fill factor": (["ALTER TABLE t SET (fillfactor = 70)"], "the setting fillfactor=70"),
    "rights on a column": (["GRANT SELECT (id) ON t TO PUBLIC"], "the rights on the column id"),
    "a publication": (["CREATE PUBLICATION feed FOR TABLE t"], "the publication feed"),
    "a child": (["CREATE TABLE child () INHERITS (t)"], "the parent or partition child"),
}


@pytest.mark.parametrize("what", DEPENDING)
def test_a_table_that_others_depend_on_is_refilled_and_the_reason_told(tables: Tables, copied: Json, what: str) -> None:
    statement, reason = DEPENDING[what]
    tables.run(TARGET, "INSERT INTO t (id) VALUES (-1)")
    tables.run(*statement)
    oid = tables.value("SELECT 't'::regclass::oid")
    done = tables.copy_in(copied, "t")
    assert done["publish"] == "refill" and reason in done["notes"][0]
    assert tables.value("SELECT 't'::regclass::oid") == oid
    assert tables.rows("SELECT count(*), min(id) FROM ONLY t") == [(1000, 0)]
    if what == "a publication":
        tables.run("DROP PUBLICATION feed")


def test_a_table_that_others_refer_to_cannot_be_replaced(tables: Tables, copied: Json) -> None:
    tables.run(TARGET, "CREATE TABLE child (t_id bigint REFERENCES t)")
    with pytest.raises(Problem, match=r"public.t cannot be replaced: child refer to its rows") as refused:
        tables.copy_in(copied, "t")
    assert refused.value.flexcore["type"] == "Conflict" and "merge" in refused.value.flexcore["remedy"]
    assert not tables.left_overs()


def test_rows_are_added_once_however_often_the_step_is_repeated(tables: Tables, copied: Json) -> None:
    tables.run("CREATE TABLE t (id bigint, name text)", "INSERT INTO t VALUES (-1, 'kept')")
    first = tables.copy_in(copied, "t", write="append", key="k", attempt=1)
    second = tables.copy_in(copied, "t", write="append", key="k", attempt=2)
    assert first["rows"] == second["rows"] == 1000 and second["resumed_parts"] == 2
    assert tables.value("SELECT count(*) FROM t") == 1001
    tables.copy_in(copied, "t", write="append", key="another")
    assert tables.value("SELECT count(*) FROM t") == 2001


def test_rows_are_merged_by_key_and_the_last_of_a_file_counts(tables: Tables) -> None:
    import pyarrow as pa

    tables.run(TARGET, "INSERT INTO t VALUES (1, 'old', 3), (9, 'kept', 4)")
    given = write_files(tables, pa.table({"id": [1, 2, 2], "name": ["new", "first", "last"]}))
    done = tables.copy_in(given, "t", write="merge", key_columns=["id"])
    assert done["publish"] == "merge"
    assert tables.rows("SELECT * FROM t ORDER BY id") == [(1, "new", 3), (2, "last", 7), (9, "kept", 4)]


def test_a_merge_needs_an_index_a_column_and_values(tables: Tables, copied: Json) -> None:
    import pyarrow as pa

    tables.run("CREATE TABLE t (id bigint, name text)")
    for keys, message in ((["id"], r"has no unique index on \(id\)"), (["nr"], "the data has no column nr")):
        with pytest.raises(Problem, match=message) as refused:
            tables.copy_in(copied, "t", write="merge", key_columns=keys)
        assert refused.value.flexcore["subject"] == "key_columns"
    tables.run("CREATE UNIQUE INDEX ON t (id)")
    given = write_files(tables, pa.table({"id": pa.array([1, None], pa.int64()), "name": ["a", "b"]}))
    with pytest.raises(Problem, match=r"1 rows have no value in \(id\)"):
        tables.copy_in(given, "t", write="merge", key_columns=["id"])
    assert tables.value("SELECT count(*) FROM t") == 0 and not tables.left_overs()


@pytest.mark.parametrize("kind", ["character varying(3)", "character(2)"])
def test_a_type_that_would_cut_a_value_is_refused_and_the_table_left_alone(
    tables: Tables, copied: Json, kind: str
) -> None:
    tables.run(f"CREATE TABLE t (id bigint, name {kind})", "INSERT INTO t VALUES (-1, 'a')")
    with pytest.raises(
        Problem, match=re.escape(f"public.t cannot hold the values exactly: name ({kind}) in")
    ) as refused:
        tables.copy_in(copied, "t")
    assert refused.value.flexcore["type"] == "DataError"
    assert tables.value("SELECT count(*) FROM t") == 1 and not tables.left_overs()


def test_a_number_that_would_be_rounded_is_refused(tables: Tables) -> None:
    import pyarrow as pa

    tables.run("CREATE TABLE t (id int, v numeric(5,1), f real)")
    given = write_files(tables, pa.table({"id": [1, 2], "v": [1.5, 1.25], "f": [0.5, 0.1]}))
    with pytest.raises(Problem, match=r"v \(numeric\(5,1\)\) in 1 rows; f \(real\) in 1 rows"):
        tables.copy_in(given, "t")


BAD_VALUES = {
    "a constraint": ("CREATE TABLE t (id bigint CHECK (id < 900), name text)", "A constraint of the table refuses"),
    "a null": ("CREATE TABLE t (id bigint, name text, more int NOT NULL)", "A constraint of the table refuses"),
    "no uuid": ("CREATE TABLE t (id bigint, name uuid)", "A value does not fit"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_rows_that_the_table_refuses_leave_it_as_it_was(tables: Tables, copied: Json, what: str) -> None:
    statement, message = BAD_VALUES[what]
    tables.run(statement)
    for write in ("replace", "append"):
        with pytest.raises(Problem, match=message) as refused:
            tables.copy_in(copied, "t", write=write)
        assert refused.value.flexcore["type"] == "DataError"
    assert tables.value("SELECT count(*) FROM t") == 0 and not tables.left_overs()


def test_columns_that_do_not_belong_together_are_named_before_anything_is_loaded(tables: Tables, copied: Json) -> None:
    tables.run(
        "CREATE TABLE t (id bigint, nane text)",
        "CREATE TABLE g (id bigint, name text GENERATED ALWAYS AS ('x') STORED)",
    )
    tables.run("CREATE VIEW v AS SELECT 1 AS id")
    with pytest.raises(Problem, match=r"public.t has no column name; did you mean nane"):
        tables.copy_in(copied, "t")
    with pytest.raises(Problem, match=r"public.g computes its column name itself"):
        tables.copy_in(copied, "g")
    with pytest.raises(Problem, match=r"table: public.v is a view, which takes no rows"):
        tables.copy_in(copied, "v")
    assert tables.copy_in(copied, "t", columns=["id"])["rows"] == 1000


def test_files_that_do_not_fit_each_other_or_are_damaged_are_named(tables: Tables) -> None:
    import pyarrow as pa

    given = write_files(tables, pa.table({"id": [1], "name": ["a"]}), pa.table({"id": [1]}))
    with pytest.raises(Problem, match=r"1.parquet"):
        tables.copy_in(given, "t")
    given = write_files(tables, pa.table({"id": [1]}), pa.table({"id": ["no number"]}))
    with pytest.raises(Problem, match=r"1.parquet column id"):
        tables.copy_in(given, "t")
    given = write_files(tables, pa.table({"id": [1]}))
    given["files"][0]["checksum"] = "sha256:" + "0" * 64
    with pytest.raises(Problem, match=r"0.parquet at .* has another checksum"):
        tables.copy_in(given, "t")
    (tables.root / "given/0.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(Problem, match=r"0.parquet is not a whole Parquet file"):
        tables.copy_in(given, "t")
    given = write_files(tables, pa.table({"id": [{"a": 1}]}))
    with pytest.raises(Problem, match=r"no type for: id \(struct"):
        tables.copy_in(given, "t")
    assert tables.value("SELECT to_regclass('t') IS NULL") and not tables.left_overs()


def test_types_of_other_writers_are_taken(tables: Tables) -> None:
    import pyarrow as pa

    given = write_files(
        tables,
        pa.table(
            {
                "u8": pa.array([255], pa.uint8()),
                "u64": pa.array([2**64 - 1], pa.uint64()),
                "ns": pa.array([1_700_000_000_123_456_000], pa.timestamp("ns")),
                "ms": pa.array([1_700_000_000_123], pa.timestamp("ms", "Europe/Berlin")),
                "word": pa.array(["a"]).dictionary_encode(),
                "large": pa.array(["b"], pa.large_string()),
                "nothing": pa.nulls(1),
            }
        ),
    )
    tables.copy_in(given, "t")
    assert tables.rows("SELECT u8, u64::text, ns::text, extract(epoch FROM ms)::text, word, large, nothing FROM t") == [
        (255, str(2**64 - 1), "2023-11-14 22:13:20.123456", "1700000000.123000", "a", "b", None)
    ]
    lossy = write_files(tables, pa.table({"ns": pa.array([1], pa.timestamp("ns"))}))
    with pytest.raises(Problem, match="column ns: Casting from timestamp"):
        tables.copy_in(lossy, "lossy")


def test_a_large_file_is_loaded_by_its_row_groups_side_by_side(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    from f.flexcore.lib.ray.remote import copy_in

    monkeypatch.setattr(copy_in, "PART_BYTES", 1)
    given = write_files(tables, pa.table({"id": range(1000)}), row_group_size=300)
    done = tables.copy_in(given, "t")
    assert done["parts"] == 4 and tables.rows("SELECT count(*), sum(id) FROM t") == [(1000, 499500)]


# --- killed, at once, left over


KILLED = ("loading", "loaded", "publishing", "published")


@pytest.mark.parametrize("point", KILLED)
@pytest.mark.parametrize("write", ["replace", "append", "merge"])
def test_a_load_that_is_killed_publishes_nothing_and_a_repeat_all_of_it_once(
    tables: Tables, copied: Json, monkeypatch: pytest.MonkeyPatch, point: str, write: str
) -> None:
    tables.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)", "INSERT INTO t VALUES (-1, 'old')")
    fields: Json = {
        "write": write,
        "key": "k",
        "num_workers": 1,
        **({"key_columns": ["id"]} if write == "merge" else {}),
    }

    def die(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if point == "loading":
            load = staging.PartLoader.load

            def load_first(loader: staging.PartLoader, session: Any, store: Any, part: staging.LoadPart) -> Json:
                return load(loader, session, store, part) if part.number == 0 else die()

            patch.setattr(staging.PartLoader, "load", load_first)
        elif point == "loaded":
            patch.setattr(publishing, "publish", die)
        elif point == "publishing":
            # The connection ends between the rows and the commit.
            patch.setitem(publishing.WRITERS, "swap" if write == "replace" else write, die)
        else:
            publish = publishing.publish
            patch.setattr(publishing, "publish", lambda *given: (publish(*given), die()))
        with pytest.raises(KeyboardInterrupt):
            tables.copy_in(copied, "t", attempt=1, **fields)
    is_published = point == "published"
    ids = [-1] if write != "replace" else []
    expected = [*ids, *range(1000)]
    assert (tables.value("SELECT count(*) FROM t") > 1) is is_published
    done = tables.copy_in(copied, "t", attempt=2, **fields)
    assert done["rows"] == 1000 and done["resumed_parts"] == {"loading": 1}.get(point, 2)
    assert [row[0] for row in tables.rows("SELECT id FROM t ORDER BY id")] == expected
    assert not tables.left_overs()


def test_two_attempts_at_once_publish_once(tables: Tables, copied: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.run("CREATE TABLE t (id bigint, name text)")
    barrier, append, ended = threading.Barrier(2, timeout=20), publishing.append, list[Any]()
    prepare = publishing.check_narrowing

    def together(*given: Any) -> None:
        prepare(*given)
        barrier.wait()

    monkeypatch.setattr(publishing, "check_narrowing", together)

    def load(attempt: int) -> None:
        try:
            ended.append(tables.copy_in(copied, "t", write="append", key="k", attempt=attempt)["rows"])
        except (Problem, threading.BrokenBarrierError) as problem:
            ended.append(problem)

    threads = [threading.Thread(target=load, args=(attempt,)) for attempt in (1, 2)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join(60)
    assert append is publishing.append
    assert 1000 in ended and tables.value("SELECT count(*) FROM t") == 1000


def test_what_a_dead_copy_has_left_is_dropped_by_the_next_and_nothing_of_others(
    tables: Tables, copied: Json, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tables.copy_in(copied, "t", key="dead")
    tables.run("CREATE TABLE flexcore_stage_mine (id int)", "COMMENT ON TABLE flexcore_stage_mine IS 'not a copy''s'")
    tables.copy_in(copied, "t", key="soon")
    assert tables.left_overs() == ["flexcore_parts_dead", "flexcore_stage_dead", "flexcore_stage_mine"]
    real = time.time
    monkeypatch.setattr(staging.time, "time", lambda: real() + 3 * 24 * 3600)
    tables.copy_in(copied, "t", key="later")
    assert tables.left_overs() == ["flexcore_stage_mine"]
    assert "Dropped public.flexcore_stage_dead" in capsys.readouterr().out


def test_a_target_that_is_locked_is_waited_for_and_then_named(
    tables: Tables, copied: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.run("CREATE TABLE t (id bigint, name text)")
    monkeypatch.setattr(publishing, "SWAP_LOCK_TIMEOUT", "300ms")
    given = {name: value for name, value in tables.resource.items() if name != "root_certificate_pem"}
    with psycopg.connect(**given) as other:
        other.execute("SELECT * FROM t")
        with pytest.raises(Problem, match="The table is locked"):
            tables.copy_in(copied, "t", key="k")
    assert tables.copy_in(copied, "t", key="k", attempt=2)["resumed_parts"] == 2


def test_a_lost_connection_does_not_load_a_part_twice(
    tables: Tables, copied: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_runner, "RETRY_PAUSE_S", 0.1)
    iterate, cut = staging.Batches.__iter__, list[int]()

    def cutting(self: staging.Batches) -> Iterator[Any]:
        for batch in iterate(self):
            if not cut:
                cut.append(1)
                tables.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%stage%' AND pid <> "
                    "pg_backend_pid()"
                )
            yield batch

    monkeypatch.setattr(staging.Batches, "__iter__", cutting)
    tables.copy_in(copied, "t", num_workers=1)
    assert cut and tables.rows("SELECT count(*), count(DISTINCT id) FROM t") == [(1000, 1000)]


def test_a_user_who_may_not_write_is_told_so(tables: Tables, copied: Json) -> None:
    tables.run(
        "CREATE TABLE t (id bigint, name text)",
        f"DO $$ BEGIN CREATE ROLE looker LOGIN PASSWORD '{tables.resource['password']}'; "
        "EXCEPTION WHEN duplicate_object THEN END $$",
        "GRANT USAGE ON SCHEMA public TO looker",
        "GRANT SELECT ON t TO looker",
    )
    with pytest.raises(Problem, match="permission denied for schema public") as refused:
        tables.copy_in(copied, "t", database={**tables.resource, "user": "looker"})
    assert refused.value.flexcore["type"] == "Forbidden" and "sesame" not in str(refused.value.flexcore)
