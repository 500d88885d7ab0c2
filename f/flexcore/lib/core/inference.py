# requirements: flexcore_base
"""Open Inference Protocol v2, the pure part: rows as an inference request, and an answer as predictions.

One input per raw column (what MLServer's pandas codec and our Ray Serve application take). Source: the protocol's
specification in kserve/open-inference-protocol, and mlserver/codecs/pandas.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors

MAX_MESSAGE_CHARS = 300


def infer_url(url: str, model: str) -> str:
    """Where the endpoint at `url` takes inference requests."""
    return f"{url.rstrip('/')}/v2/models/{model}/infer"


def build_infer_request(rows: Sequence[Mapping[str, Any]], signature: contracts.Signature) -> dict[str, Any]:
    """The request that asks for a prediction of each row; a column that a row lacks is null."""
    if not rows:
        raise errors.InvalidInput("There are no rows to predict", subject="rows", remedy="Give at least one row.")
    inputs = []
    for column in signature.inputs:
        text = column.datatype == "BYTES"
        data = [_encode_value(row.get(column.name), text) for row in rows]
        entry: dict[str, Any] = {
            "name": column.name,
            "datatype": column.datatype,
            "shape": [len(rows), 1],
            "data": data,
        }
        inputs.append(entry | ({"parameters": {"content_type": "str"}} if text else {}))
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def parse_predictions(answer: Any, rows: int | None = None) -> list[Any]:
    """The predictions in an answer, one per row. Raises ExecutionFailed when it is an error, no answer of the protocol,
    or has another number of predictions than `rows`."""
    if isinstance(answer, dict) and answer.get("error"):
        raise _prediction_error(f"The model refused the request: {str(answer['error'])[:MAX_MESSAGE_CHARS]}")
    try:
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        data = outputs.get("predict", next(iter(outputs.values())))
        # Some servers nest the rows of a [n, 1] output.
        found = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    except (TypeError, KeyError, StopIteration, AttributeError):
        raise _prediction_error("The endpoint's answer is not one of the Open Inference Protocol") from None
    if rows is not None and len(found) != rows:
        raise _prediction_error(f"The model gave {len(found)} predictions for {rows} rows")
    return found


def build_smoke_request(model: contracts.ModelManifest) -> dict[str, Any]:
    """The request that proves an endpoint: the model's own example rows. Raises InvalidInput when it has none."""
    return build_infer_request(model.example, model.signature)


def _encode_value(value: Any, text: bool) -> Any:
    if value is None or value != value:
        return None
    return str(value) if text else value


def _prediction_error(message: str) -> errors.ExecutionFailed:
    remedy = "Compare the request with the model's signature, and read the model server's log."
    return errors.ExecutionFailed(message, subject="endpoint", category="prediction_failed", remedy=remedy)
