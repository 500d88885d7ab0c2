"""The plan of a race: what is run in which order, what is not measured, and the form that it comes from."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.benchmark import legs, planning, race, tables
from f.flexcore.lib.benchmark.request import BenchmarkRequest
from f.flexcore.lib.core import errors, operation

DATABASE = {"host": "db", "dbname": "sales", "user": "ann", "password": "sesame-open-1234"}
READY = operation.Health("meltano", "worker", "ready", version="4.4.1")


def plan(health: dict[str, Any] | None = None, **form: Any) -> legs.Plan:
    request = BenchmarkRequest.model_validate({"database": DATABASE, **form})
    return planning.plan_race(request, {"meltano": READY} if health is None else health, legs.name_schema("1-2"))


def test_each_turn_has_every_work_on_every_table_on_every_runtime_once() -> None:
    planned = plan(repeats=3)
    runs = [(leg.turn, leg.work, leg.table, leg.runtime) for leg in planned.legs]
    assert len(runs) == len(set(runs)) == 3 * 2 * 3 * 2
    assert [leg.number for leg in planned.legs] == list(range(1, 37))
    assert planned.versions == {"meltano": "4.4.1"}


def test_the_runtimes_at_one_work_follow_one_another_and_turn_by_turn_the_other_way_round() -> None:
    for turn, items in groupby(plan(repeats=2).legs, key=lambda leg: leg.turn):
        for _, group in groupby(items, key=lambda leg: (leg.work, leg.table)):
            order = [leg.runtime for leg in group]
            assert order == (["reference", "meltano"] if turn == 1 else ["meltano", "reference"])


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({}, "the form names no resource for it"),
        ({"meltano": "uv is missing"}, "it is down: uv is missing"),
        ({"meltano": operation.Health("meltano", "w", "down", detail="no disk")}, "it is down: no disk"),
    ],
)
def test_a_runtime_that_cannot_take_part_is_named_with_the_reason_and_has_no_runs(
    health: dict[str, Any], reason: str
) -> None:
    planned = plan(health)
    assert {leg.runtime for leg in planned.legs} == {"reference"}
    assert [gap.reason for gap in planned.gaps if gap.runtime == "meltano"] == [reason] * 2


PROJECT = """
plugins:
  extractors: [{name: tap-postgres}]
  loaders: [{name: target-jsonl}, {name: target-duckdb}]
