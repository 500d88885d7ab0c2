"""The weekly report: right numbers with their doubt, nothing invented, and never sent twice."""

from __future__ import annotations

import email
import email.policy
import socketserver
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, InvalidInput, Unavailable, Unreachable
from f.flexcore.lib.operations import history, outcomes, report_delivery, week_statistics, weekly_report
from f.flexcore.lib.operations.failure_message import Message
from f.flexcore.lib.storage.versioned_record import VersionedRecord
from f.flexcore.lib.views import result_pages, weekly_pages
from f.flexcore.operations import send_report, summarize_week
from tests.operations.fake_windmill import FakeWindmill
from tests.operations.notification_servers import MailServer, Webhook, serving
from tests.views.test_result_pages import ALLOWED_TAGS, MARKUP, Tags

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
WEEK = "2026-W48"
ENV = {"WM_WORKSPACE": "dev", "WM_BASE_URL": "https://windmill.example.com", "WM_ROOT_JOB_ID": "r1"}


def outcome(number: int = 0, status: str = "success", **more: Any) -> outcomes.Outcome:
    fields: dict[str, Any] = {
        "id": f"{number:08d}",
        "workflow": "data_pipeline",
        "team": "ann",
        "status": status,
        "runtime": "ray",
        "duration_s": 10.0 + number % 3,
        "is_read": True,
        **more,
    }
    return outcomes.Outcome(**fields)


def report(now: list[outcomes.Outcome], before: list[outcomes.Outcome] | None = None, **more: Any) -> dict[str, Any]:
    weeks = weekly_report.Week(now, **more), weekly_report.Week(before or [])
    return weekly_report.build_report(WEEK, MONDAY, MONDAY + timedelta(days=7), "dev", *weeks).plain()


# --- the week


@pytest.mark.parametrize(
    ("text", "now", "name", "begin"),
    [
        ("", NOW, "2026-W48", MONDAY),
        ("", datetime(2026, 11, 30, tzinfo=UTC), "2026-W48", MONDAY),
        ("", datetime(2026, 11, 29, 23, 59, tzinfo=UTC), "2026-W47", MONDAY - timedelta(days=7)),
        ("2026-W48", NOW, "2026-W48", MONDAY),
        ("2026-W01", NOW, "2026-W01", datetime(2025, 12, 29, tzinfo=UTC)),
    ],
)
def test_a_week_is_that_of_iso_8601_and_the_last_one_that_has_ended(
    text: str, now: datetime, name: str, begin: datetime
) -> None:
    assert weekly_report.find_week(text, now) == (name, begin, begin + timedelta(days=7))


@pytest.mark.parametrize("text", ["2026-W54", "2026-48", "last week", "2026-W00", "<b>", "2026-W50", "2027-W01"])
def test_what_is_no_week_or_has_not_begun_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(InvalidInput, match="week: ") as refused:
        weekly_report.find_week(text, NOW)
    assert refused.value.remedy and refused.value.subject == "week"


# --- numbers


