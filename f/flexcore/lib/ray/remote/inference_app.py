# requirements: flexcore_base
"""A model behind the Open Inference Protocol v2, as a Ray Serve application. Shipped to replicas by value.

    GET  /v2                                   server metadata
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/V]          model metadata; …/ready
    POST /v2/models/NAME[/versions/V]/infer    inputs: one per column ([n] or [n, 1]), or one [n, k] of all columns

Anything wrong with a request is answered 400, an unknown path or model 404, each with {"error": "…"}.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import model_format, shared_storage

Json = dict[str, Any]
SERVER = {"name": "flexcore-ray-serve", "version": "1", "extensions": []}
MODEL_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?")
OUTPUTS = ("predict", "predict_proba")
FLAGS = {"true": 1.0, "false": 0.0}


class RequestError(Exception):
    """The request is at fault; status is HTTP's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ModelApp:
    """One replica: brings the model from the store, verified, and answers requests.

    model: {name, version, uri, format, files, signature, allow_pickle}; storage: how to reach the store.
    """

    def __init__(self, model: Json, storage: Json) -> None:
        self.model = model
        self.pipeline = load_model(model, storage)

    def reconfigure(self, owner: Json) -> None:
        """Ray Serve shows a deployment's `user_config`: the owner's labels. The model itself takes none of it."""

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import Response

        path = request.scope["path"]
        path = path[path.index("/v2") :] if "/v2" in path else path
        body = await request.body() if request.method == "POST" else b""
        status, content = await self.ask(request.method, path.rstrip("/"), body)
        return Response(content, status, media_type="application/json")

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """(HTTP status, body) of the answer to a request."""
        try:
            return 200, encode(await asyncio.to_thread(self.answer, method, path, body))
        except RequestError as refusal:
            return refusal.status, encode({"error": str(refusal)})
        except Exception as error:
            return 500, encode({"error": f"{type(error).__name__}: {error}"[:1000]})

    def answer(self, method: str, path: str, body: bytes) -> Json:
        if path == "/v2":
            return SERVER
        if path in ("/v2/health/live", "/v2/health/ready"):
            return {"live" if path.endswith("live") else "ready": True}
        match = MODEL_PATH.fullmatch(path)
        if not match:
            raise RequestError(f"{path} does not exist", 404)
        if match["model"] != self.model["name"] or match["version"] not in (None, self.model["version"]):
            raise RequestError(f"The model {match['model']} {match['version'] or ''} is not served here", 404)
        if match["verb"] == "/ready":
            return {"name": self.model["name"], "ready": True}
        if match["verb"] is None:
            return describe_model(self.model)
        if method != "POST":
            raise RequestError("Ask for an inference by POST", 405)
        return infer(self.pipeline, self.model, parse_request(body))


def encode(answer: Json) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def load_model(model: Json, storage: Json) -> Any:
    """The pipeline from the store, its files verified. Raises InvalidInput for a pickle without a yes."""
    with tempfile.TemporaryDirectory() as folder:
        shared_storage.RemoteStore(storage).download(model["uri"], model["files"], Path(folder))
        return model_format.load_pipeline(Path(folder), model["format"], bool(model.get("allow_pickle")))


def describe_model(model: Json) -> Json:
    def tensors(columns: list[Json]) -> list[Json]:
        return [{**column, "shape": [-1, 1]} for column in columns]

    return {
        "name": model["name"],
        "versions": [model["version"]],
        "platform": model["format"],
        "inputs": tensors(model["signature"]["inputs"]),
        "outputs": tensors(model["signature"]["outputs"]),
    }


