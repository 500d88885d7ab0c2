"""The command line against a real Windmill, with a small bundle of its own, which is gone again afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.conftest import ROOT, Windmill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]

FOLDER = "f/flexcore_cli"
COUNT = """\
import time


def main(rows: int, seconds: int = 0) -> dict:
    if rows > 100:
        raise ValueError(f"{rows} rows are too many")
    print("counting", rows, flush=True)
    time.sleep(seconds)
    return {"rows": rows}
"""
FIELDS = {
    "rows": {"type": "integer", "description": "", "default": None},
    "seconds": {"type": "integer", "description": "", "default": 0},
}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": FIELDS,
    "required": ["rows"],
}
STEP = {
    "id": "count",
    "value": {
        "type": "script",
        "path": f"{FOLDER}/count",
        "input_transforms": {name: {"type": "javascript", "expr": f"flow_input.{name}"} for name in FIELDS},
    },
}
FILES: dict[str, Any] = {
    "wmill.yaml": {
        "defaultTs": "bun",
        "includes": [f"{FOLDER}/**", "f/flexcore/*_cluster.resource.yaml"],
        "excludes": [],
        "skipResourceTypes": True,
        "includeSchedules": True,
        "nonDottedPaths": True,
        "syncBehavior": "v1",
    },
    f"{FOLDER}/count.script.yaml": {
        "summary": "Count",
        "description": "",
        "lock": f"!inline {FOLDER}/count.script.lock",
        "kind": "script",
        "schema": SCHEMA,
    },
    f"{FOLDER}/counting__flow/flow.yaml": {
        "summary": "Counting",
        "description": "",
        "value": {"modules": [STEP]},
        "schema": SCHEMA,
    },
}
CONFIGURATION = """\
engine: windmill
server_url: {url}
workspace: {workspace}
token: ${{FLEXCORE_TOKEN}}
templates:
  counting: {{file: f/flexcore_cli/counting__flow, runtime: ray}}
"""
NO_TAGS = "workers: {tags: []}\n"
RAY = NO_TAGS + "runtimes:\n  ray: {address: 'http://127.0.0.1:9', token: '${PLANTED}'}\n"


@pytest.fixture(scope="module")
def bundle(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("bundle")
    for path, document in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(document, sort_keys=False))
    me = "u/" + windmill.call("GET", "users/whoami")["username"]
    folder = {"display_name": "flexcore_cli", "extra_perms": {me: True}, "owners": [me], "summary": ""}
    (root / f"{FOLDER}/folder.meta.yaml").write_text(yaml.safe_dump(folder, sort_keys=False))
    (root / f"{FOLDER}/count.py").write_text("# py: ==3.11.*\n" + COUNT)
    (root / f"{FOLDER}/count.script.lock").write_text("# py: 3.11")
    for file in ROOT.glob("c_*.resource-type.yaml"):
        shutil.copy(file, root)
    (root / "flexcore.yaml").write_text(CONFIGURATION.format(url=windmill.url, workspace=windmill.workspace))
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    _clean(windmill)
    yield root
    _clean(windmill)


def _clean(windmill: Windmill) -> None:
    for kind, key in (("schedules", "path"), ("flows", "path"), ("scripts", "hash")):
        for item in windmill.call("GET", f"{kind}/list?path_start={FOLDER}/&per_page=100"):
            if kind == "scripts":
                windmill.call("POST", f"scripts/delete/h/{item[key]}")
            elif item["path"].startswith(FOLDER):
                windmill.call("DELETE", f"{kind}/delete/{item[key]}")
    if windmill.call("GET", "folders/exists/flexcore_cli"):
        windmill.call("DELETE", "folders/delete/flexcore_cli")


class Run:
    """One command with its end; `data` is its stdout, which is JSON alone."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.err and "planted" not in self.out + self.err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Run]


