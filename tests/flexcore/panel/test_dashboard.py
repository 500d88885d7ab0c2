"""The dashboard on the embedded engine, as an operator uses it: real runs of real workflows, in a real browser."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flexcore.panel.engine import PanelEngine
from tests.dashboard.chromium import open_page, serious_findings
from tests.dashboard.conftest import browser  # noqa: F401
from tests.docs.pages import ROOT
from tests.templates.conftest import sample
from tests.wmlocal.engine.conftest import eventually
from wmlocal.engine.engine import default_home
from wmlocal.engine.store import LIVE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Meltano's first run on a machine installs it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dashboard")]
EXTRACTION = "f/flexcore/templates/singer_extraction"
PROGRAM = "f/flexcore/ray/execute"
PROJECT = ROOT / "resources/meltano_sample"
# A job of the dashboard on a machine that has other work.
SLOW_MS = 60_000


def keep(engine: PanelEngine, name: str, kind: str, value: dict[str, Any]) -> None:
    engine.store.set_resource(f"u/admin/flexcore_local_{name}", value, kind, "")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelEngine]:
    """A home of its own with a run that succeeded and one that failed; environments and plugins are those of all."""
    home = tmp_path_factory.mktemp("home")
    (default_home() / "envs").mkdir(parents=True, exist_ok=True)
    (home / "envs").symlink_to(default_home() / "envs")
    with PanelEngine(ROOT, home) as opened:
        opened.serve()
        keep(opened, "settings", "c_flexcore_settings", {"storage_uri": f"file://{home}/store"})
        keep(opened, "project", "c_meltano_project", {"path": str(home / "moved")})
        failed = opened.run(EXTRACTION, sample("singer_extraction"))
        assert not failed.success
        yield opened


@pytest.fixture(scope="module")
def silent_head() -> Iterator[str]:
    """The address of a Ray head that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def page(browser: Browser, engine: PanelEngine) -> Iterator[Page]:  # noqa: F811
    with open_page(browser) as opened:
        opened.set_default_timeout(SLOW_MS)
        opened.goto(engine.page_url)
        opened.get_by_role("heading", name="Executions").wait_for()
        yield opened


def open_execution(page: Page, status: str, workflow: str) -> None:
    row = page.get_by_role("row").filter(has=page.get_by_role("gridcell", name=status, exact=True))
    row.get_by_role("link", name=workflow).first.click()


def ended(engine: PanelEngine, job: str) -> str:
    """How the job has ended; "" while it has not."""
    row = engine.store.job_status(job)
    return str(row["status"]) if row and row["status"] not in LIVE else ""


def test_a_failure_is_found_with_its_remedy_and_started_again(page: Page, engine: PanelEngine, tmp_path: Path) -> None:
    page.get_by_role("button", name=re.compile("^failure")).click()
    open_execution(page, "failure", "singer_extraction")
    problem = page.get_by_role("alert")
    problem.wait_for()
    assert "moved" in problem.inner_text() and serious_findings(page) == []
    # What the remedy asks for.
    keep(engine, "project", "c_meltano_project", {"path": str(PROJECT)})
    page.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("link").click()
    page.get_by_role("heading", name=re.compile("singer_extraction")).wait_for()
    (started,) = re.findall(r"#/executions/([0-9a-f-]{36})", page.url)
    assert eventually(lambda: ended(engine, started), SLOW_MS / 1000) == "success"
    page.get_by_role("button", name="Read again").click()
    page.locator(".view-head").get_by_text("success").wait_for()


def test_an_execution_is_canceled_with_a_reason(page: Page, engine: PanelEngine, silent_head: str) -> None:
    keep(engine, "ray", "c_ray_cluster", {"address": silent_head})
    names = {"cluster": "$res:u/admin/flexcore_local_ray", "settings": "$res:u/admin/flexcore_local_settings"}
    job = engine.start(PROGRAM, {"operation": "program", "program": "print(1)", **names})
    page.get_by_role("button", name="Read again").click()
    open_execution(page, "running", "ray/execute")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_label("Reason").fill("too much at once")
    page.get_by_role("dialog").get_by_role("button", name="Cancel execution").click()
    page.get_by_text("was told to stop").wait_for()
    assert engine.wait(job).success is False
    row = engine.store.job(job.id)
    assert row is not None and row["status"] == "canceled" and "too much at once" in row["canceled_reason"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_answers_and_keeps_nobody_out(browser: Browser, engine: PanelEngine, scheme: Any) -> None:  # noqa: F811
    with open_page(browser, color_scheme=scheme) as page:
        page.set_default_timeout(SLOW_MS)
        page.goto(engine.page_url)
        for view in ("Executions", "Runtimes", "Comparison", "Selection", "Deployments", "Orphans", "Stops"):
            page.get_by_role("link", name=view, exact=True).click()
            page.get_by_role("heading", name=view, level=2).wait_for()
            page.get_by_text("Loading").first.wait_for(state="hidden")
            assert serious_findings(page) == [], view
