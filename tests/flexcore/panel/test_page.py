"""`./wmill` of the panel's page in a real browser: results, errors and jobs as Windmill's page has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flexcore.panel.engine import PanelEngine
from tests.dashboard.chromium import open_page, serious_findings
from tests.dashboard.conftest import browser, page  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SEEN = "seen: executions"


def test_the_address_that_was_printed_opens_the_page(page: Page, engine: PanelEngine) -> None:  # noqa: F811
    page.goto(engine.page_url)
    page.get_by_text(SEEN).wait_for()
    # The key is in no address that could be copied, and is there again after a reload.
    assert page.url == f"{engine.url}/" and engine.key not in page.content()
    page.reload()
    page.get_by_text(SEEN).wait_for()


def test_a_link_may_lead_further_than_the_key(page: Page, engine: PanelEngine) -> None:  # noqa: F811
    page.goto(f"{engine.page_url}&/executions/1")
    page.get_by_text(SEEN).wait_for()
    assert page.url == f"{engine.url}/#/executions/1"


def test_without_a_key_the_page_asks_for_it(browser: Browser, engine: PanelEngine) -> None:  # noqa: F811
    with open_page(browser) as page:  # noqa: F811
        page.goto(engine.url)
        field = page.get_by_label("Key")
        field.wait_for()
        assert page.get_by_role("dialog").is_visible() and serious_findings(page) == []
        field.fill(engine.key)
        field.press("Enter")
        page.get_by_text(SEEN).wait_for()


def test_a_wrong_key_is_asked_for_again(browser: Browser, engine: PanelEngine) -> None:  # noqa: F811
    complaints: list[str] = []
    context = browser.new_context()
    page = context.new_page()  # noqa: F811
    page.on("console", lambda said: complaints.append(said.text))
    page.goto(f"{engine.url}/#key=wrong")
    page.get_by_text("The server does not accept this key.").wait_for()
    page.get_by_label("Key").fill(engine.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text(SEEN).wait_for()
    assert all("401" in said for said in complaints)
    context.close()


def test_results_jobs_and_errors_come_as_of_windmills_page(page: Page, engine: PanelEngine) -> None:  # noqa: F811
    page.goto(engine.page_url)
    page.get_by_text(SEEN).wait_for()
    job = page.evaluate("() => backendAsync.read_dashboard({want: ['runtimes']})")
    assert page.evaluate("job => waitJob(job)", job) == {"want": ["runtimes"]}
    assert page.evaluate("job => streamJob(job)", job) == {"want": ["runtimes"]}
    shown = page.evaluate("job => getJob(job)", job)
    assert (shown["type"], shown["success"], shown["result"]) == ("CompletedJob", True, {"want": ["runtimes"]})
    # A failure loses all but its text on the way, so the app asks for the job.
    failed = page.evaluate("() => backendAsync.cancel_execution({execution: '7'})")
    message = page.evaluate("job => waitJob(job).catch(error => [error.constructor.name, error.message])", failed)
    assert message[0] == "Error" and "raise Refused" in message[1]
    error = page.evaluate("job => getJob(job)", failed)["result"]["error"]
    assert (error["name"], error["message"], error["extra"]["remedy"]) == (
        "Refused",
        "7 is not yours",
        "Ask its owner.",
    )
    assert "none" in page.evaluate("() => backend.none({}).catch(error => error.message)")
    assert page.evaluate("() => window.ctx") == {"username": "local", "workspace": "local"}
