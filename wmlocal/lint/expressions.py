"""What a flow's JavaScript names: `results.a?.b`, `results["a-b"]`, `flow_input.x`, free names.

Parsed by tree-sitter's grammar, so that strings, comments and template texts do not count; whether it runs at all is
asked of QuickJS, which is what Windmill runs it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from wmlocal.formats.javascript import program

MEMBER, SUBSCRIPT = "member_expression", "subscript_expression"
# Subtrees whose plain identifiers declare names.
DECLARING = {
    "formal_parameters",
    "catch_clause",
    "arrow_function",
    "variable_declarator",
    "function_declaration",
    "function_expression",
    "class_declaration",
    "for_in_statement",
    "generator_function_declaration",
}


@dataclass(frozen=True, slots=True)
class Access:
    """`holder.key`, with the place of the key; key is None when it is computed or the whole holder is meant."""

    holder: str
    key: str | None
    # Character offset in the expression.
    offset: int
    # The key below the key: `iter.value` of `flow_input.iter.value`.
    below: str | None = None
    # `flow_input.x ?? …` or `… ||`: the author knows that it may not be there.
    has_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    accesses: tuple[Access, ...]
    # Names that are neither declared in the expression nor known to JavaScript, with their offsets.
    free: tuple[tuple[str, int], ...]
    # `$res:`-like paths asked for by variable("…") and resource("…"): function, path, offset.
    calls: tuple[tuple[str, str, int], ...]


@lru_cache(maxsize=4096)
def parse_expression(text: str, holders: tuple[str, ...] = ("results", "flow_input", "flow_env")) -> Expression:
    source = text.encode()
    root = syntax_tree(text)
    offsets = Offsets(source)
    declared = declared_names(root)
    accesses: list[Access] = []
    free: list[tuple[str, int]] = []
    calls: list[tuple[str, str, int]] = []
    for node in nodes(root):
        if node.type == "call_expression":
            calls += _call(node, offsets)
        if node.type not in ("identifier", "shorthand_property_identifier"):
            continue
        name = text_of(node)
        if name in declared:
            continue
        if name in holders:
            accesses += _accesses(node, name, offsets)
        if not _is_guarded(node):
            free.append((name, offsets.of(node.start_byte)))
    return Expression(tuple(accesses), tuple(free), tuple(calls))


@lru_cache(maxsize=4096)
def syntax_error(text: str, predicate: bool = False) -> tuple[str, int] | None:
    """What QuickJS says of the text, and the line in it (from 1); None when it compiles."""
    import quickjs

    # A predicate is put in Boolean(…) as it is, so a comment at its end swallows the parenthesis.
    whole = program(f"Boolean({text})" if predicate else text.strip())
    try:
        # Compiled, and never called.
        quickjs.Context().eval(f"(function() {{ {whole} }})")
    except quickjs.JSException as error:
        message, _, stack = str(error).partition("\n")
        if message.startswith("SyntaxError"):
            line = stack.partition("<input>:")[2].partition(":")[0]
            return message.removeprefix("SyntaxError: "), int(line) if line.isdigit() else 1
    return None


@cache
def global_names() -> frozenset[str]:
    """What JavaScript itself knows, as QuickJS has it."""
    import json

    import quickjs

    names = json.loads(quickjs.Context().eval("JSON.stringify(Object.getOwnPropertyNames(globalThis))"))
    return frozenset(names) - {"atob", "btoa"} | {"undefined", "arguments", "console"}


@cache
def _parser() -> Any:
    import tree_sitter
    import tree_sitter_javascript

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_javascript.language()))


def syntax_tree(text: str) -> Any:
    """The root node of the expression's syntax tree."""
    return _parser().parse(text.encode()).root_node


