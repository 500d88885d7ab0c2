"""Evaluates the JavaScript of a flow (input transforms, predicates, iterators) in QuickJS, as Windmill does.

Windmill answers the plain shapes without JavaScript, and their meaning differs: `results.a.b.c` reads a path and gives
null where JavaScript would throw. Those short cuts are kept. Everything else runs in a fresh context with a time and a
memory limit; `results` is a lazy proxy, so every access to it is awaited by a rewrite of the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from flexcore.engine.errors import WindmillError

# Both limits are Windmill's.
TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 32 * 1024 * 1024

STATEMENTS = ("const ", "let ", "var ", "if ", "if(", "for ", "for(", "while ", "while(", "switch ", "switch(",
              "try ", "try{", "throw ", "function ", "class ", "async ", "await ", "return ", "return;")  # fmt: skip
RESULTS_PATH = re.compile(r"results\??\.([a-zA-Z_0-9]+)(?:\[(\d+)\])?((?:\.[a-zA-Z_0-9]+)+)?")
RESULTS_ACCESS = re.compile(r'(results\??(?:(?:\.[a-zA-Z_0-9]+)|(?:\[".*?"\])))')
AWAITED = ("variable", "resource", "flow_user_state")
OMITTED: Any = object()


class Results(Protocol):
    """Where a flow finds the results of its steps."""

    previous_id: str

    def of_step(self, step: str) -> Any: ...

    def at_path(self, step: str, path: list[str]) -> Any: ...

    def user_state(self, key: str) -> Any: ...


class Items(Protocol):
    """Where an expression finds variables and resources."""

    def variable(self, path: str) -> str: ...

    def resource(self, path: str) -> Any: ...


@dataclass(frozen=True)
class Scope:
    """What an expression can name."""

    flow_input: dict[str, Any] | None = None
    flow_env: dict[str, Any] | None = None
    items: Items | None = None
    results: Results | None = None
    names: dict[str, Any] = field(default_factory=dict)


class ExpressionError(WindmillError):
    """The expression threw, cannot be parsed, or hit a limit."""


def evaluate(expression: str, scope: Scope) -> Any:
    """The value as JSON would carry it; `undefined` is None."""
    expression = expression.strip()
    value = _short_cut(expression, scope)
    return _run(expression, scope) if value is OMITTED else value


def is_true(expression: str, scope: Scope) -> bool:
    return bool(evaluate(f"Boolean({expression})", scope))


def _short_cut(expression: str, scope: Scope) -> Any:
    if expression in scope.names:
        return scope.names[expression]
    value = _exact_property(expression, scope)
    if value is OMITTED and scope.results is not None:
        value = _result_path(expression, scope)
    return value


def _exact_property(expression: str, scope: Scope) -> Any:
    for prefix, holder in (("flow_input", scope.flow_input), ("flow_env", scope.flow_env)):
        if expression.startswith(prefix):
            rest = expression[len(prefix) :]
            key = rest[1:] if rest.startswith(".") else rest[2:-2] if re.fullmatch(r'\[".+"\]', rest) else None
            if key is not None and holder and key in holder:
                return holder[key]
    return OMITTED


def _result_path(expression: str, scope: Scope) -> Any:
    assert scope.results is not None
    if "previous_result" in scope.names and expression in _spellings(scope.results.previous_id):
        return scope.names["previous_result"]
    match = RESULTS_PATH.fullmatch(expression)
    # `length` belongs to JavaScript: no path of a JSON value leads there.
    if not match or (match.group(3) or "").endswith(".length"):
        return OMITTED
    step, index, rest = match.groups()
    path = ([index] if index else []) + ([part for part in rest.split(".") if part] if rest else [])
    return scope.results.at_path(step, path)


def _spellings(step: str) -> tuple[str, ...]:
    return (f"results.{step}", f"results?.{step}", f'results["{step}"]', f'results?.["{step}"]')


def _run(expression: str, scope: Scope) -> Any:
    import quickjs

    context = quickjs.Context()
    context.set_memory_limit(MEMORY_LIMIT_BYTES)
    context.set_time_limit(TIME_LIMIT_S)
    try:
        context.eval(PRELUDE)
        _bind(context, expression, scope)
        context.eval(_program(expression))
        _settle(context, scope)
        outcome = json.loads(context.eval("JSON.stringify(__outcome)"))
    except quickjs.JSException as error:
        raise ExpressionError(_from_exception(str(error), expression), "Anyhow") from None
    if outcome is None:
        raise ExpressionError("QuickJS evaluation error: Error: out of memory\n", "Anyhow")
    if "error" in outcome:
        raise ExpressionError(f"QuickJS evaluation error: Error: {outcome['error']}\n{_located(outcome['stack'])}",
                              "Anyhow")  # fmt: skip
    return json.loads(outcome["value"])


def _settle(context: Any, scope: Scope) -> None:
    """Runs the promises, and answers what they ask of Python, until nothing is left to do.

    QuickJS cannot call Python while it has a time limit, so a question is put in a list and its promise waits.
    """
    while True:
        while context.execute_pending_job():
            pass
        questions = json.loads(context.eval("__questions()"))
        if not questions:
            return
        for number, kind, key in questions:
            context.get("__answer")(number, _answer(scope, kind, key))


def _answer(scope: Scope, kind: str, key: str) -> str:
    """A Python error cannot cross into QuickJS with its text, so answers are `[value]` or `{error}`."""
    asked = {"variable": scope.items and scope.items.variable, "resource": scope.items and scope.items.resource,
             "result": scope.results and scope.results.of_step,
             "flow_user_state": scope.results and scope.results.user_state}[kind]  # fmt: skip
    if not asked:
        return json.dumps({"error": f"{kind}() is not available in this context"})
    try:
        return json.dumps([asked(key)])
    except Exception as error:  # whatever it is, the expression gets it as a JavaScript error
        return json.dumps({"error": str(error)})


def _from_exception(text: str, expression: str) -> str:
    message, _, stack = text.partition("\n")
    if "interrupted" in message:
        return (f"The expression evaluation `{expression}` took too long to execute "
                f"(>{int(TIME_LIMIT_S * 1000)}ms)")  # fmt: skip
    return f"QuickJS evaluation error: Error: {re.sub(r'^[A-Za-z]*Error: ', '', message)}\n{_located(stack)}"


def _located(stack: str) -> str:
    return stack.replace("<input>", "eval_script")


def _program(expression: str) -> str:
    for function in AWAITED:
        expression = _await_calls(expression, function)
    expression = RESULTS_ACCESS.sub(r"(await \1)", expression)
    body = f"return {expression};" if _is_value(expression) else expression
    return (
        f"(async function() {{ {body} }})().then((x) => JSON.stringify(x ?? null))"
        ".then((value) => { __outcome = { value }; }, (e) => { __outcome = e instanceof Error"
        " ? { error: String(e.message), stack: String(e.stack) } : { error: String(e), stack: '' }; })"
    )


def _is_value(expression: str) -> bool:
    text = expression.strip()
    if text == "return" or text.startswith(STATEMENTS):
        return False
    return not _has_semicolon(text)


def _has_semicolon(text: str) -> bool:
    quote, before = "", ""
    for character in text:
        if character in "'\"`" and before != "\\" and quote in ("", character):
            quote = "" if quote else character
        elif character == ";" and not quote:
            return True
        before = character
    return False


def _await_calls(text: str, function: str) -> str:
    head, *calls = text.split(f"{function}(")
    return head + "".join(f"(await {function}({_closed(call)}" for call in calls)


def _closed(text: str) -> str:
    """The text with one more parenthesis after the call's own closing one."""
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return f"{text[:position]}){text[position:]}"
    return text + ")"


