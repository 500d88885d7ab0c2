"""The program that a Windmill server makes of an expression of a flow before JavaScript sees it.

Access to `results`, and calls of `variable`, `resource` and `flow_user_state`, are awaited by a rewrite of the text.
"""

from __future__ import annotations

import re

STATEMENTS = (
    "const ",
    "let ",
    "var ",
    "if ",
    "if(",
    "for ",
    "for(",
    "while ",
    "while(",
    "switch ",
    "switch(",
    "try ",
    "try{",
    "throw ",
    "function ",
    "class ",
    "async ",
    "await ",
    "return ",
    "return;",
)
RESULTS_ACCESS = re.compile(r'(results\??(?:(?:\.[a-zA-Z_0-9]+)|(?:\[".*?"\])))')
AWAITED = ("variable", "resource", "flow_user_state")


def program(expression: str) -> str:
    """The JavaScript that a server makes of it: one line, so that a comment at its end swallows what follows."""
    for function in AWAITED:
        expression = _await_calls(expression, function)
    expression = RESULTS_ACCESS.sub(r"(await \1)", expression)
    body = f"return {expression};" if _is_value(expression) else expression
    return (
        f"'use strict'; (async function() {{ {body} }})().then((x) => JSON.stringify(x ?? null))"
        ".then((value) => { __outcome = { value }; }, (e) => { __outcome = e === null ? null : e instanceof Error"
        " ? { error: String(e.message), stack: String(e.stack) } : { thrown: JSON.stringify(e) ?? String(e) }; })"
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
    return head + "".join(f"(await {function}({_close(call)}" for call in calls)


def _close(text: str) -> str:
    """The text with one more parenthesis after the call's own closing one."""
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return f"{text[:position]}){text[position:]}"
    return text + ")"
