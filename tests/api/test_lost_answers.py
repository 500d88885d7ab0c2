"""A start whose answer is lost, by the route and by the command line: it is one run, or one to look for."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from f.flexcore.lib.api import executions, http
from f.flexcore.lib.core.errors import FlexcoreError, Unavailable, Unreachable
from flexcore.client.windmill import Windmill
from tests.operations.fake_windmill import FakeWindmill

REMEDY = re.compile(r"Look for run [0-9a-f-]{36} before you")


class Losing:
    """Answers everything but a start; arrived: whether the start is taken all the same."""

    def __init__(self, arrived: bool) -> None:
        self.arrived = arrived
        self.asked: list[str] = []

    def __call__(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if "/jobs/run/" in path:
            self.asked.extend(query["job_id"])
            return 502, "bad gateway"
        if "/jobs_u/get/" in path:
            id = path.rsplit("/", 1)[-1]
            return (200, {"id": id, "script_path": "f/x"}) if self.arrived and id in self.asked else (404, "not found")
        return (200, {"schema": {}}) if "/flows/get/" in path else (404, "not found")


def start_by_route(losing: Losing) -> str:
    body = json.dumps({"workflow": "hybrid_pipeline", "arguments": {}})
    request = http.Request(route="executions", params={}, query={}, key="", accept="", body=body, token="t")
    with FakeWindmill() as windmill:
        windmill.route = losing
        return str(executions.start_execution(windmill.client(), request)[0]["id"])


def start_by_command(losing: Losing) -> str:
    def answer(request: httpx.Request) -> httpx.Response:
        url = urlsplit(str(request.url))
        status, body = losing(url.path, parse_qs(url.query))
        return httpx.Response(status, json=body)

    with Windmill("http://windmill.example.com", "w", "t", transport=httpx.MockTransport(answer)) as client:
        return client.start("flow", "f/flexcore/hybrid_pipeline", {})


STARTS = pytest.mark.parametrize("start", [start_by_route, start_by_command])


@STARTS
def test_a_start_that_was_taken_is_found_and_asked_for_once(start: Any) -> None:
    losing = Losing(arrived=True)
    assert [start(losing)] == losing.asked


@STARTS
def test_a_start_of_which_nothing_is_known_names_the_run_to_look_for(start: Any) -> None:
    losing = Losing(arrived=False)
    with pytest.raises(Unavailable) as caught:
        start(losing)
    assert REMEDY.match(caught.value.remedy) and losing.asked[0] in caught.value.remedy
    assert len(losing.asked) == 1 and str(caught.value).endswith(f"(HTTP 502). {caught.value.remedy}")


def test_a_server_that_goes_away_at_the_start_leaves_the_run_to_look_for() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("the connection was closed")

    with (
        Windmill("http://windmill.example.com", "w", "t", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(Unreachable) as caught,
    ):
        client.start("flow", "f/x", {})
    assert REMEDY.match(caught.value.remedy)


def test_what_a_server_refuses_is_refused_as_before() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, text="flow not found"))
    with (
        Windmill("http://windmill.example.com", "w", "t", transport=transport) as client,
        pytest.raises(FlexcoreError, match="flow not found") as caught,
    ):
        client.start("flow", "f/x", {})
    assert not REMEDY.match(caught.value.remedy)
