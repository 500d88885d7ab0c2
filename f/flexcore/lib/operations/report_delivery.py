# requirements: flexcore_base
"""Sends the report of a week once to each channel, whoever repeats the step and whatever dies in between.

    none ──claim──→ sending ──delivered──→ sent
                       └──refused──→ none again: a repeat may send
A claim that was never settled stays: the report may have arrived, so it is not sent again unless another run says so.
The claim is a record of the store that two processes cannot both take; it says whose it is, so that a repeat of a step
that was told to send again does so once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.operations import failure_message, notifications
from f.flexcore.lib.storage import object_store, versioned_record
from f.flexcore.lib.views import result_pages, weekly_pages

FOLDER = "weekly_reports"
State = Literal["sent", "sent to some", "sent before", "unknown", "no channel", "not over"]


NOTES: dict[State, str] = {
    "sent": "The report was sent.",
    "sent to some": "The report was sent, and the mail server refused some of its recipients: correct them in notify.",
    "sent before": "This week's report was sent to this channel before; it is not sent again.",
    "unknown": "Another run is sending this week's report, or was ended while it did. It may have arrived, so it is "
    "not sent again; send_again sends it.",
    "not over": "The report was not sent: its week goes on.",
    "no channel": "The report was not sent: notify names no channel.",
}


def send_report(report: Any, channel: Any, settings: Any, env: Mapping[str, str], send_again: bool) -> State:
    """As send_once. report: the plain data of a WeeklyReport. Raises InvalidInput for what is none, too."""
    links = result_pages.read_links(env)
    try:
        title, lines = weekly_pages.make_title(report), weekly_pages.format_lines(report)
        mail = weekly_pages.render_mail(report, links)
    except (AttributeError, KeyError, TypeError, ValueError):
        remedy = "Give the whole result of operations/summarize_week."
        raise errors.InvalidInput("report is not the report of a week", subject="report", remedy=remedy) from None
    if not report["is_over"]:
        return "not over"
    page = failure_message.run_url(env)
    message = failure_message.Message(title, lines, {"Report": page} if page else {}, mail)
    return send_once(channel, message, str(report["week"]), settings, env, send_again)


def send_once(
    channel: Any,
    message: failure_message.Message,
    week: str,
    settings: Any,
    env: Mapping[str, str],
    send_again: bool = False,
    clock: Callable[[], float] = time.time,
) -> State:
    """What became of the report. Raises InvalidInput for a wrong resource, the store's errors, and Unavailable or
    ExecutionFailed when the channel did not take it, by whether a repeat may help."""
    chosen = errors.validate(resources.Notifications, channel or {}, "notify")
    if chosen.channel == "none":
        return "no channel"
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"), env)
    folder = store.uri(FOLDER, env.get("WM_WORKSPACE") or "workspace", week, name_channel(chosen))
    record = versioned_record.VersionedRecord(store, folder, clock)
    version, known = record.read()
    key = identity.execution_key(env).value
    claim = {"key": key, "job": env.get("WM_JOB_ID", "")}
    state, is_own = str((known or {}).get("state") or "none"), (known or {}).get("key") == key
    if state == "sent" and (is_own or not send_again):
        return "sent" if is_own else "sent before"
    if state == "sending" and (is_own or not send_again):
        return "unknown"
    if not record.write(version, {**claim, "state": "sending", "at": clock()}):
        # Somebody else has claimed it at the same time.
        return "unknown"
    try:
        refused = notifications.deliver(chosen, message, time.sleep, at_most_once=True)
    except notifications.NotDelivered as problem:
        if not problem.uncertain:
            record.write(version + 1, {**claim, "state": "none", "at": clock()})
        raise _make_error(problem) from None
    record.write(version + 1, {**claim, "state": "sent", "at": clock()})
    return "sent to some" if refused else "sent"


def name_channel(chosen: resources.Notifications) -> str:
    """A name of where it goes that holds no address."""
    target = [chosen.channel, chosen.webhook_url, chosen.smtp_host, *sorted(chosen.recipients)]
    return hashlib.sha256("\n".join(target).encode()).hexdigest()[:16]


def _make_error(problem: notifications.NotDelivered) -> errors.FlexcoreError:
    if problem.uncertain:
        remedy = "Look whether it has arrived; if not, start the flow again with send_again."
        text = f"{problem}; whether the report arrived is not known, so it is not sent again"
        return errors.ExecutionFailed(text, subject="notify", remedy=remedy)
    kind = errors.Unavailable if problem.retryable else errors.ExecutionFailed
    remedy = "Correct the notification resource, or try again later; the report was not sent."
    return kind(str(problem), subject="notify", remedy=remedy)
