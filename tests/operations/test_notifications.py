"""Who is notified of a failure, and that the notification changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import Unreachable
from f.flexcore.lib.core.resources import Notifications
from f.flexcore.lib.operations.failure_message import Message, compose_message, flow_path, parse_failure
from f.flexcore.lib.operations.notifications import deliver, notify
from f.flexcore.lib.windmill import stops
from f.flexcore.pipeline.compose_data_failure import main as data_failure
from f.flexcore.pipeline.compose_failure import main as hybrid_failure
from f.flexcore.pipeline.report_failure import main as report
from tests.operations.notification_servers import MailServer, Webhook, serving

ENV = {"WM_FLOW_JOB_ID": "f1", "WM_ROOT_JOB_ID": "r1", "WM_FLOW_STEP_ID": "failure", "WM_WORKSPACE": "dev"}
ENV |= {"WM_BASE_URL": "https://windmill.example.com", "WM_FLOW_PATH": "f/flexcore/templates/x/branchone-0"}


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with serving(Webhook()) as server:
        yield server


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**ENV, "FLEXCORE_HOME": str(tmp_path)}


def error() -> dict[str, Any]:
    """As Windmill hands it to a failure module."""
    raised = Unreachable(
        "The head <x> is gone & away", subject="cluster", remedy="Start it.", remote={"url": "http://ray/1"}
    )
    return {"name": "Unreachable", "message": str(raised), "step_id": "run", "extra": raised.__dict__, "stack": "…"}


def message() -> Message:
    return compose_message(parse_failure(error(), ENV), flow_path(ENV))


def webhook(hook: Webhook) -> dict[str, Any]:
    return {"channel": "webhook", "webhook_url": hook.url}


def mailbox(server: MailServer, **more: Any) -> dict[str, Any]:
    resource = {"channel": "email", "smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
    return {**resource, "sender": "flexcore@example.com", "recipients": ["a@example.com", "b@example.com"], **more}


def test_a_message_says_what_failed_why_what_to_do_and_where_to_look() -> None:
    sent = message()
    assert sent.title == "f/flexcore/templates/x failed at run"
    assert sent.lines == ["The head <x> is gone & away. Start it.", "Category: unreachable"]
    assert sent.links == {"Run": "https://windmill.example.com/run/r1?workspace=dev", "Remote": "http://ray/1"}


def test_a_webhook_gets_slacks_form(hook: Webhook, env: dict[str, str]) -> None:
    assert notify(webhook(hook), message(), env) is True
    (call,) = hook.calls
    assert call["text"].splitlines() == [
        "*f/flexcore/templates/x failed at run*",
        "The head &lt;x&gt; is gone &amp; away. Start it.",
        "Category: unreachable",
        "<https://windmill.example.com/run/r1?workspace=dev|Run> · <http://ray/1|Remote>",
    ]


def test_a_failure_is_sent_once_however_often_its_module_runs(hook: Webhook, env: dict[str, str]) -> None:
    assert notify(webhook(hook), message(), env) is True
    # The worker died, or the flow around this one tells of the same error.
    assert notify(webhook(hook), message(), env | {"WM_FLOW_JOB_ID": "outer"}) is True
    assert len(hook.calls) == 1
    assert notify(webhook(hook), message(), env | {"WM_ROOT_JOB_ID": "r2"}) is True
    assert len(hook.calls) == 2


def test_a_busy_webhook_is_asked_again(hook: Webhook, env: dict[str, str]) -> None:
    hook.answers, pauses = [503, 429], list[float]()
    assert notify(webhook(hook), message(), env, sleep=pauses.append) is True
    assert len(hook.calls) == 3 and pauses == [1, 3]


@pytest.mark.parametrize("answer", [404, 503])
def test_a_webhook_that_refuses_stands_in_the_log_without_its_address(
    hook: Webhook, env: dict[str, str], answer: int, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.answers = [answer] * 3
    assert notify(webhook(hook), message(), env, sleep=lambda _: None) is False
    assert len(hook.calls) == (3 if answer == 503 else 1)
    log = capsys.readouterr().out
    assert f"The notification was not sent: the webhook answered HTTP {answer}" in log
    assert "secret-path" not in log and "T000" not in log


@pytest.mark.parametrize(
    "resource",
    [
        {"channel": "webhook"},
        {"channel": "webhook", "webhook_url": "hunter2-no-address"},
        {"channel": "webhook", "webhook_url": "http://127.0.0.1:1/hunter2"},
        {"channel": "webhook", "webhook_url": "http://[hunter2"},
        {"channel": "pigeon", "webhook_url": "hunter2"},
        {"channel": "email", "smtp_host": "127.0.0.1", "smtp_port": 1, "sender": "x", "recipients": ["y"]},
        {"unknown": "hunter2"},
        ["hunter2"],
        "hunter2",
    ],
)
def test_no_resource_can_make_it_fail_or_tell_a_secret(
    resource: Any, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert notify(resource, message(), env, sleep=lambda _: None) is False
    log = capsys.readouterr().out
    assert "The notification was not sent" in log
    assert "hunter2" not in log


@pytest.mark.parametrize("resource", [None, {}, {"channel": "none"}, {"channel": "none", "webhook_url": "https://x"}])
def test_without_a_channel_nobody_is_notified(resource: Any, env: dict[str, str]) -> None:
    assert notify(resource, message(), env) is None


def test_a_mail_goes_to_all_recipients(post_office: MailServer, env: dict[str, str]) -> None:
    assert notify(mailbox(post_office, smtp_user="u", smtp_password="p"), message(), env) is True
    (letter,) = post_office.letters
    assert "To: a@example.com, b@example.com" in letter
    assert "Subject: [flexcore] f/flexcore/templates/x failed at run" in letter
    assert "Run: https://windmill.example.com/run/r1?workspace=dev" in letter


def test_recipients_that_are_refused_are_counted_and_the_others_get_it(
    post_office: MailServer, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    post_office.refused = ["b@example.com"]
    assert deliver(Notifications.model_validate(mailbox(post_office)), message(), lambda _: None) == 1
    assert notify(mailbox(post_office), message(), env) is True
    assert len(post_office.letters) == 2
    assert "the mail server refuses 1 of the recipients" in capsys.readouterr().out


@pytest.mark.parametrize("module", [report, hybrid_failure, data_failure])
def test_nobody_is_told_that_a_stopped_workflow_did_not_begin_and_its_run_is_labeled(
    module: Any, hook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    raised = stops.refusal({"workflow": "hybrid_pipeline", "at": "noon", "by": "ann", "reason": "it is wrong"})
    given = {"name": "Conflict", "message": str(raised), "step_id": "prepare", "extra": raised.__dict__, "stack": "…"}
    result = module(given, notify=webhook(hook))
    assert hook.calls == [] and result["wm_labels"][-1] == "workflow_stopped"
    assert "is stopped since noon by ann: it is wrong" in result["error"]
    # What ran until it came upon a stopped part of itself has failed.
    result = module({**given, "name": "ExecutionFailed", "step_id": "run"}, notify=webhook(hook))
    assert len(hook.calls) == 1 and "workflow_stopped" not in result["wm_labels"]


def test_a_refused_login_stands_in_the_log_without_the_password(
    post_office: MailServer, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    post_office.refuses_login = True
    assert notify(mailbox(post_office, smtp_user="user", smtp_password="hunter2"), message(), env) is False
    log = capsys.readouterr().out
    assert "refuses smtp_user and smtp_password" in log
    assert "hunter2" not in log and post_office.letters == []


def test_the_failure_module_keeps_the_error_whatever_becomes_of_the_notification(
    hook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    hook.answers = [404]
    result = report(error(), webhook(hook), {"storage_uri": "no store"})
    assert result["success"] is False and result["notified"] is False
    assert result["error"] == "The head <x> is gone & away. Start it."
    assert (result["failed_step"], result["category"], result["retryable"]) == ("run", "unreachable", True)
    assert hook.url not in str(result)


@pytest.mark.parametrize("value", ["plain text", {}, {"extra": [1]}, {"message": None}, None])
def test_any_error_becomes_a_failure(value: Any, env: dict[str, str]) -> None:
    assert compose_message(parse_failure(value, env), "").lines[0]


def test_a_resource_that_may_not_be_read_is_named_with_what_to_do(env: dict[str, str]) -> None:
    said = (
        "execution error:\nNot found: Resource u/admin/sales not found for `project`: Not authorized: Resource exists "
        'but you don\'t have access to it:\nresource perms: {}\nauthed as: ApiAuthed { email: "b@example.com" }'
    )
    failure = parse_failure({"name": "ExecutionErr", "message": said}, env)
    assert (failure.category, failure.subject) == ("not_found", "project")
    assert failure.error.startswith("project: the resource u/admin/sales does not exist, or you may not read it.")
    assert failure.remedy in failure.error and "ApiAuthed" not in failure.error


def test_a_secret_in_an_error_is_masked(env: dict[str, str]) -> None:
    failure = parse_failure(
        {"message": "cannot reach postgres://u:hunter2@db/x", "extra": {"details": {"password": "hunter2"}}}, env
    )
    assert "hunter2" not in str(failure.plain()) + str(compose_message(failure, ""))


def test_the_pipelines_failure_modules_tell_in_their_own_words_and_a_flow_around_them_does_not_repeat_it(
    hook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    failed = hybrid_failure(error(), notify=webhook(hook))
    assert failed["failed_stage"] == "extraction"
    assert "Extraction failed: The head &lt;x&gt; is gone" in hook.calls[0]["text"]
    # Windmill hands the text of the inner flow's result to the failure module of the outer one.
    monkeypatch.setenv("WM_FLOW_JOB_ID", "outer")
    assert report(failed["error"], webhook(hook))["notified"] is True
    assert len(hook.calls) == 1
    assert data_failure(error(), notify=webhook(hook))["success"] is False
    assert len(hook.calls) == 2 and "The head" in hook.calls[1]["text"]


@pytest.mark.parametrize("is_plan", [True, False])
def test_a_plan_that_fails_is_labeled_as_one_and_wakes_nobody(
    hook: Webhook, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, is_plan: bool
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    result = data_failure(error(), notify=webhook(hook), explain_only=is_plan)
    assert ("plan" in result["wm_labels"]) is is_plan
    assert len(hook.calls) == (0 if is_plan else 1)