def parse_request(body: bytes) -> Json:
    try:
        request = json.loads(body)
    except ValueError:
        raise RequestError("The body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise RequestError("The body has no list `inputs`")
    return request


def infer(pipeline: Any, model: Json, request: Json) -> Json:
    """The answer of the protocol to a parsed request. Raises Refused when its inputs do not fit the model."""
    table = make_table(request["inputs"], model["signature"]["inputs"])
    names = [item.get("name") for item in request.get("outputs") or []] or [OUTPUTS[0]]
    outputs = []
    for name in names:
        if name not in OUTPUTS or not hasattr(pipeline, name):
            raise RequestError(f"The model has no output {name!r}")
        try:
            values = getattr(pipeline, name)(table)
        except (ValueError, TypeError) as error:
            raise RequestError(f"The inputs cannot be used: {str(error).splitlines()[0]}") from None
        outputs.append(make_output(name, values, model["signature"]["outputs"][0]["datatype"]))
    answer = {"model_name": model["name"], "model_version": model["version"], "outputs": outputs}
    return {**answer, **({"id": request["id"]} if request.get("id") else {})}


def make_output(name: str, values: Any, datatype: str) -> Json:
    kind = datatype if name == OUTPUTS[0] else "FP64"
    shape = [len(values), 1 if values.ndim == 1 else values.shape[1]]
    return {
        "name": name,
        "datatype": kind,
        "shape": shape,
        "data": [to_json(v) for v in values.reshape(-1).tolist()],
    }


def to_json(value: Any) -> Any:
    """NaN and infinity are no JSON."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_table(inputs: list[Json], columns: list[Json]) -> Any:
    """The rows as a DataFrame of the model's columns."""
    import pandas as pd

    wanted = [column["name"] for column in columns]
    for item in inputs:
        if (
            not isinstance(item, dict)
            or not isinstance(item.get("name"), str)
            or not isinstance(item.get("data"), list)
        ):
            raise RequestError("Each input needs a name and a list `data`")
    tensors = {item["name"]: item for item in inputs}
    if len(inputs) == 1 and not set(tensors) & set(wanted) and len(wanted) > 1:
        return pd.DataFrame(split_rows(inputs[0], len(wanted)), columns=wanted)
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise RequestError(f"The inputs lack the columns {', '.join(missing)}; the model takes {', '.join(wanted)}")
    data = {name: flatten(tensors[name]["data"]) for name in wanted}
    lengths = {name: len(values) for name, values in data.items()}
    if len(set(lengths.values())) != 1:
        raise RequestError(f"The columns differ in length: {lengths}")
    return pd.DataFrame({column["name"]: make_series(data[column["name"]], column) for column in columns})


def make_series(values: list[Any], column: Json) -> Any:
    """One column as the pipeline takes it: numbers, with text that is a number and null allowed, or text."""
    import pandas as pd

    if column["datatype"] == "BYTES":
        return pd.Series([to_category_text(value) for value in values], dtype=object)
    try:
        return pd.Series([parse_number(value) for value in values], dtype="float64")
    except (TypeError, ValueError):
        wrong = next(value for value in values if not is_number(value))
        raise RequestError(f"{column['name']} takes numbers, not {str(wrong)[:50]!r}") from None


def to_category_text(value: Any) -> str | None:
    """The text by which the training knew a category: true and 1, whether they were sent as text or not."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def parse_number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    flag = FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
    return float(value) if flag is None else flag


def is_number(value: Any) -> bool:
    try:
        parse_number(value)
    except (TypeError, ValueError):
        return False
    return True


def flatten(data: list[Any]) -> list[Any]:
    """The values of a [n] or [n, 1] tensor."""
    if any(isinstance(item, list) and len(item) != 1 for item in data):
        raise RequestError("A column has one value per row")
    return [item[0] if isinstance(item, list) else item for item in data]


def split_rows(tensor: Json, width: int) -> list[list[Any]]:
    """The rows of a [n, k] tensor, whose data may be nested or flat."""
    data: list[Any] = tensor["data"]
    if data and not isinstance(data[0], list):
        data = [data[start : start + width] for start in range(0, len(data), width)]
    if any(not isinstance(row, list) or len(row) != width for row in data):
        raise RequestError(f"{tensor['name']} needs {width} values per row")
    return data
