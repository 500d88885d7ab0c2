"""The real `wmill` client against the engine's REST API."""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import wmill

from tests.wmlocal.engine.conftest import Writer, eventually, raw
from wmlocal.engine import Engine


@pytest.fixture
def client(engine: Engine, write: Writer) -> Iterator[wmill.Windmill]:
    write.script("f/x/s", "def main(n: int = 1):\n    print('n is', n)\n    return {'n': n, 'wm_labels': ['l:1']}\n")
    write.script("f/x/fails", "def main():\n    raise ValueError('no')\n")
    write.script("f/x/slow", "import time\ndef main():\n    time.sleep(60)\n")
    yield wmill.Windmill(engine.url, engine.token, engine.workspace)  # type: ignore[no-untyped-call]


def path(client: wmill.Windmill, tail: str) -> str:
    return f"/w/{client.workspace}/{tail}"


def test_scripts_and_flows_run_by_path(client: wmill.Windmill, write: Writer) -> None:
    write.flow("f/x/y", [raw("a", "def main(k):\n    return k\n", {"k": "flow_input.k"})])
    assert client.run_script_by_path("f/x/s", args={"n": 3})["n"] == 3
    job = client.run_flow_async("f/x/y", {"k": 5})
    assert client.wait_job(job) == 5
    assert client.get_job_status(job) == "COMPLETED" and client.get_result(job) == 5
    shown = client.get_job(job)
    assert shown["success"] and shown["flow_status"]["modules"][0]["type"] == "Success"
    with pytest.raises(Exception, match="no"):
        client.run_script_by_path("f/x/fails")


def test_previews_run_and_wait(client: wmill.Windmill) -> None:
    value = {"modules": [raw("a", "def main():\n    return 1\n"), raw("b", "def main():\n    return 2\n")]}
    assert client.post(path(client, "jobs/run_wait_result/preview_flow"), json={"value": value}).json() == 2
    body = {"content": "def main(a):\n    return a\n", "language": "python3", "lock": "", "args": {"a": 4}}
    assert client.post(path(client, "jobs/run_wait_result/preview"), json=body).json() == 4


def test_jobs_are_listed_by_what_they_are(client: wmill.Windmill) -> None:
    ran = client.run_script_by_path_async("f/x/s")
    client.wait_job(ran)
    failed = client.run_script_by_path_async("f/x/fails")
    eventually(lambda: client.get_job(failed)["type"] == "CompletedJob")

    def listed(**query: Any) -> list[str]:
        return [job["id"] for job in client.get(path(client, "jobs/list"), params=query).json()]

    assert listed() == [failed, ran]
    assert listed(success="true") == [ran] == listed(label="l:1") == listed(script_path_exact="f/x/s")
    assert listed(success="false") == [failed] and listed(running="true") == []
    assert listed(per_page=1) == [failed] and listed(per_page=1, page=2) == [ran]
    assert listed(created_after="2020-01-01T00:00:00Z", created_before="2021-01-01T00:00:00Z") == []


def test_jobs_that_ended_in_a_time_are_listed_in_the_order_in_which_they_ended(client: wmill.Windmill) -> None:
    slow = client.run_script_by_path_async("f/x/slow")
    eventually(lambda: client.get_job_status(slow) == "RUNNING")
    quick = client.run_script_by_path_async("f/x/s")
    client.wait_job(quick)
    client.cancel_job(slow, "enough")
    eventually(lambda: client.get_job_status(slow) == "COMPLETED")
    between = datetime.fromisoformat(client.get_job(quick)["completed_at"]) + timedelta(milliseconds=1)

    def listed(**query: Any) -> list[str]:
        return [job["id"] for job in client.get(path(client, "jobs/completed/list"), params=query).json()]

    assert listed() == [quick, slow]
    assert listed(completed_after="2020-01-01T00:00:00Z") == [slow, quick]
    assert listed(completed_before="2031-01-01T00:00:00Z", order_desc="false") == [quick, slow]
    assert listed(completed_before=between.isoformat()) == [quick]
    assert listed(completed_after=between.isoformat()) == [slow]


