"""The shipped routes, called over HTTP as any client would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Client, stored_arguments
from tests.wmlocal.engine.conftest import eventually
from wmlocal.engine import Engine

TOY = "templates/toy"
Wait = Callable[[str], Any]
ByHand = Callable[..., tuple[int, Any]]


def refused(answer: httpx.Response, status: int, category: str) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    told = answer.json()
    assert (told["status"], told["category"]) == (status, category)
    return told


def test_an_execution_is_started_and_told_with_its_steps_and_result(client: Client, ended: Wait) -> None:
    answer = client.start(TOY, text="hi", times=2)
    assert answer.status_code == 201, answer.text
    begun = answer.json()
    assert begun["workflow"] == TOY and begun["status"] in ("queued", "running")
    assert answer.headers["location"].endswith(f"/flexcore/executions/{begun['id']}")
    done = ended(begun["id"])
    assert (done["status"], done["error"]) == ("success", None)
    assert done["result"]["said"] == ["hi", "hi"]
    assert done["runtime"] == "ray" and done["labels"] == ["flexcore", "workflow:toy", "runtime:ray"]
    assert [(step["id"], step["status"]) for step in done["steps"]] == [("say", "success")]
    assert done["duration_s"] > 0 and done["started_at"] < done["ended_at"]


def test_what_failed_is_told_by_type_and_step(client: Client, ended: Wait) -> None:
    done = ended(client.start("templates/toy_fails").json()["id"])
    assert done["status"] == "failure"
    assert done["error"] == {
        "name": "Bad",
        "message": "the table t is missing",
        "step": "second",
        "category": "not_found",
        "subject": "t",
        "remedy": "Create t.",
        "retryable": False,
    }
    assert [step["status"] for step in done["steps"]] == ["success", "failure"]


def test_a_repeat_with_the_same_key_starts_nothing_new(client: Client) -> None:
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.start(TOY, key, text="once"), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count("true") == 3
    told = refused(client.start(TOY, key, text="twice"), 422, "invalid_input")
    assert told["subject"] == "Idempotency-Key"
    refused(client.start("templates/toy_fails", key), 422, "invalid_input")


@pytest.mark.parametrize(
    ("body", "subject", "says"),
    [
        ([], "body", "JSON object"),
        ("{", "body", "JSON object"),
        ({"workflow": TOY, "argments": {}}, "argments", "arguments"),
        ({"workflow": "../core/errors"}, "workflow", "GET flexcore/workflows"),
        ({"workflow": 7}, "workflow", "GET flexcore/workflows"),
        ({"workflow": TOY, "arguments": [1]}, "arguments", "object"),
        ({"workflow": TOY}, "arguments.text", "required"),
        ({"workflow": TOY, "arguments": {"text": 7}}, "arguments.text", "must be string"),
        ({"workflow": TOY, "arguments": {"text": "secret!"}}, "arguments.text", "must match"),
        ({"workflow": TOY, "arguments": {"text": "x", "times": 0}}, "arguments.times", "must be at least 1"),
        ({"workflow": TOY, "arguments": {"text": "x", "time": 1}}, "arguments.time", "did you mean times?"),
        ({"workflow": TOY, "arguments": {"text": "x", "cluster": "secret"}}, "arguments.cluster", "$res:"),
    ],
)
def test_a_wrong_request_names_the_field_and_starts_nothing(
    by_hand: ByHand, engine: Engine, body: Any, subject: str, says: str
) -> None:
    before = len(engine.store.jobs("kind = 'flow'"))
    status, told = by_hand("post", "executions", body=body if isinstance(body, str) else json.dumps(body))
    assert (status, told["category"], told["subject"]) == (422, "invalid_input", subject)
    assert says in told["detail"]
    assert "secret" not in str(told)
    assert len(engine.store.jobs("kind = 'flow'")) == before


def test_a_workflow_that_is_not_deployed_is_not_found(client: Client) -> None:
    refused(client.start("templates/none"), 404, "not_found")


def test_only_this_bundles_flows_are_listed_as_startable_and_with_their_schema(client: Client) -> None:
    told = client.call("GET", "workflows").json()["workflows"]
    names = [item["name"] for item in told]
    assert {"hybrid_pipeline", TOY} <= set(names) and "meltano/execute" not in names
    assert next(item for item in told if item["name"] == TOY)["schema"]["required"] == ["text"]


def test_lists_are_by_workflow_runtime_and_status_page_by_page(client: Client, ended: Wait) -> None:
    ids = [client.start(TOY, text=str(index)).json()["id"] for index in range(3)]
    failed = client.start("templates/toy_fails").json()["id"]
    for id in (*ids, failed):
        ended(id)
    assert client.listed(workflow="templates/toy_fails", limit=1) == [failed]
    assert failed in client.listed(status="failure") and ids[0] not in client.listed(status="failure")
    assert set(ids) <= set(client.listed(runtime="ray")) and failed not in client.listed(runtime="ray")
    assert client.listed(runtime="kubernetes") == []
    seen, cursor = [], None
    while True:
        page = client.call("GET", "executions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["executions"]) <= 2
        seen += [item["id"] for item in page["executions"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) and seen == client.listed(limit=100)
    assert seen[:4] == [failed, *reversed(ids)]


@pytest.mark.parametrize(
    ("query", "subject"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"staus": "failure"}, "staus"),
        ({"status": "done"}, "status"),
        ({"runtime": "spark"}, "runtime"),
        ({"runtime": ""}, "runtime"),
        ({"cursor": "yesterday"}, "cursor"),
    ],
)
def test_a_wrong_query_names_the_parameter(by_hand: ByHand, query: dict[str, str], subject: str) -> None:
    status, told = by_hand("get", "executions", query=query)
    assert (status, told["category"], told["subject"]) == (422, "invalid_input", subject)


def test_a_running_execution_is_cancelled_once_and_for_all(client: Client, ended: Wait) -> None:
    id = client.start("templates/toy_sleeps").json()["id"]
    eventually(lambda: client.get(id)["status"] == "running")
    assert id in client.listed(status="running")
    assert client.send(f"executions/{id}/cancel", {"reason": "enough"}).status_code == 202
    done = ended(id)
    assert (done["status"], done["error"]["name"]) == ("canceled", "Canceled")
    assert "enough" in done["error"]["message"]
    assert client.call("POST", f"executions/{id}/cancel").status_code == 202
    over = client.start(TOY, text="x").json()["id"]
    ended(over)
    told = refused(client.call("POST", f"executions/{over}/cancel"), 409, "conflict")
    assert "success" in told["detail"]
    # What a generated client sends for a body that was left out.
    refused(client.send(f"executions/{over}/cancel", None), 409, "conflict")


def test_logs_are_the_last_lines_of_all_steps_as_text_without_secrets(client: Client) -> None:
    id = client.start("templates/toy_sleeps").json()["id"]
    answer = eventually(lambda: "zzz" in (got := client.call("GET", f"executions/{id}/logs")).text and got)
    assert answer.headers["content-type"].startswith("text/plain")
    assert "nap" in answer.text and "sesame1" not in answer.text
    assert len(client.call("GET", f"executions/{id}/logs?tail=2").text.splitlines()) <= 2
    client.call("POST", f"executions/{id}/cancel")


@pytest.mark.parametrize("id", ["none", "0d1f4b9e-8a52-4a56-9b1c-6c1f2e7d3a40"])
@pytest.mark.parametrize(
    ("method", "route"), [("get", "executions/:id"), ("post", "executions/:id/cancel"), ("get", "executions/:id/logs")]
)
def test_what_is_no_execution_is_not_found(by_hand: ByHand, id: str, method: str, route: str) -> None:
    status, told = by_hand(method, route, params={"id": id})
    assert (status, told["category"]) == (404, "not_found")
    assert "There is no such execution" in told["detail"]


def test_a_handler_that_is_run_by_hand_names_the_routes_that_it_has(by_hand: ByHand) -> None:
    status, told = by_hand("get", "executions/:id/cancel")
    assert (status, told["category"], told["subject"]) == (404, "not_found", "route")
    assert "flexcore/executions/:id/logs" in told["remedy"]


def test_a_job_that_is_no_execution_of_the_bundle_is_not_shown(client: Client, engine: Engine, ended: Wait) -> None:
    id = client.start(TOY, text="x").json()["id"]
    step = ended(id)["steps"][0]["job"]
    refused(client.call("GET", f"executions/{step}"), 404, "not_found")
    refused(client.call("GET", f"executions/{step}/logs"), 404, "not_found")


@pytest.mark.parametrize("path", ["executions", "executions/x", "executions/x/logs", "workflows"])
def test_without_a_token_nothing_is_told(client: Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx.get(f"{client.base}/{path}", headers=headers, trust_env=False)
        assert answer.status_code == 401


def test_a_token_elsewhere_than_in_the_header_is_not_enough(client: Client, engine: Engine) -> None:
    answer = httpx.get(f"{client.base}/executions", params={"token": engine.token}, trust_env=False)
    told = refused(answer, 403, "forbidden")
    assert told["subject"] == "Authorization"


def test_no_token_and_no_argument_is_kept_with_a_routes_job(client: Client, engine: Engine, ended: Wait) -> None:
    id = client.start(TOY, "key-1", text="sesame-seed").json()["id"]
    done = ended(id)
    assert done["result"]["token"] == "***"
    kept = str(stored_arguments(engine, "f/flexcore/api/handle_post"))
    assert engine.token not in kept and "sesame-seed" not in kept and "uthorization" not in kept
    assert client.listed(limit=1) == [id]
    listed = {"request": {"path": f"{engine.workspace}/flexcore/executions"}}
    assert listed in stored_arguments(engine, "f/flexcore/api/handle_get")


def test_references_are_resolved_for_the_execution_and_not_for_the_route(
    client: Client, engine: Engine, ended: Wait
) -> None:
    engine.store.set_variable("f/x/secret", "sesame4", True, None)
    id = client.start(TOY, text="$var:f/x/secret", cluster={"address": "$var:f/x/secret"}).json()["id"]
    assert engine.store.job(id)["args"]["text"] == "$var:f/x/secret"  # type: ignore[index]
    ended(id)
    told = client.call("GET", "executions", params={"workflow": "$var:f/x/secret"})
    assert told.json() == {"executions": [], "next_cursor": None}
    kept = [job["args"] for job in engine.store.jobs("path LIKE 'f/flexcore/api/%'")]
    assert len(kept) > 2 and "sesame4" not in str(kept)


def test_a_json_content_type_does_as_well_where_nothing_is_referred_to(client: Client) -> None:
    answer = client.call("POST", "executions", json={"workflow": TOY, "arguments": {"text": "x"}})
    assert answer.status_code == 201, answer.text


def test_runtimes_are_told_with_their_health_and_without_secrets(client: Client, engine: Engine) -> None:
    engine.store.set_resource("f/x/ray", {"address": "http://127.0.0.1:1", "token": "sesame2"}, "c_ray_cluster", None)
    settings = {"ray_clusters": ["f/x/ray"], "storage_access_key": "sesame3"}
    engine.store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", None)
    answer = client.call("GET", "runtimes")
    assert answer.status_code == 200, answer.text
    told = {item["runtime"]: item for item in answer.json()["runtimes"]}
    assert set(told) == {"meltano", "ray", "store"}
    assert (told["ray"]["state"], told["ray"]["place"]) == ("down", "f/x/ray") and told["ray"]["detail"]
    assert "sesame" not in answer.text


def test_metrics_count_what_ran_today(client: Client, ended: Wait) -> None:
    ended(client.start(TOY, text="x").json()["id"])
    answer = client.call("GET", "metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    counted = {
        (item.labels["workflow"], item.labels["runtime"], item.labels["status"]): item.value
        for item in families["flexcore_executions"].samples
    }
    assert counted[TOY, "ray", "success"] >= 1
    assert families["flexcore_execution_duration_seconds"].type == "histogram"
