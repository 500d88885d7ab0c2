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
MAX_VALUES = 10_000
MERGE = "tag:yaml.org,2002:merge"
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
        document.problems.append(Problem(file.name, line, f"not valid YAML: {error.problem}"))
        return document
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        document.problems.append(Problem(file.name, 1, f"cannot be read: {error}"))
        return document
    except RecursionError:
        document.problems.append(Problem(file.name, 1, "is nested too deeply"))
        return document
    try:
        document.data = {} if node is None else Reader(document, environment).value(node, ())
    except _TooMuch:
        document.problems = [Problem(file.name, 1, f"has more than {MAX_VALUES:,} values, aliases counted each time")]
        return document
    if not isinstance(document.data, dict):
        document.complain((), "must be a mapping of names to values")
        document.data = None
    return document


class _TooMuch(Exception):
    """No configuration, but a trap: each alias is read again where it stands."""


class Reader:
    """Turns YAML's nodes into values, and notes what there is to note."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document, self._environment = document, environment
        self._loader = yaml.SafeLoader("")
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if len(self._document.lines) > MAX_VALUES:
            raise _TooMuch
        if node in self._open:
            self._document.complain(path, "refers to what it is itself a part of")
            return None
        self._open.append(node)
        try:
            return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._item(node, path)
        finally:
            self._open.pop()

    def _item(self, node: yaml.Node, path: Path_) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            found = self._loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            self._document.complain(path, f"{_name(path)} is of a type that has no place here")
            return None
        if not isinstance(found, str) or not VARIABLE.search(found):
            return found
        self._document.from_environment.add(path)
        return VARIABLE.sub(lambda match: self._variable(match, path), found)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> Any:
        found: dict[str, Any] = {}
        merges = any(key.tag == MERGE for key, _ in node.value)
        if merges:
            self._loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in found and not merges:
                line = key_node.start_mark.line + 1
                self._document.problems.append(Problem(self._document.name, line, f"{key} is there twice"))
                continue
            self._document.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, (*path, key))
        return found

    def _variable(self, match: re.Match[str], path: Path_) -> str:
        name, other = match[1], match[2]
        if name in self._environment or other is not None:
            return self._environment.get(name, other or "")
        self._document.complain(path, f"{_name(path)}: the environment variable {name} is not set")
        return ""


def _name(path: Path_) -> str:
    return ".".join(map(str, path))
