# requirements: flexcore_base
"""Where a tap's data lies, by its own configuration: files that it lists, or the database that it reads.

Known are `files` entries with a path (tap-csv, tap-spreadsheets and their like) and taps of PostgreSQL; of others it is
said that they are not known. No plugin is started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

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


@dataclass(frozen=True, slots=True)
class TapData:
    """One of paths and database is given, else `unknown` says why. schemas, select: what is read of the database."""

    tap: str
    base: Path
    paths: tuple[str, ...] = ()
    database: Mapping[str, Any] | None = None
    schemas: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    unknown: str = ""

    def wants(self, schema: str, table: str) -> bool:
        """Whether the tap reads the table; its stream is called SCHEMA-TABLE."""
        if self.schemas and schema not in self.schemas:
            return False
        stream = f"{schema}-{table}"
        patterns = [selection.Pattern.parse(item) for item in self.select]
        if any(item.matches_stream(stream) for item in patterns if item.negated and item.column in ("", "*")):
            return False
        chosen = [item for item in patterns if not item.negated]
        return not chosen or any(item.matches_stream(stream) for item in chosen)


def tap_data(prepared: preparation.Prepared, select: Sequence[str] = ()) -> list[TapData]:
    """One for each tap of a checked request; select: the request's own patterns, which replace the project's."""
    root = prepared.source.root
    return [_of(tap, root, tuple(select) or _patterns(tap)) for tap in prepared.taps]


def _patterns(tap: resolved_project.Plugin) -> tuple[str, ...]:
    return tuple(str(item) for item in plugin_settings.value_of(tap, "_select") or ())


def _of(tap: resolved_project.Plugin, root: Path, select: tuple[str, ...]) -> TapData:
    read = Reader(tap)
    paths = tuple(str(item["path"]) for item in read.list("files") if isinstance(item, Mapping) and item.get("path"))
    if paths:
        return TapData(tap.name, root, paths)
    if "tap-postgres" in f"{tap.name} {tap.executable} {tap.pip_url}":
        database = _database(read)
        if database.get("host") and database.get("dbname"):
            schemas = tuple(str(item) for item in read.list("filter_schemas"))
            return TapData(tap.name, root, database=database, schemas=schemas, select=select)
        return TapData(tap.name, root, unknown="its settings name no host or database")
    return TapData(tap.name, root, unknown="where it reads from is not known")


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