class Offsets:
    """Byte offsets to character offsets."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.ascii = source.isascii()

    def of(self, byte: int) -> int:
        return byte if self.ascii else len(self.source[:byte].decode(errors="replace"))


def nodes(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.named_children))


def text_of(node: Any) -> str:
    return str(node.text.decode(errors="replace"))


def declared_names(root: Any) -> frozenset[str]:
    """Every name that the expression declares anywhere; scopes inside one expression are not told apart."""
    names: set[str] = set()
    for node in nodes(root):
        if node.type not in DECLARING:
            continue
        if node.type == "formal_parameters":
            names |= set(_pattern_names(node))
            continue
        for field in ("name", "parameter", "left"):
            child = node.child_by_field_name(field)
            if child is not None:
                names |= set(_pattern_names(child))
    return frozenset(names)


def _pattern_names(node: Any) -> Iterator[str]:
    """`a`, `{b, c: d}`, `[e, ...f]`, with defaults."""
    if node.type in ("identifier", "shorthand_property_identifier_pattern"):
        yield text_of(node)
        return
    if node.type in ("assignment_pattern", "object_assignment_pattern"):
        left = node.child_by_field_name("left")
        yield from _pattern_names(left) if left is not None else ()
        return
    if node.type == "pair_pattern":
        value = node.child_by_field_name("value")
        yield from _pattern_names(value) if value is not None else ()
        return
    for child in node.named_children:
        yield from _pattern_names(child)


def _accesses(node: Any, holder: str, offsets: Offsets) -> Iterator[Access]:
    parent = node.parent
    if parent is not None and parent.type == "await_expression":
        parent = parent.parent
    step = _key(parent, node, offsets) if parent is not None else None
    if step is None:
        yield from _read_pattern(node, holder, offsets)
        return
    key, offset = step
    above = parent.parent
    below = _key(above, parent, offsets) if above is not None else None
    yield Access(holder, key, offset, below[0] if below else None, _has_fallback(parent))


def _has_fallback(node: Any) -> bool:
    """Whether something stands in where `node` has no value: `node ?? x`, `a || (b || node) || x`, `node?.b ?? x`;
    or whether it is asked for being null: `node == null`, `node ? … : …`."""
    above = node.parent
    while above is not None and above.type == MEMBER and above.child_by_field_name("optional_chain") is not None:
        node, above = above, above.parent
    if above is not None and above.type == "ternary_expression":
        return bool(above.child_by_field_name("condition") == node)
    if above is not None and above.type == "binary_expression":
        right = above.child_by_field_name("right")
        if right is not None and text_of(right) == "null":
            return True
    while above is not None and above.type in ("binary_expression", "parenthesized_expression"):
        operator = above.child_by_field_name("operator")
        if operator is not None and text_of(operator) not in ("??", "||"):
            return False
        if operator is not None and above.child_by_field_name("left") == node:
            return True
        node, above = above, above.parent
    return False


def _key(parent: Any, child: Any, offsets: Offsets) -> tuple[str | None, int] | None:
    """The key by which `parent` reads `child`, None when it does not."""
    if parent is None or parent.type not in (MEMBER, SUBSCRIPT):
        return None
    if parent.child_by_field_name("object") != child:
        return None
    if parent.type == MEMBER:
        key = parent.child_by_field_name("property")
        return (text_of(key), offsets.of(key.start_byte)) if key is not None else None
    index = parent.child_by_field_name("index")
    if index is None:
        return None
    start = offsets.of(index.start_byte)
    return _literal(index), start


def _literal(node: Any) -> str | None:
    if node.type == "string":
        return "".join(text_of(child) for child in node.named_children)
    if node.type == "template_string" and not any(
        child.type == "template_substitution" for child in node.named_children
    ):
        return text_of(node)[1:-1]
    return text_of(node) if node.type == "number" else None


def _read_pattern(node: Any, holder: str, offsets: Offsets) -> Iterator[Access]:
    """`const {a, b: c} = results` reads a and b; anything else means the whole holder."""
    parent = node.parent
    pattern = (
        parent.child_by_field_name("name") if parent is not None and parent.type == "variable_declarator" else None
    )
    if pattern is None or pattern.type != "object_pattern":
        yield Access(holder, None, offsets.of(node.start_byte))
        return
    for child in pattern.named_children:
        key = child
        if child.type == "pair_pattern":
            key = child.child_by_field_name("key")
        elif child.type == "object_assignment_pattern":
            key = child.child_by_field_name("left")
        if key is not None and key.type in ("shorthand_property_identifier_pattern", "property_identifier"):
            yield Access(holder, text_of(key), offsets.of(key.start_byte))


def _call(node: Any, offsets: Offsets) -> Iterator[tuple[str, str, int]]:
    function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if function is None or arguments is None or function.type != "identifier":
        return
    first = next(iter(arguments.named_children), None)
    if first is None or first.type not in ("string", "template_string"):
        return
    path = _literal(first)
    if path is not None and text_of(function) in ("variable", "resource"):
        yield text_of(function), path, offsets.of(first.start_byte)


def _is_guarded(node: Any) -> bool:
    """`typeof x` throws for no x; a label or a property's name is not a variable."""
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "unary_expression" and parent.children and parent.children[0].type == "typeof":
        return True
    return parent.type in ("labeled_statement", "break_statement", "continue_statement")
