"""The store, on a folder and on a real S3 API (moto's server)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from f.flexcore.lib.core.contracts import DataManifest, File, Stream, compute_checksum
from f.flexcore.lib.core.errors import InvalidInput, ManifestMismatch, NotFound, Unreachable
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.storage.object_store import Store


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(Settings(storage_uri=f"file://{tmp_path}/store"))
    endpoint = request.getfixturevalue("s3")
    settings = Settings(
        storage_uri=f"s3://{tmp_path.name.replace('_', '-')}/store",
        storage_endpoint_url=endpoint,
        storage_access_key="key-for-tests",
        storage_secret_key="secret-for-tests",
    )
    store = Store(settings)
    import s3fs

    s3fs.S3FileSystem(**store.options).mkdir(settings.storage_uri.split("/")[2])
    return store


def stored(store: Store, folder: Path) -> DataManifest:
    (folder / "flights").mkdir(parents=True)
    (folder / "flights/part-0.jsonl").write_text('{"a": 1}\n')
    (folder / "planes.jsonl").write_text("")
    files = store.upload(folder, store.uri("k", "1", "data"))
    streams = [Stream(name=file.path, bytes=file.bytes, files=[file]) for file in files]
    return DataManifest(
        uri=store.uri("k", "1", "data"), format="jsonl", streams=streams, checksum=compute_checksum(files)
    )


def test_what_was_uploaded_verifies_and_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    manifest = stored(store, tmp_path / "out")
    store.verify(manifest)
    store.download(manifest, tmp_path / "in")
    assert (tmp_path / "in/flights/part-0.jsonl").read_text() == '{"a": 1}\n'
    assert (tmp_path / "in/planes.jsonl").read_text() == ""


def test_a_changed_or_absent_file_is_found(store: Store, tmp_path: Path) -> None:
    manifest = stored(store, tmp_path / "out")
    store.write_bytes(f"{manifest.uri}/planes.jsonl", b"other")
    with pytest.raises(ManifestMismatch, match=r"planes.jsonl at .* has 5 bytes instead of 0"):
        store.verify(manifest)
    gone = File(path="gone.jsonl", bytes=1, checksum="sha256:" + "0" * 64)
    broken = manifest.model_copy(
        update={"streams": [Stream(name="gone", bytes=1, files=[gone])], "checksum": compute_checksum([gone])}
    )
    with pytest.raises(ManifestMismatch, match=r"gone.jsonl at .* is missing"):
        store.verify(broken)


def test_json_is_read_as_it_was_written_and_absence_is_none(store: Store) -> None:
    assert store.read_json(store.uri("k", "1", "manifest.json")) is None
    store.write_json(store.uri("k", "1", "manifest.json"), {"rows": 3})
    assert store.read_json(store.uri("k", "1", "manifest.json")) == {"rows": 3}


def test_a_usable_store_passes_its_check(store: Store) -> None:
    store.check()


def test_copies_of_a_step_that_write_the_same_file_at_once_do_not_disturb_each_other(store: Store) -> None:
    def write(number: int) -> None:
        store.check()
        store.write_json(store.uri("same.json"), {"number": number})

    with ThreadPoolExecutor(8) as copies:
        list(copies.map(write, range(64)))
    written = store.read_json(store.uri("same.json"))
    assert written and written["number"] in range(64)


def test_another_stores_uri_is_refused_with_the_setting_at_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not in the configured store") as caught:
        Store(Settings(storage_uri=f"file://{tmp_path}")).read_json("s3://elsewhere/x")
    assert caught.value.subject == "storage_uri"


def test_a_missing_bucket_and_a_dead_endpoint_are_told_apart(s3: str) -> None:
    keys = {"storage_access_key": "key-for-tests", "storage_secret_key": "secret-for-tests"}
    with pytest.raises(NotFound):
        Store(Settings(storage_uri="s3://nobucket/x", storage_endpoint_url=s3, **keys)).check()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unreachable, match="cannot be used"):
            Store(Settings(storage_uri="s3://nobucket/x", storage_endpoint_url=dead, **keys)).check()
