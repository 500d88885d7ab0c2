"""Walks a flow and every flow inside it before anything runs, and names what the engine cannot do.

What the community edition of Windmill accepts and ignores (concurrency limits, debouncing, priorities, tags) is
accepted and ignored here as well. Everything else that is not implemented is refused: nothing is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wmlocal.engine.bundle import Bundle, Flow, Script
from wmlocal.engine.errors import BadBundle, Finding, Unsupported
from wmlocal.formats.misplaced import find_record, names_of, where_it_belongs

Value = dict[str, Any]

# No effect in the community edition, or about the editor and the queue only.
IGNORED = {
    "concurrent_limit",
    "concurrency_time_window_s",
    "concurrency_key",
    "custom_concurrency_key",
    "debounce_key",
    "debounce_delay_s",
    "debounce_args_to_accumulate",
    "max_total_debouncing_time",
    "max_total_debounces_amount",
    "debouncing",
    "description",
    "priority",
    "tag",
    "tag_override",
    "is_trigger",
    "assets",
    "summary",
    "notes",
    "groups",
    "preserve_step_tags",
    "skin",
    "tool_type",
    "dedicated_worker",
    "visible_to_runner_only",
}
FLOW_KEYS = {
    "modules",
    "failure_module",
    "same_worker",
    "skip_expr",
    "early_return",
    "flow_env",
    "delete_after_use",
    "delete_after_secs",
    "preprocessor_module",
}
MODULE_KEYS = {
    "id",
    "value",
    "stop_after_if",
    "stop_after_all_iters_if",
    "suspend",
    "mock",
    "retry",
    "sleep",
    "timeout",
    "delete_after_use",
    "delete_after_secs",
    "continue_on_error",
    "skip_if",
    "pass_flow_input_directly",
    "apply_preprocessor",
}
VALUE_KEYS = {
    "rawscript": {"content", "language", "lock", "path", "input_transforms"},
    "script": {"path", "input_transforms", "pass_flow_input_directly"},
    "flow": {"path", "input_transforms", "pass_flow_input_directly"},
    "forloopflow": {"iterator", "modules", "skip_failures", "parallel", "parallelism"},
    "whileloopflow": {"modules", "skip_failures", "parallel", "parallelism"},
    "branchone": {"branches", "default"},
    "branchall": {"branches", "parallel"},
    "identity": {"flow"},
}
REQUIRED = {
    "rawscript": ("content", "language"),
    "script": ("path",),
    "flow": ("path",),
    "forloopflow": ("iterator", "modules"),
    "whileloopflow": ("modules",),
    "branchone": ("branches", "default"),
    "branchall": ("branches",),
    "identity": (),
}
NESTED_KEYS = {
    "stop_after_if": {"expr", "skip_if_stopped", "error_message", "error_include_result"},
    "stop_after_all_iters_if": {"expr", "skip_if_stopped", "error_message", "error_include_result"},
    "skip_if": {"expr"},
    "mock": {"enabled", "return_value"},
    "retry": {"constant", "exponential", "retry_if"},
    "suspend": {
        "required_events",
        "timeout",
        "resume_form",
        "user_auth_required",
        "user_groups_required",
        "self_approval_disabled",
        "hide_cancel",
        "continue_on_disapprove_timeout",
    },
}
RETRY_KEYS = {
    "constant": {"attempts", "seconds"},
    "exponential": {"attempts", "multiplier", "seconds", "random_factor"},
    "retry_if": {"expr"},
}
BRANCH_KEYS = {"summary", "expr", "modules", "skip_failure", "parallel"}
REFUSED = {
    "cache_ttl": ("results are not cached here", "remove cache_ttl, or run it on a Windmill server"),
    "cache_ignore_s3_path": ("results are not cached here", "remove it, or run it on a Windmill server"),
    "chat_input_enabled": ("chat flows are not supported", "run it on a Windmill server"),
    "squash": ("runners kept across iterations are not supported", "remove squash"),
    "hash": ("a script pinned by hash is not in a bundle", "use its path alone"),
}


# The records of formats/tables.py that these keys stand in.
RECORDS = {
    "rawscript": "RawScript",
    "script": "PathScript",
    "flow": "PathFlow",
    "forloopflow": "ForloopFlow",
    "whileloopflow": "WhileloopFlow",
    "branchone": "BranchOne",
    "branchall": "BranchAll",
    "identity": "Identity",
    "module": "FlowModule",
    "the flow's value": "FlowValue",
    "flow.yaml": "Flow",
    "branch": "PredicateBranch",
    "retry": "Retry",
    "retry.constant": "ConstantRetry",
    "retry.exponential": "ExponentialRetry",
    "retry.retry_if": "Expression",
    "suspend": "Suspend",
    "mock": "Mock",
    "skip_if": "Expression",
    "stop_after_if": "StopAfterIf",
    "stop_after_all_iters_if": "StopAfterIf",
}
# Keys whose value is read as a number; anything else would end a run half-way.
NUMBERS = ("required_events", "attempts", "seconds", "multiplier", "random_factor", "delete_after_secs")
TEXTS = ("path", "content", "expr", "language")
LISTS = ("modules", "default", "branches")
MAPPINGS = ("input_transforms", *NESTED_KEYS)


def check_flow(bundle: Bundle, flow: Flow) -> None:
    findings = list(_flow(bundle, flow, set()))
    if findings:
        raise Unsupported(findings)


def check_script(script: Script) -> None:
    findings = list(_script(script, script.path))
    if findings:
        raise Unsupported(findings)


def _script(script: Script, where: str) -> Iterator[Finding]:
    if script.language != "python3":
        yield Finding(where, f"{script.path} is written in {script.language}", "only python3 runs here; use a server")
        return
    yield from _python(script.content, where)
    for key in ("codebase", "cache_ttl"):
        if script.meta.get(key):
            yield Finding(
                where, f"{key} of {script.path} is not supported", "remove it, or run it on a Windmill server"
            )
    timeout, envs = script.meta.get("timeout"), script.meta.get("envs")
    if timeout is not None and not _is_number(timeout):
        yield Finding(where, f"timeout of {script.path} is {_show(timeout)}", "write a number of seconds")
    if envs is not None and not (isinstance(envs, list) and all(isinstance(item, str) for item in envs)):
        yield Finding(where, f"envs of {script.path} is {_show(envs)}", "write a list of NAME=value")
    elif bad := next((item for item in envs or () if "=" not in item), None):
        # A server fails the step.
        yield Finding(where, f"envs of {script.path}: {_show(bad)} has no =", "write NAME=value")


def _python(source: str, where: str) -> Iterator[Finding]:
    if "@workflow" in source and ("import wmill" in source or "from wmill" in source):
        yield Finding(where, "workflow-as-code is not supported", "write a flow, or run it on a Windmill server")
    if any(line.replace(" ", "").startswith("#sandbox") for line in source.splitlines()[:10]):
        yield Finding(where, "the sandbox annotation is not supported", "remove it, or run it on a Windmill server")


def _flow(bundle: Bundle, flow: Flow, seen: set[str]) -> Iterator[Finding]:
    where = flow.path or "the flow"
    yield from flow.findings
    yield from _unknown_at_the_top(flow, where)
    yield from _check_keys(flow.value, FLOW_KEYS, where, "the flow's value")
    modules = flow.value.get("modules")
    if not isinstance(modules, list):
        yield Finding(where, "it has no list of modules", "give it `modules: []` at least")
        modules = []
    for module in modules:
        if isinstance(module, dict) and module.get("id") in ("failure", "preprocessor"):
            yield _stray_part(where, module["id"])
    failure, preprocessor = flow.value.get("failure_module"), flow.value.get("preprocessor_module")
    yield from _modules(bundle, [*modules, *([failure] if failure else [])], where, seen)
    if preprocessor:
        yield from _modules(bundle, [preprocessor], where, seen)
        kind = preprocessor["value"].get("type") if _is_module(preprocessor) else None
        if kind is not None and kind not in ("script", "rawscript"):
            yield Finding(where, f"the preprocessor is of type {kind}", "make it a script or rawscript")


def _stray_part(where: str, id: str) -> Finding:
    what = "handles no failure" if id == "failure" else "makes no arguments"
    return Finding(
        f"{where}/{id}",
        f"a step called {id} among `modules` runs like any other and {what}",
        f"move it to `{id}_module`, beside `modules`, or give it another id",
    )


def _unknown_at_the_top(flow: Flow, where: str) -> Iterator[Finding]:
    if not flow.meta:
        return
    yield from _check_keys(flow.meta, names_of("Flow"), where, "flow.yaml")


def _check_keys(item: Value, known: set[str], where: str, kind: str) -> Iterator[Finding]:
    """Keys that nothing reads at this place, by the same table as the check's, and those that are not done here."""
    here = names_of(RECORDS[kind])
    for key, value in item.items():
        if key not in here:
            yield _describe_misplaced(where, key, kind, known & here, item)
        elif key not in known | IGNORED and value is not None and value is not False:
            what, do = REFUSED.get(key, ("it is not done here", "remove it, or run it on a Windmill server"))
            yield Finding(where, f"`{key}`: {what}", do)


