"""The last page of every flow: what happened, its stages, what is next; and the plain data as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest

from f.flexcore.lib.core import contracts, pipeline_result, result_page
from f.flexcore.lib.views import failure_pages, html, result_pages, stages
from f.flexcore.pipeline import compose_failure, compose_result, report_failure
from tests.views import result_cases as cases

MARKUP = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>&"
ALLOWED_TAGS = {
    *("div", "p", "b", "span", "h3", "ul", "li", "a", "code", "table", "tr", "th", "td", "details", "summary", "pre"),
    *("svg", "title", "text", "rect", "path", "line", "circle", "polyline"),
}
WORKFLOW = {"success": True, "nodes": {"a": cases.step("kubernetes").plain()}, "reused": ["a"]}
Show = Callable[[Any, dict[str, str]], dict[str, Any]]
SHOWN: list[tuple[str, Show, Any]] = [
    ("step", result_pages.show_step, cases.step().plain()),
    ("training", result_pages.show_step, cases.step("ray", cases.MODEL).plain()),
    ("deployment", result_pages.show_step, cases.step("kubernetes", cases.ENDPOINT).plain()),
    ("hybrid", partial(result_pages.show, result_pages.render_pipeline), cases.hybrid("extraction").plain()),
    ("data", partial(result_pages.show, result_pages.render_data_pipeline), cases.data_pipeline()),
    (
        "plan",
        partial(result_pages.show, result_pages.render_data_pipeline),
        cases.data_pipeline(explain_only=True, attempts=[], actual=None, result=None),
    ),
    ("workflow", partial(result_pages.show, result_pages.render_workflow), WORKFLOW),
    ("failure", failure_pages.show_failure, cases.failure(details={"log_tail": "a log", "diagnosis": None})),
    (
        "hybrid failure",
        lambda plain, env: failure_pages.show_pipeline_failure(plain, cases.failure(), env),
        cases.failed_hybrid().plain(),
    ),
    (
        "data failure",
        lambda plain, env: failure_pages.show_data_failure(plain, cases.failure(), env),
        cases.data_pipeline(success=False, error="no room", result=None),
    ),
]
EVERY_PAGE = pytest.mark.parametrize(("show", "plain"), [item[1:] for item in SHOWN], ids=[item[0] for item in SHOWN])


class Tags(HTMLParser):
    """Collects what is markup on a page, and checks that every tag that opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def with_markup(value: Any) -> Any:
    """Every text of a user in it, replaced; words that decide what a page is stay."""
    if isinstance(value, dict):
        return {
            MARKUP if name == "a" else name: item if name == "kind" else with_markup(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_markup(item) for item in value]
    return MARKUP if isinstance(value, str) else value


def page_of(show: Show, plain: Any, env: dict[str, str] = cases.ENV) -> str:
    return str(show(plain, env)[result_page.HTML])


@EVERY_PAGE
def test_a_result_with_its_page_keeps_every_field_where_programs_read_it(show: Show, plain: dict[str, Any]) -> None:
    shown = show(plain, cases.ENV)
    assert shown["wm_renderer"] == "html" and shown["html"].startswith("<div")
    assert result_page.drop_page(shown) == plain
    assert json.loads(json.dumps(shown)) == shown


@EVERY_PAGE
def test_no_text_of_a_user_is_markup(show: Show, plain: dict[str, Any]) -> None:
    page = page_of(show, with_markup(plain))
    read = Tags(page)
    assert set(read.tags) <= ALLOWED_TAGS
    assert not any(name.startswith("on") for name, _ in read.attributes)
    assert all(value.startswith("https://") for name, value in read.attributes if name == "href")
    assert "<script>" in read.text or "<img" in read.text


@EVERY_PAGE
def test_every_page_begins_with_what_happened_and_reads_on_both_grounds(show: Show, plain: dict[str, Any]) -> None:
    page = page_of(show, plain)
    assert Tags(page).tags[:3] == ["div", "p", "b"], "the summary comes first"
    assert "<style" not in page and "prefers-color-scheme" not in page
    assert 'fill="black"' not in page and 'fill="white"' not in page


def luminance(color: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", sorted({*html.STATE_COLORS.values(), html.GRAY, *stages.PART_COLORS}))
def test_each_color_stands_out_from_windmills_light_and_dark_page(color: str) -> None:
    assert min(contrast(color, ground) for ground in html.GROUNDS) >= 3, "WCAG 2.2, 1.4.11"


def test_a_pipeline_says_what_it_reused_what_it_took_and_where_the_model_answers() -> None:
    read = Tags(page_of(*SHOWN[3][1:]))
    assert (
        "3 stages, 1 of them reused; their work took 26 s; the model answers at http://models.example.com" in read.text
    )
    assert "reused" in read.text and "1,234" in read.text
    assert read.text.count("not measured") >= 3, "the cost of no stage is known"
    assert "POST to http://models.example.com/v2/models/delays/infer" in read.text
    hrefs = [value for name, value in read.attributes if name == "href"]
    assert "https://windmill.example.com/flows/get/f/flexcore/kubernetes/canary_release?workspace=dev" in hrefs
    assert "rect" in read.tags


def test_a_data_pipeline_shows_each_attempt_and_the_forecast_beside_what_came() -> None:
    text = Tags(page_of(*SHOWN[4][1:])).text
    assert "meltano did the work; it took 14 s, 1,234 rows" in text
    assert "could not start" in text and "attempt 2" in text
    assert "12 s (8 s to 20 s)" in text and "Why meltano: it costs the least" in text


def test_a_plan_says_that_nothing_was_run() -> None:
    assert "nothing was run" in Tags(page_of(*SHOWN[5][1:])).text


def test_a_failed_pipeline_says_what_to_do_what_is_kept_and_how_to_go_on() -> None:
    read = Tags(page_of(*SHOWN[8][1:]))
    assert read.text.startswith("● failed at train: The head is gone. Start it.")
    assert "Start the head of the cluster." in read.text
    again = "Kept: extraction. To go on from there, start f/flexcore/operations/resume_pipeline with execution"
    assert f"{again} {cases.ENV['WM_FLOW_JOB_ID']}" in read.text
    assert "not run" in read.text and read.text.count("● failed") == 2, "the summary, and the stage of the table"


def test_an_error_of_five_thousand_lines_is_cut_and_says_so() -> None:
    error = "\n".join(f"line {number}" for number in range(5000))
    page = page_of(failure_pages.show_failure, cases.failure(error=error))
    assert len(page) < 10_000
    assert "characters before this are not shown" in page and "line 4999" in page and "at train: line 0" in page


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "", None, " javascript:x"])
def test_an_address_that_is_not_http_is_no_link(address: Any) -> None:
    assert html.build_link(address, "here") == "here"


