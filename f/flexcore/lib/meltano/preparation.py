# requirements: flexcore_base
"""A request against a project, checked before any plugin runs: what both the check and the run start from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from f.flexcore.lib.core import errors, redaction, resources, secret_fields
from f.flexcore.lib.meltano import (
    inspection,
    installation,
    plugin_settings,
    project_file,
    request_models,
    resolved_project,
    resource_settings,
    sources,
    state_store,
    targets,
)
from f.flexcore.lib.storage import object_store


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request. env: variables for Meltano and its plugins, from the resource and the request; seen: all that
    Meltano will see, with the project's own and the worker's; mappings: what every row passes, of these mappers."""

    source: sources.Source
    project: resolved_project.Project
    taps: tuple[resolved_project.Plugin, ...]
    target: resolved_project.Plugin
    files: targets.FileTarget | None
    env: Mapping[str, str]
    seen: Mapping[str, str]
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
    overrides, mapped = plugin_settings.parse_overrides(request.config), request.mappings
    source = sources.local_project(resource, env)
    declared = project_file.read_project(source.root)
    chosen = request.environment or resource.environment
    declared.check_environment(chosen)
    tap_names = [("extractors", declared.full_name("extractors", name)) for name in request.taps]
    check_different([name for _, name in tap_names])
    target_name = ("loaders", declared.full_name("loaders", request.target))
    for name in mapped:
        declared.check_mapping(name)
    between = [("mappings", name) for name in mapped]
    base = {**installation.base_environment(env), **resource.env}
    with inspection.Inspector(source.root, declared.files) as inspector:
        chosen, plugins = inspector.definitions(base, chosen, [*tap_names, *between, target_name])
        ends = [*(plugins[name] for name in tap_names), plugins[target_name]]
        plugin_settings.check_overrides(overrides, ends)
        own = {
            **resource_settings.resource_environment(request.tap_settings, ends[:-1], "tap_settings"),
            **resource_settings.resource_environment(request.target_settings, ends[-1:], "target_settings"),
            **plugin_settings.override_environment(overrides, ends),
            **plugin_settings.selection_environment(request.select, ends[:-1]),
        }
        files = targets.file_target(ends[-1])
        # The folder itself is not known yet; that it can be set is what counts here.
        folder = targets.folder_environment(ends[-1], files, "/") if files else {}
        values = plugin_settings.request_environment(resource.env, {**own, **folder}, ends)
        reading = {**installation.base_environment(env), **values}
        block_sets = [[name, *between, target_name] for name in tap_names]
        resolved, blocks = inspector.values(reading, chosen, block_sets, plugins)
    running = [plugin for block in blocks for plugin in block]
    for plugin in running:
        plugin_settings.check_plugin(plugin, chosen)
        if not plugin.mapping:
            plugin_settings.check_required(plugin)
    plugin_settings.check_project(resolved)
    seen = {**resolved.variables, **reading}
    store = object_store.Store(settings, env)
    place = state_store.state_place(resolved, source.identity, resource.state_backend_uri, store, seen)
    secrets = [
        *resource.secrets(),
        *settings.secrets(),
        *secret_fields.secret_values(request),
        *plugin_settings.project_secrets(resolved),
        *plugin_settings.variable_secrets(reading),
        *(secret for plugin in running for secret in plugin_settings.secrets_in(plugin)),
    ]
    return Prepared(
        source,
        resolved,
        tuple(block[0] for block in blocks),
        blocks[0][-1],
        files,
        values,
        seen,
        store,
        place,
        redaction.Redactor(secrets),
        tuple(mapped),
        tuple(blocks[0][1:-1]),
    )


def check_different(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise errors.InvalidInput(f"taps holds {twice} twice", subject="taps", remedy="Give each tap once.")
