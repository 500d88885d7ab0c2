"""The token of a Ray cluster: each refusal with its cause and remedy, and a rotated token picked up by what runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from f.flexcore.lib.core.errors import Forbidden
from f.flexcore.lib.core.resources import RayCluster
from f.flexcore.lib.ray import token_source
from f.flexcore.lib.ray.dashboard import RayApi
from f.flexcore.ray import run_job
from flexcore.ray_head import RayHead
from tests.local_server import LocalServer
from tests.ray.fake_dashboard import FakeDashboard

OLD, NEW = "old-sesame-1234", "new-sesame-5678"
ROOT = Path(__file__).parents[2]
JOB = "018f0000-0000-7000-8000-0000000000cc"


@pytest.mark.parametrize(
    ("status", "text", "has_token", "cause", "words"),
    [
        (401, "Unauthorized: Missing authentication token", False, "no_token", "Set the token of the Ray cluster"),
        (401, "Unauthorized: Missing authentication token", True, "token_lost", "Let the proxy in between pass"),
        (403, "Forbidden: Invalid authentication token", True, "other_token", "Set the token .* anew"),
        (401, "<html>login</html>", True, "unknown_credentials", "missing, wrong or expired"),
        (403, "services is forbidden", True, "no_right", "Ask whoever runs the cluster"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_token_and_what_to_do(
    status: int, text: str, has_token: bool, cause: str, words: str
) -> None:
    error = token_source.refusal("http://head:8265", status, text, has_token)
    assert isinstance(error, Forbidden)
    assert (error.subject, error.details["cause"]) == ("cluster.token", cause)
    assert "http://head:8265" in str(error)
    assert re.search(words, error.remedy), error.remedy


class Windmill(LocalServer):
    """The few answers of a Windmill that a step asks about its own cluster."""

    def __init__(self, cluster: Any) -> None:
        self.answers: dict[str, Any] = {
            f"/api/w/dev/jobs_u/get/{JOB}": {"args": {"cluster": cluster}},
            "/api/w/dev/resources/get_value_interpolated/u/ann/ray": {"address": "http://head", "token": NEW},
            "/api/w/dev/variables/get_value/u/ann/token": NEW,
        }
        self.requests: list[str] = []
        windmill = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                windmill.requests.append(path)
                known = path in windmill.answers
                content = json.dumps(windmill.answers.get(path)).encode()
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return None

        super().__init__(Handler)

    def environment(self) -> dict[str, str]:
        return {"WM_JOB_ID": JOB, "WM_TOKEN": "t", "BASE_INTERNAL_URL": self.address, "WM_WORKSPACE": "dev"}


@pytest.fixture
def windmill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Windmill]:
    with Windmill("$res:u/ann/ray") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ("$res:u/ann/ray", NEW),
        ({"address": "http://head", "token": "$var:u/ann/token"}, NEW),
        ({"address": "http://head", "token": OLD}, OLD),
        ("$res:u/ann/gone", ""),
        ({"address": "http://head", "token": "$var:u/ann/gone"}, ""),
        (None, ""),
    ],
)
def test_the_token_is_read_from_where_the_steps_own_arguments_say(windmill: Windmill, given: Any, token: str) -> None:
    windmill.answers[f"/api/w/dev/jobs_u/get/{JOB}"] = {"args": {"cluster": given}}
    assert token_source.read_token() == token


def test_outside_of_a_job_there_is_no_newer_token() -> None:
    assert token_source.read_token({}) == ""


@pytest.mark.fault(8, "I1", "I2", "I6")
def test_a_token_that_is_rotated_while_a_job_is_watched_is_picked_up(
    windmill: Windmill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    valid, refused = [OLD], []
    with FakeDashboard() as fake:

        def check(request: httpx.Request) -> httpx.Response:
            if request.headers.get("Authorization") != f"Bearer {valid[0]}":
                refused.append(request.url.path)
                return httpx.Response(403, text="Forbidden: Invalid authentication token")
            forwarded = httpx.request(
                request.method, f"{fake.address}{request.url.raw_path.decode()}", content=request.read()
            )
            return httpx.Response(forwarded.status_code, content=forwarded.content)

        def rotate(name: str) -> None:
            valid[0] = NEW
            threading.Timer(0.5, fake.finish, [name, "done"]).start()

        fake.after_submit = rotate
        original = httpx.Client

        def client(**options: Any) -> httpx.Client:
            return original(**options | {"transport": httpx.MockTransport(check)})

        monkeypatch.setattr(httpx, "Client", client)
        done = run_job.main({"address": fake.address, "token": OLD}, "result = 1")
    assert done["data"]["result"] == "done" and len(fake.jobs) == 1
    assert len(refused) == 1
    assert "sesame" not in json.dumps(done) + capsys.readouterr().out


@pytest.mark.fault(9, "I6")
def test_a_token_that_stays_refused_is_told_and_windmill_is_asked_once_for_each_refusal(windmill: Windmill) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="Forbidden: Invalid authentication token")

    cluster = RayCluster(address="http://head:8265", token=OLD)
    with RayApi(cluster, httpx.MockTransport(refuse)) as api, pytest.raises(Forbidden, match="was rotated") as caught:
        api.version()
    assert "sesame" not in str(caught.value)
    assert windmill.requests.count(f"/api/w/dev/jobs_u/get/{JOB}") == 1


@pytest.mark.slow
@pytest.mark.fault(8, "I6", real=True)
def test_a_real_head_refuses_in_the_words_that_we_read(head: RayHead) -> None:
    for token, cause in (("", "no_token"), (OLD, "other_token")):
        with RayApi(RayCluster(address=head.address, token=token)) as api, pytest.raises(Forbidden) as caught:
            api.jobs()
        assert caught.value.details["cause"] == cause
    with RayApi(RayCluster.model_validate(head.resource)) as api:
        assert api.version()["ray_version"]


def test_the_head_of_the_compose_file_asks_for_a_token_that_stands_in_a_secret() -> None:
    document = yaml.safe_load((ROOT / "resources/deploy/compose.yaml").read_text())
    ray = document["services"]["ray"]
    assert ray["environment"] == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/run/secrets/ray_token"}
    assert ray["secrets"] == ["ray_token"] and "ray_token" in document["secrets"]
