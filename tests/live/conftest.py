"""Real servers, named by the environment; without them the tests here are skipped.

FLEXCORE_LIVE_WINDMILL_URL, _TOKEN, _WORKSPACE   a Windmill whose workspace the tests may write to; its workers must run
                                                 on this machine when the store is a local folder
KUBECONFIG                                       a cluster in which the tests may create namespaces
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
CLI = ROOT / "node_modules/.bin/wmill"


@dataclass(frozen=True)
class Windmill:
    url: str
    token: str = field(repr=False)
    workspace: str

    def call(self, method: str, path: str, body: Any = None, timeout: float = 600) -> Any:
        response = httpx.request(
            method,
            f"{self.url}/api/w/{self.workspace}/{path}",
            json=body,
            timeout=timeout,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        response.raise_for_status()
        return response.json() if "json" in response.headers.get("content-type", "") else response.text

    def run_flow(self, path: str, args: dict[str, Any]) -> tuple[bool, Any]:
        """(success, result) of a flow that was pushed before."""
        return self.finished(self.call("POST", f"jobs/run/f/{path}", args))

    def preview(self, value: dict[str, Any], args: dict[str, Any]) -> tuple[bool, Any]:
        """(success, result) of a flow that is only in this request."""
        return self.finished(self.call("POST", "jobs/run/preview_flow", {"value": value, "args": args}))

    def finished(self, job: str) -> tuple[bool, Any]:
        """(success, result) of a job, once it has ended."""
        while True:
            done = self.call("GET", f"jobs_u/completed/get_result_maybe/{job}?get_started=false")
            if done["completed"]:
                return done["success"], done["result"]
            time.sleep(0.2)


def needed(name: str) -> str:
    """What the environment says of a real cluster; the test is skipped where it says nothing."""
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"no real cluster: {name} not set")
    return value


def push(windmill: Windmill, config: Path) -> str:
    command = [
        str(CLI),
        "sync",
        "push",
        "--yes",
        "--keep-deleted",
        "--config-dir",
        str(config),
        "--workspace",
        windmill.workspace,
        "--base-url",
        windmill.url,
        "--token",
        windmill.token,
    ]
    env = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def windmill() -> Windmill:
    names = ["FLEXCORE_LIVE_WINDMILL_URL", "FLEXCORE_LIVE_WINDMILL_TOKEN", "FLEXCORE_LIVE_WINDMILL_WORKSPACE"]
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no real Windmill: {', '.join(missing)} not set")
    return Windmill(*(os.environ[name] for name in names))


@pytest.fixture(scope="module")
def pushed(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Windmill:
    """A workspace that holds the bundle, and that a second push does not change."""
    config = tmp_path_factory.mktemp("wmill")
    push(windmill, config)
    assert "0 changes to apply" in push(windmill, config)
    return windmill