def _describe_misplaced(where: str, key: str, kind: str, known: set[str], item: Value) -> Finding:
    """What the check says of the same key, so that the two never disagree."""
    value = item.get("value")
    own = find_record("ModuleValue", str(value.get("type"))) if kind == "module" and isinstance(value, dict) else ""
    hint = where_it_belongs(RECORDS[kind], key, sorted(known), own)
    do = hint.removeprefix("; ").removeprefix(", ") or "correct the key"
    return Finding(where, f"`{key}`: the key is not known in {_article(kind)}, where a server ignores it", do)


def _article(kind: str) -> str:
    return kind if kind.startswith("the ") or "." in kind else f"a {kind}"


def _is_module(module: Any) -> bool:
    return isinstance(module, dict) and isinstance(module.get("value"), dict) and isinstance(module.get("id"), str)


def _modules(bundle: Bundle, modules: list[Any], where: str, seen: set[str]) -> Iterator[Finding]:
    ids: set[str] = set()
    for module in modules:
        if not _is_module(module) or not module["id"]:
            yield Finding(where, "a module has no id or no value", "give each module an id and a value with a type")
            continue
        place = f"{where}/{module['id']}"
        if module["id"] in ids:
            yield Finding(place, "the id is there twice", "rename one of the two modules")
        ids.add(module["id"])
        yield from _module(bundle, module, place, seen)


