from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.contracts import Column, ModelManifest, Signature
from f.flexcore.lib.core.errors import ExecutionFailed, InvalidInput
from f.flexcore.lib.core.inference import (
    MAX_MESSAGE_CHARS,
    build_infer_request,
    build_smoke_request,
    infer_url,
    parse_predictions,
)

SIGNATURE = Signature(
    inputs=[
        Column(name="delay", datatype="FP64"),
        Column(name="carrier", datatype="BYTES"),
        Column(name="late", datatype="BOOL"),
    ],
    outputs=[Column(name="predict", datatype="FP64")],
)


def test_rows_become_one_input_per_column() -> None:
    rows: list[dict[str, Any]] = [
        {"delay": 1.5, "carrier": "UA", "late": True, "more": 1},
        {"delay": float("nan"), "carrier": None},
    ]
    assert build_infer_request(rows, SIGNATURE) == {
        "parameters": {"content_type": "pd"},
        "inputs": [
            {"name": "delay", "datatype": "FP64", "shape": [2, 1], "data": [1.5, None]},
            {
                "name": "carrier",
                "datatype": "BYTES",
                "shape": [2, 1],
                "data": ["UA", None],
                "parameters": {"content_type": "str"},
            },
            {"name": "late", "datatype": "BOOL", "shape": [2, 1], "data": [True, None]},
        ],
    }


def test_no_rows_are_no_request() -> None:
    with pytest.raises(InvalidInput) as caught:
        build_infer_request([], SIGNATURE)
    assert str(caught.value) == "There are no rows to predict. Give at least one row."
    assert caught.value.subject == "rows"


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ([{"name": "predict", "data": [1.0, 2.0]}], [1.0, 2.0]),
        ([{"name": "predict", "data": [[1.0], [2.0]]}], [1.0, 2.0]),
        ([{"name": "output-1", "data": ["a", "b"]}], ["a", "b"]),
        ([{"name": "predict_proba", "data": [0, 1]}, {"name": "predict", "data": ["a", "b"]}], ["a", "b"]),
    ],
)
def test_predictions_are_one_per_row(outputs: list[dict[str, Any]], found: list[Any]) -> None:
    assert parse_predictions({"model_name": "m", "outputs": outputs}, 2) == found


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"error": "could not convert string to float"}, "could not convert"),
        ({"detail": "Not Found"}, "not one of the Open Inference Protocol"),
        (None, "not one of the Open Inference Protocol"),
        ({"outputs": []}, "not one of the Open Inference Protocol"),
        ({"outputs": [{"name": "predict", "data": [1]}]}, "1 predictions for 2 rows"),
    ],
)
def test_any_other_answer_is_a_failure_that_says_why(answer: Any, text: str) -> None:
    with pytest.raises(ExecutionFailed, match=text) as caught:
        parse_predictions(answer, 2)
    assert (caught.value.subject, caught.value.category) == ("endpoint", "prediction_failed")
    assert caught.value.remedy == "Compare the request with the model's signature, and read the model server's log."


def test_a_long_refusal_is_cut_and_without_a_number_of_rows_any_number_is_taken() -> None:
    with pytest.raises(ExecutionFailed) as caught:
        parse_predictions({"error": "x" * (MAX_MESSAGE_CHARS + 1)})
    assert str(caught.value).startswith(f"The model refused the request: {'x' * MAX_MESSAGE_CHARS}. Compare")
    assert parse_predictions({"error": "", "outputs": [{"name": "predict", "data": [[1, 2], [3]]}]}) == [[1, 2], 3]


def test_the_smoke_request_is_of_the_models_own_example_rows() -> None:
    example: list[dict[str, Any]] = [{"delay": 1.5, "carrier": "UA", "late": False}]
    parts: dict[str, Any] = {"example": example, "signature": SIGNATURE}
    assert build_smoke_request(ModelManifest.model_construct(**parts)) == build_infer_request(example, SIGNATURE)


def test_the_address_of_a_model_is_below_its_endpoint() -> None:
    assert infer_url("http://x/delay/", "delay") == "http://x/delay/v2/models/delay/infer"
