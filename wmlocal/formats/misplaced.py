"""Where a key belongs that stands where nothing reads it: one level too deep, too high, or under another tool's name.

RELATIVES   records of tables.py that stand around or inside one, with the way there
MEANT       words of other tools, and what Windmill has for them
"""

from __future__ import annotations

from functools import cache

from wmlocal.formats import tables
from wmlocal.formats.records import Choice, Record, Shapes, shapes
from wmlocal.suggest import suggest

VALUES = (
    "RawScript",
    "PathScript",
    "PathFlow",
    "ForloopFlow",
    "WhileloopFlow",
    "BranchOne",
    "BranchAll",
    "Identity",
    "AiAgent",
)
TYPES = {
    "RawScript": "rawscript",
    "PathScript": "script",
    "PathFlow": "flow",
    "ForloopFlow": "forloopflow",
    "WhileloopFlow": "whileloopflow",
    "BranchOne": "branchone",
    "BranchAll": "branchall",
    "Identity": "identity",
    "AiAgent": "aiagent",
}
TRIGGERS = tuple(line.split()[0] for line in tables.TRIGGERS.strip().splitlines() if line[:1].islower())

Way = tuple[str, str]
FLOW_VALUE: Way = ("FlowValue", "it belongs inside the flow's `value`")
FLOW: Way = ("Flow", "it belongs at the top of flow.yaml, beside `value`")
MODULE: Way = ("FlowModule", "it belongs to the step, beside `value`, not inside")
OF_THE_STEP: Way = ("FlowModule", "it belongs to the step that runs this, beside its `value`")
RELATIVES: dict[str, tuple[Way, ...]] = {
    "Flow": (FLOW_VALUE, ("FlowModule", "it belongs to a step, one of `modules`")),
    "FlowValue": (FLOW, ("FlowModule", "it belongs to a step, one of `modules`")),
    "FlowModule": (
        *((name, f"it belongs inside `value`, and is read where its type is {TYPES[name]}") for name in VALUES),
        ("ConstantRetry", "it belongs inside `retry`, below `constant` or `exponential`"),
        ("ExponentialRetry", "it belongs inside `retry`, below `exponential`"),
        ("Retry", "it belongs inside `retry`"),
        ("Suspend", "it belongs inside `suspend`"),
        ("StopAfterIf", "it belongs inside `stop_after_if`"),
        ("Mock", "it belongs inside `mock`"),
        ("Branch", "it belongs to a branch, beside its `modules`"),
        FLOW_VALUE,
        FLOW,
    ),
    **{
        name: (
            MODULE,
            *([("PredicateBranch", "it belongs to each of `branches`")] if name.startswith("Branch") else []),
            *((other, f"type {TYPES[other]} has it, not {TYPES[name]}") for other in VALUES if other != name),
            FLOW_VALUE,
            FLOW,
        )
        for name in VALUES
    },
    "PredicateBranch": (("BranchOne", "it belongs beside `branches`"), MODULE),
    "Branch": (("BranchAll", "it belongs beside `branches`"), MODULE),
    "Retry": (
        ("ConstantRetry", "it belongs below `constant` or `exponential`"),
        ("ExponentialRetry", "it belongs below `exponential`"),
        ("FlowModule", "it belongs to the step, beside `retry`"),
    ),
    "ConstantRetry": (
        ("ExponentialRetry", "it belongs below `exponential`"),
        ("Retry", "it belongs beside `constant`"),
        ("FlowModule", "it belongs to the step, beside `retry`"),
    ),
    "ExponentialRetry": (
        ("Retry", "it belongs beside `exponential`"),
        ("FlowModule", "it belongs to the step, beside `retry`"),
    ),
    "Suspend": (("FlowModule", "it belongs to the step, beside `suspend`"),),
    "StopAfterIf": (("FlowModule", "it belongs to the step, beside `stop_after_if`"),),
    "Expression": (("StopAfterIf", "`stop_after_if` has it, not this"), ("FlowModule", "it belongs to the step")),
    "Mock": (("FlowModule", "it belongs to the step, beside `mock`"),),
    "StaticTransform": (("JavascriptTransform", "it is read where `type` is javascript"), MODULE),
    "JavascriptTransform": (MODULE,),
    "Script": (OF_THE_STEP, ("Schedule", "it belongs to a schedule, a file of its own: PATH.schedule.yaml")),
    "Schedule": (
        ("Retry", "it belongs inside `retry`"),
        ("ConstantRetry", "it belongs inside `retry`, below `constant`"),
        ("Script", "it belongs to the script's metadata, PATH.script.yaml"),
        OF_THE_STEP,
        ("http", "it belongs to an HTTP trigger, a file of its own: PATH.http_trigger.yaml"),
    ),
    **{
        name: (
            ("Retry", "it belongs inside `retry`"),
            ("ConstantRetry", "it belongs inside `retry`, below `constant`"),
            ("Schedule", "it belongs to a schedule, a file of its own: PATH.schedule.yaml"),
            ("Script", "it belongs to the script's metadata, PATH.script.yaml"),
            OF_THE_STEP,
        )
        for name in TRIGGERS
    },
    "Config": (("Workspace", "it belongs inside `workspaces`, below a workspace's name"),),
    "Workspace": (("Overrides", "it belongs inside `overrides`"),),
    "Overrides": (("Workspace", "it belongs beside `overrides`"),),
    "Resource": (("Variable", "it belongs to a variable, PATH.variable.yaml"),),
    "Variable": (("Resource", "it belongs to a resource, PATH.resource.yaml"),),
}

