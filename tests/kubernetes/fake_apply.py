"""Server-side apply and managed fields for the fake cluster, as an API server keeps them.

A field is a path of elements as FieldsV1 writes them: `f:NAME`, `k:{…}` for an item of a list that is a map by its
keys, `.` for that item itself. Written from the documentation, and not from what is tested with it.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]

# x-kubernetes-list-map-keys of the kinds that are applied here; every other list is atomic.
KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
}
# x-kubernetes-map-type: atomic.
ATOMIC = {"selector", "nodeSelector", "secretKeyRef", "configMapKeyRef", "fieldRef"}
# Nobody's.
SERVER_SET = {
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
}


class Conflicts(Exception):
    """[(field as a person reads it, manager, subresource)]"""

    def __init__(self, found: list[tuple[str, str, str]]) -> None:
        super().__init__(str(found))
        self.found = found


def list_fields(item: Object) -> set[Path]:
    """Every field of an object that somebody can hold, its status left aside."""
    body = {name: value for name, value in item.items() if name not in ("status", "apiVersion", "kind")}
    body["metadata"] = {name: value for name, value in item["metadata"].items() if name not in SERVER_SET}
    return set(_leaves(body, ()))


def _leaves(value: Any, path: Path) -> Iterable[Path]:
    name = path[-1][2:] if path and path[-1].startswith("f:") else ""
    if isinstance(value, dict) and value and name not in ATOMIC:
        for key, each in value.items():
            yield from _leaves(each, (*path, f"f:{key}"))
    elif isinstance(value, list) and (keys := _keys(path)):
        for item in value:
            place = (*path, _key(item, keys))
            yield (*place, ".")
            yield from _leaves(item, place)
    elif path and path != ("f:metadata",):
        yield path


def _keys(path: Path) -> tuple[str, ...]:
    name = path[-1][2:] if path and path[-1].startswith("f:") else ""
    if name == "ports":
        return ("containerPort", "protocol") if "f:containers" in path else ("port", "protocol")
    return KEYS.get(name, ())


def _key(item: Object, keys: tuple[str, ...]) -> str:
    values = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + json.dumps(values, separators=(",", ":"), sort_keys=True)


def read(value: Any, path: Path) -> Any:
    """The field's value; for an item itself, its key. None when it is not there."""
    for index, element in enumerate(path):
        if element == ".":
            return element
        if element.startswith("f:"):
            value = value.get(element[2:]) if isinstance(value, dict) else None
        else:
            keys = _keys(path[:index])
            value = next((item for item in value or () if _key(item, keys) == element), None)
        if value is None:
            return None
    return value


# --- the fields of each manager


