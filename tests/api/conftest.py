"""The shipped routes on a local engine, beside small flows that end, fail, wait and sleep as a test needs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.wmlocal.engine.conftest import eventually, raw
from wmlocal.engine import Engine

ROOT = Path(__file__).parent.parent.parent
MEDIA_TYPE = "application/vnd.flexcore+json"
FORM = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "order": ["text", "times", "cluster"],
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "description": "What to say.", "pattern": "^[^!]*$"},
        "times": {"type": "integer", "default": None, "minimum": 1, "description": "How often."},
        "cluster": {"type": "object", "format": "resource-c_ray_cluster", "description": "Where."},
    },
}
TOYS: dict[str, list[dict[str, Any]]] = {
    "toy": [
        raw(
            "say",
            "def main(text, times):\n    print('saying', text)\n    return {'said': [text] * (times or 1), "
            "'token': 'sesame', 'wm_labels': ['flexcore', 'workflow:toy', 'runtime:ray']}\n",
            {"text": "flow_input.text", "times": "flow_input.times"},
        )
    ],
    "toy_fails": [
        raw("first", "def main():\n    return 1\n"),
        raw(
            "second",
            "class Bad(Exception):\n    pass\ndef main():\n    e = Bad('the table t is missing')\n"
            "    e.category, e.subject, e.remedy, e.retryable = 'not_found', 't', 'Create t.', False\n"
            "    raise e\n",
        ),
    ],
    "toy_sleeps": [
        raw("nap", "import time\ndef main():\n    print('zzz password=sesame1', flush=True)\n    time.sleep(60)\n")
    ],
}


class Client:
    """What a caller of the routes has: an address and a token."""

    def __init__(self, url: str, token: str, workspace: str) -> None:
        self.base = f"{url}/api/r/{workspace}/flexcore"
        self.http = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.http.request(method, f"{self.base}/{path}", **more)

    def start(self, workflow: str, key: str = "", **arguments: Any) -> httpx.Response:
        return self.send("executions", {"workflow": workflow, "arguments": arguments}, key)

    def send(self, path: str, body: Any, key: str = "") -> httpx.Response:
        headers = {"Content-Type": MEDIA_TYPE} | ({"Idempotency-Key": key} if key else {})
        return self.call("POST", path, content=body if isinstance(body, str) else json.dumps(body), headers=headers)

    def get(self, id: str) -> Any:
        answer = self.call("GET", f"executions/{id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def listed(self, **query: Any) -> list[str]:
        answer = self.call("GET", "executions", params=query)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["executions"]]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api") / "bundle"
    shutil.copytree(ROOT / "f", root / "f", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("locks", "dependencies"):
        shutil.copytree(ROOT / folder, root / folder)
    for name, modules in TOYS.items():
        file = root / f"f/flexcore/templates/{name}__flow/flow.yaml"
        file.parent.mkdir(parents=True)
        schema = FORM if name == "toy" else FORM | {"required": [], "properties": {}, "order": []}
        file.write_text(yaml.safe_dump({"summary": name, "schema": schema, "value": {"modules": modules}}))
    return root


@pytest.fixture(scope="module")
def engine(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(bundle, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def client(engine: Engine) -> Client:
    return Client(engine.url, engine.token, engine.workspace)


@pytest.fixture
def ended(client: Client) -> Callable[[str], Any]:
    """Waits for an execution's end, and tells it."""

    def wait(id: str) -> Any:
        return eventually(lambda: (told := client.get(id))["ended_at"] and told, 30)

    return wait


@pytest.fixture
def by_hand(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """(status, body) of a route called by its handler in this process, as the user runs it by hand."""
    for name, value in {
        "BASE_INTERNAL_URL": engine.url,
        "WM_WORKSPACE": engine.workspace,
        "WM_TOKEN": engine.token,
    }.items():
        monkeypatch.setenv(name, value)

    def run(method: str, route: str, **request: Any) -> tuple[int, Any]:
        request = {"route": f"flexcore/{route}"} | request
        result = import_module(f"f.flexcore.api.handle_{method}").main(request)
        return result["windmill_status_code"], result["result"]

    return run


def stored_arguments(engine: Engine, script: str) -> list[Any]:
    """Of each of the script's jobs, as the engine keeps them."""
    return [json.loads(json.dumps(job["args"])) for job in engine.store.jobs("path = ?", [script])]
