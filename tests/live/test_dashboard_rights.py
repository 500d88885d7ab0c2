"""The dashboard on a real Windmill with a second user, who may look and neither cancel nor stop.

FLEXCORE_LIVE_USER_TOKEN   of a user of the workspace who is no administrator and has no rights on the folder flexcore
"""

from __future__ import annotations

import base64
import contextlib
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.conftest import Windmill, needed, push

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
WORKFLOW = "data_pipeline"


class Page:
    """What the page calls, as one user."""

    def __init__(self, windmill: Windmill) -> None:
        self.windmill = windmill

    def start(self, id: str, **arguments: Any) -> str:
        body = {"component": id, "path": f"script/f/flexcore/dashboard/{id}", "args": arguments}
        return str(self.windmill.call("POST", "apps_u/execute_component/f/flexcore/dashboard", body))

    def run(self, id: str, **arguments: Any) -> Any:
        success, result = self.windmill.finished(self.start(id, **arguments))
        assert success, result
        return result

    def refused(self, id: str, **arguments: Any) -> dict[str, Any]:
        success, result = self.windmill.finished(self.start(id, **arguments))
        assert not success, result
        error: dict[str, Any] = result["error"]
        return error


@pytest.fixture(scope="module")
def admin(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Page:
    push(windmill, tmp_path_factory.mktemp("wmill"))
    return Page(windmill)


@pytest.fixture(scope="module")
def viewer(admin: Page) -> Iterator[Page]:
    """May read the folder of the bundle, for as long as these tests last."""
    server = admin.windmill
    user = Windmill(server.url, needed("FLEXCORE_LIVE_USER_TOKEN"), server.workspace)
    who = user.call("GET", "users/whoami")
    assert not who["is_admin"] and "flexcore" not in who["folders_read"]
    name = f"u/{who['username']}"
    server.call("POST", "acls/add/folder/flexcore", {"owner": name, "write": False})
    yield Page(user)
    server.call("POST", "acls/remove/folder/flexcore", {"owner": name})


@pytest.fixture
def waiting(admin: Page) -> Iterator[str]:
    """An execution of the administrator that waits for its time."""
    job = admin.windmill.call("POST", f"jobs/run/f/f/flexcore/{WORKFLOW}?scheduled_in_secs=3600", {})
    yield job
    with contextlib.suppress(httpx.HTTPStatusError):
        admin.windmill.call("POST", f"jobs_u/queue/cancel/{job}", {"reason": "end of the test"})


def test_the_app_runs_as_whoever_looks(admin: Page, viewer: Page) -> None:
    app = admin.windmill.call("GET", "apps/get/p/f/flexcore/dashboard")
    assert app["policy"]["execution_mode"] == "viewer" and app["raw_app"]
    job = viewer.start("read_dashboard", want=["executions"])
    viewer.windmill.finished(job)
    seen = admin.windmill.call("GET", f"jobs_u/get/{job}")
    user = viewer.windmill.call("GET", "users/whoami")["username"]
    assert seen["permissioned_as"] == f"u/{user}" and seen["labels"] == ["dashboard"]


def test_who_may_read_sees_all_of_it_and_may_neither_cancel_nor_stop(admin: Page, viewer: Page, waiting: str) -> None:
    shown = viewer.run("read_dashboard", want=["executions", "execution", "stops"], execution=waiting)
    rows = {row["id"]: row for row in shown["executions"]["rows"]}
    assert rows[waiting]["status"] == "queued"
    can = shown["execution"]["can"]["cancel"]
    assert not can["allowed"] and "may write in the folder f/flexcore" in can["reason"]
    error = viewer.refused("cancel_execution", execution=waiting, reason="not mine")
    assert error["name"] == "Forbidden" and error["extra"]["remedy"]
    error = viewer.refused("stop_workflow", workflow=WORKFLOW, reason="not mine")
    assert error["name"] == "Forbidden"
    assert admin.windmill.call("GET", f"jobs_u/get/{waiting}")["type"] == "QueuedJob", "nothing was done to it"
    assert admin.run("read_dashboard", want=["execution"], execution=waiting)["execution"]["can"]["cancel"]["allowed"]


def test_a_stop_by_who_may_cancels_refuses_and_is_undone(admin: Page, viewer: Page, waiting: str) -> None:
    stop = admin.run("stop_workflow", workflow=WORKFLOW, reason="a runaway")
    try:
        assert waiting in stop["canceled"]
        success, result = admin.windmill.run_flow(f"f/flexcore/{WORKFLOW}", {})
        assert not success and "is stopped since" in str(result)
        assert stop["id"] in {item["id"] for item in viewer.run("read_dashboard", want=["stops"])["stops"]}
        assert viewer.refused("resume_workflow", stop=stop["id"])["name"] == "Forbidden"
    finally:
        undone = admin.run("resume_workflow", stop=stop["id"])
    assert undone["undone"]["by"]
    deadline = time.monotonic() + 30
    while admin.windmill.call("GET", f"jobs_u/get/{waiting}")["type"] != "CompletedJob":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    success, result = admin.windmill.run_flow(f"f/flexcore/{WORKFLOW}", {})
    assert not success and "is stopped since" not in str(result), "it begins, and says what its form lacks"


def test_who_may_read_gets_logs_and_a_debug_bundle_without_secrets(admin: Page, viewer: Page, tmp_path: Path) -> None:
    admin.windmill.run_flow(f"f/flexcore/{WORKFLOW}", {"workflow_type": "x", "note_token": "mk-4uLs0pZq"})
    row = viewer.run("read_dashboard", want=["executions"], filter={"workflow": WORKFLOW})["executions"]["rows"][0]
    assert row["status"] == "failure" and row["error"]
    assert viewer.run("read_logs", execution=row["id"])["total"] > 0
    made = viewer.run("make_debug_bundle", execution=row["id"])
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(made["base64"]))) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist()]
    assert texts and not any("mk-4uLs0pZq" in text for text in texts)
