"""What the page of the dashboard costs: jobs of the workspace, bytes to load, and time of whoever scrolls."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dashboard import workspace as ws

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    Show = Callable[..., Page]

MAX_BUNDLE_BYTES = 250_000
MAX_JOBS_PER_HOUR = 120
MAX_FRAME_MS = 50

# Scrolls through the whole list as a wheel does, and counts rows in the document.
SCROLL = """async () => {
  const box = document.querySelector('.grid-body')
  let rows = 0
  let steps = 0
  while (box.scrollTop + box.clientHeight < box.scrollHeight - 2 && steps < 400) {
    box.scrollTop += box.scrollHeight / 120
    steps += 1
    await new Promise((resolve) => requestAnimationFrame(resolve))
    rows = Math.max(rows, box.querySelectorAll('[role=row]').length)
  }
  return { rows, steps, last: box.textContent.includes('That is all') }
}"""
SEE = """(state) => {
  Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}"""


def longest_tasks_ms(trace: bytes) -> list[float]:
    """Tasks of the page's main thread, longest first, in milliseconds of its own time: what other programs take of the
    machine meanwhile is not the page's."""
    events = json.loads(trace)["traceEvents"]
    main = {(each["pid"], each["tid"]) for each in events if each.get("args", {}).get("name") == "CrRendererMain"}
    tasks = [
        each["tdur"] / 1000
        for each in events
        if each["name"].endswith("RunTask") and (each["pid"], each["tid"]) in main and "tdur" in each
    ]
    return sorted(tasks, reverse=True)


def test_the_bundle_is_small(built_app: Path) -> None:
    files = [built_app, built_app.with_suffix(".css")]
    size = sum(len(gzip.compress(file.read_bytes())) for file in files)
    assert 20_000 < size <= MAX_BUNDLE_BYTES, size


@pytest.mark.slow
def test_ten_thousand_rows_scroll_and_few_of_them_exist(show: Show, browser: Browser) -> None:
    workspace = ws.Workspace(rows=ws.many_rows(10_000), page_size=500)
    page = show(workspace, "#/executions")
    page.get_by_text("500 executions so far").wait_for()
    body = page.locator(".grid-body")
    for loaded in ("2,500", "4,500", "6,500", "8,500"):
        body.evaluate("box => { box.scrollTop = box.scrollHeight }")
        page.get_by_text(f"{loaded} executions so far").wait_for()
    body.evaluate("box => { box.scrollTop = box.scrollHeight }")
    page.get_by_text("10,000 executions", exact=True).wait_for()
    body.evaluate("box => { box.scrollTop = 0 }")
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    seen = page.evaluate(SCROLL)
    tasks = longest_tasks_ms(browser.stop_tracing())
    assert seen["last"] and seen["steps"] > 100, seen
    assert seen["rows"] < 80, seen
    assert len(workspace.called("read_executions")) == 5
    assert len(tasks) > 100 and tasks[0] <= MAX_FRAME_MS, tasks[:5]


@pytest.mark.slow
def test_an_hour_of_an_open_page_is_at_most_120_jobs_and_a_hidden_one_none(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, f"#/executions/{ws.RUNNING}")
    page.get_by_role("heading", name=ws.COPY).wait_for()
    for _ in range(360):
        page.clock.run_for(10_000)
    jobs = len(workspace.calls)
    assert 60 < jobs <= MAX_JOBS_PER_HOUR, jobs
    page.evaluate(SEE, "hidden")
    page.get_by_text("Paused").wait_for()
    page.clock.run_for(3_600_000)
    assert len(workspace.calls) <= jobs + 1, "a read that was under way may end"
    page.evaluate(SEE, "visible")
    page.clock.run_for(2_000)
    page.wait_for_function("() => !document.querySelector('.freshness').textContent.includes('Paused')")
    assert len(workspace.calls) > jobs