"""


@pytest.mark.parametrize(
    ("form", "lacking"),
    [
        ({"table_target": "target-duckdb"}, {}),
        ({}, {"load": "declares no target named 'target-postgres'. Declared: target-jsonl, target-duckdb."}),
        (
            {"tap": "tap-postgre"},
            dict.fromkeys(("extract", "load"), "declares no tap named 'tap-postgre'. Did you mean tap-postgres?"),
        ),
        ({"project": {"path": "/nowhere"}}, dict.fromkeys(("extract", "load"), "/nowhere")),
    ],
    ids=["all there", "a target", "the tap", "no project"],
)
def test_what_the_project_lacks_is_told_by_the_plan_and_is_not_tried(
    form: dict[str, Any], lacking: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "meltano.yml").write_text(PROJECT)
    given = {"database": DATABASE, "project": {"path": str(tmp_path)}, "repeats": 1, "tables": ["narrow"], **form}
    request = BenchmarkRequest.model_validate(given)
    planned = planning.plan_race(request, {"meltano": READY}, "schema", race.find_missing_plugins(request))
    reasons = {gap.work: gap.reason for gap in planned.gaps if gap.runtime == "meltano"}
    assert reasons.keys() == lacking.keys()
    assert all(text in reasons[work] for work, text in lacking.items()), reasons
    assert {leg.work for leg in planned.legs if leg.runtime == "meltano"} == {"extract", "load"} - lacking.keys()
    assert {leg.work for leg in planned.legs if leg.runtime == "reference"} == {"extract", "load"}


def test_a_busy_runtime_takes_part() -> None:
    limited = operation.Health("meltano", "worker", "limited", detail="its tools are not installed yet")
    assert "meltano" in {leg.runtime for leg in plan({"meltano": limited}).legs}


def test_meltano_reads_one_table_of_the_race_and_loads_into_the_schema_beside_it() -> None:
    planned = plan(repeats=1, tables=["wide"], tap_config=["filter_schemas={schema}", "fast=true"])
    extract, load = (leg for leg in planned.legs if leg.runtime == "meltano")
    schema = extract.source
    assert schema == "flexcore_benchmark_12"
    assert extract.arguments["select"] == [f"*{schema}-wide.*"]
    assert extract.arguments["config"] == [f"tap-postgres.filter_schemas={schema}", "tap-postgres.fast=true"]
    assert load.arguments["config"][-1] == f"target-postgres.default_target_schema={schema}_loaded"
    assert (extract.arguments["target"], load.arguments["target"]) == ("target-jsonl", "target-postgres")


def test_ray_copies_the_same_table_out_and_into_the_schema_beside_it() -> None:
    ray = operation.Health("ray", "ray", "ready", version="2.60.0")
    planned = plan({"ray": ray}, repeats=1, tables=["lineitem"])
    extract, load = (leg.arguments for leg in planned.legs if leg.runtime == "ray")
    assert (extract["table"], extract["direction"]) == ("flexcore_benchmark_12.lineitem", "to_parquet")
    assert (load["table"], load["direction"]) == ("flexcore_benchmark_12_loaded.lineitem", "to_database")


def test_train_and_predict_are_done_on_lineitem_alone_by_those_who_can() -> None:
    ray = operation.Health("ray", "ray", "ready", version="2.60.0")
    planned = plan({"ray": ray, "meltano": READY}, repeats=1, works=["train", "predict"])
    assert [(leg.work, leg.table, leg.runtime) for leg in planned.legs] == [
        (work, "lineitem", runtime) for work in ("train", "predict") for runtime in ("reference", "ray")
    ]
    assert {gap.reason for gap in planned.gaps if gap.runtime == "meltano"} == {"it has no operation for this"}
    assert planned.model == next(leg.arguments for leg in planned.legs if (leg.work, leg.runtime) == ("train", "ray"))


def test_no_model_is_trained_for_nobody() -> None:
    assert plan(works=["predict"]).model is None
    ray = operation.Health("ray", "ray", "ready", version="2.60.0")
    assert plan({"ray": ray}, works=["train"]).model is None


def test_kubernetes_never_takes_part_and_says_why() -> None:
    assert {gap.reason for gap in plan().gaps if gap.runtime == "kubernetes"} == {
        "it has no operation of its own for this; its jobs run containers of yours"
    }


def test_runs_are_kept_under_their_work_and_table_or_under_the_name_of_the_form() -> None:
    kinds = {leg.workflow_type for leg in plan(tables=["wide"]).legs}
    assert kinds == {"benchmark/extract-wide", "benchmark/load-wide"}
    assert {leg.workflow_type for leg in plan(workflow_type="nightly").legs} == {"nightly"}


def test_no_secret_of_the_form_is_in_the_plan() -> None:
    assert DATABASE["password"] not in plan().model_dump_json()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"rows": 10}, "rows"),
        ({"rows": 5_000_001}, "rows"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 11}, "repeats"),
        ({"works": []}, "works"),
        ({"tables": ["huge"]}, "tables"),
        ({"tables": ["wide"], "works": ["train"]}, "train and predict need the table lineitem"),
        ({"workflow_type": "a,b"}, "'a,b' is not a name"),
        ({"project": {}}, "project"),
        ({"speed": 9}, "speed"),
        ({"database": None}, "database"),
    ],
)
def test_a_wrong_form_is_refused_before_anything_is_asked(form: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        race.plan({"database": DATABASE, **form}, "schema")


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_has_a_key_of_its_columns_and_names_no_column_twice(name: tables.TableName) -> None:
    names = [column.name for column in tables.COLUMNS[name]]
    assert len(set(names)) == len(names)
    assert set(tables.KEYS[name]) <= set(names)
