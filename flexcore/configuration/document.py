"""A YAML file with the line of every value, and `${NAME}` read from the environment.

`${NAME}` and `${NAME:-other}` may stand for a value or for a part of one. What was read is never written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that must be changed. line: counted from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(slots=True)
class Document:
    """data: plain values; lines: by path; from_environment: the paths whose value holds a `${NAME}`."""

    name: str
    data: Any = None
    lines: dict[Path_, int] = field(default_factory=dict)
    from_environment: set[Path_] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path_) -> int:
        """That of the nearest thing in the file when the path is not in it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def complain(self, path: Path_, message: str) -> None:
        self.problems.append(Problem(self.name, self.line(path), message))


def read(file: Path, environment: Mapping[str, str]) -> Document:
    """Never raises: what cannot be read is a problem of the document."""
    document = Document(file.name)
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.problems.append(Problem(file.name, line, f"no valid YAML: {error.problem}"))
        return document
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        document.problems.append(Problem(file.name, 1, f"cannot be read: {error}"))
        return document
    document.data = {} if node is None else _value(node, (), document, environment)
    if not isinstance(document.data, dict):
        document.complain((), "must be a mapping of names to values")
        document.data = None
    return document


def _value(node: yaml.Node, path: Path_, document: Document, environment: Mapping[str, str]) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, environment)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document, environment) for index, item in enumerate(node.value)]
    value = yaml.SafeLoader("").construct_object(node, deep=True)
    if not isinstance(value, str) or not VARIABLE.search(value):
        return value
    document.from_environment.add(path)
    return _resolved(value, path, document, environment)


def _mapping(node: yaml.MappingNode, path: Path_, document: Document, environment: Mapping[str, str]) -> Any:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*path, key)
        if key in found:
            document.problems.append(Problem(document.name, key_node.start_mark.line + 1, f"{key} is there twice"))
            continue
        document.lines[here] = key_node.start_mark.line + 1
        found[key] = _value(value_node, here, document, environment)
    return found


def _resolved(text: str, path: Path_, document: Document, environment: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, other = match[1], match[2]
        if name in environment or other is not None:
            return environment.get(name, other or "")
        document.complain(path, f"{'.'.join(map(str, path))}: the environment variable {name} is not set")
        return ""

    return VARIABLE.sub(value_of, text)
