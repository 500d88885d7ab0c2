"""YAML with the place of every key and value.

Windmill's tools read YAML 1.2: `yes`, `1_000`, `1:30` and dates are text there, which PyYAML would turn into
something else. Repeated keys and endless aliases are refused, as the CLI does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

# Each alias is read again where it stands; a file with more values than this is a trap, not a bundle.
MOST_VALUES = 1_000_000


class NotYaml(Exception):
    """The text is no YAML that Windmill's tools would read."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@dataclass(slots=True)
class Item:
    """A value and its place; `value` is a dict or list of items, or a scalar. Lines and columns count from 1."""

    value: Any
    line: int
    column: int
    # Where the key that leads here stands; the value's own place for list items and the document itself.
    key_line: int
    key_column: int
    # `|` or `>` for block scalars, a quote for quoted ones, else empty.
    style: str = ""
    end_line: int = 0
    repeated: list[tuple[str, int, int]] = field(default_factory=list)

    def get(self, *keys: str) -> Item | None:
        """The item below a path of keys, None when it is not there."""
        found: Item | None = self
        for key in keys:
            found = found.value.get(key) if found is not None and isinstance(found.value, dict) else None
        return found

    def text(self, *keys: str) -> str | None:
        """The string below a path of keys, None when there is none."""
        found = self.get(*keys)
        return found.value if found is not None and isinstance(found.value, str) else None

    def map(self, *keys: str) -> dict[str, Item]:
        found = self.get(*keys)
        return found.value if found is not None and isinstance(found.value, dict) else {}

    def list(self, *keys: str) -> list[Item]:
        found = self.get(*keys)
        return found.value if found is not None and isinstance(found.value, list) else []

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def walk(self) -> Iterator[Item]:
        yield self
        below = self.value.values() if isinstance(self.value, dict) else self.value
        if isinstance(self.value, dict | list):
            for item in below:
                yield from item.walk()


def read(text: str) -> Item:
    """The document in `text`; an empty one is an item whose value is None. Raises NotYaml."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or error.context or "no YAML"
        raise NotYaml(f"{error.context}, {said}" if said.startswith("but ") else str(said), line, column) from None
    except yaml.reader.ReaderError as error:
        raise NotYaml(str(error.reason), text.count("\n", 0, error.position) + 1, 1) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotYaml(str(error) or "nested too deeply", 1, 1) from None
    if node is None:
        return Item(None, 1, 1, 1, 1)
    return _Builder().item(node, None)


class _Builder:
    def __init__(self) -> None:
        self.values = 0
        self.open: set[int] = set()

    def item(self, node: yaml.Node, key: yaml.Node | None) -> Item:
        self.values += 1
        if self.values > MOST_VALUES or id(node) in self.open:
            raise NotYaml("its aliases lead back to themselves, or to too many values",
                          node.start_mark.line + 1, node.start_mark.column + 1)  # fmt: skip
        place = key if key is not None else node
        item = Item(
            None, node.start_mark.line + 1, node.start_mark.column + 1,
            place.start_mark.line + 1, place.start_mark.column + 1, end_line=node.end_mark.line + 1,
        )  # fmt: skip
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            item.value = self._mapping(node, item)
        elif isinstance(node, yaml.SequenceNode):
            item.value = [self.item(child, None) for child in node.value]
        else:
            assert isinstance(node, yaml.ScalarNode)
            item.value, item.style = _scalar(node), node.style or ""
        self.open.discard(id(node))
        return item

    def _mapping(self, node: yaml.MappingNode, item: Item) -> dict[str, Item]:
        values: dict[str, Item] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise NotYaml("a key must be a word", key.start_mark.line + 1, key.start_mark.column + 1)
            name = key.value
            if name in values:
                item.repeated.append((name, key.start_mark.line + 1, key.start_mark.column + 1))
            values[name] = self.item(value, key)
        return values


_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):  # type: ignore[misc]
    """Resolves plain scalars as YAML 1.2's core schema does."""


_INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))
_RESOLVERS = [
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$")),
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")),
    (_INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")),
    (_FLOAT, re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
                        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")),
]  # fmt: skip
_Loader.yaml_implicit_resolvers = {None: _RESOLVERS}


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
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
