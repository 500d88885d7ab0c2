"""ml_training and batch_inference on a real Ray head: from data of the store to predictions in it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from f.flexcore.lib.core.contracts import DataManifest, FlowFailure, ModelManifest
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.storage import catalog
from f.flexcore.lib.storage.object_store import Store, local_path
from f.flexcore.lib.storage.object_store import data_manifest as as_manifest
from flexcore.ray_head import RayHead
from tests.ray.conftest import data_manifest
from tests.templates.conftest import ROOT, Run, keep, only_note, sample
from wmlocal.engine import Engine

pytestmark = pytest.mark.xdist_group("ray")
TEXT = {"carrier", "tailnum", "origin", "dest", "time_hour"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def store(engine: Engine) -> Store:
    return Store(Settings.model_validate(engine.variables.resource("u/admin/flexcore_local_settings")))


@pytest.fixture(scope="module", autouse=True)
def extracted(store: Store) -> None:
    """The sample flights and planes as extractions of them are listed."""
    for name in ("flights", "planes"):
        with (ROOT / f"resources/meltano_sample/data/{name}.csv").open(newline="") as source:
            rows = [{key: typed(key, value) for key, value in row.items()} for row in csv.DictReader(source)]
        columns = {key: "string" if isinstance(rows[0][key], str) else "number" for key in rows[0]}
        manifest = data_manifest(local_path(store.uri(f"fc-{name}", "1", "data")), rows, columns)
        catalog.add(store, "data", name, f"fc-{name}-1", as_manifest(manifest))


def typed(name: str, value: str) -> Any:
    if name in TEXT:
        return value
    try:
        return float(value)
    except ValueError:
        return value or None


@pytest.fixture(scope="module")
def on_ray(engine: Engine, head: RayHead) -> None:
    keep(engine, "ray", "c_ray_cluster", head.resource)


@pytest.fixture(scope="module")
def trained(run: Run, on_ray: None) -> Json:
    done = run("ml_training", sample("ml_training"))
    assert done.success, done.result
    return dict(done.result)


@pytest.mark.slow
def test_the_sample_input_trains_measures_and_registers_a_model(
    trained: Json, store: Store, offered: Callable[..., list[Json]]
) -> None:
    model = ModelManifest.model_validate(trained["output"])
    assert (model.metrics["rmse"] or 1e9) < (model.metrics["baseline_rmse"] or 0)
    assert trained["data"]["registered"]["name"] == "arrival-delay"
    assert catalog.find_model(store, "arrival-delay") == model
    settings = "$res:u/admin/flexcore_local_settings"
    newest, version = offered("batch_inference", "model", settings=settings)
    assert newest == {"label": "arrival-delay (the newest)", "value": "arrival-delay"}
    assert version["value"] == f"arrival-delay:{model.version}"


@pytest.mark.slow
def test_the_sample_input_predicts_every_row_of_the_newest_data(trained: Json, run: Run, store: Store) -> None:
    done = run("batch_inference", sample("batch_inference"))
    assert done.success, done.result
    manifest = DataManifest.model_validate(done.result["output"])
    store.verify(manifest)
    assert manifest.rows == 1000 and manifest.streams[0].columns["prediction"] == "number"
    files = [local_path(manifest.uri) / item.path for item in manifest.streams[0].files]
    table = pd.concat([pd.read_parquet(path) for path in files])
    assert list(table.columns) == ["carrier", "flight", "time_hour", "prediction"]
    assert len(table) == 1000 and table["prediction"].notna().all() and table["prediction"].nunique() > 100
    assert catalog.find_data(store, "arrival-delay-predictions") == manifest


@pytest.mark.slow
def test_a_search_tries_what_was_asked_first_and_trains_with_the_best(run: Run, on_ray: None) -> None:
    bounded = {"search": True, "trials": 4, "algorithm": "Ridge", "model_name": "searched"}
    done = run("ml_training", sample("ml_training") | bounded)
    assert done.success, done.result
    assert done.result["data"]["registered"]["name"] == "searched"
    assert ModelManifest.model_validate(done.result["output"]).algorithm == "Ridge"


@pytest.mark.slow
def test_data_without_the_models_columns_is_refused_with_their_names(trained: Json, run: Run) -> None:
    done = run("batch_inference", sample("batch_inference") | {"data": "planes", "keep": []})
    failure = FlowFailure.model_validate(done.result)
    assert (failure.failed_step, failure.category) == ("predict", "invalid_input")
    assert "The data lacks the columns" in failure.error and "dep_delay" in failure.error


def test_a_model_that_is_not_there_is_told_with_those_that_are(run: Run) -> None:
    done = run("batch_inference", sample("batch_inference") | {"model": "arival"})
    failure = FlowFailure.model_validate(done.result)
    assert (failure.failed_step, failure.category) == ("model", "not_found")


def test_the_form_lists_data_its_streams_and_columns(offered: Callable[..., list[Json]]) -> None:
    settings = "$res:u/admin/flexcore_local_settings"
    listed = [item["value"] for item in offered("ml_training", "data", settings=settings)]
    assert {"flights", "planes", "flights:fc-flights-1"} <= set(listed)
    assert offered("ml_training", "stream", settings=settings, data="flights")[0]["value"] == "rows"
    columns = offered("ml_training", "target_column", settings=settings, data="flights", filterText="arr_d")
    assert columns == [{"label": "arr_delay (number)", "value": "arr_delay"}]
    assert "First choose the data" in only_note(offered("ml_training", "features", settings=settings))
