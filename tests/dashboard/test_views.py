"""Every view of the dashboard shows what the workspace answers, can be used by all, and has its words when there is
nothing, too much, or nothing that it knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard import workspace as ws
from tests.dashboard.chromium import serious_findings

if TYPE_CHECKING:
    from playwright.sync_api import Page

    Show = Callable[..., Page]

ONE = f"#/executions/{ws.FAILED}"
# Each view with something that only it shows.
VIEWS = {
    "executions": ("#/executions", "OutOfMemory: worker 3 of 4 was killed"),
    "execution": (ONE, "Step train failed"),
    "step": (f"{ONE}?step=train", "5a1d7c1e-98b2-4a0e"),
    "logs": (f"{ONE}?tab=logs", "train: epoch 299"),
    "request": (f"{ONE}?tab=request", "2 differences from the last good run"),
    "result": (f"{ONE}?tab=result", "s3://lake/orders/2026-11-28"),
    "events": (f"{ONE}?tab=events", "because The history of the runtimes cannot be read"),
    "runtimes": ("#/runtimes", "connection refused"),
    "comparison": (
        "#/comparison",
        "ray has the least median cost per success, failures counted: $0.0316, against kubernetes",
    ),
    "selection": ("#/selection", "has no workers for 4 tables"),
    "deployments": ("#/deployments", "not ready"),
    "orphans": ("#/orphans", "flexcore-extract-1"),
    "stops": ("#/stops", "it fills the lake with copies of 2019"),
}
PARTS = ("runtimes", "comparison", "selection", "deployments", "orphans", "stops")
SIZES = {"wide": {"width": 1280, "height": 860}, "narrow": {"width": 400, "height": 860}}


def picture(page: Page, name: str, tmp_path: Path) -> None:
    """Keep a picture: where FLEXCORE_SCREENSHOTS says, for looking at it and for the pages of docs/."""
    folder = Path(os.environ.get("FLEXCORE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    assert page.screenshot(path=str(folder / f"{name}.png"))


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_shows_its_data_and_keeps_nobody_out(show: Show, tmp_path: Path, name: str) -> None:
    hash, text = VIEWS[name]
    page = show(ws.busy_workspace(), hash, viewport=SIZES["wide"])
    page.get_by_text(text).first.wait_for()
    assert page.get_by_role("alert").filter(has_text="cannot be shown").count() == 0
    for scheme, size in (("light", "wide"), ("dark", "narrow")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
        assert serious_findings(page) == []
        picture(page, f"{name}-{scheme}-{size}", tmp_path)
    # Nothing is wider than a narrow screen; what is, scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["narrow"]["width"]


def test_the_execution_tells_first_what_failed_where_and_what_to_do(show: Show) -> None:
    page = show(ws.busy_workspace(), ONE)
    told = page.get_by_role("alert", name="Step train failed")
    assert "worker 3 of 4 was killed" in told.inner_text()
    assert "What to do: Raise workers.memory to 12Gi" in told.inner_text()
    told.get_by_role("link", name="log of this step").click()
    page.get_by_text("train: epoch 299").wait_for()
    assert page.url.endswith(f"{ONE}?tab=logs&step=train")


def test_a_step_shows_its_parts_and_the_id_of_its_remote_object(show: Show) -> None:
    page = show(ws.busy_workspace(), ONE)
    page.get_by_role("row", name="train", exact=False).nth(0).click()
    step = page.get_by_role("complementary", name="Step train")
    text = step.inner_text()
    parts = ("queued\n12 s", "starting\n41 s", "running\n5 min 22 s", "finishing\n8.5 s")
    for expected in (*parts, "attempt\n2", ws.TRAIN_JOB, "5a1d7c1e-98b2-4a0e"):
        assert expected in text, text
    assert step.get_by_role("link", name=ws.TRAIN_JOB).get_attribute("href") == "http://ray:8265/"
    assert page.url.endswith("?step=train"), "a link to the step can be sent"
    step.get_by_role("button", name="Close the step").click()
    step.wait_for(state="detached")


def test_a_step_that_still_runs_says_when_its_remote_object_is_known(show: Show) -> None:
    page = show(ws.busy_workspace(), f"#/executions/{ws.RUNNING}?step=train")
    step = page.get_by_role("complementary", name="Step train")
    step.wait_for()
    for expected in ("attempt\nknown once the step ends", "remote object\nknown once the step ends"):
        assert expected in step.inner_text(), step.inner_text()


def test_the_events_are_in_their_order_with_their_causes(show: Show) -> None:
    page = show(ws.busy_workspace(), f"{ONE}?tab=events")
    events = page.get_by_role("list", name="Events").get_by_role("listitem")
    events.first.wait_for()
    told = [" ".join(text.split()[1:4]) for text in events.all_inner_texts()]
    assert told[:2] == ["validate queued Waits", "validate started Began"]
    assert told[-1] == "train failed Failed"
    retried = page.get_by_role("listitem").filter(has_text="Attempt 1 failed and is followed by another")
    assert "because The history of the runtimes cannot be read" in retried.inner_text()


def test_a_step_that_cannot_be_shown_leaves_the_execution_and_is_shown_with_the_next_read(show: Show) -> None:
    workspace = ws.busy_workspace()
    train = next(step for step in workspace.details[ws.FAILED]["steps"] if step["id"] == "train")  # type: ignore[index]
    good, train["diagnosis"] = train["diagnosis"], {"category": "oom"}
    page = show(workspace, f"{ONE}?step=train")
    page.get_by_text("Step train cannot be shown").wait_for()
    assert page.get_by_role("alert", name="Step train failed").is_visible()
    assert page.get_by_role("row").filter(has_text="extract").is_visible()
    train["diagnosis"] = good
    page.get_by_role("button", name="Read again").click()
    page.get_by_text("Step train cannot be shown").wait_for(state="detached")
    assert "5a1d7c1e-98b2-4a0e" in page.get_by_role("complementary", name="Step train").inner_text()


def test_a_filter_is_in_the_link_and_asked_of_the_workspace(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions")
    page.get_by_role("button", name="failure").click()
    page.get_by_label("Runtime").select_option("ray")
    page.get_by_text("2 executions", exact=True).wait_for()
    assert page.url.endswith("#/executions?status=failure&runtime=ray")
    asked = workspace.called("read_dashboard")[-1]
    assert {key: value for key, value in asked["filter"].items() if value} == {"status": "failure", "runtime": "ray"}
    page.go_back()
    page.get_by_text("5 executions", exact=True).wait_for()
    page.get_by_role("button", name="Clear filter").click()
    page.get_by_text("46 executions", exact=True).wait_for()


def test_two_changes_of_the_filter_at_once_both_count(show: Show) -> None:
    page = show(ws.busy_workspace(), "#/executions")
    page.get_by_role("button", name="failure").wait_for()
    page.evaluate(
        """() => {
            [...document.querySelectorAll('button')].find(button => button.textContent.includes('failure')).click()
            const boxes = [...document.querySelectorAll("select")]
            const runtime = boxes.find(box => [...box.options].some(option => option.value === "ray"))
            runtime.value = 'ray'
            runtime.dispatchEvent(new Event('change', { bubbles: true }))
        }"""
    )
    page.get_by_text("2 executions", exact=True).wait_for()
    assert page.url.endswith("#/executions?status=failure&runtime=ray")


def test_the_way_back_from_an_execution_leads_to_the_list_as_it_was(show: Show) -> None:
    page = show(ws.Workspace(rows=ws.many_rows(300)), "#/executions?status=success")
    page.get_by_text("210 executions", exact=True).wait_for()
    body = page.locator(".grid-body")
    body.evaluate("box => { box.scrollTop = 4000 }")
    page.get_by_role("row").nth(12).click()
    page.get_by_text("This execution is not to be found").wait_for()
    page.locator("main").get_by_role("link", name="Executions").click()
    page.get_by_text("210 executions", exact=True).wait_for()
    assert page.url.endswith("#/executions?status=success")
    page.wait_for_function("() => document.querySelector('.grid-body').scrollTop === 4000")


def test_a_sent_link_opens_where_it_was_copied(show: Show) -> None:
    page = show(
        ws.busy_workspace(), "#/executions?status=failure&since=7d", permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_text("5 executions", exact=True).wait_for()
    page.evaluate("document.execCommand = () => false")
    page.get_by_role("button", name="Copy a link to this view").click()
    page.get_by_text("The browser does not allow copying").wait_for(state="attached")
    assert page.get_by_role("button", name="failure").get_attribute("aria-pressed") == "true"
    assert page.get_by_label("Created").input_value() == "7d"


def test_the_list_is_walked_and_opened_with_the_keyboard(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions")
    page.get_by_text("46 executions").wait_for()
    page.locator(".grid-body").focus()
    for key in ("ArrowDown", "ArrowDown", "End", "Home", "PageDown", "ArrowUp"):
        page.keyboard.press(key)
    at = page.locator(".grid-body").get_attribute("aria-activedescendant")
    assert at == f"row-{workspace.rows[9]['id']}"
    page.keyboard.press("Enter")
    page.get_by_text("This execution is not to be found").wait_for()
    assert workspace.rows[9]["id"] in page.url


def test_the_theme_follows_the_system_until_one_is_chosen(show: Show) -> None:
    page = show(ws.busy_workspace(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    light = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.get_by_role("button", name="Theme: dark").is_visible()


EMPTY = {
    "#/executions": "Nothing has run yet",
    "#/executions?status=failure": "No execution matches the filter",
    "#/runtimes": "No runtime is set up",
    "#/comparison": "There is nothing to compare yet",
    "#/selection": "No runtime has been selected yet",
    "#/deployments": "No model is deployed",
    "#/orphans": "There are no orphans",
    "#/stops": "No workflow is stopped",
}


@pytest.mark.parametrize("hash", EMPTY)
def test_an_empty_view_says_so_and_what_would_fill_it(show: Show, hash: str) -> None:
    workspace = ws.Workspace(parts={part: [] for part in PARTS})
    page = show(workspace, hash)
    page.get_by_text(EMPTY[hash]).wait_for()
    assert serious_findings(page) == []


@pytest.mark.parametrize("view", PARTS)
def test_a_part_that_could_not_be_read_is_told_and_not_taken_for_empty(show: Show, view: str) -> None:
    told = ws.notice("no_right", "warning", "deployments cannot be read: 403", "Ask an admin.")
    page = show(ws.Workspace(notices=[told]), f"#/{view}")
    page.get_by_text("The workspace could not read").wait_for()
    assert page.get_by_role("region", name="Notices").inner_text().count("Ask an admin.") == 1


@pytest.mark.parametrize("view", ["deployments", "orphans"])
def test_a_view_with_places_that_could_not_be_read_gives_no_all_clear(show: Show, view: str) -> None:
    workspace = ws.Workspace(parts={part: [] for part in PARTS}, unread={view: ["f/x/k8s", "f/x/ray"]})
    page = show(workspace, f"#/{view}")
    page.get_by_text("Nothing was found in the places that could be read").wait_for()
    warning = page.get_by_role("status").filter(has_text="Not read: f/x/k8s, f/x/ray.")
    warning.wait_for()
    assert page.get_by_text(EMPTY[f"#/{view}"]).count() == 0
    assert serious_findings(page) == []
    # Another view is read in between: what is held of this one is still not whole.
    page.get_by_role("link", name="Stops").click()
    page.get_by_text("No workflow is stopped").wait_for()
    assert warning.count() == 0
    page.evaluate("window.unanswered = ['read_dashboard']")
    page.get_by_role("link", name=view.capitalize()).click()
    warning.wait_for()


def test_a_notice_that_was_hidden_is_shown_where_it_is_a_warning(show: Show) -> None:
    text = "There is no resource f/flexcore/settings that you may read"
    workspace = ws.Workspace(notices=[ws.notice("no_settings", "info", text)], parts={"orphans": None})
    page = show(workspace, "#/executions")
    page.get_by_role("button", name="Hide notice no_settings").click()
    page.get_by_text(text).wait_for(state="detached")
    workspace.notices = [ws.notice("no_settings", "warning", text)]
    page.get_by_role("link", name="Orphans").click()
    page.get_by_text("The workspace could not read the orphans").wait_for()
    page.get_by_text(text).wait_for()


def test_leases_that_are_not_known_are_not_none(show: Show) -> None:
    page = show(ws.busy_workspace(), "#/runtimes")
    cards = {name: page.get_by_role("article", name=name).inner_text() for name in ("ray", "kubernetes", "meltano")}
    assert f"lease-orders held by {ws.RUNNING}" in cards["ray"]
    assert "leases\nnot measured" in cards["kubernetes"] and "leases\nnone" in cards["meltano"]


def test_each_figure_of_the_comparison_says_how_many_runs_it_stands_on(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.parts["comparison"][2]["newest"] = 60
    page = show(workspace, "#/comparison")
    copied = page.get_by_role("article", name=ws.COPY, exact=True)
    on_ray = copied.get_by_role("row").filter(has_text="ray").get_by_role("cell")
    # `all` takes what is there, also while the page is being read.
    on_ray.last.wait_for()
    cells = [cell.inner_text().split("\n") for cell in on_ray.all()]
    assert [cell[-1] for cell in cells] == ["171 runs", *["168 runs"] * 4]
    few = copied.get_by_role("row").filter(has_text="meltano").get_by_role("cell").all()
    assert [cell.inner_text().split("\n")[0] for cell in few[3:]] == ["not measured", "not measured"]
    hybrid = page.get_by_role("article", name=ws.HYBRID, exact=True)
    texts = [cell.inner_text() for cell in hybrid.get_by_role("row").nth(1).get_by_role("cell").all()]
    assert "20 runs" in texts[0] and "few" not in texts[0], "the success stands on all of them"
    assert all("few" in text and "1 run" in text for text in texts[1:]), texts
    assert "only 1 of its runs succeeded: too few to rely on" in hybrid.inner_text()
    nightly = page.get_by_role("article", name=ws.NIGHTLY, exact=True).inner_text()
    assert "No recommendation: Every run failed; look at the errors first." in nightly
    assert "Of 7 runs, begun " in nightly and "only the newest 60 of all workflows were read" in nightly
    assert "only the newest" not in copied.inner_text()


def test_a_comparison_of_an_earlier_version_is_shown_without_what_that_one_did_not_say(show: Show) -> None:
    workspace = ws.busy_workspace()
    for one in workspace.parts["comparison"]:
        for name in ("runs", "since", "until", "newest", "no_choice"):
            del one[name]
        for summary in one["runtimes"]:
            for name in ("samples", "rows_samples", "cost_samples", "note"):
                del summary[name]
    page = show(workspace, "#/comparison")
    copied = page.get_by_role("article", name=ws.COPY, exact=True)
    copied.wait_for()
    assert copied.get_by_role("row").filter(has_text="ray").count() == 1
    told = copied.inner_text()
    assert "undefined" not in told and told.count("few") == 1, "of the runs alone, which it did say"


def test_a_read_that_is_refused_says_why_and_can_be_tried_again(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.refuse(
        "read_dashboard", "Forbidden", "ann may not run f/flexcore/dashboard/read_dashboard", "Ask for it."
    )
    page = show(workspace, "#/executions")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "ann may not run f/flexcore/dashboard/read_dashboard" in alert.inner_text()
    assert "Ask for it." in alert.inner_text()
    workspace.refused.clear()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("46 executions").wait_for()
    assert page.get_by_role("alert").count() == 0


def test_a_read_that_fails_later_leaves_what_was_read_and_says_that_it_is_old(show: Show) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions")
    page.get_by_text("46 executions").wait_for()
    workspace.refuse("read_dashboard", "Unreachable", "the database does not answer")
    page.get_by_role("button", name="Read again").click()
    page.get_by_text("the database does not answer (what is shown is of the last read)").wait_for()
    assert page.get_by_text("46 executions").is_visible()


def test_a_start_that_windmill_never_answers_is_told_after_its_limit(show: Show) -> None:
    page = show(ws.busy_workspace(), script="window.unanswered = ['read_dashboard']")
    page.get_by_text("Reading executions…").wait_for()
    page.clock.fast_forward(31_000)
    page.get_by_text("read_dashboard was not started within 30 s").wait_for()
    assert "you may run f/flexcore/dashboard/read_dashboard" in page.get_by_role("alert").inner_text()


@pytest.mark.parametrize("answer", [None, "text", [], {"rows": []}, {"now": 12, "server": {}}])
def test_an_answer_of_another_version_is_told_instead_of_shown(show: Show, answer: Any) -> None:
    workspace = ws.busy_workspace()
    workspace.answers["read_dashboard"] = lambda args: answer
    page = show(workspace)
    page.get_by_text("The workspace answered with something this page cannot read").wait_for()
    assert "deploy both from the same one" in page.get_by_role("alert").inner_text()


def test_a_view_that_cannot_show_its_data_leaves_the_others(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.parts["deployments"] = [{"name": "churn"}]
    page = show(workspace, "#/runtimes")
    page.get_by_text("u/admin/ray").wait_for()
    page.get_by_role("link", name="Deployments").click()
    page.get_by_text("Deployments cannot be shown").wait_for()
    page.get_by_role("link", name="Orphans").click()
    page.get_by_text("flexcore-extract-1").wait_for()


def test_a_view_that_could_not_be_shown_is_shown_with_the_next_read(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.parts["deployments"] = [{"name": "churn"}]
    page = show(workspace, "#/deployments")
    page.get_by_text("Deployments cannot be shown").wait_for()
    workspace.parts["deployments"] = ws.deployments()
    page.get_by_role("button", name="Read again").click()
    page.get_by_text("Deployments cannot be shown").wait_for(state="detached")
    page.get_by_text("demand").first.wait_for()


def test_a_result_of_another_version_says_which(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.details[ws.FAILED]["version"] = "0.9.1"  # type: ignore[index]
    page = show(workspace, ONE)
    page.get_by_text("This result is of flexcore 0.9.1, the workspace has 0.17.0 now").wait_for()


@pytest.mark.parametrize("url", ["https://jaeger.example.com/trace/5b8a", None, "javascript:alert(1)"])
def test_a_traced_execution_says_its_trace_and_leads_to_its_page(show: Show, url: str | None) -> None:
    workspace = ws.busy_workspace()
    workspace.details[ws.FAILED]["trace"] = {"id": "5b8a", "url": url}  # type: ignore[index]
    page = show(workspace, ONE)
    page.get_by_role("button", name="Copy trace id").wait_for()
    link = page.get_by_role("link", name="5b8a")
    assert link.count() == bool(url and url.startswith("https"))
    if link.count():
        assert link.get_attribute("href") == url


def test_a_run_that_windmill_has_forgotten_is_said_to_be(show: Show) -> None:
    page = show(ws.Workspace(), "#/executions/0193")
    page.get_by_text("This execution is not to be found").wait_for()
    assert page.get_by_text("Windmill has no execution 0193 that you may see").is_visible()


def test_a_run_of_the_index_alone_says_what_is_left_of_it(show: Show) -> None:
    old = ws.row("old", "success", 40 * 86_400, source="index")
    workspace = ws.Workspace(
        rows=[old], details={"old": ws.detail(old, steps=[], request=None, last_good=None, result=None)}
    )
    page = show(workspace, "#/executions/old")
    page.get_by_text("the run index keeps its summary only").wait_for()
    page.get_by_role("tab", name="Request").click()
    page.get_by_text("The request is not known").wait_for()


@pytest.mark.parametrize(("off", "told"), [(timedelta(minutes=17), "ahead of"), (timedelta(hours=-2), "behind")])
def test_a_clock_that_is_off_is_told_and_ages_follow_the_server(show: Show, off: timedelta, told: str) -> None:
    workspace = ws.busy_workspace()
    page = show(workspace, "#/executions", clock=ws.NOW + off, viewport=SIZES["narrow"])
    page.get_by_text(f"{told} the server's").wait_for()
    assert page.get_by_role("row").filter(has_text="queued").inner_text().splitlines()[-1] in (
        "20 s ago",
        "21 s ago",
        "22 s ago",
    )


def test_markup_in_names_stays_text(show: Show) -> None:
    evil = ws.MARKUP
    failed = ws.row(
        ws.FAILED, "failure", 60, workflow=evil, runtime=evil, created_by=evil, failed_step=evil, error=evil
    )
    steps = ws.failed_steps(evil)
    problem = ws.problem() | {"message": evil, "remedy": evil, "step": evil, "category": evil}
    workspace = ws.Workspace(
        rows=[failed],
        notices=[{"code": "x", "severity": "info", "message": evil, "remedy": evil}],
        details={
            ws.FAILED: ws.detail(
                failed, steps=steps, error=problem, request={evil: evil}, url=f"javascript:{evil}", version=evil
            )
        },
        log=[evil],
        parts={
            "runtimes": [ws.runtimes()[0] | {"name": evil, "problem": evil, "capabilities": {evil: [evil]}}],
            "comparison": [ws.comparison()[0] | {"workflow": evil}],
            "selection": [ws.selections()[0] | {"workflow": evil, "reasons": [evil]}],
            "deployments": [ws.deployments()[0] | {"name": evil, "url": f"javascript:{evil}"}],
            "orphans": [ws.orphans()[0] | {"name": evil, "owner": evil}],
            "stops": [ws.stops()[0] | {"workflow": evil, "reason": evil}],
        },
    )
    page = show(workspace, "#/executions")
    hashes = ["#/executions", *(f"{ONE}?tab={tab}" for tab in ("timeline", "logs", "request", "result", "events"))]
    for hash in [*hashes, *(f"#/{part}" for part in workspace.parts)]:
        page.evaluate("(hash) => { location.hash = hash }", hash)
        page.locator("main").get_by_text("<b>orders</b>").nth(2).wait_for(state="attached")
        assert page.locator("main img, main b:text-is('orders')").count() == 0
        assert page.locator("a[href^='javascript']").count() == 0
    assert page.title() == "App"


def test_an_error_of_5000_lines_is_cut_and_can_be_opened(show: Show) -> None:
    failed = ws.row(ws.FAILED, "failure", 60)
    message = "\n".join(f"line {index} of the traceback" for index in range(5000))
    workspace = ws.Workspace(
        rows=[failed], details={ws.FAILED: ws.detail(failed, error=ws.problem() | {"message": message})}
    )
    page = show(workspace, ONE)
    told = page.get_by_role("alert")
    told.wait_for()
    assert "line 4999" not in told.inner_text()
    assert told.bounding_box()["height"] < 600  # type: ignore[index]
    told.get_by_role("button", name="Show all 5,000 lines").click()
    assert "line 4999" in told.inner_text()
    assert told.bounding_box()["height"] < 860  # type: ignore[index]


def test_the_log_begins_at_its_end_and_goes_back(show: Show) -> None:
    workspace = ws.busy_workspace()
    workspace.log = [f"line {index}" for index in range(5000)]
    page = show(workspace, f"{ONE}?tab=logs")
    page.get_by_text("the last 2,000 lines of 5,000").wait_for()
    page.get_by_text("line 4999", exact=True).wait_for()
    page.get_by_role("button", name="Read earlier lines").click()
    page.get_by_text("the last 4,000 lines of 5,000").wait_for()
    page.get_by_role("button", name="Read earlier lines").click()
    page.get_by_text("5,000 lines", exact=True).wait_for()
    page.get_by_label("Find").fill("line 17")
    page.get_by_text("111 found in 5,000 lines").wait_for()
    assert [args["offset"] for args in workspace.called("read_logs")] == [-2000, 1000, 0]


def test_a_notice_that_only_informs_can_be_hidden_a_warning_cannot(show: Show) -> None:
    told = [
        ws.notice("no_settings", "info", "There is no settings resource"),
        ws.notice("older_server", "warning", "Old"),
    ]
    page = show(ws.Workspace(notices=told), "#/executions")
    page.get_by_role("button", name="Hide notice no_settings").click()
    page.get_by_text("There is no settings resource").wait_for(state="detached")
    assert page.get_by_role("button", name="Hide").count() == 0
    page.get_by_role("button", name="Read again").click()
    page.get_by_text("Nothing has run yet").wait_for()
    assert page.get_by_text("There is no settings resource").count() == 0


def test_there_is_one_spinner(show: Show) -> None:
    page = show(ws.busy_workspace(), ONE, script="window.unanswered = ['read_dashboard']")
    page.get_by_text("Reading the execution…").wait_for()
    assert page.locator(".spinner").count() == 1
    assert page.locator("[aria-busy=true]").count() == 1
