# requirements: flexcore_api
"""One HTTP exchange: the request that a route's script gets, and the response that Windmill makes of its result.

request ─preprocessor: receive─→ the path, which is stored; the rest stays in this process ─main: respond─→ response

Windmill runs a route's job with the rights of whoever pushed the trigger. Whatever a route does, it does with the
caller's own token instead, so nobody gets by a route what Windmill itself would refuse. A job that fails keeps its raw
request, token included, in Windmill's database; hence neither half ever raises.
Source: Windmill's HTTP routes, `windmill_status_code` and its kin; problems after RFC 9457.
"""

from __future__ import annotations

import difflib
import json
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors, redaction

JSON, PROBLEM, TEXT = "application/json", "application/problem+json", "text/plain; charset=utf-8"
BEARER = "bearer "
# The first that matches decides.
STATUSES: tuple[tuple[type[errors.FlexcoreError], int], ...] = (
    (errors.NotFound, 404),
    (errors.Forbidden, 403),
    (errors.Conflict, 409),
    (errors.UserError, 422),
    (errors.TransientError, 503),
    (errors.DeadlineExceeded, 504),
    (errors.FlexcoreError, 500),
)
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Request:
    """route: as the trigger has it, such as `flexcore/executions/:id`; params: of the route; query: by name;
    key: the Idempotency-Key; accept: the header of that name; body: its text; token: of whoever calls."""

    route: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    key: str = ""
    accept: str = ""
    body: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def fields(self, known: Iterable[str], example: str) -> dict[str, Any]:
        """The body's fields; {} for an empty body, and for null, which clients send when it was left out.

        Raises InvalidInput for anything else than an object of these.
        """
        try:
            given = json.loads(self.body) if self.body.strip() else None
            given = {} if given is None else given
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise errors.InvalidInput(
                "The body is not a JSON object", subject="body", remedy=f"Send {example} in UTF-8."
            )
        check_names(given, known, "Field")
        return given


@dataclass(frozen=True, slots=True)
class Response:
    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def as_result(self) -> dict[str, Any]:
        """The form in which Windmill takes a script's result for an HTTP answer."""
        return {
            "windmill_status_code": self.status,
            "windmill_content_type": self.content_type,
            "windmill_headers": {"Cache-Control": "no-store", **self.headers},
            "result": self.body,
        }


# What the preprocessor leaves for `main`, which Windmill calls in the same process.
_requests: list[Request] = []


def receive(event: Mapping[str, Any]) -> dict[str, Any]:
    """Windmill's event → the arguments of `main`, which are stored with the job: the path that was called.

    Windmill has resolved every value of the event that began with `$var:` or `$res:`, with the rights of the trigger's
    owner. So none is kept where the caller could read it, and the body is taken from the raw text, which is as it came.
    """
    headers = event.get("headers") or {}
    authorization = str(headers.get("authorization") or "")
    token = authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
    request = Request(
        route=str(event.get("route") or ""),
        params=dict(event.get("params") or {}),
        query=dict(event.get("query") or {}),
        key=str(headers.get("idempotency-key") or ""),
        accept=str(headers.get("accept") or "").lower(),
        body=event.get("raw_string") or "",
        token=token,
    )
    _requests[:] = [request]
    return {"request": {"path": str(event.get("path") or "")}}


def respond(request: Any, handle: Callable[[Request], Response]) -> dict[str, Any]:
    """The result of a handler's `main`. request: as stored; a run by hand gives route, params, query, key and body
    itself."""
    try:
        response = handle(_current(request))
    except errors.FlexcoreError as error:
        response = problem(error)
    except Exception:
        print(redaction.Redactor().text(traceback.format_exc()))
        response = problem(
            errors.FlexcoreError("This is a fault of flexcore", remedy="See the log of the route's job.")
        )
    return response.as_result()


def _current(request: Any) -> Request:
    current = _requests[0] if _requests else _by_hand(request if isinstance(request, dict) else {})
    if not current.token:
        raise errors.Forbidden(
            "No token came with the request",
            subject="Authorization",
            remedy="Send your Windmill token in the header `Authorization: Bearer …`; a cookie is not enough.",
        )
    return current


def _by_hand(given: Mapping[str, Any]) -> Request:
    texts = {name: str(given.get(name) or "") for name in ("route", "key", "accept", "body")}
    params, query = given.get("params") or {}, given.get("query") or {}
    return Request(params=params, query=query, token=os.environ.get("WM_TOKEN", ""), **texts)


def problem(error: errors.FlexcoreError) -> Response:
    """The typed body of a refusal. What was sent is never in it: it may hold secrets."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    body = {
        "type": f"urn:flexcore:problem:{error.category}",
        "title": error.category.replace("_", " ").capitalize(),
        "status": status,
        "detail": redaction.Redactor().text(str(error)),
        "category": error.category,
        "subject": error.subject or None,
        "remedy": error.remedy or None,
        "retryable": error.retryable,
    }
    return Response(body, status, {"Retry-After": str(RETRY_AFTER_S)} if error.retryable else {}, PROBLEM)


def check_names(given: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Raises InvalidInput for a name that is none of `known`, with the nearest that is."""
    allowed = list(known)
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(allowed) or 'none'}."
            raise errors.InvalidInput(f"{kind} {name[:80]!r} is unknown", subject=name[:80], remedy=remedy)
