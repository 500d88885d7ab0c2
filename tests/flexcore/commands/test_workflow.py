"""`flexcore workflow`: the same verbs on the embedded engine and on a server, and what their exit codes mean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.flexcore.configuration.conftest import ROOT
from tests.wmlocal.engine.conftest import Command, Writer, eventually


def test_a_run_on_the_embedded_engine_says_so_first_and_prints_json_alone(flexcore: Command) -> None:
    done = flexcore("workflow", "execute", "counting", "-p", '{"rows": 7}', "--json")
    shown = json.loads(done.stdout)
    assert done.returncode == 0 and shown == {"id": shown["id"], "success": True, "result": 7}
    assert done.stderr.startswith("embedded engine, bundle ") and "✓ count" in done.stderr


def test_defaults_of_the_form_are_those_of_the_command_line(flexcore: Command) -> None:
    assert flexcore("workflow", "execute", "f/x/counting", "--logs").stdout == "3\n"


def test_every_verb_works_against_a_server(flexcore: Command, server: str) -> None:
    there = ("--server", server)
    started = flexcore("workflow", "execute", "counting", "--detach", *there)
    job = started.stdout.strip()
    assert started.returncode == 0 and started.stderr.startswith(f"server {server}, workspace local")
    followed = flexcore("workflow", "logs", job, "--follow", *there)
    assert followed.returncode == 0 and "counting 3" in followed.stdout
    status = json.loads(flexcore("workflow", "status", job[:20], "--json", *there).stdout)
    assert (status["status"], status["result"], [step["step"] for step in status["steps"]]) == ("success", 3, ["count"])
    listed = json.loads(flexcore("workflow", "list", "--executions", "--json", *there).stdout)
    assert [(item["id"], item["workflow"], item["status"]) for item in listed] == [(job, "f/x/counting", "success")]
    assert "f/x/counting" in flexcore("workflow", "list", "--runtime", "all", *there).stdout
    assert "f/x/counting" not in flexcore("workflow", "list", "--runtime", "ray", *there).stdout


def test_a_canceled_run_is_exit_five_and_a_second_cancel_is_refused(
    flexcore: Command, server: str, begin: Callable[..., Popen[str]]
) -> None:
    waiting = begin("workflow", "execute", "waits", "--server", server)

    def running() -> str:
        listed = json.loads(flexcore("workflow", "list", "--executions", "--json", "--server", server).stdout)
        return next((str(item["id"]) for item in listed if item["status"] == "running"), "")

    job = eventually(running)
    assert flexcore("workflow", "cancel", job, "--server", server).returncode == 0
    assert waiting.wait(20) == 5
    again = flexcore("workflow", "cancel", job, "--server", server)
    assert again.returncode == 2 and "has ended already (canceled)" in again.stderr


def test_ctrl_c_ends_the_following_of_a_run_of_another_engine_and_leaves_the_run(
    flexcore: Command, server: str, begin: Callable[..., Popen[str]]
) -> None:
    job = flexcore("workflow", "execute", "waits", "--detach", "--server", server).stdout.strip()
    following = begin("workflow", "logs", job, "--follow", "--server", "embedded")
    assert following.stdout is not None and following.stdout.readline() == "begun\n"
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=20)
    assert following.returncode == 130 and f"Run {job} goes on." in said and "Traceback" not in said
    assert json.loads(flexcore("workflow", "status", job, "--json", "--server", server).stdout)["status"] == "running"
    flexcore("workflow", "cancel", job, "--server", server)


@pytest.mark.parametrize("verb", [("list",), ("execute", "counting"), ("status", "01a20e75")])
def test_a_database_that_cannot_be_used_is_named_with_what_to_do(
    flexcore: Command, home: Path, verb: tuple[str, ...]
) -> None:
    (home / "engine.db").write_text("no database, however long this text is; SQLite looks at its first sixteen bytes")
    done = flexcore("workflow", *verb)
    assert done.returncode == 2 and not done.stdout
    assert f"{home / 'engine.db'}: file is not a database; make room on its disk, or set FLEXCORE_HOME" in done.stderr


@pytest.mark.parametrize(
    ("name", "code"), [("valueerror_", 1), ("invalidinput", 2), ("unreachable", 3), ("deadlineexceeded", 4)]
)
def test_the_exit_code_of_a_failed_run_says_what_can_be_done(flexcore: Command, name: str, code: int) -> None:
    done = flexcore("workflow", "execute", name, "--json")
    assert done.returncode == code and json.loads(done.stdout)["success"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["countign"], "did you mean counting?"),
        (["counting", "-p", '{"row": 1}'], "row: is unknown, did you mean rows?"),
        (["counting", "-p", '{"rows": "many"}'], "rows: must be integer"),
        (["counting", "-p", '{"rows": 0}'], "rows: must be at least 1"),
        (["counting", "--runtime", "rey"], "did you mean ray?"),
        (["counting", "--runtime", "ray"], "has no choice of runtime"),
        (["counting", "--detach"], "flexcore serve"),
        (["counting", "-p", "@nope.json"], "nope.json cannot be read"),
        (["counting", "-p", '{"rows": ' + "9" * 5000 + "}"], "--parameters is not JSON"),
        (["counting", "-p", "[" * 100_000], "--parameters is not JSON"),
        (["counting", "-p", '{"project": {"a": "\\ud800"}}'], "half of a surrogate pair"),
        (["x" * 5000], "File name too long"),
        (["counting", "--server", "nowhere"], "no wmill profile nowhere"),
        (["counting", "--server", "http://127.0.0.1:9", "--workspace", "w"], "no token"),
    ],
)
def test_what_cannot_start_is_exit_two_and_nothing_ran(flexcore: Command, arguments: list[str], words: str) -> None:
    done = flexcore("workflow", "execute", *arguments)
    assert done.returncode == 2 and words in done.stderr and not done.stdout and "Traceback" not in done.stderr
    assert flexcore("workflow", "list", "--executions", "--json", "--server", "embedded").stdout == "[]\n"


def test_the_active_profile_is_used_and_named_and_a_server_that_does_not_answer_is_exit_three(
    flexcore: Command, wmill: Path
) -> None:
    profile = {"name": "prod", "remote": "http://127.0.0.1:9/", "workspaceId": "sales", "token": "s3cr3t"}
    (wmill / "remotes.ndjson").write_text(f"no json\n{json.dumps(profile)}\n")
    (wmill / "activeWorkspace").write_text("prod")
    done = flexcore("workflow", "list")
    assert done.returncode == 3 and "does not answer" in done.stderr and "s3cr3t" not in done.stderr
    assert done.stderr.startswith("server http://127.0.0.1:9, workspace sales (active wmill profile prod)")
    assert flexcore("workflow", "list", "--server", "embedded").returncode == 0


def test_a_wrong_workspace_is_told(flexcore: Command, server: str) -> None:
    done = flexcore("workflow", "list", "--server", server, "--workspace", "nope")
    assert done.returncode == 2 and "has no workspace nope" in done.stderr


def test_a_flow_is_tried_as_its_file_is_now(flexcore: Command, server: str) -> None:
    checked = flexcore("workflow", "test", "counting", "--check", "--json")
    assert json.loads(checked.stdout) == {"path": "f/x/counting", "success": True, "parameters": ["rows"]}
    assert flexcore("workflow", "test", "counting", "--parameters", '{"rows": 2}').stdout == "2\n"
    assert flexcore("workflow", "test", "counting", "--server", server).stdout == "3\n"
    assert flexcore("workflow", "test", "counting", "--parameters", '{"rows": -2}', "--check").returncode == 2


def test_a_log_as_json_is_a_line_for_each_piece_with_its_step(flexcore: Command) -> None:
    job = json.loads(flexcore("workflow", "execute", "counting", "--json").stdout)["id"]
    pieces = [json.loads(line) for line in flexcore("workflow", "logs", job, "--json").stdout.splitlines()]
    assert {piece["step"] for piece in pieces} == {"count"} and "counting 3" in "".join(
        piece["text"] for piece in pieces
    )


def test_the_bundle_is_found_from_a_folder_below_it_and_its_runs_from_anywhere(
    flexcore: Command, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.file("wmill.yaml", "")
    monkeypatch.chdir(write.root / "f/x")
    done = flexcore("workflow", "execute", "counting__flow/flow.yaml", "--json")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path / "config")
    status = flexcore("workflow", "status", json.loads(done.stdout)["id"], "--json")
    assert json.loads(status.stdout)["path"] == "f/x/counting"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nightly", "nightly is not an id of a run"),
        ("01a20e75-212b-97df-32ea-8e83121f6df4", "has no run 01a20e75"),
        ("01a20e75", "None of the latest runs"),
    ],
)
def test_an_id_that_is_none_is_told_with_where_to_look(flexcore: Command, given: str, words: str) -> None:
    for verb in ("status", "logs", "cancel"):
        done = flexcore("workflow", verb, given)
        assert done.returncode == 2 and words in done.stderr and "list --executions" in done.stderr


def test_each_command_has_examples_in_its_help_and_the_shell_completes_names(flexcore: Command) -> None:
    from typer.main import get_group

    from flexcore.cli import app

    groups: list[Any] = [get_group(app)]
    for group in groups:
        for name, item in group.commands.items():
            if hasattr(item, "commands"):
                groups.append(item)
            else:
                assert name == "demo" or "Examples:" in str(item.epilog), name
    assert "complete" in flexcore("--show-completion", "bash").stdout.lower()
    for words, last in [("execute cou", "counting"), ("execute x --runtime r", "ray"), ("list --runtime a", "all")]:
        assert last in completed(f"flexcore workflow {words}")


def completed(line: str) -> list[str]:
    """What bash is offered at the end of the line."""
    asked = {"_FLEXCORE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from flexcore.cli import app; app(prog_name='flexcore')"],
        env=os.environ | asked | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    return done.stdout.split()
