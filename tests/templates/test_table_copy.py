"""table_copy on a real Ray head and a real PostgreSQL: a table into the store, and back by the form's choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest, FlowFailure
from flexcore.ray_head import RayHead
from tests.pipeline.postgres_server import PASSWORD, PostgresServer
from tests.templates.conftest import Run, keep, sample
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(engine: Engine, head: RayHead) -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        running.execute("CREATE TABLE flights AS SELECT g AS id, 'UA' AS carrier FROM generate_series(1, 100) g")
        keep(engine, "ray", "c_ray_cluster", head.resource)
        keep(engine, "postgres", "postgresql", running.resource)
        yield running


def test_the_sample_input_copies_a_table_and_the_form_offers_it_for_the_way_back(
    server: PostgresServer, run: Run, offered: Callable[..., list[Json]]
) -> None:
    done = run("table_copy", sample("table_copy"))
    assert done.success, done.result
    manifest = DataManifest.model_validate(done.result["output"])
    assert (manifest.rows, manifest.streams[0].name) == (100, "flights")
    settings = "$res:u/admin/flexcore_local_settings"
    name = offered("table_copy", "data", settings=settings)[0]["value"]
    back = run("table_copy", sample("table_copy") | {"direction": "to_database", "table": "copied", "data": name})
    assert back.success, back.result
    assert back.result["metrics"]["rows"] == 100 and back.result["data"]["publish"] == "create"
    assert PASSWORD not in f"{done.result}{back.result}"


def test_a_table_that_does_not_exist_is_said_with_near_names(server: PostgresServer, run: Run) -> None:
    done = run("table_copy", sample("table_copy") | {"table": "public.flihgts"})
    failure = FlowFailure.model_validate(done.result)
    assert not done.success and failure.failed_step == "copy" and not failure.retryable
    assert "did you mean public.flights" in failure.error and PASSWORD not in str(done.result)
