"""What Windmill's own parser sees of a Python `main`: it decides which arguments arrive, and as what.

Its limits are kept on purpose: keyword-only arguments are not seen, a default that is not a plain literal (`-1`,
`not x`, an f-string) counts as none, so that the argument arrives as None, and only `bytes`, `datetime`, `date` are
converted.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache

CONVERTED = {
    "bytes": "bytes",
    "datetime": "datetime",
    "datetime.datetime": "datetime",
    "date": "date",
    "datetime.date": "date",
}


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    has_default: bool
    conversion: str | None


@dataclass(frozen=True, slots=True)
class Signature:
    arguments: tuple[Argument, ...] = ()
    takes_all: bool = False


class Unparsable(Exception):
    """The text of `main(…)` is not Python."""


@lru_cache(maxsize=512)
def read_signature(source: str, function: str = "main") -> Signature:
    header = _header(source, function)
    if header is None:
        return Signature()
    try:
        parsed = ast.parse(header).body[0]
    except SyntaxError as error:
        raise Unparsable(f"Error: Error parsing code: {error.msg} at line {error.lineno}") from error
    assert isinstance(parsed, ast.FunctionDef | ast.AsyncFunctionDef)
    parameters = parsed.args
    first_default = len(parameters.args) - len(parameters.defaults)
    arguments = tuple(
        Argument(
            parameter.arg,
            index >= first_default and _is_literal(parameters.defaults[index - first_default]),
            _conversion(parameter.annotation),
        )
        for index, parameter in enumerate(parameters.args)
    )
    return Signature(arguments, parameters.kwarg is not None)


def _header(source: str, function: str) -> str | None:
    """`def main(…): return`, cut out by counting parentheses, so that the rest of the file need not parse."""
    lines = source.split("\n")
    for number, line in enumerate(lines):
        for start in (f"def {function}(", f"async def {function}("):
            if line.startswith(start):
                rest = "\n".join([line[len(start) :], *lines[number + 1 :]])
                return start + _up_to_closing(rest) + ": return"
    return None


def _up_to_closing(text: str) -> str:
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[: position + 1]
    return text


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant | ast.Dict | ast.List | ast.Call) or (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )


def _conversion(annotation: ast.expr | None) -> str | None:
    match annotation:
        case ast.Name(id=name):
            return CONVERTED.get(name)
        case ast.Attribute(value=ast.Name(id="datetime"), attr=name):
            return CONVERTED.get(f"datetime.{name}")
        case ast.Attribute(value=ast.Name(id="wmill"), attr=name):
            return CONVERTED.get(name)
        case ast.BinOp(left=left, right=ast.Constant(value=None)):
            return _conversion(left)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _conversion(inner)
    return None
