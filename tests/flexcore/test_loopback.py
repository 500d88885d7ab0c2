"""What stays on this machine is asked without the environment's proxy: by commands, the head, the demo, the panel."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import Unavailable, Unreachable
from f.flexcore.lib.core.loopback import is_loopback, means_caller
from flexcore.client.windmill import Windmill
from flexcore.commands.demo import ask
from flexcore.ray_head import RayHead
from tests.flexcore.commands.conftest import bundle, flexcore, server, wmill  # noqa: F401
from tests.flexcore.panel.test_windmill import Echo, serving
from tests.local_server import LocalServer
from tests.views.result_cases import MODEL
from tests.wmlocal.engine.conftest import Command, environments, home, write  # noqa: F401

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Model(Echo):
    def do_POST(self) -> None:
        body = b'{"outputs": [{"name": "predict", "data": [2.5]}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the proxy of the environment is asked for."""
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(503)

        do_POST = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with LocalServer(Proxy) as proxy:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.address)
            monkeypatch.setenv(name.lower(), proxy.address)
        yield seen


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/api", True),
        ("https://localhost", True),
        ("http://LOCALHOST.:1", True),
        ("http://[::1]:8080", True),
        ("http://127.8.0.1", True),
        ("http://localhost.evil.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_an_address_is_loopbacks_by_its_host_alone(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://0.0.0.0:9000", True),
        ("http://[::]:9000", True),
        ("http://127.0.0.2:9000", True),
        ("http://LOCALHOST:9000", True),
        ("http://127.example.com", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.9:9000", False),
        ("", False),
    ],
)
def test_who_asks_the_address_of_no_machine_asks_itself(url: str, expected: bool) -> None:
    assert means_caller(url) is expected


@pytest.mark.parametrize("where", ["embedded", "a server on this machine"])
def test_a_command_that_stays_on_this_machine_asks_no_proxy(
    flexcore: Command,  # noqa: F811
    server: str,  # noqa: F811
    proxied: list[str],
    where: str,
) -> None:
    done = flexcore("workflow", "list", "--server", "embedded" if where == "embedded" else server)
    assert done.returncode == 0, done.stderr
    assert proxied == []


def test_a_ray_head_here_is_asked_without_the_proxy(proxied: list[str], tmp_path: Path) -> None:
    with LocalServer(Echo) as head:
        assert RayHead(tmp_path)._answers(f"{head.address}/api/version")
    assert proxied == []


def test_the_demo_asks_its_endpoint_without_the_proxy(proxied: list[str]) -> None:
    with LocalServer(Model) as model:
        assert ask(result(model.address), [{"a": 1.0}], [3.0]) == [(2.5, 3.0)]
    assert proxied == []


def test_an_endpoint_that_does_not_answer_is_told_and_is_no_traceback() -> None:
    with pytest.raises(Unreachable, match=r"The endpoint http://127\.0\.0\.1:9/v2/.* does not answer"):
        ask(result("http://127.0.0.1:9"), [{"a": 1.0}], [3.0])


def result(endpoint: str) -> dict[str, Any]:
    return {"final_endpoint": endpoint, "stages": [{}, {"result": {"output": MODEL.model_dump(mode="json")}}]}


def test_a_server_elsewhere_is_reached_by_the_proxy(proxied: list[str]) -> None:
    with Windmill("http://windmill.example.com", "w", "t") as client, pytest.raises(Unavailable):
        client.version()
    assert proxied == ["http://windmill.example.com/api/version"]


@pytest.mark.parametrize("path", ["/api/version", "/readyz"])
def test_the_panel_reaches_a_server_elsewhere_as_the_command_line_does(proxied: list[str], path: str) -> None:
    with serving("http://windmill.example.com") as url:
        assert httpx.get(url + path, trust_env=False).status_code == 503
    assert proxied == ["http://windmill.example.com/api/version"]


def test_the_panel_reaches_a_server_beside_it_without_the_proxy(proxied: list[str]) -> None:
    with LocalServer(Echo) as windmill, serving(windmill.address) as url:
        for path in ("/api/version", "/readyz"):
            assert httpx.get(url + path, trust_env=False).status_code == 200
    assert proxied == []
