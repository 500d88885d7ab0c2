"""The step of docs/llm.md against an endpoint that speaks the protocol of OpenAI's API, on a real local port."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.local_server import LocalServer

KEY = "sk-not-a-real-one"


class Endpoint(LocalServer):
    """Answers with what is in `answers`, the last one for ever: (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, dict(self.headers), body))
                answers = endpoint.answers
                status, headers, value = answers.pop(0) if len(answers) > 1 else answers[0]
                content = json.dumps(value).encode()
                self.send_response(status)
                for name, text in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return None

        super().__init__(Handler)
        self.url = f"{self.address}/v1"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as running:
        yield running


@pytest.fixture
def step() -> Any:
    spec = importlib.util.spec_from_file_location("ask_llm", ROOT / "docs/examples/ask_llm.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(text: str, reason: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return {"id": "1", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}


def test_a_prompt_gets_its_answer_and_the_key_goes_into_the_header_alone(step: Any, endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, answer("four"))]
    result = step.main(endpoint.url, KEY, "qwen-7b", "2 + 2?")
    assert result == {"text": "four", "finish_reason": "stop", "usage": answer("")["usage"]}
    ((path, headers, body),) = endpoint.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "qwen-7b", "max_tokens": 500, "messages": [{"role": "user", "content": "2 + 2?"}]}
    assert KEY not in json.dumps([result, body])


def test_an_endpoint_that_is_busy_is_asked_again_when_it_says(step: Any, endpoint: Endpoint) -> None:
    endpoint.answers = [
        (429, {"Retry-After": "0"}, {}),
        (503, {"Retry-After": "0"}, {}),
        (200, {}, answer("yes", "length")),
    ]
    assert step.main(endpoint.url, KEY, "m", "?")["finish_reason"] == "length"
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (404, 1), (503, 4)])
def test_a_refusal_is_told_with_its_reason_and_without_the_key(
    step: Any, endpoint: Endpoint, status: int, tries: int
) -> None:
    endpoint.answers = [(status, {"Retry-After": "0"}, {"error": {"message": "the model does not exist"}})]
    with pytest.raises(RuntimeError, match=f"HTTP {status}: .*the model does not exist") as caught:
        step.main(endpoint.url, KEY, "m", "?")
    assert KEY not in str(caught.value)
    assert len(endpoint.requests) == tries