HANDLER = "so nobody handles a failure; a flow's error handler is `failure_module`, inside `value`"
ON_FAILURE = "so nobody handles a failure; a schedule's error handler is `on_failure: script/PATH`"
TRIGGER_HANDLER = "so nobody handles a failure; a trigger's error handler is `error_handler_path`"
A_SCHEDULE = "a schedule is a file of its own: PATH.schedule.yaml"
FORM = "inputs are described in `schema`, below `properties`"
INPUTS = "a step's inputs are `input_transforms`"
CONDITION = "a condition of a step is `skip_if: {expr: …}`, true where it is to be skipped"
_HANDLERS = (
    "error_handler",
    "on_error",
    "on_failure",
    "failure_handler",
    "error_module",
    "error_handler_path",
    "on_failure_path",
)
_INPUTS = ("inputs", "input", "args", "arguments", "parameters", "params", "with")
_FLOW = {
    **dict.fromkeys(_HANDLERS, HANDLER),
    **dict.fromkeys(("steps", "tasks", "nodes"), "steps are `modules`, inside `value`"),
    **dict.fromkeys(_INPUTS, FORM),
    **dict.fromkeys(("cron", "schedule", "timezone", "enabled"), A_SCHEDULE),
    **dict.fromkeys(("env", "envs", "environment"), "a flow's constants are `flow_env`, inside `value`"),
    **dict.fromkeys(("name", "title"), "a flow's title is `summary`"),
    **dict.fromkeys(("properties", "required", "order"), "it belongs inside `schema`"),
    **dict.fromkeys(
        ("finally", "always", "on_success", "on_exit"),
        "a flow has no such part; what runs after a failure is `failure_module`, after a success its last step",
    ),
    "path": "a flow's path is that of its folder",
}
_STEP = {
    **dict.fromkeys(_HANDLERS, HANDLER),
    **dict.fromkeys(_INPUTS, INPUTS),
    **dict.fromkeys(("if", "when", "condition", "run_if"), CONDITION),
    **dict.fromkeys(("retries", "max_retries", "attempts_max"), "a retry is `retry: {constant: {attempts, seconds}}`"),
    **dict.fromkeys(("depends_on", "needs", "after", "next"), "steps run in the order of their list"),
    **dict.fromkeys(("approval", "wait_for_approval"), "an approval is `suspend: {required_events: 1}`"),
    **dict.fromkeys(("name", "title"), "a step's title is `summary`"),
    **dict.fromkeys(("continue_on_failure", "ignore_errors", "allow_failure"), "that is `continue_on_error`"),
    **dict.fromkeys(
        ("concurrency_key", "custom_concurrency_key"), "a step's is `custom_concurrency_key`, inside `value`"
    ),
    "steps": "steps are `modules`",
    "delay": "a pause is `sleep`",
    "max_parallel": "that is `parallelism`, inside a loop's `value`",
}
_VALUE = {
    **_STEP,
    **dict.fromkeys(("code", "source", "script"), "a rawscript's code is `content`"),
    **dict.fromkeys(("items", "iterate", "for_each", "foreach"), "a loop's items are `iterator`"),
    **dict.fromkeys(
        ("until", "while", "stop_if"), "a loop ends by `stop_after_if`, beside `value` of it or of one of its steps"
    ),
    **dict.fromkeys(("cases", "conditions"), "a branchone's cases are `branches`"),
    **dict.fromkeys(
        ("env", "envs", "environment"),
        "an inline step has no variables of its own; the flow's constants are `flow_env`, a script has `envs`",
    ),
    **dict.fromkeys(("concurrency_key", "concurrency_limit_key"), "a step's is `custom_concurrency_key`"),
    "concurrency_limit": "that is `concurrent_limit`",
    "lang": "that is `language`",
    "else": "what runs when no branch does is `default`",
    "max_parallel": "that is `parallelism`",
}
_STARTED = {
    **dict.fromkeys(
        ("path", "script", "flow", "flow_path", "runnable_path", "target"),
        "what it starts is `script_path`, with `is_flow: true` for a flow",
    ),
    **dict.fromkeys(("active",), "that is `enabled`"),
}
_TRIGGER = {
    **_STARTED,
    **dict.fromkeys(("error_handler", "on_failure", "on_error"), TRIGGER_HANDLER),
    "route": "that is `route_path`",
    "method": "that is `http_method`",
    "auth": "that is `authentication_method`",
    "authentication": "that is `authentication_method`",
    **dict.fromkeys(("args", "inputs", "input_transforms"), "a trigger's request makes the arguments"),
}
_BRANCH = dict.fromkeys(("if", "when", "condition", "predicate"), "a branch's condition is `expr`") | {
    "steps": "steps are `modules`"
}
MEANT: dict[str, dict[str, str]] = {
    "Flow": _FLOW,
    "FlowValue": _FLOW | {"schema": "it belongs at the top of flow.yaml, beside `value`"},
    "FlowModule": _STEP,
    **dict.fromkeys(VALUES, _VALUE),
    "Branch": _BRANCH,
    "PredicateBranch": _BRANCH,
    "Retry": dict.fromkeys(
        ("max_attempts", "count", "delay", "max_retries", "interval"), "write `constant: {attempts: …, seconds: …}`"
    ),
    "StopAfterIf": {
        "message": "that is `error_message`",
        "skip": "that is `skip_if_stopped`",
        "condition": "that is `expr`",
    },
    "Expression": {"condition": "that is `expr`"},
    "Suspend": {**dict.fromkeys(("required_approvals", "approvals", "events"), "that is `required_events`")},
    "Script": {
        "retry": "a script has no retry; give it to the flow's step, the schedule or the trigger that runs it",
        **dict.fromkeys(("content", "code", "source"), "the code is the file beside it"),
        "language": "the code file's ending says it",
        "path": "a script's path is that of its file",
        **dict.fromkeys(("env", "environment", "env_vars"), "that is `envs`, a list of NAME=value"),
        **dict.fromkeys(
            ("requirements", "dependencies", "packages"),
            "packages are named in the code's first lines: `# requirements: NAME`",
        ),
        **dict.fromkeys(("cron", "schedule", "timezone", "enabled"), A_SCHEDULE),
        **dict.fromkeys(_INPUTS, FORM),
        **dict.fromkeys(("properties", "required", "order"), "it belongs inside `schema`"),
        **dict.fromkeys(("name", "title"), "a script's title is `summary`"),
        **dict.fromkeys(
            ("error_handler", "on_failure", "on_error"),
            "so nobody handles a failure; its schedule's or trigger's error handler does",
        ),
        "concurrency_limit": "that is `concurrent_limit`",
        "cache": "that is `cache_ttl`, in seconds",
    },
    "Schedule": {
        **_STARTED,
        **dict.fromkeys(("error_handler", "error_handler_path", "on_error", "failure_handler"), ON_FAILURE),
        **dict.fromkeys(("inputs", "input_transforms", "arguments", "parameters"), "that is `args`"),
        "cron": "that is `schedule`, six fields with the seconds first",
        "tz": "that is `timezone`",
        **dict.fromkeys(("overlap", "allow_overlap", "concurrency"), "that is `no_flow_overlap`"),
    },
    **dict.fromkeys(TRIGGERS, _TRIGGER),
    "Resource": {"type": "that is `resource_type`", "schema": "it belongs to the type, NAME.resource-type.yaml"},
    "Variable": {"path": "a variable's path is that of its file"},
    "Folder": {"owner": "that is `owners`, a list", "permissions": "that is `extra_perms`"},
    "Config": {
        "include": "that is `includes`",
        "exclude": "that is `excludes`",
        **dict.fromkeys(("workspace",), "that is `workspaces`, by name"),
    },
}


