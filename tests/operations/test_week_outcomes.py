"""Which runs a week's report counts, as what, and that no error's text takes a secret into it."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.operations import history, outcomes, weekly_report
from f.flexcore.lib.views import weekly_pages
from f.flexcore.operations import send_report, summarize_week
from tests.operations.fake_windmill import FakeWindmill
from tests.operations.notification_servers import MailServer, Webhook, serving
from tests.operations.test_weekly_report import ENV, MONDAY, Jobs, job, outcome, read, report, shown

NEXT_MONDAY = MONDAY + timedelta(days=7)
HOUR = timedelta(hours=1)


def run(number: int, start: datetime, time: timedelta, **more: Any) -> dict[str, Any]:
    return job(number, started_at=start.isoformat(), duration_ms=time / timedelta(milliseconds=1), **more)


def ids(week: weekly_report.Week) -> set[int]:
    return {int(row.id[:8]) for row in week.rows}


# --- secrets

SECRETS = ("hunter2hunter2", "hunterhunter", "tellnobody", "ghp_abcdefghijklmnop")
ERROR = {
    "name": "OperationalError",
    "message": f"connect to postgres://etl:{SECRETS[0]}@db/x failed: password={SECRETS[1]}",
    "extra": {"remedy": f"Look at https://ann:{SECRETS[2]}@wiki/db with {SECRETS[3]}."},
}


@pytest.mark.parametrize("where", ["own", "step"])
def test_a_secret_in_an_error_is_in_no_page_mail_or_chat_of_a_report(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step = job(2, "f/x/step", job_kind="script", success=False, parent_job="x", result={"error": ERROR})
    status = {"modules": [{"id": "extract", "type": "Failure", "job": step["id"]}]}
    own = {"error": ERROR} if where == "own" else {"success": False, "error": ERROR["message"]}
    failed = job(1, success=False, result=own, flow_status=status)
    for name, value in {**ENV, "WM_TOKEN": "token", "FLEXCORE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with FakeWindmill() as windmill, serving(Webhook()) as hook, serving(MailServer()) as office:
        windmill.route = Jobs([failed, step])
        monkeypatch.setenv("BASE_INTERNAL_URL", windmill.address)
        plain = summarize_week.main("2026-W48")
        mailbox = {"channel": "email", "smtp_host": "127.0.0.1", "smtp_port": office.port, "smtp_security": "none"}
        page = send_report.main(plain, {**mailbox, "sender": "a@example.com", "recipients": ["b@example.com"]})["html"]
        send_report.main(plain, {"channel": "webhook", "webhook_url": hook.url})
        letter: Any = email.message_from_string(office.letters[0], policy=email.policy.default)
        mail = "".join(letter.get_body([kind]).get_content() for kind in ("plain", "html"))
        chat = hook.calls[0]["text"]
    for text in (str(plain), page, mail, chat):
        assert "postgres://etl:***@db/x failed: password=***" in text and "ann:***@wiki/db with ***" in text
        assert not [secret for secret in SECRETS if secret in text or secret.replace("2", "#") in text]


# --- which week


def test_a_run_counts_in_the_week_in_which_it_ended_and_in_no_other() -> None:
    second = timedelta(seconds=1)
    jobs = [
        run(1, MONDAY - 2 * HOUR, 3 * HOUR),
        run(2, NEXT_MONDAY - 2 * HOUR, 11 * HOUR),
        run(3, MONDAY - HOUR, HOUR),
        run(4, NEXT_MONDAY - HOUR, HOUR),
        run(5, NEXT_MONDAY - HOUR, HOUR - second),
        run(6, MONDAY - 2 * HOUR, HOUR),
    ]
    assert ids(read(jobs)) == {1, 3, 5}
    with FakeWindmill() as windmill:
        windmill.route = Jobs(jobs)
        week_after = history.read_week(windmill.client(), NEXT_MONDAY, NEXT_MONDAY + timedelta(days=7))
    assert ids(week_after) == {2, 4}


def test_a_run_that_was_canceled_before_it_began_counts_as_canceled() -> None:
    created = (MONDAY + HOUR).isoformat()
    canceled = job(1, started_at=None, created_at=created, duration_ms=0, success=False, canceled=True)
    (row,) = read([canceled]).rows
    assert row.status == "canceled"


def test_the_newest_results_are_those_of_the_runs_that_ended_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RESULTS", 1)
    week = read([run(1, MONDAY + HOUR, timedelta(0)), run(2, MONDAY, 5 * HOUR)])
    assert [(row.id[:8], row.is_read) for row in week.rows] == [("00000002", True), ("00000001", False)]


def test_a_report_says_how_many_runs_went_on_when_its_week_ended() -> None:
    jobs = [
        run(1, NEXT_MONDAY - HOUR, 3 * HOUR),
        run(2, NEXT_MONDAY - HOUR, timedelta(0), type="QueuedJob", running=True),
        run(3, NEXT_MONDAY + HOUR, timedelta(0), type="QueuedJob", running=True),
        run(4, NEXT_MONDAY - HOUR, 3 * HOUR, script_path="f/flexcore/operations/run_benchmark"),
        run(5, NEXT_MONDAY - HOUR, timedelta(0), type="QueuedJob", running=True, script_path="f/x/theirs", labels=None),
    ]
    week = read(jobs)
    assert week.unfinished == 2 and not week.rows
    plain = report([outcome()], unfinished=week.unfinished)
    said = "2 runs that went on when the week ended: each counts in the week in which it ends"
    assert said in plain["not_measured"] and all(said in text for text in shown(plain))
    assert not [gap for gap in report([outcome()])["not_measured"] if "went on" in gap]


# --- as what


def test_a_plan_is_no_run_whether_it_found_a_runtime_or_failed() -> None:
    refused = {"success": False, "error": "no runtime is allowed"}
    jobs = [
        job(1),
        job(2, labels=["flexcore", "plan", "workflow:sales"]),
        job(3, success=False, result=refused, args={"explain_only": True}),
        job(4, args={"explain_only": False}),
    ]
    week = read(jobs)
    assert ids(week) == {1, 4} and week.notes == []


def test_a_forecast_is_compared_with_the_time_of_the_work_and_not_of_the_whole_flow() -> None:
    forecast = {"duration_s": {"p10": 8, "p50": 10, "p90": 13}}
    result = {"success": True, "actual": {"duration_s": 11.0}, "forecast": forecast}
    week = read([job(1, duration_ms=60_000, result=result)])
    assert week.rows[0].duration_s == 60
    error = weekly_report.measure_forecast(week.rows)
    assert (error.runs, error.within) == (1, 1.0) and error.median == pytest.approx(0.1)


CONFLICT = {"name": "Conflict", "message": "x is stopped", "extra": {"category": "workflow_stopped"}}


@pytest.mark.parametrize(
    ("labels", "result", "status"),
    [
        (["flexcore", "workflow_stopped"], {"success": False, "error": "x is stopped"}, "canceled"),
        ([], {"error": CONFLICT}, "canceled"),
        ([], {"error": {**CONFLICT, "name": "ExecutionFailed"}}, "failure"),
        ([], {"error": {**CONFLICT, "extra": {"category": "stopped"}}}, "failure"),
    ],
)
def test_a_start_that_a_stopped_workflow_refuses_is_canceled_and_no_failure(
    labels: list[str], result: dict[str, Any], status: str
) -> None:
    (row,) = read([job(1, success=False, labels=labels, result=result)]).rows
    assert row.status == status and bool(row.reason) == (status == "failure")


# --- what it costs


def test_a_cost_says_of_how_many_runs_it_is_unless_it_is_of_all() -> None:
    some = [outcome(1, cost_usd=200.0), outcome(2, is_read=False), outcome(3, "canceled"), outcome(4)]
    title = weekly_pages.make_title(report(some))
    assert title.endswith(", 200.00 USD for 1 of 4 runs")
    assert weekly_pages.make_title(report(some[:1])).endswith(", 200.00 USD")


def test_costs_of_parts_of_the_runs_are_compared_by_run_and_say_of_how_many() -> None:
    before = [outcome(number, cost_usd=0.03) for number in range(10)]
    same = [outcome(number, cost_usd=0.03 if number < 4 else None) for number in range(20)]
    assert report(same, before)["changes"] == [], "fewer results were read, and a run costs what it did"
    dearer = [outcome(number, cost_usd=0.06 if number < 4 else None) for number in range(20)]
    told = "The cost of a run went from 0.03 to 0.06 USD (of 4 of 20 runs; before of 10 of 10)"
    assert report(dearer, before)["changes"] == [told]
    assert report(before, dearer)["changes"] == [
        "The cost of a run went from 0.06 to 0.03 USD (of 10 of 10 runs; before of 4 of 20)"
    ]


def test_why_runs_have_no_cost_is_told_by_cause() -> None:
    rows = [
        outcome(1, cost_usd=1.0),
        outcome(2),
        outcome(3, "failure", reason="x"),
        outcome(4, "canceled"),
        outcome(5, "skipped"),
        outcome(6, is_read=False),
    ]
    canceled, unpriced, *more = [gap for gap in report(rows)["not_measured"] if gap.startswith("the cost of")]
    assert canceled.startswith("the cost of 2 of 6 runs: they were canceled or skipped")
    assert unpriced.startswith("the cost of 2 of 6 runs: the settings have no price") and not more


def test_an_ended_job_without_any_time_is_no_error() -> None:
    assert outcomes.end_of_job({}).year == 1
