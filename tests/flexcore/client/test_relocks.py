"""A deploy waits for the locks that the server makes anew, in a time of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from flexcore.client import relocks
from flexcore.client.relocks import wait_for_relocks
from flexcore.commands.deploy import kind_of


class Server:
    """Its queue at each second since the push."""

    def __init__(self, queue: dict[range, int], ended: list[dict[str, Any]] | None = None) -> None:
        self.queue, self.ended, self.now = queue, ended or [], 0.0

    def get(self, path: str, **query: Any) -> Any:
        assert query["job_kinds"] == "dependencies,flowdependencies,appdependencies"
        if path == "jobs/list":
            return self.ended[: query["per_page"]]
        assert path == "jobs/queue/list"
        return [{}] * next((many for seconds, many in self.queue.items() if int(self.now) in seconds), 0)

    def list_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        assert (path, query["job_kinds"]) == ("jobs/completed/list", relocks.KINDS)
        return self.ended

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def ended(path: str, success: bool = True, at: str = "2026-11-28T12:00:10Z") -> dict[str, Any]:
    return {"type": "CompletedJob", "script_path": path, "success": success, "created_at": at}


def waited(server: Server, since: str = "2026-11-28T12:00:00Z") -> tuple[relocks.Relocks, list[str]]:
    said: list[str] = []
    client: Any = server
    return wait_for_relocks(client, since, said.append, server.clock, server.sleep), said


def test_jobs_that_begin_after_a_while_and_cause_others_are_waited_for() -> None:
    server = Server({range(10, 20): 120, range(30, 40): 7}, [ended(f"f/x/{number}") for number in range(127)])
    found, said = waited(server)
    assert found == relocks.Relocks(started=127, left=0, failed=[])
    assert 40 <= server.now < 60
    assert [line for line in said if "120 to go" in line] and [line for line in said if "7 to go" in line]


def test_a_server_that_makes_none_is_left_soon() -> None:
    server = Server({})
    found, said = waited(server)
    assert found.started == 0 and said == [] and server.now < 20


def test_the_wait_ends_and_says_how_many_are_left() -> None:
    found, _ = waited(Server({range(100_000): 1000}))
    assert found.left == found.started == 1000


def test_only_a_script_whose_last_lock_failed_is_named() -> None:
    jobs = [ended("f/x/a"), ended("f/x/a", success=False), ended("f/x/b", success=False)]
    found, _ = waited(Server({range(5): 1}, jobs))
    assert found.failed == ["f/x/b"]


def test_jobs_that_ended_before_the_push_are_not_its_own() -> None:
    earlier = ended("f/x/old", success=False, at="2026-11-28T11:59:00Z")
    server = Server({}, [earlier])
    client: Any = server
    since = relocks.last_relock(client)
    assert since == "2026-11-28T11:59:00Z"
    assert waited(server, since)[0] == relocks.Relocks(started=0, left=0, failed=[])


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("f/x/a.py", "script"),
        ("f/x/a.script.lock", "script"),
        ("f/x/y__flow/flow.yaml", "flow"),
        ("f/x/y.flow/step.py", "flow"),
        ("f/x/a.schedule.yaml", "schedule"),
        ("f/x/a.http_trigger.yaml", "http_trigger"),
        ("c_store.resource-type.yaml", "resource-type"),
        ("f/x/folder.meta.yaml", "folder"),
        ("dependencies/base.requirements.in", "dependencies"),
        ("f/x/desk__raw_app/App.tsx", "app"),
    ],
)
def test_a_summary_counts_files_by_what_they_belong_to(file: str, kind: str) -> None:
    assert kind_of(file) == kind
