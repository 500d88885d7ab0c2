"""The command line: exit codes, what is on stdout, and that messages say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import Popen

import httpx
import pytest

from tests.wmlocal.engine.conftest import Command, Writer, eventually, raw


@pytest.fixture(autouse=True)
def bundle(write: Writer) -> None:
    write.script("f/x/s", "def main(n: int = 1):\n    print('n is', n)\n    return n\n")
    write.script("f/x/fails", "def main():\n    raise ValueError('no')\n")
    write.flow("f/x/y", [raw("a", "def main(k=0):\n    print('in a')\n    return k\n", {"k": "flow_input.k"})])
    write.flow("f/x/odd", [raw("a", "def main():\n    return 1\n", bogus_key=1)])


def test_json_is_alone_on_stdout(flexcore: Command, write: Writer) -> None:
    for path in ("f/x/y", "f/x/y__flow", "./f/x/y__flow/flow.yaml", str(write.root / "f/x/y__flow")):
        done = flexcore("workflow", "execute", path, "--args", '{"k": [1]}', "--json")
        shown = json.loads(done.stdout)
        assert done.returncode == 0 and shown == {"id": shown["id"], "success": True, "result": [1]}
        assert "✓ a" in done.stderr


def test_a_failed_run_is_exit_one(flexcore: Command) -> None:
    done = flexcore("workflow", "execute", "f/x/fails.py", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["result"]["error"]["name"] == "ValueError"


def test_arguments_can_come_from_a_file(flexcore: Command, write: Writer) -> None:
    write.file("args.json", '{"n": 7}')
    assert json.loads(flexcore("workflow", "execute", "f/x/s", "--args", "@args.json").stdout) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["f/x/none"], "f/x/none"),
        (["f/x/s", "--args", "{"], "not JSON"),
        (["f/x/s", "--args", "[1]"], "JSON object"),
        (["f/x/s", "--args", "@gone.json"], "gone.json"),
        (["f/x/s", "--root", "/no/such/folder"], "/no/such/folder"),
        (["f/x/odd"], "bogus_key"),
        (["../../etc/passwd"], "no workflow"),
    ],
)
def test_what_cannot_start_is_exit_two_with_a_plain_message(
    flexcore: Command, arguments: list[str], words: str
) -> None:
    done = flexcore("workflow", "execute", *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr and not done.stdout


def test_runs_and_logs_show_what_happened(flexcore: Command) -> None:
    flexcore("workflow", "execute", "f/x/s", "--args", '{"n": 5}')
    flexcore("workflow", "execute", "f/x/y")
    listed = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)
    assert [(job["workflow"], job["status"]) for job in listed] == [("f/x/y", "success"), ("f/x/s", "success")]
    assert "in a" in flexcore("workflow", "logs", listed[0]["id"]).stdout
    assert "n is 5" in flexcore("workflow", "logs", listed[1]["id"], "--follow").stdout
    assert len(flexcore("workflow", "list", "--executions", "--limit", "1").stdout.splitlines()) == 2
    assert flexcore("workflow", "logs", "no-such-id").returncode == 2


def test_serve_answers_on_loopback_until_it_is_told_to_stop(begin: Callable[..., Popen[str]], home: object) -> None:
    server = begin("serve", "--port", "0")
    assert server.stderr is not None
    url = server.stderr.readline().split(" at ")[1].split(",")[0]
    assert eventually(lambda: httpx.get(f"{url}/api/version").status_code == 200)
    server.terminate()
    assert server.wait(10) == 0


def test_help_is_light(flexcore: Command) -> None:
    done = flexcore("--help")
    assert done.returncode == 0 and "serve" in done.stdout
