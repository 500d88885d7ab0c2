# requirements: flexcore_base
"""Incremental state of a project: where it is kept, and reading and writing it without Meltano's command line.

Place, first hit wins: the project's own state backend or database; `state_backend_uri` of the resource; with an s3://
store a folder of the store; else a SQLite database below the worker's home. One file or row per state id
`<environment>:<tap>-to-<target>[:suffix]`, holding {"completed": {…}, "partial": {…}}.
Source: meltano.core.state_store (db, filesystem, s3) and block.extract_load.generate_state_id, 4.4.1.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from f.flexcore.lib.core import errors, redaction, tls_errors
from f.flexcore.lib.meltano import (
    installation,
    resolved_project,
    system_database,
)
from f.flexcore.lib.storage import object_store

SYSTEM_DATABASE = "systemdb"
CONNECT_TIMEOUT_S = 5.0
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatePlace:
    """uri: a state backend of Meltano; database: the system database's SQLAlchemy URI; private: only flexcore uses that
    database, so a run in it that no live lock belongs to is dead; options: fsspec's, for an s3 backend."""

    uri: str
    database: str
    private: bool
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The place without credentials."""
        uri = self.database if self.uri == SYSTEM_DATABASE else self.uri
        parts = urlsplit(uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl() if parts.netloc else uri


def choose_state_place(
    project: resolved_project.Project,
    identity: str,
    resource_uri: str,
    store: object_store.Store,
    env: Mapping[str, str],
) -> StatePlace:
    """Where this project's state is kept."""
    declared_database, declared_backend = (
        declared_setting(project, name) for name in ("database_uri", "state_backend.uri")
    )
    database = declared_database or f"sqlite:///{database_path(identity)}"
    private = not declared_database
    if declared_backend or declared_database:
        uri = declared_backend or SYSTEM_DATABASE
        return StatePlace(uri, database, private, {}, s3_options(project, uri, env))
    if resource_uri:
        uri = resource_uri
        options = store.options if uri.startswith("s3://") and not store.local else s3_options(project, uri, env)
        return StatePlace(uri, database, private, {**backend_environment(uri, options)}, options)
    if not store.local:
        uri = store.uri(".state", identity)
        return StatePlace(uri, database, private, backend_environment(uri, store.options), store.options)
    return StatePlace(SYSTEM_DATABASE, database, private)


def declared_setting(project: resolved_project.Project, name: str) -> str:
    """What the project or its variables say, unless it is below Meltano's own folder: that one is gone after a run."""
    value = str(project.setting(name) or "")
    return "" if str(installation.inspection_folder()) in value else value


def database_path(identity: str) -> Path:
    return installation.folder("state", identity) / "meltano.db"