def where_it_belongs(record: str, key: str, names: list[str], own: str = "") -> str:
    """What to say behind `X has no key Y`: `; it belongs …`, `; did you mean …?`, or nothing.

    names: the record's own keys. own: of a step, the record of its value.
    """
    meant = MEANT.get(record, {}).get(key)
    if meant:
        return f", {meant}" if meant.startswith("so ") else f"; {meant}"
    known = _all_shapes()
    ways = RELATIVES.get(record, ())
    for name, way in sorted(ways, key=lambda item: item[0] != own):
        shape = known.get(name)
        if isinstance(shape, Record) and key in shape.fields and not shape.fields[key].legacy:
            return f"; {'it belongs inside `value`' if name == own else way}"
    return suggest(key, names)


@cache
def _all_shapes() -> Shapes:
    return {**shapes(tables.CONFIG), **shapes(tables.TRIGGERS), **shapes(tables.ITEMS), **shapes(tables.FLOW)}


def find_record(choice: str, tag: str) -> str:
    """The record that `tag` chooses, such as RawScript of ModuleValue's rawscript; "" for an unknown one."""
    shape = _all_shapes().get(choice)
    return shape.records.get(tag, "") if isinstance(shape, Choice) else ""


def names_of(record: str) -> set[str]:
    """Every key that a record has, older ones too."""
    shape = _all_shapes().get(record)
    return set(shape.fields) if isinstance(shape, Record) else set()
