"""Ways of asking `results` that do not tell what their author thinks.

On a server `results` is an empty object that fetches a step's result when a name is read of it, and the text decides
where that is waited for: `results.c`, `results?.c` and `results["c"]` become `(await …)`, nothing else does. So it has
no names to look for, any other way to read it is a promise, and a step that has not run gives null, never undefined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from wmlocal.lint.expressions import Offsets, declared_names, nodes, syntax_tree, text_of

# What a server puts an await before.
AWAITED = re.compile(r'results\??(?:\.[a-zA-Z_0-9]+|\[".*?"\])')
NAMES_OF = ("Object.keys", "Object.values", "Object.entries", "Object.getOwnPropertyNames", "Reflect.ownKeys")
HAS = (
    "Object.hasOwn",
    "Reflect.has",
    "Object.prototype.hasOwnProperty.call",
    "Reflect.getOwnPropertyDescriptor",
    "Object.getOwnPropertyDescriptor",
)
METHODS = ("hasOwnProperty", "propertyIsEnumerable", "keys", "has", "includes", "entries", "values", "toString")
# Where a value is handed on as it is, and so waited for in the end.
PASSED_ON = ("return_statement", "parenthesized_expression", "await_expression", "program", "expression_statement")
TRUTHY = ("&&", "||", "??")
EQUAL = ("==", "!=", "===", "!==")


@dataclass(frozen=True, slots=True)
class Misuse:
    # Character offset in the expression.
    offset: int
    message: str
    # Whether the expression is wrong whatever it is meant for.
    certain: bool


@lru_cache(maxsize=4096)
def misuses(text: str) -> tuple[Misuse, ...]:
    if "results" not in text:
        return ()
    root, source = syntax_tree(text), text.encode()
    if "results" in declared_names(root):
        return ()
    offsets = Offsets(source)
    found: list[Misuse] = []
    for node in nodes(root):
        if node.type in ("identifier", "shorthand_property_identifier") and text_of(node) == "results":
            found += [
                Misuse(offsets.of(at.start_byte), message, certain) for at, message, certain in _of_one(node, source)
            ]
    return tuple(found)


Said = tuple[Any, str, bool]


def _of_one(node: Any, source: bytes) -> Iterator[Said]:
    inner, outer = _unwrap(node)
    if outer is None:
        yield node, _whole("it is an empty object"), True
    elif outer.type in ("member_expression", "subscript_expression") and outer.child_by_field_name("object") == inner:
        yield from _read(node, outer, source)
    elif outer.type == "variable_declarator":
        yield from _read_declaration(node, outer)
    elif outer.type == "assignment_expression" and outer.child_by_field_name("left").type == "object_pattern":
        yield node, "a name taken out of results is a promise; read results.ID instead", True
    elif (message := _key_asked_for(inner, outer)) is not None:
        yield node, message, True
    elif not _is_tested(inner, outer):
        yield node, _whole("it is an empty object"), True


def _key_asked_for(inner: Any, outer: Any) -> str | None:
    if outer.type == "binary_expression" and _operator(outer) == "in" and _field(outer, "right") == inner:
        return _no_names(f"`{text_of(outer)}` is always false", _literal(_field(outer, "left")))
    if outer.type == "spread_element":
        above = outer.parent
        if above is not None and above.type == "object":
            return _no_names("`{...results}` is always empty", _read_of(above))
        return _whole("it cannot be spread")
    if outer.type == "for_in_statement" and _field(outer, "right") == inner:
        return _no_names("a loop over results never runs", "")
    if outer.type == "arguments" and outer.parent is not None and outer.parent.type == "call_expression":
        return _given_to(outer.parent, outer)
    return None


def _given_to(call: Any, arguments: Any) -> str:
    function = re.sub(r"\s+", "", text_of(_field(call, "function")))
    named = [literal for item in arguments.named_children if (literal := _literal(item))]
    if function in NAMES_OF:
        return _no_names(f"`{function}(results)` is always empty", _looked_for(call))
    if function in HAS or function.endswith("hasOwnProperty.call"):
        return _no_names(f"`{function}` of results is always false", named[0] if named else "")
    return _whole(f"`{function}` gets an empty object")


def _read(node: Any, access: Any, source: bytes) -> Iterator[Said]:
    if access.type == "member_expression":
        key = text_of(_field(access, "property"))
        above = access.parent
        called = above is not None and above.type == "call_expression" and _field(above, "function") == access
        if key in METHODS and called:
            named = [literal for item in _field(above, "arguments").named_children if (literal := _literal(item))]
            yield (
                node,
                _no_names(f"`results.{key}` asks for the result of a step of that name", named[0] if named else ""),
                True,
            )
            return
    start = len(source[: node.start_byte].decode(errors="replace"))
    awaited = AWAITED.match(source.decode(errors="replace"), start)
    shown = text_of(access)
    if awaited is None:
        if not _is_passed_on(access) and b"Promise." not in source:
            key = _literal(_field(access, "index")) if access.type == "subscript_expression" else ""
            instead = f'write results["{key}"]' if key else f"write (await {shown})"
            yield node, f"`{shown}` is a promise here, so what is asked of it is not the result; {instead}", True
        return
    inner, outer = _unwrap(access)
    if _is_compared_with_undefined(inner, outer):
        yield (
            node,
            (
                f"the result of a step that has not run is null, never undefined; write {shown} == null or"
                f" {shown} ?? null"
            ),
            True,
        )


def _read_declaration(node: Any, declarator: Any) -> Iterator[Said]:
    pattern = _field(declarator, "name")
    if pattern.type != "object_pattern":
        yield node, _whole("a name for it reads promises"), True
        return
    for child in pattern.named_children:
        if child.type == "rest_pattern":
            yield child, _no_names("the rest of results is always empty", ""), True
            continue
        key, name, has_default = _taken_out(child)
        if has_default:
            yield (
                child,
                (
                    f"the default of {key} is never taken: a step that has not run gives a promise of null;"
                    f" write results.{key} ?? …"
                ),
                True,
            )
        elif any(_is_asked(use) for use in _uses(declarator, name)):
            yield (
                child,
                (f"{name} is a promise here, which is always true and never null; write results.{key} ?? null"),
                True,
            )


def _taken_out(child: Any) -> tuple[str, str, bool]:
    """The key, the name that it gets, and whether there is a default: `a`, `a: b`, `a = 1`, `a: b = 1`."""
    key, name, has_default = child, child, False
    if child.type == "pair_pattern":
        key, name = _field(child, "key"), _field(child, "value")
    if name.type in ("object_assignment_pattern", "assignment_pattern"):
        has_default, inner = True, _field(name, "left")
        key, name = (inner if key == name else key), inner
    return text_of(key), text_of(name), has_default


def _uses(declarator: Any, name: str) -> Iterator[Any]:
    root = declarator
    while root.parent is not None:
        root = root.parent
    for node in nodes(root):
        if node.type == "identifier" and text_of(node) == name:
            yield node


def _is_asked(node: Any) -> bool:
    """Whether the truth of a value, or whether it is null, is asked."""
    inner, outer = _unwrap(node)
    if outer is None:
        return False
    if outer.type == "unary_expression":
        return _operator(outer) in ("!", "typeof")
    return _is_tested(inner, outer)


def _is_tested(inner: Any, outer: Any) -> bool:
    if outer.type == "binary_expression":
        operator = _operator(outer)
        return operator in EQUAL or (operator in TRUTHY and _field(outer, "left") == inner)
    if outer.type == "unary_expression":
        return _operator(outer) in ("!", "typeof")
    if outer.type in ("if_statement", "ternary_expression", "while_statement"):
        return bool(_field(outer, "condition") == inner)
    return False


def _is_compared_with_undefined(inner: Any, outer: Any) -> bool:
    if outer is None:
        return False
    if outer.type == "unary_expression" and _operator(outer) == "typeof":
        typed, above = _unwrap(outer)
        return above is not None and _other_side(typed, above) in ("'undefined'", '"undefined"', "`undefined`")
    return _operator(outer) in ("===", "!==") and _other_side(inner, outer) in ("undefined", "void 0")


def _other_side(inner: Any, outer: Any) -> str:
    if outer.type != "binary_expression" or _operator(outer) not in EQUAL:
        return ""
    left, right = _field(outer, "left"), _field(outer, "right")
    return text_of(right if left == inner else left)


def _is_passed_on(node: Any) -> bool:
    """Whether a promise is waited for by `await`, or is what the whole expression gives."""
    above = node.parent
    while above is not None and above.type in PASSED_ON:
        if above.type in ("await_expression", "return_statement", "program"):
            return True
        above = above.parent
    return False


def _unwrap(node: Any) -> tuple[Any, Any]:
    """The node with the parentheses around it, and what stands around these: None where nothing does."""
    inner, outer = node, node.parent
    while outer is not None and outer.type in ("parenthesized_expression", "await_expression"):
        above = outer.parent
        if above is not None and above.type in ("if_statement", "while_statement"):
            return outer, above
        inner, outer = outer, above
    if outer is not None and outer.type in ("program", "expression_statement", "return_statement"):
        outer = None
    return inner, outer


def _read_of(node: Any) -> str:
    """The key that is read of a value: c of `({...results}).c`."""
    inner, outer = _unwrap(node)
    if outer is None or outer.type not in ("member_expression", "subscript_expression"):
        return ""
    if _field(outer, "object") != inner:
        return ""
    return text_of(_field(outer, "property")) if outer.type == "member_expression" else _literal(_field(outer, "index"))


def _looked_for(call: Any) -> str:
    """The word that is looked for in a list of names: c of `Object.keys(results).includes("c")`."""
    above = call.parent
    around = above.parent if above is not None and above.type == "member_expression" else None
    if around is None or around.type != "call_expression":
        return ""
    return next((literal for item in _field(around, "arguments").named_children if (literal := _literal(item))), "")


def _no_names(what: str, step: str) -> str:
    step = step if re.fullmatch(r"\w+", step) else "ID"
    return f"{what} and does not tell whether a step ran; write results.{step} ?? null, null where it did not"


def _whole(what: str) -> str:
    return f"results as a whole holds nothing: {what}; read the steps that are meant, each as results.ID"


def _field(node: Any, name: str) -> Any:
    return node.child_by_field_name(name)


def _operator(node: Any) -> str:
    operator = node.child_by_field_name("operator")
    return text_of(operator) if operator is not None else ""


def _literal(node: Any) -> str:
    if node is None or node.type not in ("string", "template_string"):
        return ""
    return text_of(node)[1:-1]
