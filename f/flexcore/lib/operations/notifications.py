# requirements: flexcore_base
"""Sends a message to its channel: a webhook or a mail.

notify    of a failed flow; raises nothing, as what fails here must not hide that failure
deliver   how many of a mail's recipients the server has refused; raises NotDelivered, which says whether the message
          may have arrived all the same
"""

from __future__ import annotations

import hashlib
import os
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources, tls_errors
from f.flexcore.lib.operations import failure_message
from f.flexcore.lib.storage import object_store

REQUEST_TIMEOUT_S = 10
# Of a service that is busy or restarting; the flow's end waits for it.
RETRY_INTERVALS_S = (1.0, 3.0)
BUSY_STATUSES = (429, 500, 502, 503, 504)


class NotDelivered(Exception):
    """Its text may be shown: it holds neither address nor password. uncertain: it may have arrived all the same."""

    def __init__(self, reason: str, retryable: bool = False, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.uncertain = uncertain


def notify_of_failure(resource: Any, failure: contracts.FlowFailure, settings: Any = None) -> bool | None:
    """Whether the failure of the flow that this job belongs to was delivered; None when no channel is set, or when it
    did not begin, as its workflow is stopped: who stopped it knows, and a schedule would tell of it each time."""
    if contracts.label_refusal(failure.kind, failure.category):
        return None
    message = failure_message.compose_message(failure, failure_message.flow_path(os.environ))
    return notify(resource, message, os.environ, settings)


def notify(
    resource: Any,
    message: failure_message.Message,
    env: Mapping[str, str],
    settings: Any = None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool | None:
    """Whether the message was delivered; None when no channel is set. Raises nothing."""
    if not resource:
        return None
    try:
        chosen = errors.validate(resources.Notifications, resource, "notify")
        if chosen.channel == "none":
            return None
        marker = Marker(settings, env, message)
        if marker.is_set():
            print("The notification of this failure has been sent already", flush=True)
            return True
        deliver(chosen, message, sleep)
        marker.set()
    except Exception as error:
        # Our errors hold no value of the resource; the text of another may hold the address.
        safe = isinstance(error, NotDelivered | errors.FlexcoreError)
        print(f"The notification was not sent: {error if safe else type(error).__name__}", flush=True)
        return False
    print(f"Notified by {chosen.channel}", flush=True)
    return True


class Marker:
    """A small file in the store that says that a failure of a run was sent: neither a worker that dies afterwards, nor
    the flow around the one that failed, sends it again. A store that fails costs a second message."""

    def __init__(self, settings: Any, env: Mapping[str, str], message: failure_message.Message) -> None:
        self._store: object_store.Store | None = None
        try:
            self._store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"), env)
        except errors.FlexcoreError:
            return
        # The flow around sees the error's text and nothing else.
        digest = hashlib.sha256(message.lines[0].encode()).hexdigest()[:16]
        self._uri = self._store.uri(identity.execution_key(env).root_job, "notified", f"{digest}.json")

    def is_set(self) -> bool:
        try:
            return self._store is not None and self._store.read_json(self._uri) is not None
        except errors.FlexcoreError:
            return False

    def set(self) -> None:
        if self._store is not None:
            try:
                self._store.write_json(self._uri, {"notified_at": time.time()})
            except errors.FlexcoreError as error:
                print(f"Warning: {error}", flush=True)


def deliver(
    chosen: resources.Notifications,
    message: failure_message.Message,
    sleep: Callable[[float], None],
    at_most_once: bool = False,
) -> int:
    """How many of the recipients were refused. at_most_once: what may have arrived is not sent again."""
    send = post_to_webhook if chosen.channel == "webhook" else send_mail
    for interval in RETRY_INTERVALS_S:
        try:
            return send(chosen, message)
        except NotDelivered as problem:
            if not problem.retryable or (at_most_once and problem.uncertain):
                raise
            sleep(interval)
    return send(chosen, message)


def post_to_webhook(chosen: resources.Notifications, message: failure_message.Message) -> int:
    """Slack's form, which Mattermost, Rocket.Chat, Zulip and Discord (…/slack) take too: {"text": …}."""
    # Most runs notify nobody; they need not pay for the import.
    import httpx

    links = [f"<{url}|{name}>" for name, url in message.links.items()]
    text = "\n".join([f"*{message.title}*", *map(escape, message.lines), " · ".join(links)]).strip()
    try:
        answer = httpx.post(chosen.webhook_url, json={"text": text}, timeout=REQUEST_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
        raise _no_answer("the webhook does not answer", error, sent) from None
    if not answer.is_success:
        code = answer.status_code
        # A gateway that gave up says nothing of what stands behind it.
        reason, gave_up = f"the webhook answered HTTP {code}; check webhook_url", code in (502, 504)
        raise NotDelivered(reason, retryable=code in BUSY_STATUSES, uncertain=gave_up)
    return 0


def escape(text: str) -> str:
    """Source: Slack, "Formatting text for app surfaces": three characters are its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send_mail(chosen: resources.Notifications, message: failure_message.Message) -> int:
    letter = EmailMessage()
    letter["From"], letter["To"] = chosen.sender, ", ".join(chosen.recipients)
    letter["Subject"] = f"[flexcore] {message.title}"
    letter.set_content(message.plain())
    if message.html:
        letter.add_alternative(message.html, subtype="html")
    context, phase, refused = ssl.create_default_context(), "connect", 0
    try:
        with open_smtp(chosen, context) as server:
            if chosen.smtp_security == "starttls":
                server.starttls(context=context)
            if chosen.smtp_user:
                server.login(chosen.smtp_user, chosen.smtp_password)
            phase = "send"
            refused = len(server.send_message(letter))
            phase = "taken"
            if refused:
                print(f"Warning: the mail server refuses {refused} of the recipients", flush=True)
    except (OSError, smtplib.SMTPException) as error:
        # What it has taken stays taken, however it says goodbye.
        if phase != "taken":
            raise _explain_mail_problem(error, phase == "send") from None
    return refused


def _explain_mail_problem(error: Exception, is_sending: bool) -> NotDelivered:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return NotDelivered("the mail server refuses smtp_user and smtp_password")
    if isinstance(error, smtplib.SMTPResponseException):
        return NotDelivered(f"the mail server answered {error.smtp_code}", retryable=400 <= error.smtp_code < 500)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return NotDelivered("the mail server refuses the recipients")
    return _no_answer("the mail server cannot be used", error, is_sending)


def _no_answer(what: str, error: Exception, uncertain: bool = False) -> NotDelivered:
    certificates = tls_errors.tls_remedy(tls_errors.error_chain(error))
    more = f"; {certificates}".rstrip(".") if certificates else ""
    return NotDelivered(f"{what} ({type(error).__name__}){more}", retryable=not certificates, uncertain=uncertain)


def open_smtp(chosen: resources.Notifications, context: ssl.SSLContext) -> smtplib.SMTP:
    if chosen.smtp_security == "tls":
        return smtplib.SMTP_SSL(chosen.smtp_host, chosen.smtp_port, timeout=REQUEST_TIMEOUT_S, context=context)
    return smtplib.SMTP(chosen.smtp_host, chosen.smtp_port, timeout=REQUEST_TIMEOUT_S)
