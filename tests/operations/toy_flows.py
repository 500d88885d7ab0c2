"""A bundle of toy flows on an engine of its own, watched by the bundle's own adapters as on a server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wmill.client

from f.flexcore.lib.windmill.client import Client
from tests.wmlocal.engine.conftest import Writer, call, raw
from wmlocal.engine import Engine

PATIENCE_S = 60.0
USED = {"cpu_seconds": 2.5, "peak_memory_bytes": 1000, "gpu_seconds": None}
# What a step of a runtime ends with.
STEP = f"""
def main(cpu: float = 2.5, fail: bool = False):
    if fail:
        raise ValueError("no such column")
    used = {USED!r} | {{"cpu_seconds": cpu}}
    return {{"success": True, "runtime": "ray", "execution_key": "fc-1", "attempt": 1, "resource_usage": used,
            "remote": {{"kind": "Ray job", "name": "x", "url": "http://127.0.0.1:8265/#/jobs/x"}},
            "wm_labels": ["flexcore", "runtime:ray"]}}
"""
WAIT = """
import pathlib, time
def main(gate: str):
    while not pathlib.Path(gate).exists():
        time.sleep(0.02)
"""
# A data pipeline's result, as far as history reads it.
OUTCOME = """
def main(runtime: str, seconds: float, success: bool = True):
    run = {"workflow_type": "sales", "runtime": runtime, "data_size_bytes": 1000, "rows": 100, "complexity": "simple",
           "started_at": None, "duration_s": seconds, "cost_usd": seconds / 100, "success": success}
    result = {"run": run, "wm_labels": ["flexcore", "workflow:sales", "runtime:" + runtime]}
    return result if success else result | {"wm_failure": "it failed"}
"""


def write_bundle(root: Path) -> None:
    write = Writer(root)
    write.script("f/x/ray/work", STEP)
    write.script("f/x/wait", WAIT)
    write.script("f/x/outcome", OUTCOME)
    write.flow("f/x/ray/execute", [call("run", "script", "f/x/ray/work", cpu="flow_input.cpu", fail="flow_input.fail")])
    loop = {
        "id": "attempts",
        "value": {
            "type": "forloopflow",
            "iterator": {"type": "javascript", "expr": "flow_input.cpus"},
            "modules": [
                call("ray", "flow", "f/x/ray/execute", cpu="flow_input.iter.value", fail="flow_input.fail"),
                raw("note", "def main():\n    return 1"),
            ],
        },
    }
    gate = call("gate", "script", "f/x/wait", gate="flow_input.gate")
    last = raw("last", "def main():\n    return {'wm_labels': ['flexcore', 'workflow:toy', 'runtime:ray']}")
    write.flow("f/x/pipeline", [loop, gate, last])
    sale = call(
        "outcome",
        "script",
        "f/x/outcome",
        runtime="flow_input.runtime",
        seconds="flow_input.seconds",
        success="flow_input.success",
    )
    write.flow("f/x/sale", [sale])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("toy")
    write_bundle(folder / "bundle")
    with Engine(folder / "bundle", folder / "home") as running:
        yield running


@pytest.fixture
def worker(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a job on a worker of that engine."""
    env = {
        "BASE_INTERNAL_URL": engine.url,
        "WM_BASE_URL": engine.url,
        "WM_TOKEN": engine.token,
        "WM_WORKSPACE": engine.workspace,
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    # It keeps the first client of the process, which may be that of an earlier engine.
    monkeypatch.setattr(wmill.client, "_client", None)


def client_of(engine: Engine) -> Client:
    return Client(engine.token, workspace=engine.workspace, url=engine.url)


def eventually(condition: Any) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found
