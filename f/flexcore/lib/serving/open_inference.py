# requirements: flexcore_base
"""A loaded model behind the Open Inference Protocol v2, whatever listens: Ray Serve or a process of its own. Shipped.

    GET  /v2                                   server metadata
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/V]          model metadata; …/ready
    POST /v2/models/NAME[/versions/V]/infer    inputs: one per column ([n] or [n, 1]), or one [n, k] of all columns

Anything wrong with a request is answered 400, an unknown path or model 404, another method 405, each with
{"error": "…"}. Source: the specification in kserve/open-inference-protocol.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

Json = dict[str, Any]
MODEL_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?")
HEALTH = ("/v2/health/live", "/v2/health/ready")
OUTPUTS = ("predict", "predict_proba")
# Source: the protocol, Tensor Data Types.
NUMBERS = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
DATATYPES = frozenset(("BOOL", "BYTES", *NUMBERS))
FLAGS = {"true": 1.0, "false": 0.0}
# What a refusal repeats of a request.
MAX_SHOWN_CHARS = 50
MAX_ERROR_CHARS = 1000


class RequestError(Exception):
    """The request is at fault; status is HTTP's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class InferenceModel:
    """A model that answers requests. model: {name, version, format, signature}; server: its own name."""

    def __init__(self, model: Json, pipeline: Any, server: str) -> None:
        self.model, self.pipeline, self.server = model, pipeline, server

    def respond(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """(HTTP status, body) of the answer to a request."""
        try:
            return 200, encode(self.answer(method, path, body))
        except RequestError as refusal:
            return refusal.status, encode_error(str(refusal))
        except Exception as error:
            return 500, encode_error(f"{type(error).__name__}: {error}")

    def answer(self, method: str, path: str, body: bytes) -> Json:
        """Raises RequestError."""
        if path == "/v2":
            return {"name": self.server, "version": "1", "extensions": []}
        if path in HEALTH:
            return {"live" if path.endswith("live") else "ready": True}
        match = MODEL_PATH.fullmatch(path)
        if not match:
            raise RequestError(f"{shorten(path)} does not exist", 404)
        if match["model"] != self.model["name"] or match["version"] not in (None, self.model["version"]):
            wanted = shorten(f"{match['model']} {match['version'] or ''}".rstrip())
            raise RequestError(f"The model {wanted} is not served here", 404)
        if match["verb"] == "/ready":
            return {"name": self.model["name"], "ready": True}
        if match["verb"] is None:
            return describe_model(self.model)
        if method != "POST":
            raise RequestError("Ask for an inference by POST", 405)
        return infer(self.pipeline, self.model, parse_request(body))


def encode(answer: Json) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def encode_error(message: str) -> bytes:
    """As ASCII: half a character of a request would be no UTF-8."""
    return json.dumps({"error": message[:MAX_ERROR_CHARS]}).encode()


def shorten(text: Any) -> str:
    return str(text)[:MAX_SHOWN_CHARS]


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
    """Raises RequestError for what is no request of the protocol."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("The body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise RequestError("The body has no list `inputs`")
    outputs = request.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise RequestError("`outputs` is no list of {name}")
    return request


def infer(pipeline: Any, model: Json, request: Json) -> Json:
    """The answer of the protocol to a parsed request. Raises RequestError when its inputs do not fit the model."""
    table = make_table(request["inputs"], model["signature"]["inputs"])
    names = [item.get("name") for item in request.get("outputs") or []] or [OUTPUTS[0]]
    outputs = []
    for name in names:
        if name not in OUTPUTS or not hasattr(pipeline, name):
            raise RequestError(f"The model has no output {shorten(name)!r}")
        try:
            values = getattr(pipeline, name)(table)
        except (ValueError, TypeError) as error:
            raise RequestError(f"The inputs cannot be used: {str(error).splitlines()[0]}") from None
        outputs.append(make_output(name, values, model["signature"]["outputs"][0]["datatype"]))
    answer = {"model_name": model["name"], "model_version": model["version"], "outputs": outputs}
    return {**answer, **({"id": str(request["id"])} if request.get("id") else {})}


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


def make_table(inputs: list[Any], columns: list[Json]) -> Any:
    """The rows as a DataFrame of the model's columns."""
    import pandas as pd

    wanted = [column["name"] for column in columns]
    for item in inputs:
        check_tensor(item)
    tensors = {item["name"]: item for item in inputs}
    if len(tensors) != len(inputs):
        raise RequestError("Two inputs have the same name")
    if len(inputs) == 1 and not set(tensors) & set(wanted) and len(wanted) > 1:
        rows = split_rows(inputs[0], len(wanted))
        tensors = {name: {"name": name, "data": [row[at] for row in rows]} for at, name in enumerate(wanted)}
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise RequestError(f"The inputs lack the columns {', '.join(missing)}; the model takes {', '.join(wanted)}")
    data = {name: flatten(tensors[name]["data"]) for name in wanted}
    for name, values in data.items():
        check_shape(tensors[name], len(values))
    lengths = {name: len(values) for name, values in data.items()}
    if len(set(lengths.values())) != 1:
        raise RequestError(f"The columns differ in length: {lengths}")
    return pd.DataFrame({column["name"]: make_series(data[column["name"]], column) for column in columns})


def check_tensor(item: Any) -> None:
    """Raises RequestError unless it has a name, data, and a datatype and a shape that can be ones, where given."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not isinstance(item.get("data"), list):
        raise RequestError("Each input needs a name and a list `data`")
    name, datatype, shape = shorten(item["name"]), item.get("datatype"), item.get("shape")
    if datatype is not None and datatype not in DATATYPES:
        raise RequestError(f"{name} has the datatype {shorten(datatype)!r}, which the protocol does not have")
    if shape is not None and not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
        raise RequestError(f"{name} has no list of sizes as its shape")


def check_shape(tensor: Json, count: int) -> None:
    """Raises RequestError when the shape is not that of so many values."""
    shape = tensor.get("shape")
    if shape is not None and math.prod(shape) != count:
        raise RequestError(f"{shorten(tensor['name'])} has the shape {shorten(shape)}, and its data {count} values")


def make_series(values: list[Any], column: Json) -> Any:
    """One column as the pipeline takes it: numbers, with text that is a number and null allowed, or text."""
    import pandas as pd

    if column["datatype"] == "BYTES":
        return pd.Series([to_category_text(value) for value in values], dtype=object)
    try:
        return pd.Series([parse_number(value) for value in values], dtype="float64")
    except (TypeError, ValueError, OverflowError):
        wrong = next(value for value in values if not is_number(value))
        raise RequestError(f"{column['name']} takes numbers, not {shorten(wrong)!r}") from None


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
    except (TypeError, ValueError, OverflowError):
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
        raise RequestError(f"{shorten(tensor['name'])} needs {width} values per row")
    check_shape(tensor, len(data) * width)
    return data
