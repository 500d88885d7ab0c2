"""Data measured where it lies: files, S3, a real PostgreSQL, and what a Meltano project's taps would read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from f.flexcore.lib.core.errors import Forbidden, InvalidInput, NotFound, Unreachable
from f.flexcore.lib.core.forms import DataSource
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.pipeline import file_probe
from f.flexcore.lib.pipeline.candidates import parse_request, validate_candidates
from f.flexcore.lib.pipeline.choice import measure_workload
from f.flexcore.lib.pipeline.data_probes import OWN_SOURCES, measure_sources
from f.flexcore.lib.pipeline.file_probe import measure_files
from f.flexcore.lib.pipeline.postgres_probe import measure_tables
from f.flexcore.lib.selection.analysis import Part
from f.flexcore.lib.views import selection_pages
from tests.pipeline.postgres_server import PASSWORD, USER, PostgresServer

TABLES = (
    "CREATE SCHEMA sales",
    "CREATE TABLE sales.orders AS SELECT n AS id, repeat('x', 100) AS note FROM generate_series(1, 5000) n",
    "CREATE TABLE customers AS SELECT n AS id FROM generate_series(1, 300) n",
    "CREATE TABLE events (id int, day date) PARTITION BY RANGE (day)",
    "CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE events_b PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    "INSERT INTO events SELECT n, date '2026-01-01' + n % 50 FROM generate_series(1, 1000) n",
    "CREATE VIEW recent AS SELECT * FROM sales.orders",
    "CREATE INDEX ON sales.orders (id)",
    "ANALYZE sales.orders",
    "ANALYZE events_a",
    "ANALYZE events_b",
    "CREATE ROLE reader LOGIN PASSWORD 'reader-password'",
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.execute(*TABLES)
        yield server


def by_place(parts: list[Part]) -> dict[str, Part]:
    return {part.place: part for part in parts}


# PostgreSQL


def test_tables_are_measured_without_their_indexes_and_partitions_count_for_their_table(
    postgres: PostgresServer,
) -> None:
    parts = by_place(measure_tables(postgres.resource))
    assert set(parts) == {"public.customers", "public.events", "sales.orders"}
    orders, events, customers = parts["sales.orders"], parts["public.events"], parts["public.customers"]
    assert (orders.rows, orders.rows_source, orders.bytes_source) == (5000, "estimated", "measured")
    assert 5000 * 100 < (orders.bytes or 0) < 5000 * 250
    assert (events.rows, events.rows_source) == (1000, "estimated")
    assert (events.bytes or 0) > 8192
    # It was never analysed, and is small enough to be counted.
    assert (customers.rows, customers.rows_source) == (300, "measured")


def test_named_tables_alone_are_measured_and_a_view_has_no_size(postgres: PostgresServer) -> None:
    parts = measure_tables(postgres.resource, ["orders", "public.recent"])
    assert [(part.place, part.bytes is None) for part in parts] == [("sales.orders", False), ("public.recent", True)]
    assert "a view has no size" in parts[1].detail


def test_a_table_that_may_not_be_read_has_a_size_and_no_count(postgres: PostgresServer) -> None:
    reader = postgres.resource | {"user": "reader", "password": "reader-password"}
    (part,) = measure_tables(reader, ["customers"])
    assert (part.rows, part.rows_source) == (None, "not measured")
    assert part.bytes and "ANALYZE" in part.detail


@pytest.mark.parametrize(
    ("change", "tables", "error", "told"),
    [
        ({}, ["order"], NotFound, "Did you mean orders"),
        ({"password": "wrong-password"}, [], Forbidden, "refuses the user"),
        ({"dbname": "moon"}, [], NotFound, "moon"),
        ({"port": 1}, [], Unreachable, "cannot be queried"),
        ({"host": ""}, [], InvalidInput, "no host"),
    ],
)
def test_a_database_that_cannot_be_read_is_a_typed_error_without_its_password(
    postgres: PostgresServer, change: dict[str, Any], tables: list[str], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        measure_tables(postgres.resource | change, tables)
    assert PASSWORD not in str(caught.value) and "wrong-password" not in str(caught.value)


def test_nothing_can_be_written_in_the_session_of_the_probe(postgres: PostgresServer) -> None:
    from f.flexcore.lib.pipeline.postgres_probe import open_session

    with pytest.raises(Unreachable, match="read-only"), open_session(postgres.resource) as connection:
        connection.execute("CREATE TABLE x (id int)")


# Files


def test_small_files_are_counted_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,name\n1,x\n2,"two\nlines"\n')
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"a": 2}\n\n{"a": 3}\n')
    part = measure_files(str(tmp_path), Settings())
    assert (part.rows, part.rows_source, part.detail) == (5, "measured", "2 files")
    assert part.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_large_files_are_estimated_from_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_probe, "SAMPLE_BYTES", 1000)
    for name in "abcdefgh":
        (tmp_path / f"{name}.csv").write_text("id,value\n" + "".join(f"{n:04},{n:04}\n" for n in range(1000)))
    part = measure_files(f"{tmp_path}/*.csv", Settings())
    assert part.rows_source == "estimated"
    assert abs((part.rows or 0) - 8000) < 200
    assert "by a sample" in part.detail


def test_of_compressed_and_binary_files_only_the_size_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    part = measure_files(f"file://{tmp_path}/a.csv.gz", Settings())
    assert (part.rows, part.rows_source) == (None, "not measured")
    assert part.bytes == (tmp_path / "a.csv.gz").stat().st_size
    assert "rows of .gz are not counted" in part.detail


def test_what_is_not_there_or_too_much_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern in ("none.csv", "*.csv", "folder"):
        with pytest.raises(NotFound, match="matches no file"):
            measure_files(str(tmp_path / pattern), Settings())
    monkeypatch.setattr(file_probe, "MAX_FILES", 1)
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(InvalidInput, match="more than 1 files"):
        measure_files(str(tmp_path), Settings())


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    files = s3fs.S3FileSystem(key="key-for-tests", secret="secret-for-tests", endpoint_url=endpoint)
    files.mkdir("lake")
    for number in range(3):
        files.pipe_file(f"lake/sales/part-{number}.jsonl", b'{"a": 1}\n' * (number + 1))
    yield {
        "storage_uri": "s3://lake/flexcore",
        "storage_endpoint_url": endpoint,
        "storage_access_key": "key-for-tests",
        "storage_secret_key": "secret-for-tests",
    }
    server.stop()


@pytest.mark.parametrize("uri", ["s3://lake/sales", "s3://lake/sales/", "s3://lake/sales/*.jsonl"])
def test_a_listing_of_s3_is_measured(bucket: dict[str, str], uri: str) -> None:
    part = measure_files(uri, Settings.model_validate(bucket))
    assert (part.bytes, part.rows, part.rows_source) == (54, 6, "measured")


def test_a_bucket_that_does_not_exist_is_not_found(bucket: dict[str, str]) -> None:
    with pytest.raises(NotFound):
        measure_files("s3://moon/x", Settings.model_validate(bucket))


# Taps

PROJECT = """
default_environment: dev
environments: [{name: dev}]
plugins:
  extractors:
  - name: tap-csv
    namespace: tap_csv
    executable: tap-csv
    settings: [{name: files, kind: array}]
    config: {files: [{entity: orders, path: data/orders.csv, keys: [id]}, {entity: more, path: $MORE, keys: [id]}]}
  - name: tap-postgres
    namespace: tap_postgres
    executable: tap-postgres
    settings: [{name: host}, {name: port, kind: integer}, {name: user}, {name: password, kind: password},
               {name: database}, {name: filter_schemas, kind: array}]
    select: ['*.*', '!public-events.*']
  - name: tap-other
    namespace: tap_other
    executable: tap-other
  loaders:
  - {name: target-jsonl, namespace: target_jsonl, executable: target-jsonl, settings: [{name: destination_path}]}
