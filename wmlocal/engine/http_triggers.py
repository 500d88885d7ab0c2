"""HTTP triggers of a bundle (`*.http_trigger.yaml`), answered as a Windmill server answers them.

`/api/r/{workspace}/{route_path}` (without the workspace when `workspaced_route` is false) runs the trigger's script or
flow. One that has a preprocessor gets the whole request as its `event`, any other only the body. The result decides the
answer: `windmill_status_code`, `windmill_content_type`, `windmill_headers` and `result` in it are taken apart.
Source: windmill-api's triggers/http/handler.rs, args.rs, and result_to_response of windmill-api-jobs, at 1.743.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from wmlocal.engine.errors import CannotStart, EngineError, Rejected
from wmlocal.engine.runs import Runs

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
KNOWN_AUTHENTICATION = ("none", "windmill")
PARAMETER = re.compile(r"^[:*]([-\w]+)$")
# The keys by which a result says how it is to be sent, each with its older name.
MARKS = {
    "status": ("windmill_status_code", "wm_status_code"),
    "type": ("windmill_content_type", "wm_content_type"),
    "headers": ("windmill_headers", "wm_headers"),
}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    path: str
    trigger: Json
    params: dict[str, str]


def _called(request: Request) -> str:
    return str(request.path_params["route"]).strip("/")


class HttpTriggers:
    def __init__(self, engine: Runs, may_enter: Callable[[Request], bool]) -> None:
        self._engine, self._may_enter = engine, may_enter

    async def answer(self, request: Request) -> Response:
        if request.method in ("HEAD", "OPTIONS"):
            return PlainTextResponse("")
        try:
            # Nobody without a token sends anything that is kept.
            found = await run_in_threadpool(self._enter, request)
            body = await request.body()
            return await run_in_threadpool(self._answer, request, found, body)
        except Rejected as error:
            return PlainTextResponse(str(error), error.status)
        except CannotStart as error:
            return PlainTextResponse(f"Bad request: {error}", 400)
        except EngineError as error:
            return PlainTextResponse(str(error), 500)

    def _enter(self, request: Request) -> Match:
        found = self._match(request.method.lower(), _called(request))
        kind = found.trigger.get("authentication_method", "windmill")
        if kind not in KNOWN_AUTHENTICATION:
            raise Rejected(f"this engine does not know the authentication method {kind} of {found.path}", 501)
        if kind == "windmill" and not self._may_enter(request):
            raise Rejected("Not authorized: Requires authentication", 401)
        return found

    def _answer(self, request: Request, found: Match, body: bytes) -> Response:
        value, raw = parse_body(request.headers.get("content-type"), body, bool(found.trigger.get("raw_string")))
        return self._run(found, _event(request, found, _called(request), value, raw), value, raw)

    def _match(self, method: str, called: str) -> Match:
        for path, trigger in self._engine.bundle.http_triggers(self._engine.workspace):
            route = trigger.get("route_path")
            if not isinstance(route, str) or not isinstance(trigger.get("script_path"), str):
                continue
            if trigger.get("http_method") != method or trigger.get("mode", "enabled") == "disabled":
                continue
            prefix = f"{self._engine.workspace}/" if trigger.get("workspaced_route") else ""
            params = match_route(prefix + route, called)
            if params is not None:
                return Match(path, trigger, params)
        raise Rejected(f"Not found: Trigger not found at name /{called}", 404)

    def _run(self, found: Match, event: Json, value: Any, raw: str | None) -> Response:
        path, engine = str(found.trigger["script_path"]), self._engine
        if found.trigger.get("is_flow"):
            flow = engine.bundle.flow(path)
            if flow is None:
                raise Rejected(f"Not found: flow not found at name {path}", 404)
            args = {"event": event} if flow.has_preprocessor else _main_args(value, raw, found.trigger)
            job = engine.start_flow(flow, args, preprocess=True)
        else:
            script = engine.bundle.script(path)
            if script is None:
                raise Rejected(f"Not found: script not found at name {path}", 404)
            preprocess = bool(script.meta.get("has_preprocessor"))
            args = {"event": event} if preprocess else _main_args(value, raw, found.trigger)
            job = engine.start_script(script, args, preprocess=preprocess)
        if found.trigger.get("request_type") == "async":
            return PlainTextResponse(job.id, 201)
        done = engine.wait(job)
        return build_response(done.result, done.success)


def match_route(route: str, called: str) -> dict[str, str] | None:
    """The parameters of a route such as `jobs/:id` or `files/*rest`; None when it is another route."""
    wanted, given = route.split("/"), called.split("/")
    params: dict[str, str] = {}
    for index, part in enumerate(wanted):
        name = PARAMETER.match(part)
        if name and part[0] == "*":
            rest = "/".join(given[index:])
            return params | {name[1]: rest} if rest else None
        if index >= len(given) or (not name and part != given[index]) or (name and not given[index]):
            return None
        if name:
            params[name[1]] = given[index]
    return params if len(wanted) == len(given) else None


def parse_body(content_type: str | None, body: bytes, use_raw: bool) -> tuple[Any, str | None]:
    """(value, raw string) as a server reads them. Raises Rejected."""
    kind = content_type or "application/json"
    if content_type is None and not body:
        return {}, "" if use_raw else None
    if kind.startswith("multipart/form-data"):
        raise Rejected("Bad request: multipart/form-data requires the parquet feature", 400)
    text_like = ("application/json", "text/plain", "application/xml", "text/xml", "application/x-www-form-urlencoded")
    if not kind.startswith(text_like):
        try:
            return {}, body.decode()
        except UnicodeDecodeError:
            return {}, base64.b64encode(body).decode()
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"Bad request: invalid utf8: {error}", 400) from None
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(text, keep_blank_values=True)), text if use_raw else None
    if not kind.startswith("application/json"):
        return {}, text
    try:
        value = json.loads(text, parse_constant=_no_json)
    except ValueError as error:
        raise Rejected(f"Bad request: invalid json: {error}", 400) from None
    return value, text if use_raw else None


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _main_args(value: Any, raw: str | None, trigger: Json) -> Json:
    args = {"body": value} if trigger.get("wrap_body") or not isinstance(value, dict) else value
    return args if raw is None else args | {"raw_string": raw}


def _event(request: Request, found: Match, called: str, value: Any, raw: str | None) -> Json:
    return {
        "kind": "http",
        "route": found.trigger["route_path"],
        "path": called,
        "trigger_path": found.path,
        "raw_string": raw,
        "params": found.params,
        "method": request.method.lower(),
        **body_and_headers(request, value),
    }


def body_and_headers(request: Request, body: Any) -> Json:
    """What the event of a preprocessor holds, of a route and of a webhook alike."""
    return {"body": body, "headers": dict(request.headers), "query": dict(request.query_params)}


def build_response(result: Any, success: bool) -> Response:
    """The HTTP answer that a finished job's result stands for."""
    marks = (
        {name: next((result[key] for key in keys if result.get(key) is not None), None) for name, keys in MARKS.items()}
        if isinstance(result, dict)
        else {}
    )
    if not any(value is not None for value in marks.values()) or not _are_well_formed(marks):
        return JSONResponse(result, 200 if success else 422)
    body = result.get("result")
    status = marks["status"] or (422 if not success else 204 if body is None else 200)
    headers = dict(marks["headers"] or {})
    if marks["type"] is not None:
        text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        return Response(text, status, headers, media_type=marks["type"])
    return Response(None, status, headers) if body is None else JSONResponse(body, status, headers)


def _are_well_formed(marks: Json) -> bool:
    status, headers = marks["status"], marks["headers"]
    texts = [marks["type"] or "", *(headers.values() if isinstance(headers, dict) else ())]
    return (
        (status is None or (isinstance(status, int) and not isinstance(status, bool) and 0 <= status < 1 << 16))
        and (headers is None or isinstance(headers, dict))
        and all(isinstance(text, str) for text in texts)
    )
