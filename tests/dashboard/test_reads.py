"""What the page shows while reads fail, wait or take long: what is known stays, and each wait says how long it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.dashboard import workspace as ws
from tests.dashboard.chromium import serious_findings

if TYPE_CHECKING:
    from playwright.sync_api import Page

    Show = Callable[..., Page]

FAILED = f"#/executions/{ws.FAILED}"
RUNNING = f"#/executions/{ws.RUNNING}"
OLD = "Shown as of"
LIMIT = "this page starts at most 120 jobs an hour."
UNANSWERED = "window.unanswered = ['read_dashboard']"


def with_jobs_left(count: int) -> str:
    """A script that leaves a page `count` jobs of its hour."""
    level = json.dumps({"tokens": count, "at": ws.NOW.timestamp()})
    return f"sessionStorage.setItem('flexcore.budget', {json.dumps(level)})"


def test_a_read_that_fails_once_leaves_the_question_that_is_open_and_its_answer(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, FAILED)
    page.get_by_role("button", name="Restart").click()
    workspace.failing = {"execution"}
    page.clock.run_for(41_000)
    page.get_by_text(OLD).wait_for()
    told = page.get_by_role("region", name="Notices").inner_text()
    assert "Windmill answered with 503" in told and told.count("Try again.") == 1, "what to do has a line of its own"
    question = page.get_by_role("dialog", name="Restart from partial results")
    question.get_by_role("button", name="Restart").click()
    question.get_by_role("link", name=ws.RUNNING).wait_for()
    assert workspace.called("restart_execution") == [{"execution": ws.FAILED}]
    question.get_by_role("button", name="Close").click()
    assert page.get_by_role("heading", name=ws.HYBRID).is_visible() and serious_findings(page) == []
    workspace.failing.clear()
    page.get_by_role("button", name="Read again").click()
    page.get_by_text(OLD).wait_for(state="detached")


def test_a_read_that_fails_once_leaves_the_log_that_is_read(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, f"{FAILED}?tab=logs")
    page.get_by_text("train: epoch 299").wait_for()
    workspace.details[ws.FAILED] = None
    page.clock.run_for(41_000)
    page.get_by_text(OLD).wait_for()
    assert page.get_by_text("train: epoch 299").is_visible()
    assert len(workspace.called("read_logs")) == 1


@pytest.mark.parametrize(
    ("hash", "part", "what", "shown"),
    [
        ("#/executions", "executions", "executions", "46 executions"),
        (FAILED, "execution", "the execution", "Step train failed"),
        ("#/orphans", "orphans", "the orphans", "flexcore-extract-1"),
    ],
)
def test_a_first_read_that_fails_says_so_and_can_be_tried_again(
    show: Show, hash: str, part: str, what: str, shown: str
) -> None:
    workspace = ws.busy_workspace()
    workspace.failing = {part}
    page = show(workspace, hash)
    page.get_by_text(f"The workspace could not read {what}").wait_for()
    assert page.get_by_text("not to be found").count() == 0 and serious_findings(page) == []
    workspace.failing.clear()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text(shown).first.wait_for()


def test_a_view_whose_jobs_are_used_up_says_when_it_is_read(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions", script=with_jobs_left(1))
    page.get_by_text("46 executions").wait_for()
    page.get_by_role("link", name="Runtimes").click()
    page.get_by_text(f"s: {LIMIT}").wait_for()
    assert len(workspace.calls) == 1 and "again in" in page.locator(".freshness").inner_text()
    page.clock.run_for(46_000)
    page.get_by_text("u/admin/ray").wait_for()


def test_older_executions_that_have_to_wait_say_how_long(show: Show) -> None:
    workspace = ws.Workspace(rows=ws.many_rows(300), page_size=100)
    page = show(workspace, "#/executions", script=with_jobs_left(1))
    page.get_by_text("100 executions so far").wait_for()
    page.locator(".grid-body").evaluate("box => { box.scrollTop = box.scrollHeight }")
    button = page.get_by_role("button", name="Load older executions")
    assert button.is_disabled() and LIMIT in page.locator(".foot").inner_text()
    page.clock.run_for(46_000)
    button.click()
    page.get_by_text("300 executions", exact=True).wait_for()


def test_a_log_whose_jobs_are_used_up_is_read_by_itself_when_there_are_some(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, f"{FAILED}?tab=logs", script=with_jobs_left(1))
    page.get_by_role("tabpanel").get_by_text(LIMIT).wait_for()
    assert workspace.called("read_logs") == []
    # An action does not wait: it takes the job that the log was waiting for.
    page.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.clock.run_for(46_000)
    assert workspace.called("read_logs") == []
    page.clock.run_for(46_000)
    page.get_by_text("train: epoch 299").wait_for()


def test_a_log_that_cannot_be_read_can_be_tried_again(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.refuse("read_logs", "Unavailable", "Windmill answered with 503")
    page = show(workspace, f"{FAILED}?tab=logs")
    told = page.get_by_role("alert", name="The log cannot be read")
    told.wait_for()
    workspace.refused.clear()
    told.get_by_role("button", name="Try again").click()
    page.get_by_text("train: epoch 299").wait_for()


def test_the_log_of_a_step_is_read_when_the_step_begins(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, f"{RUNNING}?tab=logs&step=deploy")
    page.get_by_text("This step has not begun").wait_for()
    assert workspace.called("read_logs") == [], "no job is spent on a log that cannot be"
    step = next(each for each in workspace.details[ws.RUNNING]["steps"] if each["id"] == "deploy")  # type: ignore[index]
    step |= {"job": "019375a0-2222-7000-8000-000000000001", "status": "running", "started_at": ws.at(0)}
    page.clock.run_for(11_000)
    page.get_by_text("train: epoch 299").wait_for()
    assert workspace.called("read_logs") == [{"execution": ws.RUNNING, "offset": -2000, "step": "deploy"}]


@pytest.mark.parametrize(
    ("status", "told"), [("skipped", "This step did not begin"), ("suspended", "This step has not begun")]
)
def test_a_step_without_a_job_and_without_steps_says_that_it_did_not_run(show: Show, status: str, told: str) -> None:
    workspace = ws.busy_workspace()
    step = next(each for each in workspace.details[ws.RUNNING]["steps"] if each["id"] == "deploy")  # type: ignore[index]
    step |= {"status": status}
    page = show(workspace, f"{RUNNING}?tab=logs&step=deploy")
    page.get_by_text(told).wait_for()
    assert page.get_by_text("no log of its own").count() == 0


def test_where_windmill_has_nothing_the_list_goes_on_in_the_run_index(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.index = [
        ws.row(
            "019375a0-0000-7000-8000-0000000000bb", "failure", 80 * 86_400, workflow="templates/monthly", source="index"
        )
    ]
    page = show(workspace, "#/executions?workflow=templates%2Fmonthly&status=failure")
    page.get_by_text("No execution that Windmill still has matches the filter").wait_for()
    page.get_by_role("button", name="Look further back").click()
    page.get_by_text("1 execution", exact=True).wait_for()
    page.get_by_text("from the run index").wait_for()
    page.get_by_text("That is all that Windmill and the run index know").wait_for()


def test_any_workflow_can_be_filtered_for_and_the_others_stay_on_offer(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.workflows.append("templates/never_run")
    page = show(workspace, "#/executions")
    page.get_by_text("46 executions").wait_for()
    field = page.get_by_role("combobox", name="Workflow")
    offered = page.locator("#seen-workflows option")
    before = offered.count()
    field.fill(ws.HYBRID)
    page.get_by_text("16 executions", exact=True).wait_for()
    assert offered.count() == before == 4
    field.fill("f/flexcore/templates/monthly")
    page.keyboard.press("Enter")
    page.get_by_text("No execution matches the filter").wait_for()
    assert workspace.called("read_dashboard")[-1]["filter"]["workflow"] == "templates/monthly"
    field.fill("")
    page.get_by_text("46 executions").wait_for()
    assert len(workspace.called("read_dashboard")) == 4, "one read for each name, not for each letter"


def test_a_slow_read_of_one_view_does_not_hold_up_another(show: Show) -> None:
    page = show(ws.busy_workspace(), "#/orphans", script=UNANSWERED)
    page.get_by_text("Reading the orphans…").wait_for()
    page.evaluate("window.unanswered = []")
    page.get_by_role("link", name="Executions").click()
    page.get_by_text("46 executions").wait_for()
    page.clock.fast_forward(31_000)
    assert page.get_by_text("was not started").count() == 0, "nobody waits for it any more"