def decode(fields: Mapping[str, Any], path: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for name, below in fields.items():
        if name == ".":
            found.add((*path, "."))
        elif below:
            found |= decode(below, (*path, name))
        else:
            found.add((*path, name))
    return found


def encode(paths: Iterable[Path]) -> Object:
    fields: Object = {}
    for path in sorted(paths):
        at = fields
        for element in path:
            at = at.setdefault(element, {})
    return fields


def _entry(item: Object, manager: str, operation: str, paths: set[Path], subresource: str = "") -> Object:
    entry: Object = {"manager": manager, "operation": operation, "apiVersion": item["apiVersion"]}
    entry |= {"time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": encode(paths)}
    return entry | ({"subresource": subresource} if subresource else {})


def _is(entry: Object, manager: str, operation: str, subresource: str = "") -> bool:
    named = (entry["manager"], entry["operation"], entry.get("subresource", ""))
    return named == (manager, operation, subresource)


def record_update(before: Object | None, after: Object, manager: str, subresource: str = "") -> None:
    """Gives `manager` every field that it has changed, and takes it from all others."""
    after["metadata"].pop("managedFields", None)
    entries = copy.deepcopy((before or {"metadata": {}})["metadata"].get("managedFields") or [])
    fields = list_fields(after)
    changed = {path for path in fields if before is None or read(before, path) != read(after, path)}
    kept = []
    for entry in entries:
        is_own = _is(entry, manager, "Update", subresource)
        # What the fake's own fields do not cover, such as the map itself, is kept as it is.
        held = {path for path in decode(entry["fieldsV1"]) if path not in changed or is_own}
        held = {path for path in held if read(after, path) is not None}
        if is_own:
            held |= changed
            changed = set()
        if held:
            kept.append({**entry, "fieldsV1": encode(held)})
    if changed:
        kept.append(_entry(after, manager, "Update", changed, subresource))
    after["metadata"]["managedFields"] = kept


def apply(live: Object, body: Object, manager: str) -> Object:
    """The object after `manager` has applied `body` to it without force. Raises Conflicts."""
    entries = live["metadata"].get("managedFields") or []
    wanted = list_fields(body)
    others = {
        (entry["manager"], entry.get("subresource", "")): decode(entry["fieldsV1"])
        for entry in entries
        if not _is(entry, manager, "Apply")
    }
    found = [
        (_show(path), name, subresource)
        for path in sorted(wanted)
        for (name, subresource), held in others.items()
        if path in held and read(live, path) != read(body, path)
    ]
    if found:
        raise Conflicts(found)
    ours = next((decode(entry["fieldsV1"]) for entry in entries if _is(entry, manager, "Apply")), set())
    result: Object = copy.deepcopy(live)
    held_by_others = set().union(*others.values()) if others else set()
    # Whole items first: without its key an item is not found any more.
    for path in sorted(ours - wanted, key=lambda each: (each[-1] != ".", -len(each))):
        if path not in held_by_others:
            _remove(result, path, held_by_others)
    result = _merge(result, body, ())
    result["metadata"] |= {name: live["metadata"][name] for name in SERVER_SET if name in live["metadata"]}
    kept = [entry for entry in entries if not _is(entry, manager, "Apply")]
    result["metadata"]["managedFields"] = [*kept, _entry(result, manager, "Apply", wanted)]
    return result


def _remove(item: Object, path: Path, held_by_others: set[Path]) -> None:
    parents: list[tuple[Any, str]] = []
    at: Any = item
    elements = path[:-1] if path[-1] == "." else path
    for index, element in enumerate(elements[:-1]):
        if at is None:
            return
        parents.append((at, element))
        at = read(at, (element,)) if element.startswith("f:") else _find(at, path[:index], element)
    last = elements[-1]
    if last.startswith("f:") and isinstance(at, dict):
        at.pop(last[2:], None)
    elif isinstance(at, list) and not any(other[: len(elements)] == elements for other in held_by_others):
        at[:] = [each for each in at if _key(each, _keys(elements[:-1])) != last]
    # A map that has become empty is left out, as the server leaves it out.
    for parent, element in reversed(parents):
        if element.startswith("f:") and isinstance(parent, dict) and parent.get(element[2:]) in ({}, []):
            parent.pop(element[2:])


def _find(value: Any, path: Path, element: str) -> Any:
    return next((item for item in value or () if _key(item, _keys(path)) == element), None)


def _merge(live: Any, body: Any, path: Path) -> Any:
    name = path[-1][2:] if path and path[-1].startswith("f:") else ""
    if isinstance(body, dict) and isinstance(live, dict) and name not in ATOMIC:
        merged = dict(live)
        for key, value in body.items():
            merged[key] = _merge(live.get(key), value, (*path, f"f:{key}"))
        return merged
    if isinstance(body, list) and isinstance(live, list) and (keys := _keys(path)):
        given = {_key(item, keys): item for item in body}
        kept = [_merge(item, given.pop(_key(item, keys), item), (*path, _key(item, keys))) for item in live]
        return kept + list(given.values())
    return copy.deepcopy(body)


def _show(path: Path) -> str:
    """As the server names it in a conflict: .spec.template.spec.containers[name="x"].image"""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            text += f"[{','.join(f'{key}={json.dumps(value)}' for key, value in json.loads(element[2:]).items())}]"
    return text
