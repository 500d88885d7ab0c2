# requirements: flexcore_kubernetes
"""What an object would change of the one that is there: readable lines, without what the server owns. Pure.

    spec.template.spec.containers[model-server].image: mlserver:1.7.0 → mlserver:1.7.1
Entries of lists are told by their name where they have one. Of Secrets only the names of the keys are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

MAX_CHANGES = 100
MAX_VALUE_CHARACTERS = 120
SERVER_METADATA = {
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
}
SERVER_ANNOTATIONS = {"deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration"}
# What tells the entries of a list apart, by the first of these that all have.
KEYS = ("name", "mountPath", "containerPort", "port", "topologyKey", "key", "uid", "type")
SECRET_FIELDS = ("data", "stringData")


@dataclass(frozen=True, slots=True)
class Change:
    """before or after is None where there is nothing."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: + {self.after}"
        return f"{self.path}: - {self.before}" if self.after is None else f"{self.path}: {self.before} → {self.after}"


def list_changes(before: Object, after: Object, ignored_labels: Iterable[str] = ()) -> list[Change]:
    """At most MAX_CHANGES, in the order of their paths. ignored_labels: of the object, which say whose run it is."""
    kind = str(after.get("kind") or before.get("kind") or "")
    changes: list[Change] = []
    ignored = {f"metadata.labels.{name}" for name in ignored_labels}
    for change in _compare("", _strip_server_fields(before, kind), _strip_server_fields(after, kind)):
        if change.path in ignored:
            continue
        if len(changes) == MAX_CHANGES:
            return [*changes, Change("…", None, "further changes are not shown")]
        changes.append(change)
    return changes


def _strip_server_fields(item: Object, kind: str) -> dict[str, Any]:
    """The object without what the server or a controller writes; of a Secret, values that are never shown."""
    kept = {name: value for name, value in item.items() if name not in ("status", "kind", "apiVersion")}
    metadata = {name: value for name, value in (item.get("metadata") or {}).items() if name not in SERVER_METADATA}
    notes = {
        name: value for name, value in (metadata.get("annotations") or {}).items() if name not in SERVER_ANNOTATIONS
    }
    metadata["annotations"] = notes
    if kind == "Secret":
        keys = {name: Hidden(value) for field in SECRET_FIELDS for name, value in (item.get(field) or {}).items()}
        kept = {name: value for name, value in kept.items() if name not in SECRET_FIELDS} | {"data": keys}
    return kept | {"metadata": metadata}


@dataclass(frozen=True, slots=True, repr=False)
class Hidden:
    """A value that is compared and never shown."""

    value: Any

    def __str__(self) -> str:
        return "(not shown)"


def _compare(path: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}, key=str):
            yield from _compare(f"{path}.{name}".lstrip("."), before.get(name), after.get(name))
        return
    if _is_list(before) and _is_list(after) and (key := _find_key(before, after)):
        own, other = ({str(item[key]): item for item in items} for items in (before, after))
        for name in dict.fromkeys([*own, *other]):
            yield from _compare(f"{path}[{name}]", own.get(name), other.get(name))
        return
    if _is_nothing(before) and _is_nothing(after):
        return
    if before != after:
        yield Change(path, _show(before), _show(after))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _find_key(*lists: Sequence[Any]) -> str:
    items = [item for entries in lists for item in entries]
    if not items or not all(isinstance(item, Mapping) for item in items):
        return ""
    return next((key for key in KEYS if all(_is_key(key, entries) for entries in lists)), "")


def _is_key(key: str, entries: Sequence[Object]) -> bool:
    values = [str(item[key]) for item in entries if item.get(key) is not None]
    return len(values) == len(entries) == len(set(values))


def _is_nothing(value: Any) -> bool:
    return value is None or value in ({}, [], "")


def _show(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}: {_show(item)}" for name, item in value.items())
        text = f"{{{text}}}"
    elif _is_list(value):
        text = f"[{', '.join(str(_show(item)) for item in value)}]"
    else:
        text = str(value)
    if "\n" in text:
        return f"{text.count(chr(10)) + 1} lines"
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 1]}…"