def _module(bundle: Bundle, module: Value, where: str, seen: set[str]) -> Iterator[Finding]:
    shapes = list(_shapes(module, where))
    if shapes:
        # What is of another shape than it must be cannot be looked into.
        yield from shapes
        return
    yield from _check_keys(module, MODULE_KEYS, where, "module")
    for key, known in NESTED_KEYS.items():
        if isinstance(module.get(key), dict):
            yield from _check_keys(module[key], known, where, key)
    for key, part in (module.get("retry") or {}).items():
        if key in RETRY_KEYS and isinstance(part, dict):
            yield from _check_keys(part, RETRY_KEYS[key], where, f"retry.{key}")
    if (module.get("suspend") or {}).get("user_auth_required"):
        yield Finding(where, "approval by named users needs a server", "remove user_auth_required")
    for key in ("sleep", "timeout"):
        yield from _transform(module.get(key), where, key)
    yield from _value(bundle, module["value"], where, seen)


def _shapes(module: Value, where: str) -> Iterator[Finding]:
    """Mappings, lists, numbers and texts that are something else."""
    retry = module.get("retry")
    parts = [module, module["value"], *(module.get(key) for key in NESTED_KEYS)]
    parts += [retry.get(key) for key in RETRY_KEYS] if isinstance(retry, dict) else []
    for part in parts:
        for key, value in part.items() if isinstance(part, dict) else ():
            wanted = _describe_type(key, value)
            if wanted and value is not None:
                yield Finding(where, f"`{key}` is {_show(value)}", f"write {wanted}")
    if isinstance(retry, dict):
        for key in RETRY_KEYS:
            if retry.get(key) is not None and not isinstance(retry[key], dict):
                yield Finding(where, f"retry.{key} is {_show(retry[key])}", "write a mapping")


