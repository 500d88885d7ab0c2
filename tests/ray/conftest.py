"""A worker beside the real Ray head of tests/conftest.py, and data in a store of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest, Stream, compute_checksum
from f.flexcore.lib.storage.object_store import file_entry
from flexcore.ray_head import RayHead
from tests.pipeline.postgres_server import PostgresServer
from tests.ray.tables import Tables

HERE = Path(__file__).parent
Rows = list[dict[str, Any]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # One worker process runs all that use the session's head; the other one what needs none, or a head of its own.
    for item in items:
        if HERE in item.path.parents:
            uses_head = "head" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("ray" if uses_head else "beside_ray"))


@pytest.fixture
def cluster(head: RayHead) -> dict[str, Any]:
    return dict(head.resource)


def bearer(cluster: dict[str, Any]) -> dict[str, str]:
    """Headers of a request to the head that a test makes by itself."""
    return {"Authorization": f"Bearer {cluster['token']}"}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def tables(postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    """An empty database with a store of its own."""
    postgres_server.execute("DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public")
    yield Tables(postgres_server, tmp_path / "store", monkeypatch)


@pytest.fixture(autouse=True)
def worker_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker's environment: no job of its own unless a test gives one, and a store that is empty."""
    for name in [item for item in os.environ if item.startswith("WM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))


@pytest.fixture
def same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call belongs to the same step of the same flow run, as a retry or a restart does."""
    monkeypatch.setenv("WM_FLOW_JOB_ID", "018f0000-0000-7000-8000-000000000001")
    monkeypatch.setenv("WM_FLOW_STEP_ID", "ml")


@pytest.fixture
def extracted(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes rows as the files of an extraction and returns their manifest."""

    def write(rows: Rows, columns: dict[str, str] | None = None, form: str = "jsonl") -> dict[str, Any]:
        return data_manifest(tmp_path / "home/store/extraction", rows, columns, form)

    return write


def data_manifest(
    folder: Path, rows: Rows, columns: dict[str, str] | None = None, form: str = "jsonl"
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows.{form}"
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif form == "csv":
        import pandas as pd

        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = file_entry(path, path.name)
    stream = Stream(name="rows", rows=len(rows), bytes=file.bytes, columns=columns or {}, files=[file])
    manifest = DataManifest(uri=f"file://{folder}", format=form, streams=[stream], checksum=compute_checksum([file]))
    return manifest.plain()