@pytest.mark.parametrize(
    ("successes", "runs", "low", "high"),
    # Newcombe (1998), table I, score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_rate_is_wilsons(successes: int, runs: int, low: float, high: float) -> None:
    rows = [outcome(status="success" if number < successes else "failure") for number in range(runs)]
    rate = week_statistics.compute_rate(rows)
    assert [rate.low, rate.high] == pytest.approx([low, high], abs=1e-4)


def test_canceled_and_skipped_runs_are_counted_and_are_no_failures() -> None:
    plain = report([outcome(), outcome(1, "canceled"), outcome(2, "skipped"), outcome(3, "failure", reason="x")])
    assert plain["statuses"] == {"canceled": 1, "failure": 1, "skipped": 1, "success": 1}
    assert (plain["rate"]["successes"], plain["rate"]["runs"], plain["runs"]) == (1, 2, 4)


def test_a_p95_of_few_runs_is_not_given_for_one() -> None:
    assert week_statistics.compute_durations([outcome(n) for n in range(19)]).p95 is None
    assert week_statistics.compute_durations([outcome(n) for n in range(20)]).p95 == 12.0


def test_cost_is_by_workflow_team_and_runtime_and_says_how_many_runs_had_a_price() -> None:
    rows = [outcome(1, cost_usd=1.5), outcome(2, cost_usd=2.5, team="bob"), outcome(3, runtime=None, team="bob")]
    plain = report(rows, [outcome(4, cost_usd=1.0)])
    assert plain["currency"] == "USD" and plain["cost"]["total"] == 4.0 and plain["cost"]["before"] == 1.0
    by_team = {item["name"]: (item["total"], item["priced"], item["runs"]) for item in plain["costs"]["team"]}
    assert by_team == {"bob": (2.5, 1, 2), "ann": (1.5, 1, 1)}
    by_runtime = {item["name"]: item["total"] for item in plain["costs"]["runtime"]}
    assert by_runtime == {"ray": 4.0, "several or none": None}, "not measured is not 0"
    assert any(gap.startswith("the cost of 1 of 3 runs") for gap in plain["not_measured"])


def test_the_most_frequent_failure_comes_first_with_what_to_do_and_ids_do_not_split_it() -> None:
    rows = [
        outcome(number, "failure", reason=outcomes.shorten_reason(f"fc-{number:020x}-1: pod 10.0.0.{number} is gone"))
        for number in range(5)
    ]
    rows.append(outcome(9, "failure", reason="no room", category="no_capacity", remedy="Add a node."))
    first, second = report(rows)["failures"]
    assert (first["count"], first["reason"]) == (5, "#: pod # is gone")
    assert (second["remedy"], second["example"]) == ("Add a node.", "00000009")


def test_a_forecast_is_measured_against_what_came() -> None:
    bounds: dict[str, Any] = {"forecast_low_s": 8.0, "forecast_high_s": 13.0}
    rows = [
        outcome(1, actual_s=12.0, forecast_s=10.0, **bounds),
        outcome(2, actual_s=20.0, forecast_s=10.0, **bounds),
    ]
    forecast = report(rows)["forecast"]
    assert forecast == {"runs": 2, "median": pytest.approx(0.6), "within": 0.5}
    assert report([outcome()])["forecast"] == {"runs": 0, "median": None, "within": None}


def test_only_what_chance_would_not_explain_has_changed() -> None:
    steady = [outcome(number) for number in range(30)]
    assert report(steady, steady)["changes"] == []
    one_more = [*steady[:-1], outcome(30, "failure", reason="x", is_read=False)]
    assert report(one_more, steady)["changes"] == [], "one failure in thirty is chance"
    slow = [outcome(number, duration_s=40.0 + number % 3) for number in range(30)]
    assert report(slow, steady)["changes"] == ["data_pipeline on ray became slower: its median went from 11 s to 41 s"]
    broken = [outcome(number, "failure" if number % 2 else "success", reason="no room") for number in range(30)]
    changes = report(broken, steady)["changes"]
    assert "The success rate of data_pipeline on ray fell from 100% to 50%" in changes
    assert "New failure, 15 times: no room" in changes
    moved = report([outcome(workflow="new", cost_usd=2.0)], [outcome(workflow="old", cost_usd=1.0)])["changes"]
    assert moved == [
        "new ran for the first time in two weeks",
        "old did not run any more",
        "The cost went from 1.00 to 2.00 USD",
    ]


# --- the pages


def shown(plain: dict[str, Any]) -> tuple[str, str, str]:
    links = result_pages.read_links(ENV)
    mail = weekly_pages.render_mail(plain, links)
    return weekly_pages.render_report(plain, links), mail, "\n".join(weekly_pages.format_lines(plain))


def without_head(mail: str) -> str:
    """The document without its head, which has tags that do not close and the title once more."""
    before, _, rest = mail.removeprefix("<!DOCTYPE html>").partition("<head>")
    return before + rest.partition("</head>")[2]


def test_a_week_without_a_run_says_so_and_invents_nothing() -> None:
    plain = report([])
    page, mail, text = shown(plain)
    for read_text in (Tags(page).text, Tags(without_head(mail)).text, text):
        assert "no run" in read_text
        assert "Orphans found: not measured" in read_text and "Forecast error: not measured" in read_text
        assert "0%" not in read_text and "nan" not in read_text.lower()
    assert "success not measured" in text and "No workflow ran." in page and "<svg" not in page
    assert weekly_pages.make_title(plain) == "Week 2026-W48 in dev: no run"


def test_a_week_with_one_run_shows_how_little_it_says() -> None:
    plain = report([outcome(cost_usd=0.5)])
    assert weekly_pages.describe(plain) == "1 run, 100.0% successful (21% to 100%, n=1), 0.50 USD"
    page, mail, text = shown(plain)
    assert "data_pipeline on ray: 100.0% successful (21% to 100%, n=1), p50 10 s, p95 —" in text
    assert "not measured (n=1)" in page and "<svg" in page and "<svg" not in mail


def test_a_week_of_many_thousand_runs_is_made_quickly_and_stays_small() -> None:
    rows = [
        outcome(
            number,
            "failure" if number % 10 == 0 else "success",
            workflow=f"w{number % 300}",
            team=f"t{number % 500}",
            reason=f"r{number % 40}",
        )
        for number in range(20_000)
    ]
    begun = time.perf_counter()
    plain = report(rows, rows)
    page, mail, text = shown(plain)
    assert time.perf_counter() - begun < 10
    assert max(map(len, (page, mail))) < 150_000 and len(text) < 20_000
    assert any("left out of the table" in gap for gap in plain["not_measured"])


def test_no_text_of_a_user_is_markup_in_page_mail_or_chat(webhook: Webhook, env: dict[str, str]) -> None:
    rows = [
        outcome(
            1, "failure", workflow=MARKUP, team=MARKUP, runtime=MARKUP, reason=MARKUP, category=MARKUP, remedy=MARKUP
        ),
        outcome(2, workflow=MARKUP),
    ]
    page, mail, _ = shown(report(rows, [outcome()]))
    assert set(Tags(page).tags) <= ALLOWED_TAGS
    assert set(Tags(without_head(mail)).tags) <= {*ALLOWED_TAGS, "html", "body"}
    send_report.main(report(rows), {"channel": "webhook", "webhook_url": webhook.url})
    assert "<img" not in webhook.calls[0]["text"] and "&lt;img" in webhook.calls[0]["text"]


# --- from Windmill's jobs


def job(number: int, path: str = "f/flexcore/data_pipeline", **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:08d}-0000-4000-8000-000000000000",
        "type": "CompletedJob",
        "job_kind": "flow",
        "script_path": path,
        "success": True,
        "started_at": (MONDAY + timedelta(hours=number % 100)).isoformat(),
        "duration_ms": 12_000,
        "created_by": "ann",
        "permissioned_as": "u/ann",
        "labels": ["flexcore", "runtime:ray"],
        **more,
    }