def test_a_running_job_is_followed_and_canceled(client: wmill.Windmill) -> None:
    job = client.run_script_by_path_async("f/x/slow")
    eventually(lambda: client.get_job_status(job) == "RUNNING")
    assert [item["id"] for item in client.get(path(client, "jobs/queue/list")).json()] == [job]
    client.cancel_job(job, "enough")
    eventually(lambda: client.get_job_status(job) == "COMPLETED")
    assert client.get_result(job)["error"]["name"] == "Canceled"


def test_logs_come_in_pieces(client: wmill.Windmill) -> None:
    job = client.run_script_by_path_async("f/x/s", {"n": 8})
    client.wait_job(job)
    first = client.get(path(client, f"jobs_u/getupdate/{job}")).json()
    assert first["completed"] and "n is 8" in first["new_logs"]
    assert (
        client.get(path(client, f"jobs_u/getupdate/{job}"), params={"log_offset": first["log_offset"]}).json()[
            "new_logs"
        ]
        == ""
    )
    assert "n is 8" in client.get(path(client, f"jobs_u/get_logs/{job}")).text


def test_variables_resources_states_and_progress_are_kept(client: wmill.Windmill) -> None:
    client.set_variable("f/x/v", "value", is_secret=True)
    client.set_resource({"a": "$var:f/x/v", "b": ["$res:f/x/q"]}, "f/x/r", "c_thing")
    client.set_resource(7, "f/x/q", "any")
    assert client.get_variable("f/x/v") == "value"
    assert client.get_resource("f/x/r") == {"a": "value", "b": [7]}
    client.set_resource({"a": 1}, "f/x/r", "c_thing")
    assert client.get_resource("f/x/r") == {"a": 1}
    assert [item["path"] for item in client.list_resources(resource_type="c_thing")] == ["f/x/r"]
    job = client.run_script_by_path_async("f/x/s")
    client.wait_job(job)
    client.post(path(client, f"job_metrics/set_progress/{job}"), json={"percent": 40})
    assert client.get(path(client, f"job_metrics/get_progress/{job}")).json() == 40


def ended(client: wmill.Windmill, job: str) -> bool:
    return bool(client.get_job_status(job) == "COMPLETED")


def suspended(client: wmill.Windmill, write: Writer, **suspend: Any) -> str:
    write.flow(
        "f/x/y",
        [
            raw("a", "def main():\n    return 1\n", suspend={"required_events": 1, "timeout": 30} | suspend),
            raw("b", "def main(r):\n    return r\n", {"r": "resume"}),
        ],
    )
    job = client.run_flow_async("f/x/y")
    eventually(lambda: client.get_job(job).get("suspend"))
    return job


def test_a_suspended_flow_is_resumed_as_its_owner(client: wmill.Windmill, write: Writer) -> None:
    job = suspended(client, write)
    begun = time.monotonic()
    client.post(path(client, f"jobs/flow/resume/{job}"), json={"k": 1})
    assert client.wait_job(job) == {"k": 1}
    assert time.monotonic() - begun < 2
    assert client.post(path(client, f"jobs/flow/resume/{job}"), False, json={}).status_code == 500


def test_a_step_that_runs_is_told_from_one_that_waits_for_a_worker(client: wmill.Windmill, write: Writer) -> None:
    write.flow(
        "f/x/slow", [raw("a", "import time\ndef main():\n    time.sleep(30)\n"), raw("b", "def main():\n    pass\n")]
    )
    job = client.run_flow_async("f/x/slow")
    # At first it has not begun, and has none.
    eventually(lambda: client.get_job(job)["flow_status"])
    eventually(lambda: client.get_job(job)["flow_status"]["modules"][0]["type"] == "InProgress")
    modules = client.get(path(client, f"jobs_u/getupdate/{job}")).json()["flow_status"]["modules"]
    assert [module["type"] for module in modules] == ["InProgress", "WaitingForPriorSteps"]
    client.cancel_job(job)
    eventually(lambda: client.get_job_status(job) == "COMPLETED", 3)
    assert client.get_job(job)["flow_status"]["modules"][0]["type"] != "InProgress"


