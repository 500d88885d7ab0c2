"""The HTTP routes on a real Windmill: the same promises that tests/api checks on the local engine."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import Client
from tests.live.conftest import Windmill, push

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
# It ends in the first step, which finds no project there; what it refers to is never resolved by a route.
ARGUMENTS: dict[str, Any] = {
    "extraction": {"project": {"path": "/nowhere"}, "taps": ["tap-none"]},
    "ml": {"cluster": {"address": "http://127.0.0.1:1"}, "target_column": "x", "features": ["$var:f/flexcore/none"]},
    "deployment": {"target": "ray"},
}


@pytest.fixture(scope="module")
def client(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Client:
    push(windmill, tmp_path_factory.mktemp("wmill"))
    made = Client(windmill.url, windmill.token, windmill.workspace)
    deadline = time.monotonic() + 90
    # A server reads its routes anew once a minute.
    while made.call("GET", "executions?limit=1").status_code != 200 and time.monotonic() < deadline:
        time.sleep(5)
    return made


def test_an_execution_is_started_once_told_and_listed(client: Client, windmill: Windmill) -> None:
    key = str(uuid.uuid4())
    answers = [client.start("hybrid_pipeline", key, **ARGUMENTS) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200], answers[0].text
    id = answers[0].json()["id"]
    assert answers[1].json()["id"] == id and answers[1].headers["idempotency-replayed"] == "true"
    # As the form would send them: with the defaults of what was left out.
    assert windmill.call("GET", f"jobs_u/get_args/{id}") == ARGUMENTS | {"partial_results": []}
    windmill.finished(id)
    told = client.get(id)
    assert told["status"] == "failure" and told["error"]["message"]
    assert id in client.listed(workflow="hybrid_pipeline", status="failure", limit=5)
    assert client.call("GET", f"executions/{id}/logs").status_code == 200
    assert client.send(f"executions/{id}/cancel", {}).status_code == 409


def test_nothing_of_a_request_but_its_path_is_stored(client: Client, windmill: Windmill) -> None:
    assert client.call("GET", "executions?workflow=none").json() == {"executions": [], "next_cursor": None}
    query = "script_path_exact=f/flexcore/api/handle_get&per_page=1&include_args=true"
    (job,) = windmill.call("GET", f"jobs/completed/list?{query}")
    assert job["args"] == {"request": {"path": f"{windmill.workspace}/flexcore/executions"}}


def test_refusals_are_typed_and_no_token_is_refused_first(client: Client) -> None:
    answer = client.start("hybrid_pipeline", ml={})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "arguments.ml.cluster: is required" in answer.json()["detail"]
    assert httpx.get(f"{client.base}/executions", trust_env=False).status_code == 401
    assert client.call("GET", f"executions/{uuid.uuid4()}").status_code == 404


def test_runtimes_workflows_and_metrics_answer(client: Client) -> None:
    assert {"meltano", "store"} <= {item["runtime"] for item in client.call("GET", "runtimes").json()["runtimes"]}
    assert "hybrid_pipeline" in {item["name"] for item in client.call("GET", "workflows").json()["workflows"]}
    answer = client.call("GET", "metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "flexcore_executions_total{" in answer.text


def test_the_triggers_are_in_the_servers_form(windmill: Windmill, client: Client, tmp_path: Path) -> None:
    told = [line for line in push(windmill, tmp_path).splitlines() if "trigger" in line]
    assert not told
