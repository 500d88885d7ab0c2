"""A fourth runtime, commands on the worker: one folder below lib/, one step, one entry, one branch of data_pipeline.

`bundle/` beside this file is the folder and the step; entry and branch are patched into a copy of the bundle. Nothing
else of the copy is changed, and everything that knows runtimes knows this one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Client
from tests.fourth_runtime.patches import add_branch, add_entry
from tests.wmlocal.engine.conftest import eventually
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fourth_runtime")]
ROOT = Path(__file__).parent.parent.parent
SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fourth") / "bundle"
    for folder in ("f", "flexcore", "wmlocal", "locks", "dependencies"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "wmill.yaml", ROOT / "pyproject.toml", *ROOT.glob("*.resource-type.yaml")):
        shutil.copy(file, root)
    shutil.copytree(Path(__file__).parent / "bundle", root, dirs_exist_ok=True)
    add_entry(root / "f/flexcore/lib/runtimes.py")
    add_branch(root / "f/flexcore/data_pipeline__flow/flow.yaml")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(bundle: Path, home: Path) -> Iterator[Engine]:
    with Engine(bundle, home) as running:
        yield running


@pytest.fixture(scope="module")
def client(engine: Engine) -> Client:
    return Client(engine.url, engine.token, engine.workspace)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"storage_uri": f"file://{tmp_path_factory.mktemp('store')}"}


@pytest.fixture(scope="module")
def pipeline(engine: Engine, settings: dict[str, Any]) -> dict[str, Any]:
    """The result of a data pipeline that ran on it."""
    done = engine.run(
        "f/flexcore/data_pipeline", {"command": {"command": ["echo", "done"]}, "settings": settings, "pin": "command"}
    )
    assert done.success, done.result
    return {"id": str(done.id), "result": done.result}


def rows(result: Any) -> list[dict[str, Any]]:
    tables = [item["table-row-object"] for item in result["render_all"] if "table-row-object" in item]
    found: list[dict[str, Any]] = tables[0]
    return found


def test_its_step_runs_through_the_same_driver(engine: Engine, settings: dict[str, Any]) -> None:
    done = engine.run("f/flexcore/command/run", {"command": ["echo", "hello"], "settings": settings})
    assert done.success, done.result
    assert (done.result["runtime"], done.result["data"]["exit_code"]) == ("command", 0)
    assert done.result["log_tail"].strip() == "hello" and "runtime:command" in done.result["wm_labels"]
    wrong = engine.run("f/flexcore/command/run", {"command": ["no-such-program"], "settings": settings})
    assert not wrong.success and "no-such-program" in wrong.result["error"]["message"]


def test_a_step_that_was_killed_attaches_to_its_command(bundle: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    mark = tmp_path / "starts"
    program = f"import time; open({str(mark)!r}, 'a').write('x'); time.sleep(3); print('ended')"
    call = (
        "import json, sys; from f.flexcore.command.run import main; "
        "print(json.dumps(main(**json.loads(sys.argv[1]))['data']))"
    )
    arguments = json.dumps({"command": [sys.executable, "-c", program], "settings": settings})
    env = os.environ | {"WM_JOB_ID": "job-1", "PYTHONPATH": str(bundle), "FLEXCORE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", call, arguments]
    first = subprocess.Popen(command, env=env, cwd=tmp_path)
    eventually(mark.exists, 30)
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout.splitlines()[-1]) == {"exit_code": 0}
    assert mark.read_text() == "x", "the program was started once"


def test_health_and_the_http_api_show_it(engine: Engine, client: Client, settings: dict[str, Any]) -> None:
    done = engine.run("f/flexcore/operations/check_runtimes", {"settings": settings})
    assert {"meltano", "command"} <= {row["runtime"] for row in rows(done.result)}
    listed = client.call("GET", "runtimes").json()["runtimes"]
    assert "command" in {item["runtime"] for item in listed}


def test_reconcile_stops_a_command_whose_owner_is_gone(engine: Engine, settings: dict[str, Any]) -> None:
    show_home = [sys.executable, "-c", "import os; print(os.environ['HOME'])"]
    job = engine.run("f/flexcore/command/run", {"command": show_home, "settings": settings})
    home, name = Path(job.result["log_tail"].strip()) / ".flexcore", f"fc-{uuid4().hex[:20]}-1"
    labels = {"flexcore/key": name[:-2], "flexcore/attempt": "1", "app.kubernetes.io/managed-by": "flexcore"}
    labels |= {"flexcore/owner-job": str(job.id), "flexcore/workspace": engine.workspace}
    start = (
        "import json, sys, time; from f.flexcore.lib.command.processes import get_command; "
        "get_command(sys.argv[1]).start(json.loads(sys.argv[2]), json.loads(sys.argv[3]), time.time() + 600)"
    )
    env = os.environ | {"PYTHONPATH": str(engine.bundle.root), "FLEXCORE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", start, name, json.dumps(SLEEP), json.dumps(labels)], env=env, check=True)
    try:
        done = engine.run("f/flexcore/operations/reconcile", {"settings": settings})
        assert done.success, done.result
        (line,) = [row for row in done.result["table-row-object"] if row["object"].endswith(name)]
        assert (line["runtime"], line["action"], line["outcome"]) == ("command", "stop", "stopped")
    finally:
        for file in (home / "commands").glob(f"{name}.*"):
            file.unlink()


def test_the_data_pipeline_selects_it_and_says_why(pipeline: dict[str, Any]) -> None:
    result = pipeline["result"]
    assert (result["runtime"], result["success"]) == ("command", True)


def test_a_plan_asks_it_and_starts_nothing(engine: Engine, settings: dict[str, Any]) -> None:
    done = engine.run(
        "f/flexcore/data_pipeline",
        {"command": {"command": ["no-such-program"]}, "settings": settings, "explain_only": True},
    )
    assert not done.success and "no-such-program" in json.dumps(done.result)
    assert "plan" in done.result["wm_labels"]
    done = engine.run(
        "f/flexcore/data_pipeline",
        {"command": {"command": ["echo"]}, "settings": settings, "explain_only": True, "pin": "command"},
    )
    assert done.success, done.result
    assert done.result["runtime"] == "command" and "command" in {
        item["runtime"] for item in done.result["selection"]["candidates"]
    }


def test_monitor_and_comparison_show_it(engine: Engine, client: Client, pipeline: dict[str, Any]) -> None:
    shown = engine.run("f/flexcore/operations/monitor_execution", {"id": pipeline["id"]})
    assert "command" in json.dumps(shown.result["render_all"][1])
    compared = engine.run("f/flexcore/operations/compare_runtimes", {})
    assert compared.success and "command" in json.dumps(compared.result)
    assert pipeline["id"] in client.listed(runtime="command")


@pytest.mark.parametrize("command", [["runtime", "list"]])
def test_the_command_line_lists_it(bundle: Path, command: list[str], tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(bundle), "FLEXCORE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "flexcore", *command], env=env, cwd=bundle, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "command" in done.stdout and "commands on the worker itself" in done.stdout


def test_a_command_past_its_time_is_killed(engine: Engine, settings: dict[str, Any]) -> None:
    began = time.monotonic()
    done = engine.run("f/flexcore/command/run", {"command": SLEEP, "timeout_s": 1, "settings": settings})
    assert not done.success and done.result["error"]["name"] == "DeadlineExceeded"
    assert time.monotonic() - began < 60
