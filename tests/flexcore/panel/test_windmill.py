"""The panel before a server: everyone's own token is handed on, and nothing else of a browser's session."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from flexcore.client import target
from flexcore.commands.dashboard import find_serving_engine, listen_at, name_host
from flexcore.panel import body_limit
from flexcore.panel.engine import PanelEngine
from flexcore.panel.windmill import Handover, make_site
from tests.flexcore.commands.conftest import flexcore  # noqa: F401
from tests.local_server import LocalServer
from tests.wmlocal.engine.conftest import Command
from wmlocal.engine.errors import BadArguments

RUNNABLES = {"read_dashboard": "f/flexcore/dashboard/read_dashboard"}


class Echo(BaseHTTPRequestHandler):
    """A server that says what it was asked, sets a cookie, and packs its answer."""

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        said = {
            "path": self.path,
            "method": self.command,
            "body": self.rfile.read(length).decode(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        body = json.dumps(said).encode()
        self.send_response(422 if "refused" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "token=of-the-server")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def panel() -> Iterator[str]:
    """The URL of a panel before the echo."""
    with LocalServer(Echo) as windmill, serving(windmill.address) as url:
        yield url


class serving:
    def __init__(self, windmill: str, host_names: tuple[str, ...] = ()) -> None:
        site = make_site(windmill, "production", RUNNABLES, host_names)
        self._listener = listen_at("127.0.0.1", 0)
        self._server = uvicorn.Server(uvicorn.Config(site, log_level="error", lifespan="off", access_log=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(5)
        self._listener.close()


def test_a_request_goes_on_as_it_is_with_its_token_and_without_cookies(panel: str) -> None:
    headers = {"Authorization": "Bearer of-ann", "Cookie": "token=of-her-browser", "Content-Type": "application/json"}
    path = "/api/w/production/jobs/run/p/f/a%2Fb?x=1&y=%20"
    answer = httpx.post(panel + path, headers=headers, content=b'{"n": 1}')
    said = answer.json()
    assert (said["path"], said["method"], said["body"]) == (path, "POST", '{"n": 1}')
    assert said["headers"]["authorization"] == "Bearer of-ann"
    assert "cookie" not in said["headers"] and "set-cookie" not in answer.headers
    assert "content-security-policy" in answer.headers


def test_the_servers_refusals_come_through(panel: str) -> None:
    assert httpx.get(f"{panel}/api/refused").status_code == 422


def test_the_panel_adds_no_token_of_its_own(panel: str) -> None:
    assert "authorization" not in httpx.get(f"{panel}/api/version").json()["headers"]


def test_another_pages_script_and_another_name_get_nothing(panel: str) -> None:
    assert httpx.post(f"{panel}/api/x", headers={"Origin": "https://evil.example"}).status_code == 403
    assert httpx.get(f"{panel}/api/x", headers={"Host": "evil.example"}).status_code == 421


def test_a_name_that_was_given_is_the_panels(panel: str) -> None:
    with LocalServer(Echo) as windmill, serving(windmill.address, ("panel.example.com",)) as url:
        assert httpx.get(f"{url}/api/x", headers={"Host": "panel.example.com"}).status_code == 200


def test_it_is_ready_only_while_the_server_answers(panel: str) -> None:
    assert httpx.get(f"{panel}/readyz").json() == {"ready": True, "reasons": []}
    with serving("http://127.0.0.1:9") as url:
        answer = httpx.get(f"{url}/readyz")
        assert answer.status_code == 503 and "does not answer" in answer.json()["reasons"][0]
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/api/version").status_code == 502


class Reader(BaseHTTPRequestHandler):
    """A server that says when it has the first bytes of a body of ten."""

    has_begun = threading.Event()

    def do_POST(self) -> None:
        first = self.rfile.read(5)
        self.has_begun.set()
        body = first + self.rfile.read(5)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_body_goes_on_as_it_comes() -> None:
    def parts() -> Iterator[bytes]:
        yield b"first"
        assert Reader.has_begun.wait(20), "the panel keeps what it is sent"
        yield b"after"

    with LocalServer(Reader) as windmill, serving(windmill.address) as url:
        answer = httpx.post(f"{url}/api/x", content=parts(), headers={"Content-Length": "10"}, timeout=30)
    assert answer.content == b"firstafter"


def test_a_body_that_is_too_large_is_refused_before_anybody_has_it_whole(
    panel: str, engine: PanelEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "MAX_BODY_BYTES", 1000)
    token = {"Authorization": f"Bearer {engine.token}"}
    for url in (f"{panel}/api/x", f"{engine.url}/api/w/local/jobs/run/preview"):
        for body in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
            answer = httpx.post(url, content=body, headers=token)
            assert answer.status_code == 413 and answer.text.startswith("Payload too large"), (url, answer)
    assert httpx.post(f"{panel}/api/x", content=b"x" * 1000).json()["body"] == "x" * 1000


def test_a_request_cannot_lead_the_panel_to_another_server() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text="x")

    async def ask() -> None:
        handover = Handover("http://windmill:8000", httpx.MockTransport(answer))
        transport = httpx.ASGITransport(handover)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/api/@evil.example/x")
            await client.get("/api//evil.example/x")

    asyncio.run(ask())
    assert [request.url.host for request in asked] == ["windmill", "windmill"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--server", "production"], "is not a URL"),
        (["--server", "http://127.0.0.1:9"], "--workspace"),
    ],
)
def test_what_is_missing_is_named(flexcore: Command, arguments: list[str], words: str) -> None:  # noqa: F811
    done = flexcore("dashboard", *arguments)
    assert done.returncode == 2 and words in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with listen_at("127.0.0.1", 0) as taken, pytest.raises(BadArguments, match="choose another with --port"):
        listen_at("127.0.0.1", taken.getsockname()[1])


def test_the_dashboard_of_an_engine_that_serves_the_bundle_is_joined(
    engine: PanelEngine,
    flexcore: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert flexcore("dashboard").stdout.strip() == engine.page_url
    shown: dict[str, Any] = json.loads(flexcore("dashboard", "--json").stdout)
    assert shown == {"url": engine.url, "dashboard": engine.page_url}
    assert find_serving_engine(engine.home, tmp_path) is None


def test_whoever_has_a_dead_engines_port_gets_neither_key_nor_token(
    engine: PanelEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLEXCORE_HOME", str(engine.home))
    with LocalServer(Echo) as another:
        engine.store.add_engine("0" * 16, another.address, str(tmp_path))
        assert find_serving_engine(engine.home, tmp_path) is None
        assert target._token_of_engine(another.address) == ""
    for url in (engine.url, engine.url.replace("127.0.0.1", "localhost")):
        assert target._token_of_engine(url) == engine.token


@pytest.mark.parametrize(
    ("listen", "name"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")],
)
def test_the_address_that_is_printed_is_one_that_the_panel_answers(listen: str, name: str) -> None:
    assert name_host(listen) == name
