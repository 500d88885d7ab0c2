"""YAML as Windmill's tools read it: version 1.2, where `yes`, `1_000`, `1:30` and dates are text.

PyYAML reads 1.1; with these resolvers its scanner is used for the rest. Repeated keys and aliases that lead back to
themselves are refused, as the CLI does.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

# Each alias is read again where it stands; a file with more values than this is a trap, not a bundle.
MAX_VALUES = 1_000_000


class NotYaml(Exception):
    """The text is not YAML that Windmill's tools would read."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def compose(text: str) -> yaml.Node | None:
    """The document's root node, None when it is empty. Raises NotYaml."""
    try:
        loader = _Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = error.problem or error.context or "no YAML"
        raise NotYaml(
            f"{error.context}, {problem}" if problem.startswith("but ") else str(problem), line, column
        ) from None
    except yaml.reader.ReaderError as error:
        raise NotYaml(str(error.reason), text.count("\n", 0, error.position) + 1, 1) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotYaml(str(error) or "nested too deeply", 1, 1) from None
    return node


def load(text: str) -> Any:
    """The document as JSON data: keys are text, and a number that JSON has not is null. Raises NotYaml."""
    node = compose(text)
    try:
        return None if node is None else _Values().of(node)
    except RecursionError:
        raise NotYaml("nested too deeply", 1, 1) from None


class _Values:
    def __init__(self) -> None:
        self.count = 0
        self.open: set[int] = set()

    def of(self, node: yaml.Node) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or id(node) in self.open:
            raise _at(node, "its aliases lead back to themselves, or to too many values")
        if isinstance(node, yaml.ScalarNode):
            value = scalar(node)
            return None if isinstance(value, float) and not math.isfinite(value) else value
        self.open.add(id(node))
        value = self._mapping(node) if isinstance(node, yaml.MappingNode) else [self.of(item) for item in node.value]
        self.open.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a key must be a word")
            if key.value in values:
                raise _at(key, f"{key.value} is there twice; keep one")
            values[key.value] = self.of(value)
        return values


def _at(node: yaml.Node, message: str) -> NotYaml:
    return NotYaml(message, node.start_mark.line + 1, node.start_mark.column + 1)


_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):  # type: ignore[misc]
    """Resolves plain scalars as YAML 1.2's core schema does."""


_INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))
_RESOLVERS = [
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$")),
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")),
    (_INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")),
    (
        _FLOAT,
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
    ),
]
_Loader.yaml_implicit_resolvers = {None: _RESOLVERS}


def scalar(node: yaml.ScalarNode) -> Any:
    """Its value. Raises NotYaml for `!inline x.py` without quotes, a tag whose text `x.py` would become the program."""
    text = node.value
    if node.tag == "!inline":
        raise _at(node, f"write '!inline {text}' in quotes; without them YAML takes !inline for a tag")
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() == "true"
    try:
        if node.tag == _INT:
            return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
        if node.tag == _FLOAT:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # an explicit tag on a text that is none, or more digits than Python reads
        return math.nan
    return text
