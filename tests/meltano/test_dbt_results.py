"""dbt's artifacts, as they are written and as they should not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from f.flexcore.lib.meltano import dbt_run
from f.flexcore.lib.meltano.dbt import RUN_DBT, prepare
from f.flexcore.lib.meltano.dbt_results import count_nodes, dbt_error, find_cause, parse_nodes

TEST = "test.shop.not_null_orders_id.1a2b"


def result(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"unique_id": name, "status": status, "execution_time": 0.5, "message": None, **more}


RESULTS = {
    "results": [
        result("model.shop.orders", "success", adapter_response={"rows_affected": 12}, relation_name="db.orders"),
        result(TEST, "fail", failures=3, message="Got 3 results, configured to fail if != 0"),
        result("model.shop.late", "skipped"),
    ]
}
MANIFEST = {
    "nodes": {
        TEST: {"name": "not_null_orders_id", "column_name": "id", "attached_node": "model.shop.orders"},
        "model.shop.orders": {"name": "orders"},
    }
}


def test_each_node_has_its_status_its_rows_and_what_it_is_about() -> None:
    orders, test, late = parse_nodes(RESULTS, MANIFEST)
    assert (orders.name, orders.rows, orders.relation, orders.model) == ("orders", 12, "db.orders", None)
    assert (test.model, test.column, test.failures, test.has_failed) == ("orders", "id", 3, True)
    assert (late.name, late.status, late.has_failed) == ("late", "skipped", False)
    assert count_nodes([orders, test, late]) == {
        "models": 2,
        "models_failed": 0,
        "models_skipped": 1,
        "tests": 1,
        "tests_failed": 1,
        "tests_skipped": 0,
        "node_seconds": 1.5,
    }


def test_a_failed_test_names_its_model_and_a_failed_model_comes_first() -> None:
    nodes = parse_nodes(RESULTS, MANIFEST)
    error = dbt_error(nodes, 1, "")
    assert "test not_null_orders_id of orders.id failed (3 rows)" in str(error)
    assert (error.category, error.subject) == ("test_failed", "orders")
    broken = parse_nodes(
        {"results": [*RESULTS["results"], result("model.shop.x", "error", message="No  column\n y")]}, {}
    )
    error = dbt_error(broken, 1, "")
    assert "dbt: model x failed (No column y)" in str(error) and error.category == "model_failed"


@pytest.mark.parametrize(
    "results", [None, [], {}, {"results": {}}, {"results": [None, 1]}, {"results": [{"unique_id": None}]}]
)
def test_artifacts_of_any_shape_are_read(results: Any) -> None:
    assert all(node.status == "unknown" for node in parse_nodes(results, results))


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("12:00:01  Running\n12:00:02  Compilation Error\n  no model x", "Compilation Error no model x"),
        ("a\n\nlast words\n", "last words"),
        ("", "its log gives no reason"),
    ],
)
def test_what_kept_dbt_from_starting_is_found_in_its_log(log: str, cause: str) -> None:
    assert find_cause(log) == cause


@pytest.fixture
def project(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "transform").mkdir()
    (tmp_path / "transform/dbt_project.yml").write_text("name: x\n")
    return {"path": str(tmp_path)}


def prepared(project: dict[str, Any], **arguments: Any) -> dbt_run.Prepared:
    invocation = RUN_DBT.invoke({"project": project, **arguments}, {})
    return prepare(invocation.request, invocation.service, invocation.settings)


def test_the_only_folder_with_models_is_found(project: dict[str, Any]) -> None:
    assert prepared(project, adapter="duckdb").models.name == "transform"


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        ({"adapter": "duckbd"}, InvalidInput, "adapter: 'duckbd' is not one of postgres"),
        ({"folder": "models"}, NotFound, "no dbt_project.yml in models. Use one of: transform"),
        ({"folder": "../.."}, InvalidInput, "leads out of the project"),
        ({"select": ["--profiles-dir=/x"]}, InvalidInput, "is an option and not the name of a model"),
        ({"variables": ["secret"]}, InvalidInput, "line 0 is not NAME=VALUE"),
        ({"run_by": "meltano"}, InvalidInput, "utility is empty: run_by meltano needs one"),
        ({"threads": 0}, InvalidInput, "threads"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_installed(
    project: dict[str, Any], asked: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        prepared(project, **asked)


def test_of_several_folders_with_models_one_must_be_chosen(project: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/dbt_project.yml").write_text("name: y\n")
    with pytest.raises(InvalidInput, match=r"has several dbt_project\.yml.*the project has: other, transform"):
        prepared(project)
