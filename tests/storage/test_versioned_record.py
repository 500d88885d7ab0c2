"""A record that several processes change: on a folder and on a real S3 API (moto's server)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from f.flexcore.lib.core import resources
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.storage.versioned_record import KEEP_S, KEPT_VERSIONS, VersionedRecord, list_records
from tests.local_server import LocalServer


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object_store.Store]:
    if request.param == "file":
        yield object_store.Store(resources.Settings(storage_uri=f"file://{tmp_path}"))
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # moto's buckets outlive its server.
    bucket = tmp_path.name.replace("_", "-")
    settings = resources.Settings(
        storage_uri=f"s3://{bucket}/a",
        storage_endpoint_url=f"http://{host}:{port}",
        storage_access_key="key",
        storage_secret_key="secret-key",
    )
    s3fs.S3FileSystem(**object_store.storage_options(settings)).mkdir(bucket)
    yield object_store.Store(settings)
    server.stop()


def test_of_two_changes_of_the_same_version_one_is_made(store: object_store.Store) -> None:
    record = VersionedRecord(store, store.uri("leases", "x"))
    assert record.read() == (0, None)
    assert record.write(0, {"n": 1}) is True
    assert record.write(0, {"n": 2}) is False
    assert record.read() == (1, {"n": 1})


class LosesAnswers(LocalServer):
    """Between a client and an S3 server: what a client may create it hands on, and closes the connection instead of
    the first answer."""

    def __init__(self, endpoint: str) -> None:
        self.lost: list[str] = []
        proxy, host = self, endpoint.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server = HTTPConnection(host, timeout=30)
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                content = answer.read()
                server.close()
                if "If-None-Match" in self.headers and not proxy.lost:
                    proxy.lost.append(f"{self.command} {answer.status}")
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = respond

            def log_message(self, *_: object) -> None:
                return None

        super().__init__(Handler)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_change_whose_answer_is_lost_is_known_as_ones_own_and_that_of_another_is_not(
    store: object_store.Store,
) -> None:
    with LosesAnswers(store.options["endpoint_url"]) as proxy:
        settings = resources.Settings(
            storage_uri=store.root,
            storage_endpoint_url=proxy.address,
            storage_access_key="key",
            storage_secret_key="secret-key",
        )
        record = VersionedRecord(object_store.Store(settings), store.uri("leases", "x"))
        assert record.write(0, {"n": 1}) is True
        assert proxy.lost == ["PUT 200"]
        assert record.write(0, {"n": 1}) is False
        assert record.read() == (1, {"n": 1})


def test_no_change_of_many_threads_is_lost(store: object_store.Store) -> None:
    threads, times = 6, 8

    def count() -> None:
        record = VersionedRecord(store, store.uri("leases", "x"))
        for _ in range(times):
            while True:
                version, value = record.read()
                if record.write(version, (value or 0) + 1):
                    break

    workers = [threading.Thread(target=count) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert VersionedRecord(store, store.uri("leases", "x")).read() == (threads * times, threads * times)


def test_old_versions_go_once_nobody_can_still_write_on_top_of_them(store: object_store.Store) -> None:
    now = 1_000_000.0
    record = VersionedRecord(store, store.uri("leases", "x"), clock=lambda: now)
    for number in range(3 * KEPT_VERSIONS):
        assert record.write(number, number)
    assert len(store.listing(record.folder, most=1000)) == 3 * KEPT_VERSIONS
    now += KEEP_S + 1
    record.write(3 * KEPT_VERSIONS, "new")
    assert len(store.listing(record.folder, most=1000)) <= KEPT_VERSIONS + 1
    assert record.read() == (3 * KEPT_VERSIONS + 1, "new")


def test_records_are_listed_by_their_folders(store: object_store.Store) -> None:
    assert list_records(store, store.uri("leases")) == []
    for name in ("b", "a"):
        VersionedRecord(store, store.uri("leases", name)).write(0, {})
    assert list_records(store, store.uri("leases")) == [store.uri("leases", "a"), store.uri("leases", "b")]
