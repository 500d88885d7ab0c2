# requirements: flexcore_base
"""A request against a project, checked before any plugin runs: what both the check and the run start from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, redaction, resources
from f.flexcore.lib.meltano import (
    inspection,
    installation,
    plugin_settings,
    project_file,
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


def prepare(
    project: Any,
    taps: Sequence[str],
    target: str,
    environment: str,
    select: Sequence[str] | None,
    config: Sequence[str] | None,
    settings: Any,
    tap_settings: Any = None,
    target_settings: Any = None,
    mappings: Sequence[str] | None = None,
    env: Mapping[str, str] = os.environ,
) -> Prepared:
    """Raises the UserErrors of a wrong request; starts Meltano once for each new content of project and request, and
    git for a project in a repository."""
    resource = errors.validated(resources.MeltanoProject, project, "project")
    wanted = errors.validated(resources.Settings, settings or {}, "settings")
    asked_taps = checked_names(taps, target)
    patterns = checked_lines(select, "select")
    overrides = plugin_settings.parse_overrides(checked_lines(config, "config"))
    mapped = checked_lines(mappings, "mappings")
    source = sources.local_project(resource, env)
    declared = project_file.read_project(source.root)
    chosen = environment or resource.environment
    declared.check_environment(chosen)
    tap_names = [("extractors", declared.full_name("extractors", name)) for name in asked_taps]
    check_different([name for _, name in tap_names])
    target_name = ("loaders", declared.full_name("loaders", target))
    for name in mapped:
        declared.check_mapping(name)
    between = [("mappings", name) for name in mapped]
    base = {**installation.base_environment(env), **resource.env}
    with inspection.Inspector(source.root, declared.files) as inspector:
        chosen, plugins = inspector.definitions(base, chosen, [*tap_names, *between, target_name])
        ends = [*(plugins[name] for name in tap_names), plugins[target_name]]
        plugin_settings.check_overrides(overrides, ends)
        own = {
            **resource_settings.resource_environment(tap_settings, ends[:-1], "tap_settings"),
            **resource_settings.resource_environment(target_settings, ends[-1:], "target_settings"),
            **plugin_settings.override_environment(overrides, ends),
            **plugin_settings.selection_environment(patterns, ends[:-1]),
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
    store = object_store.Store(wanted, env)
    place = state_store.state_place(resolved, source.identity, resource.state_backend_uri, store, seen)
    secrets = [
        *resource.secrets(),
        *wanted.secrets(),
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


def checked_names(taps: Any, target: Any) -> list[str]:
    if (
        not isinstance(taps, list | tuple)
        or not taps
        or not all(isinstance(name, str) and name.strip() for name in taps)
    ):
        raise errors.InvalidInput(
            "taps names no tap", subject="taps", remedy="Give at least one extractor of the project."
        )
    if not isinstance(target, str) or not target.strip():
        raise errors.InvalidInput("target names no target", subject="target", remedy="Give a loader of the project.")
    return list(taps)


def check_different(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise errors.InvalidInput(f"taps names {twice} twice", subject="taps", remedy="Name each tap once.")


def checked_lines(value: Any, what: str) -> list[str]:
    if value is None or value == "":
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise errors.InvalidInput(
            f"{what} is not a list of texts", subject=what, remedy="Give one text for each entry."
        )
    return [item for item in value if item.strip()]
