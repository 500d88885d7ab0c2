"""The served application without Ray Serve: what it answers to which request."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from f.flexcore.lib.core.contracts import Signature
from f.flexcore.lib.core.inference import build_infer_request, parse_predictions
from f.flexcore.lib.ray.remote.inference_app import ModelApp
from f.flexcore.lib.ray.remote.model_files import make_signature, write_model
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.serving.estimators import make_estimator, make_pipeline
from f.flexcore.lib.serving.open_inference import RequestError
from tests.ray.data import flowers

KINDS = {"size": "number", "colour": "category"}
ROWS: list[dict[str, Any]] = [{"size": 1.2, "colour": "red"}, {"size": None, "colour": None}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model")
    rows = pd.DataFrame([row | {"colour": "red" if row["petals"] % 2 else "blue"} for row in flowers(120)])
    pipeline = make_pipeline(make_estimator("lightgbm", "classification", {}, 1), KINDS, {"colour": ["blue", "red"]})
    pipeline.fit(rows[list(KINDS)], rows["kind"])
    form = write_model(folder, pipeline, "flowers", "7")["format"]
    files = [
        {"path": path.name, "bytes": len(content), "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}
        for path in folder.iterdir()
        for content in [path.read_bytes()]
    ]
    signature = make_signature(KINDS, "classification", ["daisy"])
    uri = f"file://{folder}"
    return {"name": "flowers", "version": "7", "uri": uri, "format": form, "files": files, "signature": signature}


@pytest.fixture(scope="module")
def app(model: dict[str, Any]) -> ModelApp:
    return ModelApp(model, {"uri": "file:///", "probe": ""})


def post(app: ModelApp, body: Any, path: str = "/v2/models/flowers/infer") -> dict[str, Any]:
    return app.served.answer("POST", path, json.dumps(body).encode())


def column(name: str, data: list[Any], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


def test_health_and_metadata_are_those_of_the_protocol(app: ModelApp) -> None:
    assert app.served.answer("GET", "/v2/health/ready", b"") == {"ready": True}
    assert app.served.answer("GET", "/v2/health/live", b"") == {"live": True}
    assert app.served.answer("GET", "/v2", b"")["name"]
    assert app.served.answer("GET", "/v2/models/flowers/ready", b"")["ready"] is True
    told = app.served.answer("GET", "/v2/models/flowers/versions/7", b"")
    assert told["versions"] == ["7"]
    assert told["inputs"][1] == {"name": "colour", "datatype": "BYTES", "shape": [-1, 1]}


def test_the_shared_request_is_answered_row_by_row(app: ModelApp, model: dict[str, Any]) -> None:
    answer = post(app, build_infer_request(ROWS, Signature.model_validate(model["signature"])) | {"id": "42"})
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("flowers", "7", "42")
    assert answer["outputs"][0]["shape"] == [2, 1]
    assert answer["outputs"][0]["datatype"] == "BYTES"
    assert parse_predictions(answer, 2)[0] == "daisy"


@pytest.mark.parametrize(
    "inputs",
    [
        [column("size", [1.2]), column("colour", ["red"], "BYTES")],
        [column("size", [[1.2]]), column("colour", [["red"]], "BYTES")],
        [column("size", ["1.2"], "BYTES"), column("colour", ["red"], "BYTES"), column("more", [1])],
        [{"name": "rows", "datatype": "BYTES", "shape": [1, 2], "data": [["1.2", "red"]]}],
        [{"name": "rows", "datatype": "BYTES", "shape": [1, 2], "data": ["1.2", "red"]}],
    ],
)
def test_columns_may_come_in_every_usual_form(app: ModelApp, inputs: list[dict[str, Any]]) -> None:
    assert parse_predictions(post(app, {"inputs": inputs}), 1) == ["daisy"]


def test_probabilities_are_given_when_asked_for(app: ModelApp) -> None:
    inputs = [column("size", [1.2, 8.3]), column("colour", ["red", "blue"], "BYTES")]
    answer = post(app, {"inputs": inputs, "outputs": [{"name": "predict"}, {"name": "predict_proba"}]})
    assert answer["outputs"][1]["shape"] == [2, 3]
    assert sum(answer["outputs"][1]["data"]) == pytest.approx(2)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "no list `inputs`"),
        ({"inputs": []}, "no list `inputs`"),
        ({"inputs": [{"name": "size"}]}, "needs a name and a list"),
        ({"inputs": [column("size", [1])]}, "lack the columns colour"),
        ({"inputs": [column("size", [1, 2]), column("colour", ["red"], "BYTES")]}, "differ in length"),
        ({"inputs": [column("size", ["big"]), column("colour", ["red"], "BYTES")]}, "size takes numbers, not 'big'"),
        ({"inputs": [column("size", [[1, 2]]), column("colour", ["red"], "BYTES")]}, "one value per row"),
        ({"inputs": [column("x", [1, 2, 3])]}, "2 values per row"),
        (
            {"inputs": [column("size", [1]), column("colour", ["red"], "BYTES")], "outputs": [{"name": "shap"}]},
            "no output 'shap'",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_its_reason(app: ModelApp, body: Any, text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        post(app, body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/flowers/versions/8/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/flowers/infer", 405),
    ],
)
def test_what_does_not_exist_is_told(app: ModelApp, method: str, path: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        app.served.answer(method, path, b"")
    assert caught.value.status == status


def test_a_model_that_was_changed_in_the_store_is_not_served(model: dict[str, Any], tmp_path: Path) -> None:
    for item in model["files"]:
        (tmp_path / item["path"]).write_bytes(Path(model["uri"][7:], item["path"]).read_bytes())
    (tmp_path / "model.txt").write_bytes(b"something else")
    with pytest.raises(Problem, match="another checksum"):
        ModelApp(model | {"uri": f"file://{tmp_path}"}, {"uri": "file:///", "probe": ""})
