"""The race on the local engine: a real PostgreSQL, a real Meltano, and the history that is left of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from f.flexcore.lib.benchmark import database
from flexcore.ray_head import RayHead
from tests.pipeline.postgres_server import PASSWORD, PostgresServer
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
ROOT = Path(__file__).parents[2]
FLOW = "f/flexcore/benchmark_runtimes"
PROJECT = ROOT / "resources/benchmark_project"
Race = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(ROOT) as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def form(server: PostgresServer, store: Path) -> dict[str, Any]:
    return {
        "database": server.resource,
        "rows": 1000,
        "repeats": 1,
        "tables": ["narrow"],
        "settings": {"storage_uri": f"file://{store}"},
    }


def schemas(server: PostgresServer) -> dict[str, str]:
    with database.open_session(server.resource) as connection:
        return database.list_races(connection)


def run(engine: Engine, form: dict[str, Any], **more: Any) -> Race:
    done = engine.run(FLOW, {**form, **more})
    assert done.success, done.result
    race: Race = done.result["render_all"][1]
    return race


def comparison(engine: Engine, workflow_type: str) -> dict[str, Any]:
    done = engine.run("f/flexcore/operations/compare_runtimes", {"workflow_type": workflow_type})
    assert done.success, done.result
    found: dict[str, Any] = done.result["render_all"][1]
    return found


@pytest.fixture(scope="module")
def workflow_type() -> str:
    return f"race {uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def race(engine: Engine, form: dict[str, Any], workflow_type: str, head: RayHead) -> Race:
    project = {"path": str(PROJECT)}
    works = ["extract", "load", "train", "predict"]
    more = {"project": project, "cluster": head.resource, "works": works, "tables": ["lineitem"]}
    return run(engine, form, workflow_type=workflow_type, **more)


def test_every_runtime_hands_on_the_same_rows_and_a_model_as_good_as_the_others(race: Race) -> None:
    ran = {(item["work"], item["runtime"]): item for item in race["standings"] if item["runs"]}
    copying = {(work, runtime) for work in ("extract", "load") for runtime in ("reference", "meltano", "ray")}
    assert ran.keys() == copying | {
        (work, runtime) for work in ("train", "predict") for runtime in ("reference", "ray")
    }
    assert {key: item["note"] for key, item in ran.items() if item["counted"] != 1 or item["note"]} == {}
    assert ran["extract", "meltano"]["to_reference"]["median"] < 1
    assert ran["extract", "ray"]["to_meltano"]["median"] > 0
    assert race["machine"]["cores"] and race["machine"]["memory_bytes"]
    assert {"meltano", "ray", "postgresql", "pyarrow", "adbc-driver-postgresql"} <= race["versions"].keys()


def test_what_a_runtime_has_no_operation_for_is_not_measured_and_says_why(race: Race) -> None:
    absent = {(item["work"], item["runtime"]): item for item in race["standings"] if not item["runs"]}
    assert {key for key in absent if key[1] == "meltano"} == {("train", "meltano"), ("predict", "meltano")}
    assert all(item["note"].startswith("not measured: ") for item in absent.values())
    assert all(item["rows_per_s"]["median"] is None for item in absent.values())


def test_nothing_of_the_race_is_left_in_the_database_or_the_store(
    race: Race, server: PostgresServer, store: Path
) -> None:
    assert schemas(server) == {}
    endings = ("parquet", "jsonl", "ubj", "skops")
    assert [path for path in store.rglob("*") if path.suffix.lstrip(".") in endings] == []
    assert list(store.glob("catalog/data/*/*.json")) == []


def test_comparison_and_learning_take_its_runs_and_leave_the_reference_out(
    race: Race, engine: Engine, workflow_type: str
) -> None:
    found = comparison(engine, workflow_type)
    assert [(item["runtime"], item["runs"], item["samples"]) for item in found["runtimes"]] == [
        ("meltano", 2, 2),
        ("ray", 4, 4),
    ]
    assert all(item["rows_per_s"] > 0 for item in found["runtimes"])
    done = engine.run("f/flexcore/operations/learn", {"dry_run": True})
    assert done.success, done.result
    rows = done.result["render_all"][1]["runtimes"]
    samples = {row["runtime"]: row["samples"] for row in rows if row["workflow_type"] == workflow_type}
    assert samples == {"meltano": 2, "ray": 4}


def test_a_tap_that_stops_early_is_disqualified_and_its_run_is_no_success_in_the_history(
    engine: Engine, form: dict[str, Any], tmp_path: Path
) -> None:
    text = (
        (PROJECT / "meltano.yml")
        .read_text()
        .replace("    - name: host\n", "    - name: max_record_count\n      kind: integer\n    - name: host\n", 1)
    )
    (tmp_path / "meltano.yml").write_text(text)
    name = f"early {uuid.uuid4().hex[:8]}"
    lines = ['filter_schemas=["{schema}"]', "max_record_count=400"]
    ended = run(engine, form, project={"path": str(tmp_path)}, works=["extract"], tap_config=lines, workflow_type=name)
    meltano = next(item for item in ended["standings"] if item["runtime"] == "meltano")
    assert (meltano["runs"], meltano["counted"]) == (1, 0)
    assert meltano["note"] == "disqualified: its output has 400 rows, the source has 1,000"
    (item,) = comparison(engine, name)["runtimes"]
    assert (item["runs"], item["samples"]) == (1, 0)


def test_a_plan_makes_nothing_and_lists_the_runs(engine: Engine, form: dict[str, Any], server: PostgresServer) -> None:
    before = schemas(server)
    plan = run(engine, form, plan_only=True, works=["extract"], repeats=2)["plan"]
    assert [leg["runtime"] for leg in plan["legs"]] == ["reference", "reference"]
    assert schemas(server) == before
    assert PASSWORD not in str(plan)


def test_a_database_that_refuses_is_named_without_its_password(engine: Engine, form: dict[str, Any]) -> None:
    done = engine.run(
        FLOW, {**form, "database": {**form["database"], "password": "wrong-secret-77"}, "works": ["extract"]}
    )
    assert not done.success
    assert "The database refuses" in str(done.result)
    assert "wrong-secret-77" not in str(done.result)


def test_tables_that_a_dead_race_has_left_are_removed_by_the_next_and_those_of_a_living_one_are_not(
    engine: Engine, form: dict[str, Any], server: PostgresServer
) -> None:
    dead = engine.run(FLOW, {**form, "plan_only": True}).id
    with database.open_session(server.resource) as connection:
        database.make_schemas(connection, "flexcore_benchmark_dead", dead)
        database.make_schemas(connection, "flexcore_benchmark_unknown", str(uuid.uuid4()))
    run(engine, form, works=["extract"])
    assert set(schemas(server)) == {"flexcore_benchmark_unknown"}
    with psycopg.connect(database.build_uri(server.resource), autocommit=True) as connection:
        database.drop_schemas(connection, "flexcore_benchmark_unknown")