@pytest.fixture(scope="module")
def environment(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    return os.environ | {
        "FLEXCORE_TOKEN": windmill.token,
        "FLEXCORE_HOME": str(home),
        "WMILL_CONFIG_DIR": str(home),
        "PYTHONPATH": str(ROOT),
        "PLANTED": "planted",
    }


@pytest.fixture(scope="module")
def flexcore(bundle: Path, environment: dict[str, str]) -> Command:
    def run(*arguments: str, **changed: str) -> Run:
        command = [sys.executable, "-m", "flexcore", *arguments]
        return Run(
            subprocess.run(command, cwd=bundle, env=environment | changed, text=True, capture_output=True, timeout=300)
        )

    return run


@pytest.fixture(scope="module")
def deployed(flexcore: Command) -> Command:
    """The bundle with a workflow that was made from its template."""
    created = flexcore(
        "workflow", "create", f"{FOLDER}/nightly", "--template", "counting", "-p", '{"rows": 5}', "--summary", "Nightly"
    )
    assert created.code == 0, created.err
    assert flexcore("workflow", "test", "nightly", "--check").code == 0
    pushed = flexcore("workflow", "deploy", "--yes", "--json")
    assert pushed.code == 0, pushed.err
    landed = {item["path"] for item in pushed.data["landed"]}
    assert {f"{FOLDER}/count.py", f"{FOLDER}/nightly__flow/flow.yaml"} <= landed
    assert pushed.data["missing"] == pushed.data["again"] == []
    return flexcore


def test_a_second_deploy_finds_nothing_to_do(deployed: Command) -> None:
    again = deployed("workflow", "deploy", "--yes", "--json")
    assert (again.code, again.data) == (0, {"success": True, "changes": [], "landed": [], "stale": [], "removed": []})


def test_a_run_is_followed_to_its_end_and_found_again(deployed: Command) -> None:
    done = deployed("workflow", "execute", "nightly", "--follow", "--json")
    assert done.code == 0 and done.data["result"] == {"rows": 5}
    assert "counting 5" in done.err and done.err.startswith("server http")
    job = done.data["id"]
    listed = deployed("workflow", "list", "--executions", "--limit", "50", "--json").data
    assert {item["id"]: (item["workflow"], item["status"]) for item in listed}[job] == (f"{FOLDER}/nightly", "success")
    pieces = [json.loads(line) for line in deployed("workflow", "logs", job, "--json").out.splitlines()]
    assert "counting 5" in "".join(piece["text"] for piece in pieces if piece["step"] == "count")
    status = deployed("workflow", "status", job[:18], "--json").data
    assert (status["status"], [step["step"] for step in status["steps"]]) == ("success", ["count"])
    assert f"{FOLDER}/nightly" in {item["path"] for item in deployed("workflow", "list", "--json").data}


def test_a_flow_is_tried_as_its_file_is_before_it_is_deployed(deployed: Command, bundle: Path) -> None:
    tried = deployed("workflow", "test", "counting", "-p", '{"rows": 2}', "--json")
    assert (tried.code, tried.data["result"]) == (0, {"rows": 2})


def test_a_run_that_fails_is_exit_one_with_its_error(deployed: Command) -> None:
    failed = deployed("workflow", "execute", "nightly", "-p", '{"rows": 101}', "--json")
    assert (failed.code, failed.data["success"]) == (1, False) and "101 rows are too many" in failed.err
    status = deployed("workflow", "status", failed.data["id"]).out
    assert "101 rows are too many" in status


def test_a_canceled_run_is_exit_five_and_a_second_cancel_is_refused(
    deployed: Command, bundle: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "flexcore", "workflow", "execute", "nightly", "-p", '{"rows": 1, "seconds": 120}']
    with subprocess.Popen(command, cwd=bundle, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        job = next(line.split()[1] for line in waiting.stderr if line.startswith("run "))
        while deployed("workflow", "status", job, "--json").data["status"] != "running":
            time.sleep(0.5)
        assert deployed("workflow", "cancel", job, "--reason", "a test").code == 0
        assert waiting.wait(60) == 5
    again = deployed("workflow", "cancel", job)
    assert again.code == 2 and "has ended already (canceled)" in again.err


def test_a_schedule_is_switched_on_and_off_by_a_deploy(deployed: Command, windmill: Windmill) -> None:
    def on_the_server() -> Any:
        assert deployed("workflow", "deploy", "--yes").code == 0
        return windmill.call("GET", f"schedules/get/{FOLDER}/nightly")

    made = deployed("workflow", "schedule", "nightly", "--cron", "0 0 3 1 1 *", "--timezone", "Europe/Berlin", "--json")
    assert made.code == 0, made.err
    there = on_the_server()
    assert (there["enabled"], there["schedule"], there["args"]) == (True, "0 0 3 1 1 *", {"rows": 5, "seconds": 0})
    assert deployed("workflow", "unschedule", "nightly").code == 0
    assert on_the_server()["enabled"] is False
    assert deployed("workflow", "deploy", "--yes", "--json").data["changes"] == []


def test_a_configuration_is_applied_once_and_taken_back(deployed: Command, bundle: Path, windmill: Windmill) -> None:
    def exists(kind: str, path: str) -> bool:
        return bool(windmill.call("GET", f"{kind}/exists/{path}"))

    had_settings, file = exists("resources", "f/flexcore/settings"), bundle / "windmill.yaml"
    try:
        file.write_text(RAY)
        first = deployed("config", "apply", "--yes")
        assert first.code == 0, first.err
        assert exists("resources", "f/flexcore/ray_cluster") and exists("variables", "f/flexcore/ray_cluster_token")
        nothing = {"files": [], "server": [], "deleted": [], "applied": True}
        assert deployed("config", "apply", "--yes", "--no-push", "--json").data == nothing
        assert "Nothing to push" in deployed("workflow", "deploy", "--yes").err
    finally:
        file.write_text(NO_TAGS)
        back = deployed("config", "apply", "--yes")
    assert back.code == 0, back.err
    assert not exists("resources", "f/flexcore/ray_cluster") and not exists("variables", "f/flexcore/ray_cluster_token")
    assert exists("resources", "f/flexcore/settings") == had_settings
    assert "Nothing to do" in deployed("config", "apply", "--yes").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["workflow", "execute", "nihgtly"], "did you mean nightly?"),
        (["workflow", "execute", "nightly", "-p", '{"row": 1}'], "did you mean rows?"),
        (["workflow", "list", "--server", "{url}", "--workspace", "nowhere"], "nowhere"),
        (["workflow", "status", "01a20e75-212b-97df-32ea-8e83121f6df4"], "has no run 01a20e75"),
    ],
)
def test_what_cannot_be_done_is_exit_two_and_says_what_to_do(
    deployed: Command, windmill: Windmill, arguments: list[str], words: str
) -> None:
    done = deployed(*(word.format(url=windmill.url) if "{url}" in word else word for word in arguments))
    assert done.code == 2 and words in done.err and not done.out


def test_a_token_that_the_server_refuses_is_exit_two(deployed: Command) -> None:
    done = deployed("workflow", "list", FLEXCORE_TOKEN="planted")
    assert done.code == 2 and "refuses the token" in done.err


def test_a_server_that_nobody_serves_is_exit_three(deployed: Command) -> None:
    done = deployed("workflow", "list", "--server", "http://127.0.0.1:9", "--workspace", "dev")
    assert done.code == 3 and "does not answer" in done.err
