from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from f.flexcore.lib.core import contracts, dimensions, resources, workloads
from f.flexcore.lib.core import forms as data_requests
from f.flexcore.lib.core import pipeline_result as outcomes
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, validate
from f.flexcore.lib.kubernetes import job_manifest, model_deployment
from f.flexcore.lib.meltano import request_models
from f.flexcore.lib.ray import program_job, serve_job, train_job
from f.flexcore.lib.selection import comparison

SNAPSHOTS = Path(__file__).parent.parent / "snapshots"
PUBLIC: dict[str, Any] = {
    "step_result": contracts.StepResult,
    "manifest": contracts.Manifest,
    "pipeline_result": contracts.PipelineResult,
    "flow_failure": contracts.FlowFailure,
    "meltano_project": resources.MeltanoProject,
    "ray_cluster": resources.RayCluster,
    "kubernetes_cluster": resources.KubernetesCluster,
    "settings": resources.Settings,
    "notifications": resources.Notifications,
    "meltano_run_request": request_models.ExtractionRequest,
    "ray_program_request": program_job.ProgramRequest,
    "ray_train_request": train_job.TrainRequest,
    "ray_deploy_model_request": serve_job.DeployRequest,
    "kubernetes_job_request": job_manifest.JobRequest,
    "kubernetes_deploy_model_request": model_deployment.DeploymentRequest,
    "workload": workloads.Workload,
    "run": workloads.Run,
    "market": workloads.Market,
    "selection": workloads.Selection,
    "comparison": comparison.Comparison,
    "data_source": data_requests.DataSource,
    "declared_work": data_requests.DeclaredWork,
    "data_pipeline_form": data_requests.DataPipelineForm,
    "data_pipeline_result": outcomes.DataPipelineResult,
}
MODELS = [model for model in PUBLIC.values() if isinstance(model, type)]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_schema_is_the_one_that_was_agreed(name: str) -> None:
    """Set FLEXCORE_UPDATE_SNAPSHOTS=1 to agree to a change."""
    schema = json.dumps(TypeAdapter(PUBLIC[name]).json_schema(), indent=1, sort_keys=True) + "\n"
    snapshot = SNAPSHOTS / f"{name}.schema.json"
    if os.environ.get("FLEXCORE_UPDATE_SNAPSHOTS"):
        snapshot.write_text(schema)
    assert snapshot.read_text() == schema


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@given(value=ANYTHING)
def test_no_input_ends_in_an_untyped_error(model: type[BaseModel], value: object) -> None:
    try:
        validate(model, value, "it")
    except FlexcoreError as error:
        assert error.remedy and str(error).startswith("it")
        json.dumps(error.__dict__)


def test_a_refusal_names_every_wrong_field_and_no_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(resources.Settings, {"storage_secret_key": {"a": "hunter2"}, "storage_uri": "ftp://x"}, "settings")
    assert "settings.storage_secret_key" in str(caught.value)
    assert "settings.storage_uri" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.subject == "settings.storage_uri"


def test_fields_that_a_form_left_empty_mean_their_default() -> None:
    cluster = validate(resources.KubernetesCluster, {"mode": "", "namespace": None, "token": ""}, "cluster")
    assert cluster.mode == "auto"


@pytest.mark.parametrize("given", [{}, {"path": "/a", "git_url": "https://b"}])
def test_a_project_comes_from_exactly_one_place(given: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="exactly one of path, git_url and meltano_yml"):
        validate(resources.MeltanoProject, given, "project")


@pytest.mark.parametrize(("text", "value"), [("500m", 0.5), ("2", 2), ("1Gi", 2**30), ("1.5G", 1.5e9)])
def test_quantities_are_read_as_kubernetes_reads_them(text: str, value: float) -> None:
    assert dimensions.parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "0", "1 GB", "-1", "much", "1Gib"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        dimensions.parse_quantity(text)


def test_a_step_that_ends_does_not_search_what_it_imported_for_cycles() -> None:
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); import f.flexcore.ray.run_job"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 10_000


def test_what_is_said_of_the_bundles_version_is_the_packages() -> None:
    package = tomllib.loads((SNAPSHOTS.parent.parent / "pyproject.toml").read_text())["project"]
    assert package["version"] == contracts.VERSION
    assert f"flexcore:{contracts.VERSION}" in contracts.LABELS
