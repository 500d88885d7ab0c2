"""Keys that a server adds or drops, so that the next push of an unchanged file finds a change.

Seen on a server 1.743 by pushing files and pulling them again with CLI 1.819. How a file is laid out (order of keys,
quotes, line width) makes no such change: the CLI compares what the YAML means.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from wmlocal.lint.context import Context
from wmlocal.lint.globs import TRIGGERS
from wmlocal.lint.positions import Item
from wmlocal.lint.steps import steps

Test = Callable[[Item], bool]


def null(item: Item) -> bool:
    return item.value is None


def off(item: Item) -> bool:
    return item.value is None or item.value is False


def nothing(item: Item) -> bool:
    return item.value is None or item.value in ({}, [], 0)


def always(_: Item) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Form:
    # Keys that the server writes, with what it writes when they are missing.
    adds: dict[str, str] = field(default_factory=dict)
    # Keys that it leaves out when their value passes the test.
    drops: dict[str, Test] = field(default_factory=dict)


def _drops(test: Test, keys: str) -> dict[str, Test]:
    return dict.fromkeys(keys.split(), test)


SCRIPT = Form(
    {"summary": "''", "description": "''", "kind": "script", "schema": "null"},
    _drops(off, "ws_error_handler_muted has_preprocessor")
    | _drops(nothing, "timeout envs extra_perms concurrent_limit concurrency_time_window_s")
    | _drops(
        null,
        "cache_ttl cache_ignore_s3_path dedicated_worker priority tag delete_after_secs"
        " restart_unless_cancelled visible_to_runner_only codebase concurrency_key debounce_key"
        " debounce_delay_s debounce_args_to_accumulate labels on_behalf_of_email",
    )
    # no_main_func, auto_kind and is_template are dropped too, but the CLI passes over them when it compares.
    | _drops(always, "delete_after_use parent_hash draft_only assets"),
)
FLOW = Form(
    {"description": "''", "schema": "null"},
    _drops(off, "ws_error_handler_muted visible_to_runner_only")
    | _drops(nothing, "extra_perms")
    | _drops(null, "tag timeout dedicated_worker labels on_behalf_of_email"),
)
FLOW_VALUE = Form(
    drops=_drops(off, "same_worker preserve_step_tags")
    | _drops(always, "delete_after_use")
    | _drops(
        null,
        "failure_module preprocessor_module concurrent_limit concurrency_key concurrency_time_window_s"
        " debounce_delay_s debounce_key skip_expr cache_ttl cache_ignore_s3_path delete_after_secs flow_env"
        " priority early_return chat_input_enabled",
    )
)
MODULE = Form(
    {"id": "a new id"},
    _drops(always, "delete_after_use")
    | _drops(
        null,
        "summary stop_after_if stop_after_all_iters_if skip_if sleep cache_ttl cache_ignore_s3_path timeout"
        " delete_after_secs mock suspend priority continue_on_error retry debouncing",
    ),
)
STOP = Form(drops=_drops(null, "error_message") | _drops(off, "error_include_result"))
SUSPEND = Form(
    drops=_drops(off, "continue_on_disapprove_timeout")
    | _drops(
        null,
        "required_events timeout resume_form user_auth_required user_groups_required self_approval_disabled"
        " hide_cancel",
    )
)
CONSTANT = Form({"attempts": "0", "seconds": "0"})
EXPONENTIAL = Form({"attempts": "0", "multiplier": "1", "seconds": "0", "random_factor": "null"})
VALUES = {
    "forloopflow": Form({"skip_failures": "true", "parallel": "false"}, _drops(null, "parallelism squash")),
    "whileloopflow": Form({"skip_failures": "false"}, _drops(always, "parallel parallelism") | _drops(null, "squash")),
    "branchall": Form({"parallel": "true"}),
}
BRANCHES = {
    "branchone": Form({"skip_failure": "true", "parallel": "true"}, _drops(null, "summary")),
    "branchall": Form({"expr": "''", "skip_failure": "true", "parallel": "true"}, _drops(null, "summary")),
}
SCHEDULE = Form(
    {"args": "null", "cron_version": "v2", "ws_error_handler_muted": "false", "no_flow_overlap": "false"},
    _drops(
        null,
        "on_failure on_failure_times on_failure_exact on_failure_extra_args on_recovery on_recovery_times"
        " on_recovery_extra_args on_success on_success_extra_args retry summary description tag paused_until"
        " dynamic_skip labels",
    )
    | _drops(always, "extra_perms error draft_only is_draft inherited_labels"),
)
_TRIGGER_DROPS = _drops(null, "error_handler_path error_handler_args retry labels") | _drops(
    always, "enabled extra_perms draft_only is_draft inherited_labels"
)
TRIGGER = Form({"mode": "enabled"}, _TRIGGER_DROPS)
HTTP = Form(
    {
        "mode": "enabled",
        "route_path_key": "the route with :key for its parameters",
        "request_type": "sync",
        "summary": "null",
        "description": "null",
        "authentication_resource_path": "null",
        "static_asset_config": "null",
        "raw_string": "false",
        "wrap_body": "false",
        "workspaced_route": "false",
    },
    _TRIGGER_DROPS | _drops(always, "is_async requires_auth"),
)
MQTT = Form(
    {"mode": "enabled", "v3_config": "null", "v5_config": "null", "client_id": "null", "client_version": "null"},
    _TRIGGER_DROPS,
)
WEBSOCKET = Form(
    {"mode": "enabled", "filter_logic": "and", "can_return_error_result": "false"},
    _TRIGGER_DROPS | _drops(null, "initial_messages url_runnable_args heartbeat"),
)
LEGACY = _drops(always, "is_expired is_refreshed is_linked refresh_error extra_perms")
RESOURCE = Form({"description": "null"}, LEGACY | _drops(always, "is_oauth account") | _drops(null, "labels"))
VARIABLE = Form(drops=LEGACY | _drops(off, "is_oauth") | _drops(null, "account expires_at labels"))
FILES = {
    "script": SCRIPT,
    "resource": RESOURCE,
    "variable": VARIABLE,
    "schedule": SCHEDULE,
    "http_trigger": HTTP,
    "mqtt_trigger": MQTT,
    "websocket_trigger": WEBSOCKET,
}


def check_normal_form(context: Context) -> None:
    for entry, document in context.entries(*FILES, *(f"{kind}_trigger" for kind in TRIGGERS)):
        _compare(context, entry.file, document, FILES.get(entry.kind, TRIGGER), "")
        if entry.kind == "http_trigger":
            _route_key(context, entry.file, document)
    for entry, document in context.entries("flow"):
        _flow(context, entry.file, document)


def _flow(context: Context, file: str, document: Item) -> None:
    value = document.get("value")
    if value is None or not isinstance(value.value, dict):
        return
    _compare(context, file, document, FLOW, "")
    _compare(context, file, value, FLOW_VALUE, "the value: ")
    for step in steps(document):
        if step.tool:
            continue
        where = f"step {step.id}: "
        _compare(context, file, step.item, MODULE, where)
        _compare(context, file, step.item.get("value"), VALUES.get(step.type, Form()), where)
        for branch in step.item.list("value", "branches"):
            _compare(context, file, branch, BRANCHES.get(step.type, Form()), f"{where}branch: ")
        for key in ("stop_after_if", "stop_after_all_iters_if"):
            _compare(context, file, step.item.get(key), STOP, where)
        _compare(context, file, step.item.get("suspend"), SUSPEND, where)
        _retry(context, file, step.item.get("retry"), where)
        for number in (step.item.get("timeout"), step.item.get("value", "parallelism")):
            if number is not None and isinstance(number.value, int):
                _report(
                    context,
                    file,
                    number,
                    f"{where}a number becomes {{type: static, value: {number.value}}}; write that",
                )
        content = step.item.get("value", "content")
        if step.type == "rawscript" and content is not None and not str(content.value).startswith("!inline "):
            _report(
                context, file, content, f"{where}a pull puts this code in a file of its own; write !inline {step.id}.…"
            )


def _retry(context: Context, file: str, retry: Item | None, where: str) -> None:
    if retry is None:
        return
    for key, form, default in (
        ("constant", CONSTANT, {"attempts": 0, "seconds": 0}),
        ("exponential", EXPONENTIAL, {"attempts": 0, "multiplier": 1, "seconds": 0}),
    ):
        item = retry.get(key)
        if item is None or not isinstance(item.value, dict):
            continue
        if {name: value for name, value in item.plain().items() if value is not None} == default:
            _report(
                context,
                file,
                (item.key_line, item.key_column),
                f"{where}an empty retry is dropped; remove it",
            )
        else:
            _compare(context, file, item, form, f"{where}{key}: ")


def _route_key(context: Context, file: str, document: Item) -> None:
    route, key = document.text("route_path"), document.get("route_path_key")
    if route is None or key is None:
        return
    wanted = re.sub(r":[-\w]+", ":key", route.lstrip("/"))
    if key.value != wanted:
        _report(context, file, key, f"route_path_key becomes {wanted}; write that")


def _compare(context: Context, file: str, item: Item | None, form: Form, where: str) -> None:
    if item is None or not isinstance(item.value, dict):
        return
    for key, value in form.adds.items():
        if key not in item.value:
            _report(context, file, item, f"{where}the server adds {key}: {value}; write it")
    for key, test in form.drops.items():
        found = item.value.get(key)
        if found is not None and test(found):
            _report(context, file, (found.key_line, found.key_column), f"{where}the server drops {key}; remove it")


def _report(context: Context, file: str, place: Item | tuple[int, int], message: str) -> None:
    context.report(file, place, "normal-form", f"a second push would show a change: {message}")