def test_a_suspended_flow_is_resumed_or_refused_by_signed_links(
    client: wmill.Windmill, write: Writer, engine: Engine
) -> None:
    for answer, result in (("resume", {"k": 2}), ("cancel", None)):
        job = suspended(client, write)
        step = client.get_job(job)["flow_status"]["modules"][0]["job"]
        urls = client.get(path(client, f"jobs/resume_urls/{step}/7")).json()
        forged = urls[answer].rsplit("/", 1)[0] + "/" + "0" * 64
        assert httpx.post(forged, json={}).status_code == 400
        assert httpx.post(urls[answer], json={"k": 2}).status_code == 201
        eventually(functools.partial(ended, client, job))
        got = client.get_result(job)
        assert got == result if result else got["error"]["name"] == "SuspendedDisapproved"


def test_a_suspended_flow_is_canceled(client: wmill.Windmill, write: Writer) -> None:
    job = suspended(client, write)
    client.cancel_job(job)
    eventually(lambda: client.get_job_status(job) == "COMPLETED", 3)
    assert client.get_result(job)["error"]["name"] == "Canceled"


def test_a_step_uses_the_client_with_its_own_token(engine: Engine, client: wmill.Windmill, write: Writer) -> None:
    write.script(
        "f/x/asks",
        """
        import json, os, urllib.request
        def main():
            e = os.environ
            url = f"{e['BASE_INTERNAL_URL']}/api/w/{e['WM_WORKSPACE']}/jobs_u/get/{e['WM_JOB_ID']}"
            head = {"Authorization": "Bearer " + os.environ["WM_TOKEN"]}
            return json.load(urllib.request.urlopen(urllib.request.Request(url, headers=head)))["running"]
        """,
    )
    assert engine.run("f/x/asks").result is True


@pytest.mark.parametrize("token", ["", "wrong", "job.0000"])
def test_without_a_token_nothing_is_told(client: wmill.Windmill, engine: Engine, token: str) -> None:
    stranger = wmill.Windmill(engine.url, token or "x", engine.workspace)  # type: ignore[no-untyped-call]
    assert stranger.get(path(stranger, "jobs/list"), False).status_code == 401
    assert stranger.get("version").status_code == 200


@pytest.mark.parametrize(
    ("method", "tail", "status"),
    [
        ("POST", "jobs/run/p/f/x/none", 404),
        ("POST", "jobs/run/f/f/x/none", 404),
        ("GET", "jobs_u/get/none", 404),
        ("GET", "jobs_u/completed/get_result/none", 404),
        ("GET", "variables/get_value/f/x/none", 404),
        ("GET", "resources/get_value_interpolated/f/x/none", 404),
        ("GET", "scripts/get/p/../../etc/passwd", 404),
        ("GET", "nothing/of/that/kind", 404),
    ],
)
def test_what_is_not_there_is_said_in_plain_text(client: wmill.Windmill, method: str, tail: str, status: int) -> None:
    answer = client.client.request(method, path(client, tail), json={} if method == "POST" else None)
    assert answer.status_code == status and "Traceback" not in answer.text


def test_a_body_that_is_no_json_is_refused(client: wmill.Windmill) -> None:
    answer = client.client.post(path(client, "jobs/run/p/f/x/s"), content=b"{")
    assert answer.status_code == 400 and "JSON" in answer.text


@pytest.mark.parametrize("left", ["", "half"])
def test_a_token_file_that_a_full_disk_left_broken_lets_nobody_in(write: Writer, home: Path, left: str) -> None:
    (home / "token").write_text(left)
    with Engine(write.root, home) as engine:
        url = f"{engine.url}/api/w/{engine.workspace}/users/whoami"
        assert httpx.get(url, timeout=20).status_code == 401
        assert httpx.get(f"{url}?token={left}", timeout=20).status_code == 401
        assert (home / "token").read_text() == engine.token
        assert (home / "token").stat().st_mode & 0o77 == 0
        with Engine(write.root, home) as other:
            assert other.token == engine.token


def test_a_token_that_cannot_be_written_whole_is_not_left_behind(
    write: Writer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            Engine(write.root, home)
    assert not (home / "token").exists()
