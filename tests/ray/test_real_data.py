"""Data as people have it, on a real Ray head: trained on, predicted for, served and searched, or refused by line."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.contracts import Signature, compute_checksum
from f.flexcore.lib.core.errors import DataError
from f.flexcore.lib.core.inference import build_infer_request, infer_url, parse_predictions
from f.flexcore.lib.storage.object_store import file_entry, local_path
from f.flexcore.ray import deploy_model, predict, search, train, undeploy_model

pytestmark = pytest.mark.slow
Extracted = Callable[..., dict[str, Any]]
Rows = list[dict[str, Any]]


def odd_rows(count: int = 300) -> Rows:
    """y = 2 · x + 10 in the afternoon; the other columns are what nobody asked for."""
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    rows: Rows = []
    for n in range(count):
        at = start + dt.timedelta(hours=5 * n)
        rows.append(
            {
                "id": 2**64 + n,
                "x": n % 50,
                "at": at.isoformat(),
                "code": n if n % 2 else f"A{n % 4}",
                "meta": [1, "x"] if n % 3 else {"a": 1},
                "y": n % 50 * 2.0 + 10 * (at.hour >= 12),
            }
        )
    return rows


def test_odd_columns_stop_neither_a_training_nor_predictions_nor_an_endpoint(
    cluster: dict[str, Any], extracted: Extracted
) -> None:
    rows = odd_rows()
    # What a manifest declares may be wrong.
    source = extracted(rows, {"id": "integer", "x": "string", "code": "integer", "y": "integer", "at": "string"})
    trained = train.main(cluster, source, "y", features=["x", "at"], algorithm="lightgbm")
    model = trained["output"]
    assert model["metrics"]["r2"] > 0.9
    assert not [row for row in model["example"] if row in [{"x": row["x"], "at": row["at"]} for row in rows]]

    done = predict.main(cluster, model, source, format="jsonl")
    (stream,) = done["output"]["streams"]
    assert stream["columns"] == {
        "id": "string",
        "x": "integer",
        "at": "string",
        "code": "string",
        "meta": "string",
        "y": "number",
        "prediction": "number",
    }
    lines = [
        json.loads(line)
        for file in stream["files"]
        for line in Path(local_path(done["output"]["uri"]), file["path"]).read_text().splitlines()
    ]
    assert {line["id"] for line in lines} == {str(row["id"]) for row in rows}
    assert "code holds values of several types; it is written as text" in done["data"]["notes"]
    known = {line["id"]: line["prediction"] for line in lines}

    served = deploy_model.main(cluster, model, "odd", cpus=0.1)
    try:
        body = build_infer_request([rows[7], {"x": None, "at": "never"}], Signature.model_validate(model["signature"]))
        answer = httpx.post(infer_url(served["output"]["url"], model["name"]), json=body, timeout=60)
        first, other = parse_predictions(answer.raise_for_status().json(), 2)
    finally:
        undeploy_model.main(cluster, "odd")
    assert first == pytest.approx(known[str(rows[7]["id"])])
    assert other is not None


def test_a_line_that_cannot_be_read_is_told_without_what_stands_in_it(
    cluster: dict[str, Any], extracted: Extracted, tmp_path: Path
) -> None:
    """By a task of the job; what else a file may hold: test_read."""
    source = extracted([{"x": 1, "y": 2}])
    path = tmp_path / "home/store/extraction/rows.jsonl"
    path.write_bytes(b'{"x": 1, "y": 2}\n{"x": "Alice Smith", "y": 3\n')
    file = file_entry(path, path.name)
    source["streams"][0]["files"], source["checksum"] = [file.model_dump()], compute_checksum([file])
    source["streams"][0]["bytes"] = file.bytes
    with pytest.raises(DataError, match=r"rows\.jsonl line 2: it is not valid JSON") as caught:
        train.main(cluster, source, "y")
    told = json.dumps(vars(caught.value), default=str)
    assert "Alice" not in told and "Traceback" not in told and "xtract it again" not in told


def test_a_search_takes_a_class_of_one_row(cluster: dict[str, Any], extracted: Extracted) -> None:
    rows = [{"x": n, "y": "a" if n < 60 else "b"} for n in range(120)] + [{"x": 500, "y": "z"}]
    found = search.main(cluster, extracted(rows), "y", trials=2, parameters={"n_estimators": 10})
    assert [trial["score"] is not None for trial in found["data"]["trials"]] == [True, True]
