"""Each state that is not the usual one is told in words, with what to do; none of them is an error of the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import notices, read, shapes
from f.flexcore.lib.windmill import client

NOW = datetime.now(UTC)
JOB = {
    "id": "01a22717-5bde-7515-b631-ac52d4917f21",
    "type": "CompletedJob",
    "job_kind": "flow",
    "script_path": "f/flexcore/data_pipeline",
    "created_at": NOW.isoformat(),
    "started_at": NOW.isoformat(),
    "duration_ms": 1000,
    "success": True,
    "created_by": "bob",
}


class Server:
    """A Windmill whose answers a test chooses, by the end of the path: a status, or the JSON of a 200."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "version": "CE v1.743.0",
            "users/whoami": {"username": "ann"},
            "f/flexcore/settings": 404,
            "queue/list": [],
            "completed/list": [JOB],
            f"get/{JOB['id']}": JOB | {"result": {"success": True}},
            "resources/list": [],
        }
        self.date = datetime.now(UTC)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            answer = next((value for end, value in state.answers.items() if path.endswith(end)), 404)
            status, body = (answer, "no") if isinstance(answer, int) else (200, answer)
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response_only(status)
            self.send_header("Date", format_datetime(state.date, usegmt=True))
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
    yield state
    running.shutdown()
    running.server_close()


Ask = Callable[..., shapes.Dashboard]


@pytest.fixture
def ask(server: Server) -> Ask:
    def run(*want: str, **more: Any) -> shapes.Dashboard:
        windmill = client.Client("t", workspace="w", url=server.url)  # type: ignore[attr-defined]
        return read.read_dashboard(list(want), windmill=windmill, env={}, **more)

    return run


def codes(answer: shapes.Dashboard) -> set[str]:
    assert all(note.message and (note.remedy or note.severity != "info") for note in answer.notices)
    return {note.code for note in answer.notices}


def test_a_server_of_today_without_settings_has_one_notice(ask: Ask) -> None:
    answer = ask("executions")
    assert codes(answer) == {"no_settings"} and answer.executions and len(answer.executions.rows) == 1
    assert answer.server.engine == "windmill" and answer.server.version == "CE v1.743.0"


@pytest.mark.parametrize(
    ("version", "code"), [("CE v1.512.0", "older_server"), ("nightly", "unknown_server"), ("EE v2.1.0", None)]
)
def test_an_older_server_is_told(server: Server, ask: Ask, version: str, code: str | None) -> None:
    server.answers["version"] = version
    assert codes(ask("executions")) == {"no_settings"} | ({code} if code else set())


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_user_without_rights_gets_a_page_that_says_so(server: Server, ask: Ask, status: int) -> None:
    for path in ("users/whoami", "queue/list", "completed/list", "resources/list", "version"):
        server.answers[path] = status
    answer = ask("executions", "stops", "comparison", "selection", "orphans", "deployments")
    assert answer.executions is None and answer.stops is None and answer.server.user == ""
    assert ("no_right" if status < 500 else "unread") in codes(answer)
    assert all(note.remedy for note in answer.notices)


@pytest.mark.parametrize(
    ("status", "expected"), [(503, "unread"), (500, "unread"), (403, "forgotten"), (404, "forgotten")]
)
def test_an_execution_counts_as_forgotten_only_when_windmill_says_so(
    server: Server, ask: Ask, status: int, expected: str
) -> None:
    server.answers[f"get/{JOB['id']}"] = status
    answer = ask("execution", execution=JOB["id"])
    assert answer.execution is None
    assert codes(answer) & {"unread", "forgotten"} == {expected}, "the page keeps what it has unless it is forgotten"


def test_settings_that_are_wrong_are_told_and_the_executions_are_shown(server: Server, ask: Ask) -> None:
    server.answers["f/flexcore/settings"] = {"storage_uri": "ftp://x"}
    answer = ask("executions")
    assert answer.executions and "unread" in codes(answer)
    assert "f/flexcore/settings.storage_uri" in answer.notices[0].message


def test_a_run_index_that_cannot_be_read_is_told_and_not_taken_for_empty(server: Server, ask: Ask) -> None:
    server.answers["f/flexcore/settings"] = {"storage_uri": "file:///dev/null/store"}
    answer = ask("executions")
    assert answer.executions and answer.executions.older is None
    assert [note.message for note in answer.notices if "The run index cannot be read" in note.message]


def test_a_cluster_whose_resource_may_not_be_read_is_unknown_and_not_down(server: Server, ask: Ask) -> None:
    server.answers["f/flexcore/settings"] = {"ray_clusters": ["$res:f/secret/ray"], "runtimes": {}}
    answer = ask("runtimes")
    assert answer.runtimes
    ray = next(item for item in answer.runtimes if item.name == "ray")
    assert ray.healthy is None and "f/secret/ray" in str(ray.problem) and ray.remedy


@pytest.mark.parametrize("hours", [-2, 2])
def test_ages_are_reckoned_from_the_servers_clock_and_a_skew_is_told(server: Server, ask: Ask, hours: int) -> None:
    server.date = datetime.now(UTC) + timedelta(hours=hours)
    answer = ask("executions")
    assert "clock" in codes(answer) and abs((answer.now - server.date).total_seconds()) < 2
    server.date = datetime.now(UTC) + timedelta(seconds=20)
    assert "clock" not in codes(ask("executions"))


def test_a_server_that_does_not_answer_is_a_page_of_notices() -> None:
    windmill = client.Client("t", workspace="w", url="http://127.0.0.1:9")
    answer = read.read_dashboard(["executions", "stops"], windmill=windmill, env={})
    assert answer.executions is None and "unread" in codes(answer)


def test_names_and_errors_with_markup_stay_text(server: Server, ask: Ask) -> None:
    evil = "<img src=x onerror=alert(1)>"
    job = JOB | {"success": False, "created_by": evil, "labels": [f"runtime:{evil}"]}
    server.answers["completed/list"] = [job]
    server.answers[f"get/{JOB['id']}"] = job | {"result": {"error": {"name": evil, "message": evil}}}
    (row,) = ask("executions").executions.rows  # type: ignore[union-attr]
    assert row.created_by == evil and row.error == evil and row.runtime == evil


def test_a_tag_without_a_worker_is_told_in_two_sentences() -> None:
    note = notices.unserved_tag("No worker listens to the tag gpu: f/x will wait. Start one.")
    assert (note.message, note.remedy) == ("No worker listens to the tag gpu: f/x will wait", "Start one.")


def test_what_may_be_a_secret_in_an_error_of_a_part_is_masked() -> None:
    error = errors.Unreachable("broken, password=hunter2222", remedy="Try again.")
    assert "hunter2222" not in notices.unread("Runtimes", error).message


def test_a_defect_in_one_part_is_told_and_the_others_are_shown(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_off(*_: Any) -> None:
        raise TypeError("'str' object is not a mapping")

    monkeypatch.setitem(read.PARTS, "stops", break_off)
    answer = ask("executions", "stops")
    assert answer.stops is None and answer.executions and len(answer.executions.rows) == 1
    (note,) = [note for note in answer.notices if note.code == "defect"]
    assert "TypeError" in note.message and note.severity == "error" and "break_off" in capsys.readouterr().err