"""


@pytest.fixture
def project(tmp_path: Path, postgres: PostgresServer) -> dict[str, Any]:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "meltano.yml").write_text(PROJECT)
    (folder / "data/orders.csv").write_text("id\n1\n2\n")
    (tmp_path / "more.csv").write_text("id\n3\n")
    env = {
        "MORE": str(tmp_path / "more.csv"),
        "TAP_POSTGRES_HOST": "127.0.0.1",
        "TAP_POSTGRES_USER": USER,
        "TAP_POSTGRES_PORT": str(postgres.port),
        "TAP_POSTGRES_PASSWORD": PASSWORD,
        "TAP_POSTGRES_DATABASE": "postgres",
    }
    return {"path": str(folder), "env": env}


def tap_parts(project: dict[str, Any], taps: list[str], select: list[str] | None = None) -> dict[str, Part]:
    section = {"project": project, "taps": taps, "select": select}
    parts, notes = measure_sources(DataSource(), validate_candidates({"meltano": section}, Settings()), Settings())
    assert notes == [OWN_SOURCES]
    assert PASSWORD not in str(parts)
    return by_place(parts)


def test_the_files_that_a_tap_is_configured_with_are_measured(project: dict[str, Any]) -> None:
    parts = tap_parts(project, ["tap-csv"])
    assert [part.rows for part in parts.values()] == [2, 1]


@pytest.mark.parametrize(
    ("select", "tables"),
    [
        (None, {"public.customers", "sales.orders"}),
        (["sales-orders.id"], {"sales.orders"}),
        (["public-*.*", "!public-events.id"], {"public.customers", "public.events"}),
    ],
)
def test_the_tables_that_a_tap_of_postgres_selects_are_measured(
    project: dict[str, Any], select: list[str] | None, tables: set[str]
) -> None:
    assert set(tap_parts(project, ["tap-postgres"], select)) == tables


def test_a_tap_of_which_nothing_is_known_makes_the_whole_unknown_and_says_so(project: dict[str, Any]) -> None:
    parts = tap_parts(project, ["tap-csv", "tap-other"])
    assert parts["tap-other"].bytes is None
    assert parts["tap-other"].detail == "where it reads from is not known"


def test_an_unreadable_source_of_a_tap_is_said_and_stops_nothing(project: dict[str, Any]) -> None:
    project["env"] |= {"MORE": "/nowhere/more.csv", "TAP_POSTGRES_PASSWORD": "wrong-password"}
    parts = tap_parts(project, ["tap-csv", "tap-postgres"])
    assert "matches no file" in parts["tap-csv"].detail
    assert "refuses the user" in parts["tap-postgres"].detail


# The whole request


@pytest.fixture
def ray() -> dict[str, Any]:
    return {"cluster": {"address": "http://127.0.0.1:1"}, "program": "result = 1"}


def found(**asked: Any) -> dict[str, Any]:
    workload, measures = measure_workload(parse_request(asked))
    result = {"workload": workload.plain(), "measures": measures}
    assert "<table" in selection_pages.render_analysis_page(measures)
    json.dumps(result)
    return result


def sources(plain: dict[str, Any]) -> dict[str, str]:
    return {item["what"]: item["source"] for item in plain["measures"]}


def test_files_and_tables_add_up(ray: dict[str, Any], postgres: PostgresServer, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    data = {"uris": [str(tmp_path)], "postgres": postgres.resource, "tables": ["customers"]}
    plain = found(data=data, ray=ray, workload={"cpu": 2})
    assert plain["workload"]["rows"] == 301
    assert sources(plain) == {
        "data_size": "measured",
        "rows": "measured",
        "complexity": "estimated",
        "cpu": "declared",
        "memory": "not measured",
        "gpu": "not measured",
        "scaling": "estimated",
        "parallelizable": "estimated",
        "containerized": "estimated",
    }
    assert PASSWORD not in str(plain)


def test_an_unreadable_source_is_an_error_unless_its_size_is_declared(ray: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="matches no file"):
        found(data={"uris": ["/nowhere/*.csv"]}, ray=ray)
    plain = found(data={"uris": ["/nowhere/*.csv"], "size": "12GB"}, ray=ray)
    size = plain["measures"][0]
    assert (size["value"], size["source"]) == (12 * 10**9, "declared")
    assert "could not be read" in size["detail"] and "matches no file" in size["detail"]


def test_a_meltano_request_is_checked_and_its_taps_are_measured(project: dict[str, Any]) -> None:
    plain = found(meltano={"project": project, "taps": ["tap-csv"]})
    assert (plain["workload"]["rows"], plain["workload"]["complexity"]) == (3, "simple")
    with pytest.raises(NotFound, match="tap-cvs"):
        found(meltano={"project": project, "taps": ["tap-cvs"]})


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"data": {"size": "much"}}, "data.size"),
        ({"data": {"size": -1}}, "data.size"),
        ({"data": {"sise": 1}}, "data.sise"),
        ({"data": "x.csv"}, "data"),
        ({"workload": {"complexity": "hard"}}, "workload.complexity"),
        ({"workload": {"memory": "2 bananas"}}, "workload.memory"),
        ({"objective": "fame"}, "objective"),
        ({"workflow_type": " "}, "workflow_type"),
        ({"deadline_s": -5}, "deadline"),
        ({"deadline": "2001-01-01"}, "deadline"),
        ({"pin": "moon"}, "pin"),
    ],
)
def test_a_wrong_request_names_its_field(ray: dict[str, Any], change: dict[str, Any], subject: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        found(ray=ray, **change)
    assert caught.value.subject == subject