def _describe_type(key: str, value: Any) -> str:
    """What a key's value must be, when it is something else."""
    if key in MAPPINGS and not isinstance(value, dict):
        return "a mapping"
    if key in LISTS and not isinstance(value, list):
        return "a list"
    if key in NUMBERS and not _is_number(value):
        return "a number"
    return "a text" if key in TEXTS and not isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"{value!r:.60}"


def _value(bundle: Bundle, value: Value, where: str, seen: set[str]) -> Iterator[Finding]:
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in VALUE_KEYS:
        what = f"a module of type {kind} is not supported" if kind else "the value has no type"
        yield Finding(where, what, f"use one of {', '.join(VALUE_KEYS)}, or run it on a Windmill server")
        return
    yield from _check_keys(value, VALUE_KEYS[kind] | {"type"}, where, kind)
    for key in REQUIRED[kind]:
        if value.get(key) is None:
            yield Finding(where, f"a {kind} needs `{key}`", f"add {key}")
    for name, transform in (value.get("input_transforms") or {}).items():
        yield from _transform(transform, where, name, only_mapping=True)
    for key in ("iterator", "parallelism"):
        yield from _transform(value.get(key), where, key)
    yield from _runnable(bundle, value, where, seen)
    yield from _inner(bundle, value, where, seen)


def _transform(transform: Any, where: str, name: str, only_mapping: bool = False) -> Iterator[Finding]:
    if isinstance(transform, dict):
        if transform.get("type") not in ("static", "javascript"):
            message = f"the transform of `{name}` has type {transform.get('type')}"
            yield Finding(where, message, "use static or javascript")
        elif transform["type"] == "javascript" and not isinstance(transform.get("expr"), str):
            yield Finding(where, f"the transform of `{name}` has no text in `expr`", "write an expression")
    elif only_mapping or isinstance(transform, list | str):
        message = f"the transform of `{name}` is {_show(transform)}"
        yield Finding(where, message, "write {type: static, value: …} or {type: javascript, expr: …}")


def _runnable(bundle: Bundle, value: Value, where: str, seen: set[str]) -> Iterator[Finding]:
    kind, path = value["type"], value.get("path")
    if kind == "rawscript":
        if value.get("language") != "python3":
            yield Finding(
                where, f"the step is written in {value.get('language')}", "only python3 runs here; use a server"
            )
        else:
            yield from _python(str(value.get("content") or ""), where)
    elif kind in ("script", "flow") and isinstance(path, str):
        if path.startswith("hub/"):
            yield _on_the_hub(kind, path, where)
            return
        try:
            yield from _check_path(bundle, kind, path, where, seen)
        except BadBundle as error:
            yield Finding(where, str(error), "correct the file")


def _on_the_hub(kind: str, path: str, where: str) -> Finding:
    if kind == "flow":
        return Finding(
            where,
            f"{path}: a server runs no flow of the hub as a step",
            "copy it into the bundle; an approval is a step with `suspend: {required_events: 1}` beside its `value`",
        )
    return Finding(where, f"{path} is on the hub", "copy it into the bundle, or run it on a Windmill server")


def _check_path(bundle: Bundle, kind: str, path: str, where: str, seen: set[str]) -> Iterator[Finding]:
    found = bundle.script(path) if kind == "script" else bundle.flow(path)
    if found is None:
        yield Finding(
            where, f"the {kind} {path} is not in the bundle", f"add it, or correct the path (root {bundle.root})"
        )
    elif isinstance(found, Script):
        yield from _script(found, where)
    elif path not in seen:
        seen.add(path)
        yield from _flow(bundle, found, seen)


def _inner(bundle: Bundle, value: Value, where: str, seen: set[str]) -> Iterator[Finding]:
    for key in ("modules", "default"):
        if isinstance(value.get(key), list):
            yield from _modules(bundle, value[key], where, seen)
    for branch in value.get("branches") or ():
        if not isinstance(branch, dict):
            yield Finding(where, "a branch is not a mapping", "give it expr and modules")
            continue
        yield from _check_keys(branch, BRANCH_KEYS, where, "branch")
        wrong = [
            Finding(where, f"`{key}` of a branch is {_show(item)}", f"write {wanted}")
            for key, item in branch.items()
            if item is not None and (wanted := _describe_type(key, item))
        ]
        yield from wrong or _modules(bundle, branch.get("modules") or [], where, seen)