def test_a_step_that_has_only_submitted_its_work_and_what_is_no_step_result_have_no_page() -> None:
    deferred = cases.step(data={"deferred": {"execution_key": "fc-1"}}).plain()
    results: list[dict[str, Any]] = [deferred, {"table-row-object": []}, {"clusters": []}]
    for plain in results:
        assert result_pages.show_step(plain, cases.ENV) is plain


@pytest.mark.parametrize("broken", [{"stages": [{"stage": "ml"}]}, {"stages": 3}, {"stages": [None]}])
def test_a_page_that_cannot_be_made_costs_no_result(broken: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert result_pages.show(result_pages.render_pipeline, broken, cases.ENV) == broken
    assert "could not be made" in capsys.readouterr().out


def test_a_page_that_is_too_large_is_left_out() -> None:
    assert result_page.add_page({"a": 1}, "x" * (result_page.MAX_PAGE_CHARACTERS + 1)) == {"a": 1}


def test_a_workflow_of_many_containers_shows_the_first_and_says_how_many_more() -> None:
    nodes = {f"n{number}": cases.step("kubernetes").plain() for number in range(150)}
    page = page_of(*SHOWN[6][1:2], {"nodes": nodes})
    assert "50 more are not shown" in page and "150 containers finished" in page
    assert len(page) < result_page.MAX_PAGE_CHARACTERS


@pytest.mark.parametrize(
    ("contract", "plain"),
    [
        (contracts.StepResult, cases.step().plain()),
        (contracts.PipelineResult, cases.hybrid().plain()),
        (contracts.FlowFailure, cases.failure()),
        (pipeline_result.DataPipelineResult, cases.data_pipeline()),
    ],
)
def test_the_next_step_reads_a_result_with_its_page_as_if_it_had_none(contract: Any, plain: dict[str, Any]) -> None:
    assert contract.model_validate(result_page.add_page(plain, "<b>page</b>")) == contract.model_validate(plain)


def test_a_field_html_that_is_a_users_own_is_kept() -> None:
    for plain in ({"html": "<b>mine</b>"}, {"wm_renderer": "png", "html": "x"}, [1], None):
        assert result_page.drop_page(plain) == plain


def test_the_last_steps_of_the_pipelines_end_with_a_page_whatever_came_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in cases.ENV.items():
        monkeypatch.setenv(name, value)
    done: dict[str, Any] = {
        item.stage: result_pages.show_step(item.result.plain(), cases.ENV) for item in cases.hybrid().stages
    }
    composed = compose_result.main(**done)
    assert "3 stages" in composed["html"] and composed["success"] is True
    assert all("html" not in item["result"] for item in composed["stages"]), "pages are not nested"
    error = {"name": "Unreachable", "message": "gone", "step_id": "train", "extra": {"remedy": "Start it."}}
    failed = compose_failure.main(error, extraction=done["extraction"])
    assert failed["failed_stage"] == "ml" and "Start it." in failed["html"] and "Kept: extraction" in failed["html"]
    assert "Start it." in report_failure.main(error)["html"]
