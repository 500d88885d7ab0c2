"""dbt_transformation with the real dbt and its DuckDB adapter, on the sample project's models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import FlowFailure
from tests.templates.conftest import ROOT, Run, only_note, sample

TEMPLATE = "dbt_transformation"
Json = dict[str, Any]


@pytest.mark.slow
def test_the_sample_input_tells_of_each_model_and_test(run: Run) -> None:
    done = run(TEMPLATE, sample(TEMPLATE))
    assert done.success, done.result
    nodes = {node["name"]: node for node in done.result["data"]["nodes"]}
    assert (nodes["flights"]["kind"], nodes["delays"]["kind"]) == ("seed", "model")
    assert all(node["status"] in ("success", "pass") and node["seconds"] is not None for node in nodes.values())
    assert nodes["unique_delays_carrier"]["model"] == "delays" and nodes["unique_delays_carrier"]["column"] == "carrier"
    metrics = done.result["metrics"]
    assert (metrics["models"], metrics["models_failed"], metrics["tests"], metrics["tests_failed"]) == (2, 0, 4, 0)


@pytest.mark.slow
def test_a_failed_test_of_the_projects_own_utility_names_its_model(run: Run, tmp_path: Path) -> None:
    project = shutil.copytree(ROOT / "resources/meltano_sample", tmp_path / "project")
    (project / "transform/models/delays.sql").write_text("select null as carrier, 1 as flights")
    before = sorted(path for path in project.rglob("*") if path.is_file())
    by_meltano = {"project": {"path": str(project)}, "run_by": "meltano", "utility": "dbt-duckdb", "select": ["delays"]}
    done = run(TEMPLATE, by_meltano)
    assert not done.success
    failure = FlowFailure.model_validate(done.result)
    assert (failure.failed_step, failure.category, failure.subject) == ("transform", "test_failed", "delays")
    assert "test not_null_delays_carrier of delays.carrier failed (1 rows)" in failure.error
    assert len(failure.details["nodes"]) == 4
    # A project is not written to.
    assert sorted(path for path in project.rglob("*") if path.is_file()) == before


def test_the_form_lists_utilities_and_folders_with_models(offered: Callable[..., list[Json]]) -> None:
    project = "$res:u/admin/flexcore_local_project"
    assert [item["value"] for item in offered(TEMPLATE, "utility", project=project)] == ["dbt-duckdb"]
    assert [item["value"] for item in offered(TEMPLATE, "folder", project=project)] == ["transform"]
    assert "First choose a project" in only_note(offered(TEMPLATE, "folder"))
