"""A worker's home with the real Meltano, a project with toy plugins, and a step that can be called or killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.meltano.installation import MELTANO_VERSION

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# Installed once for all test runs of this checkout: git ignores the folder, `make clean` removes it.
SHARED = ROOT / ".flexcore" / "test-home" / "meltano"
# Longest that a test waits for something that takes a second or two on an idle machine.
PATIENCE_S = 90.0

PROJECT = """
default_environment: dev
environments:
- name: dev
- name: prod
  config:
    plugins:
      extractors:
      - name: tap-toy
        config: {rows: 7}
plugins:
  extractors:
  - name: tap-toy
    namespace: tap_toy
    executable: ./toy_tap.py
    capabilities: [catalog, discover, state]
    settings:
    - {name: rows, kind: integer, value: 3}
    - {name: mode}
    - {name: streams, kind: array}
    - {name: marker}
    - {name: secret, kind: password}
  - name: tap-other
    inherit_from: tap-toy
    config: {streams: [customers]}
  loaders:
  - name: target-jsonl
    namespace: target_jsonl
    pip_url: target-jsonl==0.1.4
    executable: target-jsonl
    settings:
    - {name: destination_path, value: output}
    - {name: do_timestamp_file, kind: boolean, value: false}
  - name: target-toy
    namespace: target_toy
    executable: ./toy_target.py
    settings:
    - {name: file}
    - {name: mode}
    settings_group_validation: [[file]]
  mappers:
  - name: mapper-toy
    namespace: mapper_toy
    executable: ./toy_mapper.py
    mappings:
    - {name: hide-names, config: {mode: ok}}
    - {name: crash, config: {mode: crash}}
    - {name: killed, config: {mode: killed}}
    - {name: hang, config: {mode: hang}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker's home of its own, with the installed things shared."""
    base = tmp_path / "home" / "meltano"
    base.mkdir(parents=True)
    for name in (f"tool-{MELTANO_VERSION}", "plugins", "databases"):
        (SHARED / name).mkdir(parents=True, exist_ok=True)
        (base / name).symlink_to(SHARED / name)
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The environment of one step; called with another flow's id, it is the step of that flow."""

    def set_flow(flow: str) -> None:
        for name, value in {"WM_JOB_ID": f"job-{flow}", "WM_FLOW_JOB_ID": flow, "WM_ROOT_JOB_ID": flow}.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setenv("WM_FLOW_STEP_ID", "extract")
    monkeypatch.setenv("WM_WORKSPACE", "dev")
    monkeypatch.setenv("WM_TOKEN", "worker-token-0123456789")
    set_flow("flow-1")
    return set_flow


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """A project folder with the toy plugins."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "meltano.yml").write_text(PROJECT)
    for name in ("toy_tap.py", "toy_mapper.py", "toy_target.py"):
        shutil.copy(HERE / name, place / name)
    return place


@pytest.fixture
def project(folder: Path) -> dict[str, Any]:
    """The resource of that project."""
    return {"path": str(folder)}


class Step:
    """meltano/run in a process of its own, as a worker starts it."""

    def __init__(self, arguments: dict[str, Any], env: dict[str, str] | None = None) -> None:
        code = (
            "import json, sys; from f.flexcore.meltano.run import main; print(json.dumps(main(**json.load(sys.stdin))))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdin
        self.process.stdin.write(json.dumps(arguments))
        self.process.stdin.close()
        self.process.stdin = None

    def result(self) -> dict[str, Any]:
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, output
        return dict(json.loads(output.splitlines()[-1]))

    def kill(self, number: int = signal.SIGKILL) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE_S)[0]


@pytest.fixture
def start() -> Iterator[Callable[..., Step]]:
    steps: list[Step] = []

    def begin(arguments: dict[str, Any], **env: str) -> Step:
        steps.append(Step(arguments, env))
        return steps[-1]

    yield begin
    for step in steps:
        with suppress(ProcessLookupError):
            step.process.kill()
        step.process.wait()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The condition's value once it is true; fails after the patience."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"still not: {what}")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def contents(folder: Path) -> dict[str, str]:
    """Everything below a folder: each file with its content, each folder with none."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else "" for path in paths}


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    """Settings of a store on a real S3 API, with a bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # All servers of a process have the same buckets.
    name, endpoint = f"for-port-{port}", f"http://{host}:{port}"
    s3fs.S3FileSystem(key="key-for-tests", secret="secret-for-tests", endpoint_url=endpoint).mkdir(name)
    yield {
        "storage_uri": f"s3://{name}/store",
        "storage_endpoint_url": endpoint,
        "storage_access_key": "key-for-tests",
        "storage_secret_key": "secret-for-tests",
    }
    server.stop()