def backend_environment(uri: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The environment that makes Meltano use the backend."""
    env = {"MELTANO_STATE_BACKEND_URI": uri}
    if uri.startswith("s3://"):
        names = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY", "endpoint_url": "ENDPOINT_URL"}
        env |= {
            f"MELTANO_STATE_BACKEND_S3_{name}": str(options[key]) for key, name in names.items() if options.get(key)
        }
    return env


def s3_options(project: resolved_project.Project, uri: str, env: Mapping[str, str]) -> dict[str, Any]:
    if not uri.startswith("s3://"):
        return {}
    parts = urlsplit(uri)

    def setting(name: str) -> str:
        return str(project.setting(f"state_backend.s3.{name}") or "")

    options = {
        "key": setting("aws_access_key_id") or unquote(parts.username or "") or env.get("AWS_ACCESS_KEY_ID"),
        "secret": setting("aws_secret_access_key") or unquote(parts.password or "") or env.get("AWS_SECRET_ACCESS_KEY"),
        "endpoint_url": setting("endpoint_url") or env.get("AWS_ENDPOINT_URL"),
    }
    return {key: value for key, value in options.items() if value}


def state_id(project: resolved_project.Project, tap: resolved_project.Plugin, target: resolved_project.Plugin) -> str:
    parts = (project.environment, f"{tap.name}-to-{target.name}", project.state_id_suffix)
    return ":".join(part for part in parts if part)


class StateStore:
    """Reads and writes states at a place. is_readable: False where only Meltano itself can (Azure, PostgreSQL, …)."""

    def __init__(self, place: StatePlace) -> None:
        self.place = place
        self.protocol = "sqlite" if place.uri == SYSTEM_DATABASE else urlsplit(place.uri).scheme

    @property
    def is_readable(self) -> bool:
        if self.place.uri == SYSTEM_DATABASE:
            return self.place.database.startswith("sqlite:///")
        return self.protocol in ("file", "s3")

    def read(self, key: str) -> State | None:
        """The state, None when there is none yet. Raises Unreachable."""
        if self.protocol == "sqlite":
            return self._read_row(key)
        try:
            content = self._filesystem().cat_file(self._path(key))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreachable(error) from None
        return normalize_state(json.loads(content))

    def write(self, key: str, state: State) -> None:
        if self.protocol == "sqlite":
            return self._write_row(key, state)
        try:
            files = self._filesystem()
            if self.protocol == "file":
                files.makedirs(self._path(key).rsplit("/", 1)[0], exist_ok=True)
            files.pipe_file(self._path(key), json.dumps(state).encode())
        except Exception as error:
            raise self._unreachable(error) from None

    def check(self) -> bool | None:
        """True when the place answers, None where that cannot be found out from here. Raises Unreachable."""
        if self.is_readable:
            self.read("flexcore-check")
            return True
        parts = urlsplit(self.place.database if self.place.uri == SYSTEM_DATABASE else self.place.uri)
        if not parts.hostname or not parts.port:
            return None
        try:
            socket.create_connection((parts.hostname, parts.port), CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise self._unreachable(error) from None
        return True

    def _filesystem(self) -> Any:
        return fsspec.filesystem(self.protocol, **self.place.options)

    def _path(self, key: str) -> str:
        parts = urlsplit(self.place.uri)
        base = parts.path if self.protocol == "file" else f"{parts.hostname}{parts.path}"
        return f"{base.rstrip('/')}/{key}/state.json"

    @property
    def database(self) -> Path:
        """The file of an SQLite system database."""
        return Path(self.place.database.removeprefix("sqlite:///").split("?")[0])

    def make_database(self) -> None:
        """flexcore's own system database, unless it is there. Raises Unreachable when it cannot be written."""
        if not self.place.private:
            return
        try:
            system_database.make_database(self.database)
        except (OSError, sqlite3.Error) as error:
            raise self._unreachable(error) from None

    def _read_row(self, key: str) -> State | None:
        path = self.database
        if not path.exists():
            if not os.access(next(item for item in path.parents if item.exists()), os.W_OK):
                raise self._unreachable(PermissionError(13, "Permission denied"))
            return None
        try:
            with system_database.open_database(path) as database:
                row = database.execute(
                    "SELECT completed_state, partial_state FROM state WHERE state_id = ?", (key,)
                ).fetchone()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return None
            raise self._unreachable(error) from None
        return normalize_state({"completed": _parse_json(row[0]), "partial": _parse_json(row[1])}) if row else None

    def _write_row(self, key: str, state: State) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        values = (json.dumps(state["completed"]), json.dumps(state["partial"]), now)
        try:
            with system_database.open_database(self.database) as database:
                database.execute(
                    "INSERT INTO state (completed_state, partial_state, updated_at, state_id) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (state_id) DO UPDATE SET completed_state = excluded.completed_state, "
                    "partial_state = excluded.partial_state, updated_at = excluded.updated_at",
                    (*values, key),
                )
        except sqlite3.Error as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> errors.Unreachable:
        first = redaction.Redactor(self.place.options.values()).text(str(error)).splitlines()[:1]
        reason = getattr(error, "strerror", None) or (first[0][:200] if first else type(error).__name__)
        if isinstance(error, PermissionError):
            reason = "the access key or its secret is refused"
        return errors.Unreachable(
            f"The state at {self.place.label} cannot be used: {reason}",
            subject="state_backend",
            remedy=tls_errors.tls_remedy(tls_errors.error_chain(error))
            or "Check address, keys and rights of the store in the settings, or of the project's own backend.",
        )


def normalize_state(state: Mapping[str, Any]) -> State:
    return {"completed": state.get("completed") or {}, "partial": state.get("partial") or {}}


def _parse_json(text: str | None) -> Any:
    return json.loads(text) if text else {}


# By state id; None where only Meltano itself can read them.
States = dict[str, State | None] | None
Changes = dict[str, tuple[State | None, State | None]] | None

# Under a database's lock a few kilobytes are copied or changed.
LOCK_TIMEOUT_S = 30


def read_states(place: StatePlace, keys: Sequence[str]) -> States:
    """The states by id; None where only Meltano itself can read them."""
    store = StateStore(place)
    return {key: store.read(key) for key in keys} if store.is_readable else None


def compare_states(before: States, after: States) -> Changes:
    if before is None or after is None:
        return None
    return {key: (before[key], after.get(key)) for key in before}


def copy_state(place: StatePlace, states: dict[str, State | None], work: Path) -> StatePlace:
    """A place below `work` that holds the same states.

    A copy of flexcore's own database is a database again: Meltano's other state backends cost it 0.2 s of imports."""
    work.mkdir(parents=True, exist_ok=True)
    if place.uri == SYSTEM_DATABASE and place.private:
        source, target = StateStore(place).database, work / "meltano.db"
        with installation.hold_lock(source.with_suffix(".lock"), LOCK_TIMEOUT_S):
            system_database.copy_database(source, target)
        return replace(place, database=f"sqlite:///{target}")
    backend = f"file://{work / 'state'}"
    copy = replace(place, uri=backend, env=backend_environment(backend, {}), options={})
    for key, state in states.items():
        if state:
            StateStore(copy).write(key, state)
    return copy


def write_back(place: StatePlace, changes: Changes) -> None:
    """Brings the state of a finished run to its place. Safe to repeat: what has moved on since is left alone."""
    store = StateStore(place)
    for key, (old, new) in (changes or {}).items():
        if new and new != old and store.read(key) == old:
            with (
                installation.hold_lock(store.database.with_suffix(".lock"), LOCK_TIMEOUT_S)
                if place.private
                else nullcontext()
            ):
                store.write(key, new)