class Jobs:
    """Answers lists and jobs as Windmill does, so far as reports ask."""

    def __init__(self, jobs: list[dict[str, Any]]) -> None:
        self.jobs = jobs

    def __call__(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if "/jobs_u/get/" in path:
            found = [item for item in self.jobs if item["id"] == path.rsplit("/", 1)[-1]]
            return (200, found[0]) if found else (404, "")
        asked = {name: values[0] for name, values in query.items()}
        kind = "QueuedJob" if path.endswith("/jobs/queue/list") else "CompletedJob"
        rows = [item for item in self.jobs if item["type"] == kind and self._matches(item, asked)]
        size, page = int(asked["per_page"]), int(asked["page"])
        keep = [{name: value for name, value in item.items() if name != "result"} for item in rows]
        return 200, keep[(page - 1) * size : page * size]

    def _matches(self, item: dict[str, Any], asked: dict[str, str]) -> bool:
        """Windmill's bounds are inclusive, and what has not begun is outside of each that is about its start."""
        path, started = item["script_path"], item["started_at"]
        ended = datetime.fromisoformat(started or item["created_at"]) + timedelta(milliseconds=item["duration_ms"])
        begins = {"started_after", "started_before"} & asked.keys()
        return (
            (not begins or bool(started))
            and asked.get("started_after", "") <= (started or "") <= asked.get("started_before", "9")
            and asked.get("completed_after", "") <= ended.isoformat() <= asked.get("completed_before", "9")
            and path.startswith(asked.get("script_path_start", ""))
            and asked.get("script_path_exact", path) == path
            and (asked.get("label") is None or asked["label"] in (item["labels"] or ()))
        )


def read(jobs: list[dict[str, Any]]) -> weekly_report.Week:
    with FakeWindmill() as windmill:
        windmill.route = Jobs(jobs)
        return history.read_week(windmill.client(), MONDAY, MONDAY + timedelta(days=7))


def test_a_week_is_read_from_windmills_jobs_each_run_once_and_upkeep_not_at_all() -> None:
    result = {
        "success": True,
        "actual": {"cost_usd": 0.25, "rows": 5},
        "forecast": {"duration_s": {"p10": 8, "p50": 10, "p90": 13}},
    }
    week = read(
        [
            job(1, result=result),
            job(2, "f/sales/nightly", permissioned_as="u/bob"),
            job(3, "f/flexcore/operations/weekly_report"),
            job(4, "f/flexcore/hybrid_pipeline", parent_job="x"),
            job(5, labels=["flexcore", "dashboard"]),
            job(6, started_at=(MONDAY - timedelta(seconds=13)).isoformat()),
            job(7, success=False, result={"error": {"name": "E", "message": "gone 7", "extra": {"remedy": "Do it."}}}),
            job(
                8, success=False, result={"success": False, "error": "Extraction failed: no rows", "failed_stage": "ml"}
            ),
        ]
    )
    rows = {row.id[:8]: row for row in week.rows}
    assert set(rows) == {"00000001", "00000002", "00000007", "00000008"}
    assert (rows["00000001"].cost_usd, rows["00000001"].forecast_s, rows["00000001"].team) == (0.25, 10, "ann")
    assert (rows["00000002"].team, rows["00000002"].workflow) == ("sales", "f/sales/nightly")
    assert (rows["00000007"].category, rows["00000007"].reason, rows["00000007"].remedy) == ("E", "gone #", "Do it.")
    assert rows["00000008"].reason == "Extraction failed: no rows"
    assert week.orphans is None and week.notes == []


def test_the_remedy_of_a_pipelines_failure_is_that_of_the_step_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {
        "error": {"name": "E", "message": "no rows", "extra": {"remedy": "Use full_refresh.", "category": "empty"}}
    }
    step = job(2, "f/flexcore/meltano/run", job_kind="script", success=False, parent_job="x", result=error)
    status = {"modules": [{"id": "extract", "type": "Failure", "job": step["id"]}]}
    result = {"success": False, "error": "Extraction failed: no rows"}
    jobs = [job(1, "f/flexcore/hybrid_pipeline", success=False, result=result, flow_status=status), step]
    monkeypatch.setenv("WM_WORKSPACE", "test")
    monkeypatch.setenv("WM_TOKEN", "token")
    for item in jobs:
        item["started_at"] = (MONDAY - timedelta(days=3)).isoformat()
    with FakeWindmill() as windmill:
        windmill.route = Jobs(jobs)
        monkeypatch.setenv("BASE_INTERNAL_URL", windmill.address)
        (cause,) = summarize_week.main("2026-W47")["failures"]
    assert (cause["reason"], cause["remedy"]) == ("Extraction failed: no rows", "Use full_refresh.")
    assert cause["category"] == "empty"


def test_results_beyond_what_is_read_are_said_and_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RESULTS", 3)
    week = read([job(number) for number in range(10)])
    assert len(week.rows) == 10 and sum(row.is_read for row in week.rows) == 3
    assert week.notes == ["cost, forecast and reason of 7 runs, whose results were not read"]


def test_orphans_are_those_that_passes_of_the_week_have_stopped() -> None:
    line = {"action": "stop", "object": "Job ns/fc-1"}
    path = "f/flexcore/operations/reconcile"
    passes = [job(1, path, job_kind="script", labels=["orphans"], result={"table-row-object": [line, line]})]
    passes.append(job(2, path, job_kind="script", labels=[], result={"table-row-object": []}))
    assert read(passes).orphans == 1
    assert read(passes[1:]).orphans == 0, "a pass ran and found none"
    assert read([]).orphans is None


# --- sending it


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving(Webhook()) as server:
        yield server


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {**ENV, "FLEXCORE_HOME": str(tmp_path)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def hook(server: Webhook) -> dict[str, Any]:
    return {"channel": "webhook", "webhook_url": server.url}


def mailbox(port: int) -> dict[str, Any]:
    resource = {"channel": "email", "smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none"}
    return {**resource, "sender": "flexcore@example.com", "recipients": ["a@example.com"]}


def test_a_mail_has_the_report_as_text_and_as_html(post_office: MailServer, env: dict[str, str]) -> None:
    plain = report([outcome(1, "failure", reason="<no> room", remedy="Add a node."), outcome(2)])
    result = send_report.main(plain, mailbox(post_office.port))
    assert (result["delivery"], result["success"], result["week"]) == ("sent", True, WEEK)
    assert "The report was sent." in result["html"]
    letter = email.message_from_string(post_office.letters[0], policy=email.policy.default)
    assert str(letter["Subject"]).startswith("[flexcore] Week 2026-W48 in dev: 2 runs, 50.0% successful")
    text, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text and page
    assert "Failed 1 times: <no> room What to do: Add a node." in text.get_content()
    assert "&lt;no&gt; room" in page.get_content() and page.get_content().startswith("<!DOCTYPE html>")
    assert "https://windmill.example.com/run/r1?workspace=dev" in text.get_content()


def test_recipients_that_the_mail_server_refuses_are_told_on_the_reports_page(
    post_office: MailServer, env: dict[str, str]
) -> None:
    given = mailbox(post_office.port)
    post_office.refused = ["b@example.com"]
    result = send_report.main(report([outcome()]), {**given, "recipients": ["a@example.com", "b@example.com"]})
    assert result["delivery"] == "sent to some" and "refused some of its recipients" in result["html"]


def test_a_report_is_sent_once_for_each_week_and_channel(webhook: Webhook, env: dict[str, str]) -> None:
    plain = report([outcome()])
    states = [send_report.main(plain, hook(webhook))["delivery"] for _ in range(3)]
    assert states == ["sent", "sent before", "sent before"] and len(webhook.calls) == 1
    assert send_report.main({**plain, "week": "2026-W49"}, hook(webhook))["delivery"] == "sent"
    assert send_report.main(plain, hook(webhook), send_again=True)["delivery"] == "sent"
    with serving(Webhook()) as other:
        assert send_report.main(plain, hook(other))["delivery"] == "sent"
    assert len(webhook.calls) == 3


def test_of_runs_at_the_same_time_one_sends(webhook: Webhook, env: dict[str, str]) -> None:
    message = Message("title", ["line"])
    with ThreadPool(8) as pool:
        states = pool.map(
            lambda _: report_delivery.send_once(hook(webhook), message, WEEK, None, env), range(8), chunksize=1
        )
    assert len(webhook.calls) == 1 and states.count("sent") == 1
    assert set(states) <= {"sent", "sent before", "unknown"}


def test_a_worker_that_dies_while_it_sends_has_it_sent_no_second_time(
    webhook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("f.flexcore.lib.operations.notifications.deliver", die)
    with pytest.raises(KeyboardInterrupt):
        send_report.main(report([]), hook(webhook))
    monkeypatch.undo()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert send_report.main(report([]), hook(webhook))["delivery"] == "unknown"
    assert webhook.calls == []
    assert send_report.main(report([]), hook(webhook), send_again=True)["delivery"] == "sent"


def step_of(monkeypatch: pytest.MonkeyPatch, flow: str, job: str) -> None:
    """The environment of the step of a flow, in one of its jobs: a retry has the same flow and another job."""
    for name, value in {"WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": "send", "WM_JOB_ID": job}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("moment", ["delivered", "recorded"])
def test_a_step_that_was_told_to_send_again_does_so_once_however_often_it_is_repeated(
    webhook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    step_of(monkeypatch, "flow-1", "job-1")
    assert send_report.main(report([]), hook(webhook))["delivery"] == "sent"
    step_of(monkeypatch, "flow-2", "job-2")
    write, written = VersionedRecord.write, []

    def lose_the_end(record: VersionedRecord, version: int, value: dict[str, Any]) -> bool:
        if value["state"] == "sent" and moment == "delivered":
            raise Unreachable("The store does not answer")
        written.append(value["state"])
        return write(record, version, value)

    with monkeypatch.context() as patch:
        patch.setattr(VersionedRecord, "write", lose_the_end)
        with suppress(Unreachable):
            send_report.main(report([]), hook(webhook), send_again=True)
    assert len(webhook.calls) == 2
    assert written == {"delivered": ["sending"], "recorded": ["sending", "sent"]}[moment]
    expected = {"delivered": "unknown", "recorded": "sent"}[moment]
    for job in ("job-2", "job-3"):
        step_of(monkeypatch, "flow-2", job)
        assert send_report.main(report([]), hook(webhook), send_again=True)["delivery"] == expected
    assert len(webhook.calls) == 2
    step_of(monkeypatch, "flow-3", "job-4")
    assert send_report.main(report([]), hook(webhook), send_again=True)["delivery"] == "sent"
    assert len(webhook.calls) == 3


def test_a_channel_that_refuses_fails_the_step_and_a_repeat_sends(
    webhook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.operations.report_delivery.time.sleep", lambda _: None)
    webhook.answers = [404]
    with pytest.raises(ExecutionFailed, match="HTTP 404") as refused:
        send_report.main(report([]), hook(webhook))
    assert "was not sent" in refused.value.remedy and webhook.url not in str(refused.value.__dict__)
    webhook.answers = [503] * 3
    with pytest.raises(Unavailable) as busy:
        send_report.main(report([]), hook(webhook))
    assert busy.value.retryable
    assert send_report.main(report([]), hook(webhook))["delivery"] == "sent"


class _HangUp(socketserver.StreamRequestHandler):
    """Takes the letter and cuts the connection before it says so, or after, in place of a goodbye."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.server.taken += 1  # type: ignore[attr-defined]
                if not self.server.answers:  # type: ignore[attr-defined]
                    return
            elif line.upper().startswith(b"QUIT"):
                self.wfile.write(b"421 I am tired\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


class _RudeServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self, answers: bool) -> None:
        super().__init__(("127.0.0.1", 0), _HangUp)
        self.answers, self.taken = answers, 0


def test_a_mail_server_that_hangs_up_after_the_letter_gets_it_no_second_time(env: dict[str, str]) -> None:
    with serving(_RudeServer(answers=False)) as server:
        channel = mailbox(server.server_address[1])
        with pytest.raises(ExecutionFailed, match="whether the report arrived is not known") as refused:
            send_report.main(report([]), channel)
        assert "send_again" in refused.value.remedy and not refused.value.retryable
        assert send_report.main(report([]), channel)["delivery"] == "unknown"
        assert server.taken == 1


def test_a_letter_that_was_taken_is_sent_whatever_the_server_says_at_the_end(env: dict[str, str]) -> None:
    with serving(_RudeServer(answers=True)) as server:
        assert send_report.main(report([]), mailbox(server.server_address[1]))["delivery"] == "sent"
        assert server.taken == 1


def test_a_week_that_goes_on_is_shown_so_far_and_not_sent(webhook: Webhook, env: dict[str, str]) -> None:
    name, begin, end = weekly_report.find_week("2026-W49", NOW)
    assert (name, end) == ("2026-W49", NOW)
    week = weekly_report.Week([outcome()])
    plain = weekly_report.build_report(name, begin, end, "dev", week, weekly_report.Week([])).plain()
    result = send_report.main(plain, hook(webhook))
    assert result["delivery"] == "not over" and webhook.calls == []
    assert "this is 2026-W49 so far" in result["html"]


def test_without_a_channel_it_is_only_shown(env: dict[str, str]) -> None:
    for channel in (None, {}, {"channel": "none"}):
        result = send_report.main(report([outcome()]), channel)
        assert result["delivery"] == "no channel" and "1 run" in result["html"]


@pytest.mark.parametrize("channel", [{"channel": "webhook"}, {"channel": "pigeon"}, {"channel": "email"}])
def test_a_channel_that_is_not_complete_is_named(channel: dict[str, Any], env: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="notify"):
        send_report.main(report([]), channel)


@pytest.mark.parametrize("broken", [{}, {"week": "2026-W48"}, {"render_all": []}])
def test_what_is_no_report_is_refused(broken: dict[str, Any], env: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="report is not the report of a week"):
        send_report.main(broken)


def test_a_store_that_cannot_be_used_sends_nothing(webhook: Webhook, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file"):
        send_report.main(report([]), hook(webhook), {"storage_uri": f"file://{tmp_path}/file/below"})
    assert webhook.calls == []


def test_the_first_step_reads_the_week_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_WORKSPACE", "test")
    with FakeWindmill() as windmill:
        earlier = [(MONDAY - timedelta(days=days)).isoformat() for days in (3, 10)]
        windmill.route = Jobs([job(number, started_at=at) for number, at in enumerate(earlier)])
        monkeypatch.setenv("BASE_INTERNAL_URL", windmill.address)
        monkeypatch.setenv("WM_TOKEN", "token")
        found = summarize_week.main("2026-W47")
    assert (found["week"], found["runs"], found["runs_before"], found["workspace"]) == ("2026-W47", 1, 1, "test")
