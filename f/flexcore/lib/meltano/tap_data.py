# requirements: flexcore_base
"""Where a tap's data lies, by its own configuration: files that it lists, or the database that it reads.

Known are `files` entries with a path (tap-csv, tap-spreadsheets and their like) and taps of PostgreSQL; of others it is
said that they are not known. No plugin is started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from f.flexcore.lib.core import operation
from f.flexcore.lib.meltano import plugin_settings, preparation, resolved_project, selection

# Our own names of the resource's fields → the settings of the known variants (MeltanoLabs, transferwise).
DATABASE = {
    "host": ("host",),
    "port": ("port",),
    "user": ("user",),
    "password": ("password",),
    "dbname": ("database", "dbname"),
    "sslmode": ("ssl_mode", "sslmode"),
}


def list_sources(prepared: preparation.Prepared, select: Sequence[str] = ()) -> list[operation.DataSource]:
    """One for each tap of a checked request; select: the request's own patterns, which replace the project's."""
    root = prepared.source.root
    return [_find_source(tap, root, tuple(select) or _project_selection(tap)) for tap in prepared.taps]


def _project_selection(tap: resolved_project.Plugin) -> tuple[str, ...]:
    return tuple(str(item) for item in plugin_settings.value_of(tap, "_select") or ())


def _find_source(tap: resolved_project.Plugin, root: Path, select: tuple[str, ...]) -> operation.DataSource:
    read = Reader(tap)
    paths = tuple(str(item["path"]) for item in read.list("files") if isinstance(item, Mapping) and item.get("path"))
    if paths:
        return operation.DataSource(tap.name, root, paths)
    if "tap-postgres" not in f"{tap.name} {tap.executable} {tap.pip_url}":
        return operation.DataSource(tap.name, unknown="where it reads from is not known")
    database = _database(read)
    if not database.get("host") or not database.get("dbname"):
        return operation.DataSource(tap.name, unknown="its settings name no host or database")
    schemas = tuple(str(item) for item in read.list("filter_schemas"))
    is_read = partial(_is_selected, schemas=schemas, patterns=[selection.Pattern.parse(item) for item in select])
    return operation.DataSource(tap.name, database=database, is_read=is_read)


def _is_selected(schema: str, table: str, schemas: Sequence[str], patterns: Sequence[selection.Pattern]) -> bool:
    """Whether a tap of PostgreSQL reads the table; its stream is called SCHEMA-TABLE."""
    if schemas and schema not in schemas:
        return False
    stream = f"{schema}-{table}"
    if any(item.matches_stream(stream) for item in patterns if item.negated and item.column in ("", "*")):
        return False
    chosen = [item for item in patterns if not item.negated]
    return not chosen or any(item.matches_stream(stream) for item in chosen)


def _database(read: Reader) -> dict[str, Any]:
    url = urlsplit(str(read.value("sqlalchemy_url") or ""))
    if url.hostname:
        return {
            "host": url.hostname,
            "port": url.port,
            "user": unquote(url.username or ""),
            "password": unquote(url.password or ""),
            "dbname": url.path.lstrip("/"),
        }
    return {
        name: next((found for key in keys if (found := read.value(key)) not in (None, "")), None)
        for name, keys in DATABASE.items()
    }


@dataclass(frozen=True, slots=True)
class Reader:
    """A plugin's settings, as the plugin gets them."""

    tap: resolved_project.Plugin

    def value(self, name: str) -> Any:
        return plugin_settings.value_of(self.tap, name)

    def list(self, name: str) -> Sequence[Any]:
        value = self.value(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = [item.strip() for item in value.split(",") if item.strip()]
        return value if isinstance(value, list) else ()
