"""What can be done on the dashboard: each question names what will happen, each refusal says why and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard import workspace as ws
from tests.dashboard.chromium import serious_findings

if TYPE_CHECKING:
    from playwright.sync_api import Page

    Show = Callable[..., Page]

FAILED = f"#/executions/{ws.FAILED}"
RUNNING = f"#/executions/{ws.RUNNING}"


def test_a_failed_run_is_started_again_in_three_clicks_from_the_list(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions")
    page.get_by_role("row").filter(has_text="worker 3 of 4").first.click()
    page.get_by_role("button", name="Restart").click()
    question = page.get_by_role("dialog", name="Restart from partial results")
    assert "Kept and not run again: extraction, as long as what was stored still verifies" in question.inner_text()
    assert serious_findings(page) == []
    question.get_by_role("button", name="Restart").click()
    question.get_by_role("link", name=ws.RUNNING).click()
    assert workspace.called("restart_execution") == [{"execution": ws.FAILED}]
    page.get_by_role("heading", name=ws.COPY).wait_for()
    page.get_by_role("dialog").wait_for(state="detached")


def test_where_it_is_not_said_what_a_restart_keeps_the_question_promises_nothing(show: Show) -> None:
    workspace = ws.busy_workspace()
    shown = ws.detail(ws.row(ws.FAILED, "failure", 1200, failed_step="attempts"))
    shown["can"]["restart"] = {"allowed": True, "reason": None}
    workspace.details[ws.FAILED] = shown
    page = show(workspace, FAILED)
    page.get_by_role("button", name="Restart").click()
    question = page.get_by_role("dialog", name="Restart", exact=True)
    assert "Where the workflow can go on from what was finished, it does" in question.inner_text()
    assert "All of its steps" not in question.inner_text()


def test_a_run_that_goes_on_from_nothing_says_that_all_of_it_runs_again(show: Show) -> None:
    workspace = ws.busy_workspace()
    whole = ws.detail(ws.row(ws.FAILED, "failure", 1200, failed_step="attempts"))
    workspace.details[ws.FAILED] = whole
    page = show(workspace, FAILED)
    page.get_by_role("button", name="Restart").click()
    question = page.get_by_role("dialog", name="Restart from the beginning")
    assert "All of its steps run again, also those that succeeded" in question.inner_text()
    question.get_by_role("button", name="Leave it").click()
    whole["can"]["restart"] |= {"resumes": True, "kept": []}
    page = show(workspace, FAILED)
    page.get_by_role("button", name="Restart").click()
    question = page.get_by_role("dialog", name="Restart from partial results")
    assert "Nothing was finished, so all of it runs." in question.inner_text()


def test_a_cancel_asks_for_a_reason_and_names_what_ends(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, RUNNING)
    page.get_by_role("button", name="Cancel").click()
    question = page.get_by_role("dialog", name="Cancel this execution")
    assert f"{ws.COPY} ({ws.RUNNING}) ends as canceled" in question.inner_text()
    button = question.get_by_role("button", name="Cancel execution")
    assert button.is_disabled(), "no reason was given yet"
    page.keyboard.type("it reads the wrong table")
    button.click()
    question.get_by_text("The execution was told to stop").wait_for()
    assert workspace.called("cancel_execution") == [{"execution": ws.RUNNING, "reason": "it reads the wrong table"}]
    question.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.textContent") == "Cancel", "the focus is back where it was"


def test_a_question_that_is_left_does_nothing(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, RUNNING)
    for leave in ("Escape", "Leave it"):
        page.get_by_role("button", name="Cancel").click()
        if leave == "Escape":
            page.keyboard.press("Escape")
        else:
            page.get_by_role("button", name=leave).click()
        page.get_by_role("dialog").wait_for(state="detached")
    assert workspace.called("cancel_execution") == []


def test_what_is_refused_says_why_and_what_to_do(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.refuse(
        "cancel_execution", "Forbidden", "ann may look at f/flexcore but not write", "Ask the folder's owner."
    )
    page = show(workspace, RUNNING)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_label("Reason").fill("x")
    page.get_by_role("button", name="Cancel execution").click()
    told = page.get_by_role("dialog").get_by_role("alert")
    told.wait_for()
    assert told.inner_text().split("\n\n") == ["ann may look at f/flexcore but not write", "Ask the folder's owner."]
    assert page.get_by_label("Reason").input_value() == "x", "what was typed is kept"


def test_what_is_not_allowed_cannot_be_clicked_and_says_why(show: Show) -> None:
    workspace = ws.busy_workspace()
    reason = "You may see this execution and not cancel it: you are no writer of f/flexcore"
    workspace.details[ws.RUNNING]["can"]["cancel"] = {"allowed": False, "reason": reason}  # type: ignore[index]
    page = show(workspace, RUNNING)
    button = page.get_by_role("button", name="Cancel")
    assert button.get_attribute("aria-disabled") == "true"
    # By force: it looks disabled, and a click on it is answered all the same.
    button.click(force=True)
    page.get_by_role("status").filter(has_text=reason).wait_for()
    page.get_by_role("dialog").wait_for(state="detached")


def test_a_workflow_is_stopped_with_a_reason_and_the_stop_undone(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.parts["stops"] = []
    page = show(workspace, RUNNING)
    page.get_by_role("button", name="Stop workflow…").click()
    question = page.get_by_role("dialog", name=f"Stop all executions of {ws.COPY}")
    assert "no new one starts until the stop is undone" in question.inner_text()
    question.get_by_label("Reason").fill("runaway")
    question.get_by_role("button", name="Stop workflow").click()
    question.get_by_text("1 execution canceled").wait_for()
    question.get_by_role("link", name="Undo it under Stops").click()
    assert workspace.called("stop_workflow") == [{"workflow": ws.COPY, "reason": "runaway"}]
    stop = page.get_by_role("article", name=ws.COPY)
    assert "Stopped by ann" in stop.inner_text() and "runaway" in stop.inner_text()
    stop.get_by_role("button", name="Undo…").click()
    assert "the 1 execution that the stop canceled" in page.get_by_role("dialog").inner_text().lower()
    page.get_by_role("button", name="Undo stop").click()
    page.get_by_text(f"{ws.COPY} may start again").wait_for()
    page.get_by_role("button", name="Close").click()
    stop.get_by_text("undone by ann").wait_for()
    assert workspace.called("resume_workflow") == [{"stop": "stop-3"}]


def test_any_workflow_can_be_stopped_by_its_path(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/stops")
    page.get_by_role("combobox", name="Workflow").fill("f/team/nightly")
    page.get_by_role("button", name="Stop workflow…").click()
    page.get_by_label("Reason").fill("maintenance")
    page.get_by_role("dialog").get_by_role("button", name="Stop workflow").click()
    page.get_by_role("dialog").get_by_role("link").click()
    page.get_by_role("article", name="f/team/nightly").wait_for()
    assert workspace.called("stop_workflow") == [{"workflow": "f/team/nightly", "reason": "maintenance"}]


def test_a_model_is_rolled_back_to_the_version_that_is_named(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/deployments")
    page.get_by_role("article", name="churn").get_by_role("button", name="Roll back…").click()
    question = page.get_by_role("dialog", name="Roll back churn")
    assert "goes back from version v7 to the version that answered before, v6" in question.inner_text()
    question.get_by_role("button", name="Roll back").click()
    question.get_by_text("Traffic of churn went back").wait_for()
    called = {"resource": "u/admin/cluster", "runtime": "kubernetes", "name": "churn", "namespace": "models"}
    seen = {"revision": 11, "from_revision": 12}
    assert workspace.called("roll_back_model") == [called | seen], "what was shown is what is done"


def test_a_roll_back_on_ray_names_the_shares_that_were_shown(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/deployments")
    page.get_by_role("article", name="price").get_by_role("button", name="Roll back…").click()
    question = page.get_by_role("dialog", name="Roll back price")
    assert "from version v3 to the version that answered before, v2" in question.inner_text()
    workspace.refuse(
        "roll_back_model", "Conflict", "The shares of price were changed since revision 4", "Look at them."
    )
    question.get_by_role("button", name="Roll back").click()
    question.get_by_role("alert").get_by_text("were changed since revision 4").wait_for()
    called = {"resource": "u/admin/ray", "runtime": "ray", "name": "price", "from_revision": 4}
    assert workspace.called("roll_back_model") == [called]


def test_a_question_stays_open_when_a_read_brings_nothing_meanwhile(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/deployments")
    page.get_by_role("article", name="churn").get_by_role("button", name="Roll back…").click()
    question = page.get_by_role("dialog", name="Roll back churn")
    nothing: list[Any] = [[], None]
    for found in nothing:
        workspace.parts["deployments"] = found
        reads = len(workspace.called("read_dashboard"))
        page.clock.run_for(45_000)
        page.wait_for_timeout(100)
        assert len(workspace.called("read_dashboard")) > reads
        assert question.get_by_role("button", name="Roll back").is_visible(), found
    question.get_by_role("button", name="Roll back").click()
    question.get_by_text("Traffic of churn went back").wait_for()


LOST = {
    "restart_execution": (FAILED, "Restart", "Restart", f"Started as {ws.RUNNING}"),
    "roll_back_model": ("#/deployments", "Roll back…", "Roll back", "Traffic of churn went back"),
}


@pytest.mark.parametrize("script", LOST)
def test_an_answer_that_is_lost_is_asked_for_and_nothing_is_started_twice(show: Show, script: str) -> None:
    workspace = ws.busy_workspace()
    hash, button, confirm, done = LOST[script]
    page = show(workspace, hash, script=f"window.lost = ['{script}']")
    page.get_by_role("button", name=button).first.click()
    question = page.get_by_role("dialog")
    question.get_by_role("button", name=confirm, exact=True).click()
    alert = question.get_by_role("alert")
    alert.get_by_text(f"What became of {script} is not known: Failed to fetch").wait_for()
    assert "Nothing is started a second time" in alert.inner_text()
    assert question.get_by_role("button", name=confirm, exact=True).count() == 0
    assert serious_findings(page) == []
    question.get_by_role("button", name="Ask again").click()
    alert.wait_for()
    page.evaluate("window.lost = []")
    question.get_by_role("button", name="Ask again").click()
    question.get_by_text(done).wait_for()
    assert len(workspace.called(script)) == 1


@pytest.mark.parametrize("in_store", [False, True])
def test_a_debug_bundle_is_one_click_and_a_question(show: Show, in_store: bool) -> None:
    workspace = ws.busy_workspace()
    if in_store:
        stored = {"uri": "s3://lake/bundles/b.tar.gz", "file_name": "b.tar.gz", "base64": None}
        workspace.answers["make_debug_bundle"] = lambda args: stored
    page = show(workspace, FAILED)
    page.get_by_role("button", name="Debug bundle").click()
    assert "Secrets are masked in it" in page.get_by_role("dialog").inner_text()
    if in_store:
        page.get_by_role("button", name="Make bundle").click()
        page.get_by_text("It is kept at s3://lake/bundles/b.tar.gz").wait_for()
    else:
        with page.expect_download() as download:
            page.get_by_role("button", name="Make bundle").click()
        assert download.value.suggested_filename == "debug-bundle.tar.gz"
        assert download.value.path().read_bytes() == b"hello"
    assert workspace.called("make_debug_bundle") == [{"execution": ws.FAILED}]
