"""Schedules and triggers: what they start, with which arguments, when."""

from __future__ import annotations

from wmlocal.lint.arguments import check_value, missing
from wmlocal.lint.code import Code
from wmlocal.lint.context import Context
from wmlocal.lint.cron import cron_problem, timezones
from wmlocal.lint.files import Yaml
from wmlocal.lint.globs import TRIGGERS
from wmlocal.lint.positions import Item
from wmlocal.lint.references import check_reference
from wmlocal.suggest import suggest

HANDLERS = ("on_failure", "on_recovery", "on_success")
# The server asks Slack and Teams itself.
BUILT_IN = ("script/hub/", "flow/hub/")


def check_schedules(context: Context, code: Code) -> None:
    for entry, document in context.entries("schedule"):
        target = _target(context, entry.file, document)
        if target is not None:
            _arguments(context, code, entry.file, document, *target)
        _time(context, entry.file, document)
        for key in HANDLERS:
            _handler(context, entry.file, document.get(key), key)
        skip = document.get("dynamic_skip")
        if skip is not None and isinstance(skip.value, str) and skip.value:
            context.runnable(entry.file, skip, skip.value, False, "dynamic_skip")
    for entry, document in context.entries(*(f"{kind}_trigger" for kind in TRIGGERS)):
        _target(context, entry.file, document)
        _check_resource(context, entry, document)
        handler = document.get("error_handler_path")
        if handler is not None and isinstance(handler.value, str) and handler.value:
            context.runnable(entry.file, handler, handler.value, False, "error_handler_path")
        _check_target(context, entry.file, document)
        if entry.kind == "http_trigger":
            _route(context, entry.file, document)
    _routes_twice(context)


def _target(context: Context, file: str, document: Item) -> tuple[str, bool] | None:
    path, is_flow = document.get("script_path"), document.get("is_flow")
    if path is None or not isinstance(path.value, str) or is_flow is None or not isinstance(is_flow.value, bool):
        return None
    if not path.value and document.get("static_asset_config") is not None:
        return None
    found = context.runnable(file, path, path.value, is_flow.value, "script_path")
    return (path.value, is_flow.value) if found else None


def _arguments(context: Context, code: Code, file: str, document: Item, path: str, is_flow: bool) -> None:
    schema = context.schema(path, is_flow)
    args = document.get("args")
    if schema is None:
        return
    given, properties = args.map() if args is not None else {}, schema.map("properties")
    names = (None if is_flow else code.list_arguments(path)) or []
    for name, value in given.items():
        if name in properties:
            check_value(context, file, value, properties[name], f"argument {name} of {path}")
        elif name not in names:
            context.report(
                file,
                (value.key_line, value.key_column),
                "unknown-argument",
                f"{path} has no argument {name}" + suggest(name, list(properties)),
            )
    for name in missing(schema, given):
        place = (args.key_line, args.key_column) if args is not None else (1, 1)
        context.report(file, place, "missing-argument", f"{path} requires {name}, and args lacks it; add it")


def _time(context: Context, file: str, document: Item) -> None:
    cron, zone = document.get("schedule"), document.get("timezone")
    if cron is not None and isinstance(cron.value, str):
        problem = cron_problem(cron.value)
        if problem:
            context.report(file, cron, "bad-cron", problem)
    if zone is not None and isinstance(zone.value, str) and zone.value not in timezones():
        context.report(
            file,
            zone,
            "bad-timezone",
            f"{zone.value!r} is not a time zone of the IANA list" + suggest(zone.value, timezones()),
        )


def _handler(context: Context, file: str, item: Item | None, key: str) -> None:
    if item is None or not isinstance(item.value, str) or not item.value or item.value.startswith(BUILT_IN):
        return
    kind, _, path = item.value.partition("/")
    if kind not in ("script", "flow"):
        context.report(file, item, "bad-path", f"{key} must be script/PATH or flow/PATH, not {item.value}")
    else:
        context.runnable(file, item, path, kind == "flow", key)


def _check_resource(context: Context, entry: Yaml, document: Item) -> None:
    """`kafka_resource_path` and its like name resources, which may well not be in the bundle."""
    for key, item in document.map().items():
        if key.endswith("_resource_path") and isinstance(item.value, str) and item.value:
            path = item.value.removeprefix("$res:")
            check_reference(context, entry.file, item, "resource", path, f"{key} {item.value}")


def _check_target(context: Context, file: str, document: Item) -> None:
    """A websocket's address and first messages may come from a script or flow."""
    url = document.get("url")
    kind, _, path = url.value.partition(":") if url is not None and isinstance(url.value, str) else ("", "", "")
    if url is not None and kind in ("$script", "$flow"):
        context.runnable(file, url, path, kind == "$flow", "url")
    for message in document.list("initial_messages"):
        path_item, is_flow = message.get("runnable_result", "path"), message.get("runnable_result", "is_flow")
        if path_item is not None and isinstance(path_item.value, str):
            flow = is_flow is not None and is_flow.value is True
            context.runnable(file, path_item, path_item.value, flow, "a first message")


def _route(context: Context, file: str, document: Item) -> None:
    route = document.get("route_path")
    if route is None or not isinstance(route.value, str):
        return
    if route.value.startswith("/"):
        context.report(
            file, route, "bad-route", f"route_path must not begin with a slash: {route.value}; write {route.value[1:]}"
        )
    method, needs = document.text("authentication_method"), ("api_key", "basic_http", "custom_script", "signature")
    resource = document.get("authentication_resource_path")
    if method in needs and (resource is None or not resource.value):
        item = document.get("authentication_method")
        assert item is not None
        context.report(file, item, "missing-key", f"{method} needs authentication_resource_path; add it")


def _routes_twice(context: Context) -> None:
    first: dict[tuple[str, str, bool], str] = {}
    for entry, document in context.entries("http_trigger"):
        route, method = document.get("route_path"), document.text("http_method")
        if entry.workspace or route is None or not isinstance(route.value, str) or method is None:
            continue
        workspaced = document.get("workspaced_route")
        parts = [":" if part.startswith(":") else part for part in route.value.split("/")]
        key = ("/".join(parts), method, workspaced is not None and workspaced.value is True)
        if key in first:
            context.report(
                entry.file, route, "route-twice", f"{first[key]} answers the same route; the server refuses the second"
            )
        first.setdefault(key, entry.file)
