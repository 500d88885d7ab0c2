"""YAML with the place of every key and value, read as Windmill's tools do (wmlocal.formats.yaml12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from wmlocal.formats.yaml12 import MAX_VALUES, NotYaml, compose, scalar

__all__ = ["Item", "NotYaml", "read"]


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
    node = compose(text)
    try:
        return Item(None, 1, 1, 1, 1) if node is None else _Builder().item(node, None)
    except RecursionError:
        raise NotYaml("nested too deeply", 1, 1) from None


class _Builder:
    def __init__(self) -> None:
        self.values = 0
        self.open: set[int] = set()

    def item(self, node: yaml.Node, key: yaml.Node | None) -> Item:
        self.values += 1
        if self.values > MAX_VALUES or id(node) in self.open:
            raise NotYaml(
                "its aliases lead back to themselves, or to too many values",
                node.start_mark.line + 1,
                node.start_mark.column + 1,
            )
        place = key if key is not None else node
        item = Item(
            None,
            node.start_mark.line + 1,
            node.start_mark.column + 1,
            place.start_mark.line + 1,
            place.start_mark.column + 1,
            end_line=node.end_mark.line + 1,
        )
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            item.value = self._mapping(node, item)
        elif isinstance(node, yaml.SequenceNode):
            item.value = [self.item(child, None) for child in node.value]
        else:
            assert isinstance(node, yaml.ScalarNode)
            item.value, item.style = scalar(node), node.style or ""
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
