# requirements: flexcore_base
"""A request against a project, checked before any plugin runs: what both the check and the run start from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from f.flexcore.lib.core import errors, operation, redaction, resources
from f.flexcore.lib.meltano import (
    inspection,
    installation,
    project_file,
    request_models,
    request_settings,
    resolved_project,
    sources,
    state_store,
)
from f.flexcore.lib.meltano.remote import (
    selection,
)
from f.flexcore.lib.storage import object_store


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request. env: variables for Meltano and its plugins, from the resource and the request; mappings: what
    every row passes, of these mappers."""

    source: sources.Source
    project: resolved_project.Project
    taps: tuple[resolved_project.Plugin, ...]
    target: resolved_project.Plugin
    files: request_settings.FileTarget | None
    env: Mapping[str, str]
    store: object_store.Store
    place: state_store.StatePlace
    redactor: redaction.Redactor
    mappings: tuple[str, ...] = ()
    mappers: tuple[resolved_project.Plugin, ...] = ()

    @property
    def state_ids(self) -> list[str]:
        """Under which Meltano keeps the state of each tap."""
        return [state_store.state_id(self.project, tap, self.target) for tap in self.taps]


def prepare(
    request: request_models.ExtractionRequest,
    resource: resources.MeltanoProject,
    settings: resources.Settings,
    env: Mapping[str, str] = os.environ,
) -> Prepared:
    """The request held against its project. Raises the UserErrors of a wrong one; starts Meltano once for each new
    content of project and request, and git for a project in a repository."""
    source = sources.open_project(resource, env)
    declared = project_file.read_project(source.root)
    names = _find_names(request, declared)
    base = {**installation.base_environment(env), **resource.env}
    with inspection.Inspector(source.root, declared.files) as inspector:
        wanted = request.environment or resource.environment
        declared.check_environment(wanted)
        environment, plugins = inspector.definitions(base, wanted, [*names.taps, *names.mappings, names.target])
        taps, target = [plugins[name] for name in names.taps], plugins[names.target]
        values = _request_values(request, resource, taps, target)
        variables = {**installation.base_environment(env), **values}
        block_sets = [[name, *names.mappings, names.target] for name in names.taps]
        project, blocks = inspector.values(variables, environment, block_sets, plugins)
    running = [plugin for block in blocks for plugin in block]
    _check_resolved(project, running, environment)
    store = object_store.Store(settings, env)
    place = state_store.choose_state_place(
        project, source.identity, resource.state_backend_uri, store, {**project.variables, **variables}
    )
    secrets = [
        *resource.secrets(),
        *settings.secrets(),
        *resources.secret_values(request),
        *resolved_project.project_secrets(project),
        *resolved_project.variable_secrets(variables),
        *(secret for plugin in running for secret in resolved_project.plugin_secrets(plugin)),
    ]
    return Prepared(
        source=source,
        project=project,
        taps=tuple(block[0] for block in blocks),
        target=blocks[0][-1],
        files=request_settings.find_file_target(target),
        env=values,
        store=store,
        place=place,
        redactor=redaction.Redactor(secrets),
        mappings=tuple(request.mappings),
        mappers=tuple(blocks[0][1:-1]),
    )


class PluginNames(NamedTuple):
    """Kinds and full names of what a request runs."""

    taps: list[inspection.Name]
    mappings: list[inspection.Name]
    target: inspection.Name


def _find_names(request: request_models.ExtractionRequest, declared: project_file.ProjectFile) -> PluginNames:
    taps = [declared.find_name("extractors", name) for name in request.taps]
    check_different(taps)
    target = declared.find_name("loaders", request.target)
    for name in request.mappings:
        declared.check_mapping(name)
    return PluginNames(
        [("extractors", name) for name in taps], [("mappings", name) for name in request.mappings], ("loaders", target)
    )


def _request_values(
    request: request_models.ExtractionRequest,
    resource: resources.MeltanoProject,
    taps: Sequence[resolved_project.Plugin],
    target: resolved_project.Plugin,
) -> dict[str, str]:
    """The variables of the resource and of the request."""
    plugins, overrides = [*taps, target], request_settings.parse_overrides(request.config)
    request_settings.check_overrides(overrides, plugins)
    files = request_settings.find_file_target(target)
    own = {
        **request_settings.resource_environment(request.tap_settings, taps, "tap_settings"),
        **request_settings.resource_environment(request.target_settings, [target], "target_settings"),
        **request_settings.override_environment(overrides, plugins),
        **request_settings.selection_environment(request.select, taps),
        # The folder itself is not known yet; that it can be set is what counts here.
        **(request_settings.folder_environment(target, files, "/") if files else {}),
    }
    return request_settings.request_environment(resource.env, own, plugins)


def _check_resolved(
    project: resolved_project.Project, plugins: Sequence[resolved_project.Plugin], environment: str
) -> None:
    for plugin in plugins:
        resolved_project.check_plugin(plugin, environment)
        if not plugin.mapping:
            resolved_project.check_required(plugin)
    resolved_project.check_project(project)


def check_different(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise errors.InvalidInput(f"taps holds {twice} twice", subject="taps", remedy="Give each tap once.")


# Our own names of the resource's fields → the settings of the known variants (MeltanoLabs, transferwise).
DATABASE = {
    "host": ("host",),
    "port": ("port",),
    "user": ("user",),
    "password": ("password",),
    "dbname": ("database", "dbname"),
    "sslmode": ("ssl_mode", "sslmode"),
}


def list_sources(prepared: Prepared, select: Sequence[str] = ()) -> list[operation.DataSource]:
    """One for each tap of a checked request: files that it lists, or the database that it reads, by its own settings.

    Known are `files` entries with a path (tap-csv, tap-spreadsheets and their like) and taps of PostgreSQL. select: the
    request's own patterns, which replace the project's."""
    root = prepared.source.root
    return [_find_source(tap, root, tuple(select) or _project_selection(tap)) for tap in prepared.taps]


def _project_selection(tap: resolved_project.Plugin) -> tuple[str, ...]:
    return tuple(str(item) for item in resolved_project.setting_value(tap, "_select") or ())


def _find_source(tap: resolved_project.Plugin, root: Path, select: tuple[str, ...]) -> operation.DataSource:
    read = SettingsReader(tap)
    paths = tuple(str(item["path"]) for item in read.list("files") if isinstance(item, Mapping) and item.get("path"))
    if paths:
        return operation.DataSource(tap.name, root, paths)
    if "tap-postgres" not in f"{tap.name} {tap.executable} {tap.pip_url}":
        return operation.DataSource(tap.name, unknown="where it reads from is not known")
    database = _read_database(read)
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


def _read_database(read: SettingsReader) -> dict[str, Any]:
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
class SettingsReader:
    """A plugin's settings, as the plugin gets them."""

    tap: resolved_project.Plugin

    def value(self, name: str) -> Any:
        return resolved_project.setting_value(self.tap, name)

    def list(self, name: str) -> Sequence[Any]:
        value = self.value(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = [item.strip() for item in value.split(",") if item.strip()]
        return value if isinstance(value, list) else ()
