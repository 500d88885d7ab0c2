"""Our model server as a process of its own, on loopback: the protocol, bad input, metrics, draining, bad beginnings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core import inference
from f.flexcore.lib.core.contracts import ModelManifest
from f.flexcore.lib.kubernetes import model_delivery
from tests.ray.models import stored_model

Json = dict[str, Any]
START_TIMEOUT_S = 120


class Process:
    """A started server; its program lies where a pod has it, and nothing else of the bundle can be imported."""

    def __init__(self, folder: Path, manifest: ModelManifest, files: Path, **changes: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        delivery = model_delivery.Server(1)
        config = delivery.config(manifest) | {"folder": str(files), "host": "127.0.0.1", "port": self.port} | changes
        sources = model_delivery.list_files(manifest, None, delivery)
        for key, text in sources.items():
            path = folder / model_delivery.program_path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "server.json").write_text(json.dumps(config))
        command = [sys.executable, str(folder / model_delivery.STARTER), str(folder / "server.json")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def wait_until_ready(self) -> Process:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()[0]
            try:
                if self.client.get("/v2/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the server did not become ready")

    def infer(self, body: Any, path: str = "/v2/models/flowers/infer") -> httpx.Response:
        return self.client.post(path, json=body)

    def end(self) -> str:
        """What it printed."""
        if self.process.poll() is None:
            self.process.kill()
        self.client.close()
        return self.process.communicate(timeout=10)[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelManifest, Path]:
    root = tmp_path_factory.mktemp("store")
    files = root / "model"
    manifest = stored_model(files, "flowers", "7", {"storage_uri": f"file://{root}"})
    return manifest, files


@pytest.fixture(scope="module")
def server(model: tuple[ModelManifest, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("pod"), *model).wait_until_ready()
    yield process
    process.end()


def make_request(model: ModelManifest, rows: list[Json] | None = None) -> Json:
    return inference.build_infer_request(rows or model.example, model.signature)


def test_metadata_and_health_are_those_of_the_protocol(server: Process) -> None:
    assert server.client.get("/v2").json()["name"] == "flexcore-model-server"
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/flowers/ready",
        "/v2/models/flowers/versions/7/ready",
    ):
        assert server.client.get(path).status_code == 200
    described = server.client.get("/v2/models/flowers").json()
    assert described["versions"] == ["7"] and described["platform"] == "sklearn-skops"
    assert described["inputs"][1] == {"name": "kind", "datatype": "BYTES", "shape": [-1, 1]}


def test_numbers_and_texts_are_predicted_row_by_row(server: Process, model: tuple[ModelManifest, Path]) -> None:
    rows: list[Json] = [{"petals": 5, "kind": "lily"}, {"petals": 7, "kind": "nié ☂"}, {"petals": None, "kind": None}]
    answer = server.infer(make_request(model[0], rows) | {"id": "42"})
    assert answer.status_code == 200 and answer.json()["id"] == "42"
    assert len(inference.parse_predictions(answer.json(), 3)) == 3
    assert answer.headers["content-type"] == "application/json"


def tensor(name: str, data: list[Any], **fields: Any) -> Json:
    return {
        "name": name,
        "datatype": "BYTES" if name == "kind" else "FP64",
        "shape": [len(data)],
        "data": data,
    } | fields


PETALS, KIND = tensor("petals", [5]), tensor("kind", ["lily"])


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "not JSON"),
        pytest.param(b"[" * 100_000, 400, "not JSON", id="nested"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"[]", 400, "no list `inputs`"),
        ({"inputs": [PETALS]}, 400, "lack the columns kind; the model takes petals, kind"),
        ({"inputs": [tensor("petals", [5], shape=[2]), KIND]}, 400, "has the shape [2], and its data 1 values"),
        ({"inputs": [tensor("petals", [5], shape=[-1]), KIND]}, 400, "no list of sizes"),
        ({"inputs": [tensor("petals", [5], shape="1"), KIND]}, 400, "no list of sizes"),
        ({"inputs": [tensor("petals", [5], datatype="FP128"), KIND]}, 400, "'FP128', which the protocol does not have"),
        ({"inputs": [tensor("petals", [[1, 2]]), KIND]}, 400, "one value per row"),
        ({"inputs": [tensor("petals", [5, 6]), KIND]}, 400, "differ in length"),
        ({"inputs": [tensor("petals", ["<b>x</b>"]), KIND]}, 400, "petals takes numbers, not '<b>x</b>'"),
        ({"inputs": [tensor("petals", [10**400]), KIND]}, 400, "petals takes numbers"),
        ({"inputs": [tensor("petals", [{}]), KIND]}, 400, "petals takes numbers"),
        ({"inputs": [PETALS, PETALS, KIND]}, 400, "the same name"),
        ({"inputs": [PETALS, KIND], "outputs": "predict"}, 400, "`outputs` is no list"),
        ({"inputs": [PETALS, KIND], "outputs": [{"name": "shap"}]}, 400, "no output 'shap'"),
        ({"inputs": [PETALS, KIND], "outputs": [{"name": "predict_proba"}]}, 400, "no output 'predict_proba'"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_its_reason(
    server: Process, body: Any, status: int, text: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.client.post("/v2/models/flowers/infer", content=content)
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/<script>", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/flowers/versions/8/infer", 404),
        ("GET", "/v2/models/flowers/infer", 405),
        ("GET", "/../../etc/passwd", 404),
    ],
)
def test_what_does_not_exist_is_told(server: Process, method: str, path: str, status: int) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == status and answer.json()["error"]


def test_a_body_that_is_too_long_is_refused_before_it_is_read_whole(server: Process) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * (1 << 20)

    answer = server.client.post("/v2/models/flowers/infer", content=endless())
    assert answer.status_code == 413 and "send fewer rows" in answer.json()["error"]


def test_metrics_count_inferences_by_code_and_nothing_else(server: Process, model: tuple[ModelManifest, Path]) -> None:
    def read() -> dict[str, float]:
        lines = server.client.get("/metrics").text.splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    label = 'model="flowers",version="7"'
    before = read()
    server.infer(make_request(model[0]))
    server.infer({})
    server.client.get("/v2/health/ready")
    after = read()
    changed = {name for name in after if after[name] != before.get(name, 0)}
    for code in ("200", "400"):
        name = f'flexcore_requests_total{{{label},code="{code}"}}'
        assert after[name] - before.get(name, 0) == 1
    assert (
        after[f"flexcore_request_seconds_count{{{label}}}"] - before[f"flexcore_request_seconds_count{{{label}}}"] == 2
    )
    assert (
        after[f'flexcore_request_seconds_bucket{{{label},le="+Inf"}}']
        == after[f"flexcore_request_seconds_count{{{label}}}"]
    )
    assert not any("404" in name for name in changed)
    assert f'flexcore_requests_total{{{label},code="500"}}' in before, "a first failure must be an increase"


def test_a_server_that_shall_stop_says_so_and_answers_what_still_comes(
    model: tuple[ModelManifest, Path], tmp_path: Path
) -> None:
    server = Process(tmp_path, *model, drain_s=2).wait_until_ready()
    body, codes = make_request(model[0]), []
    ended = threading.Event()

    def send() -> None:
        # As a proxy that learns late that the pod leaves: for as long as it is promised, and a new connection each.
        until = time.monotonic() + 1.7
        while time.monotonic() < until:
            codes.append(httpx.post(f"{server.url}/v2/models/flowers/infer", json=body, timeout=10).status_code)
        ended.set()

    sender = threading.Thread(target=send)
    server.process.send_signal(signal.SIGTERM)
    sender.start()
    time.sleep(0.4)
    assert server.client.get("/v2/health/ready").status_code == 503
    assert server.client.get("/v2/health/live").status_code == 200
    assert "flexcore_draining 1" in server.client.get("/metrics").text
    sender.join(20)
    assert server.process.wait(10) == 0
    assert ended.is_set() and len(codes) > 10 and set(codes) == {200}
    server.end()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "sklearn-joblib"}, "The model is a pickle"),
        ({"format": "onnx"}, "No model of format 'onnx' can be loaded"),
        ({"format": "xgboost-ubj"}, "The model's files are damaged"),
        (
            {"signature": {"inputs": [{"name": "x", "datatype": "FP64"}], "outputs": []}},
            "does not answer its own example",
        ),
    ],
)
def test_a_model_that_cannot_be_served_ends_the_server_before_it_listens(
    model: tuple[ModelManifest, Path], tmp_path: Path, changes: Json, text: str
) -> None:
    manifest, files = model
    described = model_delivery.Server(1).config(manifest)["model"] | changes
    server = Process(tmp_path, manifest, files, model=described)
    assert server.process.wait(START_TIMEOUT_S) == 40
    assert text in server.end()


def test_a_killed_server_leaves_nothing_that_hinders_the_next(
    model: tuple[ModelManifest, Path], tmp_path: Path
) -> None:
    for _ in range(2):
        server = Process(tmp_path, *model).wait_until_ready()
        os.kill(server.process.pid, signal.SIGKILL)
        server.end()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".lock", ".pid", ".sock")]
