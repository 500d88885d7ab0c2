"""Variables and resources as steps and expressions see them: a local value first, then the file of the bundle.

Every secret value that passes through is remembered, so that what is written to the database or a log can be masked.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import Any
from urllib.parse import quote

from wmlocal.engine.bundle import Bundle
from wmlocal.engine.errors import BadBundle, Rejected
from wmlocal.engine.store import Row, Store

REFERENCE = re.compile(r"\$(?:var|jsonvar|res):")
# Windmill's own bound; it ends circular references.
MAX_DEPTH = 50
# Its bounds for lists in a job's arguments.
MAX_LIST_DEPTH = 2
MAX_LIST_LENGTH = 1000
MASK = "********"
# Shorter values would mask ordinary words and digits.
MIN_SECRET_CHARS = 6


class Secrets:
    """The secret values that this engine has handed out, to keep them out of what it writes."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def add(self, value: Any) -> None:
        if isinstance(value, str) and len(value) >= MIN_SECRET_CHARS:
            lines = [line for line in value.splitlines() if len(line) >= MIN_SECRET_CHARS]
            coded = {quote(value, safe=""), base64.b64encode(value.encode()).decode()}
            forms = {value, json.dumps(value)[1:-1], *coded, *lines}
            with self._lock:
                self._values = tuple(sorted({*self._values, *forms}, key=len, reverse=True))

    def mask(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text


class Variables:
    def __init__(self, bundle: Bundle, store: Store, workspace: str) -> None:
        self.bundle, self.store, self.workspace = bundle, store, workspace
        self.secrets = Secrets()
        self._password_fields: dict[str, frozenset[str] | None] = {}

    def variable_item(self, path: str) -> Row | None:
        local = self.store.variable(path)
        if local is None:
            found = self.bundle.variable(path, self.workspace)
            if found is None:
                return None
            local = {
                "path": path,
                "value": str(found.get("value", "")),
                "is_secret": bool(found.get("is_secret")),
                "description": found.get("description", ""),
            }
        if local["is_secret"]:
            self.secrets.add(local["value"])
        return local

    def resource_item(self, path: str) -> Row | None:
        item = self.store.resource(path)
        if item is None:
            found = self.bundle.resource(path, self.workspace)
            if found is None:
                return None
            item = {
                "path": path,
                "value": found.get("value"),
                "resource_type": found.get("resource_type"),
                "description": found.get("description", ""),
            }
        self._note_passwords(item)
        return item

    def _note_passwords(self, item: Row) -> None:
        value = item["value"]
        if isinstance(value, dict) and item["resource_type"]:
            fields = self._password_names(str(item["resource_type"]))
            # A type that cannot be read may mark any of them.
            for field in value if fields is None else fields:
                self.secrets.add(value.get(field))

    def _password_names(self, resource_type: str) -> frozenset[str] | None:
        """Fields that the resource type (a file at the bundle's root) marks as passwords; None when it is broken."""
        if resource_type not in self._password_fields:
            try:
                schema = self.bundle.resource_type(resource_type)
            except BadBundle:
                self._password_fields[resource_type] = None
                return None
            properties = schema.get("properties")
            fields = properties.items() if isinstance(properties, dict) else ()
            self._password_fields[resource_type] = frozenset(
                name for name, field in fields if isinstance(field, dict) and field.get("password")
            )
        return self._password_fields[resource_type]

    def variable(self, path: str) -> str:
        item = self.variable_item(path)
        if item is None:
            raise Rejected(f"Not found: Variable {path} not found", 404)
        return str(item["value"])

    def resource(self, path: str) -> Any:
        item = self.resource_item(path)
        if item is None:
            raise Rejected(f"Not found: Resource {path} not found", 404)
        return self.interpolate(item["value"], path)

    def resolve(self, args: dict[str, Any]) -> dict[str, Any]:
        """A job's arguments with their references replaced; one that has none may be of any depth."""
        return {
            key: self.interpolate(value, key, of_job=True) if REFERENCE.search(json.dumps(value)) else value
            for key, value in args.items()
        }

    def interpolate(self, value: Any, name: str, depth: int = 0, of_job: bool = False) -> Any:
        """`$var:` and `$res:` strings replaced by what they name, at any depth; but in a job's arguments a list that is
        long or lies deep stays as it is, as on a server."""
        if depth >= MAX_DEPTH:
            raise Rejected(
                f"Internal: Maximum resource/variable interpolation depth ({MAX_DEPTH}) exceeded for `{name}`; this"
                " usually indicates a circular `$res:` or `$var:` reference",
                500,
            )
        if isinstance(value, dict):
            return {key: self.interpolate(item, key, depth + 1, of_job) for key, item in value.items()}
        if isinstance(value, list) and of_job and (depth > MAX_LIST_DEPTH or len(value) > MAX_LIST_LENGTH):
            return value
        if isinstance(value, list):
            return [self.interpolate(item, name, depth + 1, of_job) for item in value]
        if isinstance(value, str) and value.startswith("$"):
            return self._look_up(value, name, depth)
        return value

    def _look_up(self, value: str, name: str, depth: int) -> Any:
        kind, _, path = value.partition(":")
        if kind == "$var":
            return self._variable_for(path, name)
        if kind == "$jsonvar":
            return json.loads(self._variable_for(path, name))
        if kind == "$res" and "/" not in path:
            raise Rejected(f"Internal: Argument `{name}` is an invalid resource path: {path}", 500)
        if kind == "$res":
            item = self.resource_item(path)
            if item is None:
                raise Rejected(
                    f"Not found: Resource {path} not found for `{name}`: Not found: Resource {path} not found", 404
                )
            return self.interpolate(item["value"], path, depth + 1)
        return value

    def _variable_for(self, path: str, name: str) -> str:
        item = self.variable_item(path)
        if item is None:
            cause = f"Not found: Variable {path} not found" if path else ""
            raise Rejected(f"Not found: Variable {path} not found for `{name}`: {cause}", 404)
        return str(item["value"])
