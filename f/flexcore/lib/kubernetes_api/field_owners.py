# requirements: flexcore_kubernetes
"""Who holds which field of an object: its `metadata.managedFields`, read and moved. Pure.

    {manager: flexcore, operation: Apply, fieldsV1: {"f:spec": {"f:template": {…, "k:{\"name\":\"x\"}": {".": {}}}}}}

A field that we hold by Apply and no longer send is removed by the server; one that an earlier version stored by PUT
(operation Update) is not, so such entries are moved first (`migrate`, as client-go's csaupgrade does).
Source: sigs.k8s.io/structured-merge-diff/v6/fieldpath/serialize.go, k8s.io/client-go/util/csaupgrade
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, identity

Fields = dict[str, Any]
Entry = dict[str, Any]
Path = Sequence[str]

APPLY, UPDATE = "Apply", "Update"
SELF = "."
REPLICAS: Path = ("spec", "replicas")
# What `kubectl scale` and autoscalers write.
SCALE = "scale"
MAX_FIELDS_NAMED = 8


# --- moving


def migrate(entries: Iterable[Entry], released: Iterable[Path] = ()) -> list[Entry]:
    """The entries after what we hold by Update is held by Apply. released: fields that we hold no longer; they keep
    their value."""
    kept: list[Entry] = []
    ours: Entry | None = None
    for entry in copy.deepcopy(list(entries)):
        if entry.get("manager") != identity.FIELD_MANAGER or entry.get("subresource"):
            kept.append(entry)
        elif ours is None:
            ours = {**entry, "operation": APPLY}
            kept.append(ours)
        else:
            ours["fieldsV1"] = merge_fields(ours.get("fieldsV1") or {}, entry.get("fieldsV1") or {})
            if times := [each["time"] for each in (ours, entry) if each.get("time")]:
                ours["time"] = max(times)
    if ours is not None:
        for path in released:
            drop_field(ours.get("fieldsV1") or {}, path)
    return [entry for entry in kept if entry.get("fieldsV1")]


def release(entries: Iterable[Entry], manager: str, subresource: str, path: Path) -> list[Entry]:
    """The entries without another manager's hold of one field: for a writer that we have removed ourselves."""
    result = copy.deepcopy(list(entries))
    for entry in result:
        if (entry.get("manager"), entry.get("subresource", "")) == (manager, subresource):
            drop_field(entry.get("fieldsV1") or {}, path)
    return [entry for entry in result if entry.get("fieldsV1")]


def merge_fields(first: Fields, second: Fields) -> Fields:
    """The union of two field sets. An empty one is a field itself, not nothing."""
    if not first or not second:
        rest = first or second
        return {SELF: {}, **rest} if rest else {}
    merged = {name: copy.deepcopy(value) for name, value in first.items()}
    for name, value in second.items():
        merged[name] = merge_fields(merged[name], value) if name in merged else copy.deepcopy(value)
    return merged


def drop_field(fields: Fields, path: Path) -> None:
    """Takes a field, and what is below it, out of the set."""
    name, rest = f"f:{path[0]}", path[1:]
    if name not in fields:
        return
    if rest and fields[name]:
        drop_field(fields[name], rest)
    if not rest or not fields[name]:
        del fields[name]


# --- reading


def find_holders(item: Mapping[str, Any], path: Path) -> list[tuple[str, str]]:
    """(manager, subresource) of all that hold a field."""
    entries = item["metadata"].get("managedFields") or ()
    return [
        (str(entry.get("manager")), str(entry.get("subresource") or ""))
        for entry in entries
        if _holds(entry.get("fieldsV1") or {}, path)
    ]


def _holds(fields: Fields, path: Path) -> bool:
    for name in path:
        if f"f:{name}" not in fields:
            return False
        fields = fields[f"f:{name}"]
    return True


def extract_applied(item: Mapping[str, Any]) -> dict[str, Any]:
    """What we hold of an object, as it would be applied again. Source: client-go's managedfields.ExtractInto."""
    metadata = item["metadata"]
    ours = (entry for entry in metadata.get("managedFields") or () if entry.get("manager") == identity.FIELD_MANAGER)
    fields: Fields = next((entry["fieldsV1"] for entry in ours if not entry.get("subresource")), {})
    body: dict[str, Any] = _extract(fields, item) or {}
    body |= {name: item[name] for name in ("apiVersion", "kind") if name in item}
    address = {name: metadata[name] for name in ("name", "namespace") if name in metadata}
    body["metadata"] = {**(body.get("metadata") or {}), **address}
    body.pop("status", None)
    return body


def _extract(fields: Fields, value: Any) -> Any:
    """The part of `value` that the set covers; None where there is none. An empty set covers all of it; one of SELF
    alone says that it is there, and nothing of what is in it."""
    if not fields:
        return copy.deepcopy(value)
    names = [name for name in fields if name != SELF]
    if isinstance(value, Mapping):
        parts = {name[2:]: _extract(fields[name], value[name[2:]]) for name in names if name[2:] in value}
        return parts if parts or SELF in fields else None
    if isinstance(value, list):
        return [part for item in value if (part := _extract_item(fields, names, item)) is not None]
    return copy.deepcopy(value)


def _extract_item(fields: Fields, names: Sequence[str], item: Any) -> Any:
    for name in names:
        kind, key = name[:2], json.loads(name[2:])
        if kind == "k:" and isinstance(item, Mapping) and all(item.get(field) == each for field, each in key.items()):
            part = _extract(fields[name], item)
            return {**key, **part} if isinstance(part, Mapping) else key
        if kind == "v:" and item == key:
            return item
    return None


# --- conflicts


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that another manager holds with another value."""

    field: str
    manager: str

    def __str__(self) -> str:
        return f"{self.field} (held by {self.manager})"


def parse_conflicts(status: Mapping[str, Any]) -> list[FieldConflict]:
    """Of the answer to an apply: `conflict with "kubectl-edit" using apps/v1` for each field. Empty for another 409."""
    found = []
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "FieldManagerConflict":
            message = str(cause.get("message") or "")
            manager = message.partition('conflict with "')[2].partition('"')[0] or message
            by_scale = ' with subresource "scale"' in message
            found.append(FieldConflict(str(cause.get("field")), f"{manager}, by scale" if by_scale else manager))
    return found


def conflict_error(what: str, conflicts: Sequence[FieldConflict]) -> errors.Conflict:
    """what: the object, as rights name it, with its name and namespace."""
    named = ", ".join(map(str, conflicts[:MAX_FIELDS_NAMED]))
    more = len(conflicts) - MAX_FIELDS_NAMED
    managers = sorted({item.manager.partition(",")[0] for item in conflicts})
    return errors.Conflict(
        f"{what}: others hold what would be set: {named}{f' and {more} more' if more > 0 else ''}",
        subject=conflicts[0].field.removeprefix("."),
        category="field_conflict",
        remedy=f"Put their values into the form, or have {' and '.join(managers)} give the fields up; see them by "
        "kubectl get --show-managed-fields -o yaml. Nothing is overwritten.",
        conflicts=[{"field": item.field, "manager": item.manager} for item in conflicts],
    )