def _bind(context: Any, expression: str, scope: Scope) -> None:
    names = {name: value for name, value in scope.names.items() if name in expression}
    wants_error = "error" in expression
    previous = scope.results.previous_id if scope.results else None
    if "previous_result" in scope.names and (
        wants_error or (previous is not None and any(text in expression for text in _spellings(previous)))
    ):
        names["previous_result"] = scope.names["previous_result"]
    if "flow_input" in expression:
        names["flow_input"] = scope.flow_input
    if "flow_env" in expression:
        names["flow_env"] = scope.flow_env or {}
    for name, value in names.items():
        context.set(name, context.parse_json(json.dumps(value)))
    if wants_error and "previous_result" in names:
        context.eval(ERROR_BINDING)
    if scope.results:
        context.set("__previous_id", scope.results.previous_id)
        context.eval(RESULTS_PROXY)


PRELUDE = """
var __outcome = null, __waiting = [], __asked = [];
function __ask(kind, key) {
  return new Promise((resolve, reject) => __asked.push([__waiting.push({ resolve, reject }) - 1, kind, String(key)]));
}
function __questions() { const asked = JSON.stringify(__asked); __asked = []; return asked; }
function __answer(number, text) {
  const answer = JSON.parse(text);
  if (answer.error !== undefined) __waiting[number].reject(new Error(answer.error));
  else __waiting[number].resolve(answer[0]);
}
function variable(path) { return __ask('variable', path); }
function resource(path) { return __ask('resource', path); }
function flow_user_state(key) { return __ask('flow_user_state', key); }
"""

RESULTS_PROXY = """
const results = new Proxy({}, { get(target, name) {
  if (typeof name === 'symbol') return undefined;
  if (name === __previous_id && typeof previous_result !== 'undefined') return Promise.resolve(previous_result);
  return __ask('result', name);
} });
"""

# `error` is read from the previous result; a parallel step has a list of results, with any number of errors in it.
ERROR_BINDING = """
let error = previous_result?.error;
if (!error && Array.isArray(previous_result)) {
  const failed = previous_result.filter((item) => item && typeof item === 'object' && 'error' in item);
  error = failed.length === 1 ? failed[0].error : {
    name: 'MultipleErrors',
    message: failed.length
      ? failed.map(({ error: e }, i) => `[${e.step_id || i}] ${e.message || e.name}`).join('; ')
      : 'Could not parse errors',
    errors: previous_result };
} else if (!error) {
  error = previous_result
    ? { name: 'UnknownError', message: 'Could not parse the error', error: previous_result }
    : { name: 'UnknownError', message: 'No error found' };
}
"""
