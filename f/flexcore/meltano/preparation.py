# requirements: flexcore_base
# py: ==3.11.*
"""A request against a project, checked before any plugin runs: what both the check and the run start from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.core.errors import InvalidInput, validated
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import MeltanoProject, Settings
from f.flexcore.meltano.inspection import Inspector
from f.flexcore.meltano.plugin_settings import (
    check_overrides,
    check_plugin,
    check_project,
    check_required,
    override_environment,
    parse_overrides,
    project_secrets,
    request_environment,
    secrets_in,
    selection_environment,
    variable_secrets,
)
from f.flexcore.meltano.project import Plugin, Project
from f.flexcore.meltano.project_file import read_project
from f.flexcore.meltano.resource_settings import resource_environment
from f.flexcore.meltano.sources import Source, local_project
from f.flexcore.meltano.state import StatePlace, state_place
from f.flexcore.meltano.targets import FileTarget, file_target, folder_environment
from f.flexcore.meltano.tool import base_environment
from f.flexcore.storage.store import Store


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request. env: variables for Meltano and its plugins, from the resource and the request; seen: all that
    Meltano will see, with the project's own and the worker's; mappings: what every row passes, of these mappers."""

    source: Source
    project: Project
    taps: tuple[Plugin, ...]
    target: Plugin
    files: FileTarget | None
    env: Mapping[str, str]
    seen: Mapping[str, str]
    store: Store
    place: StatePlace
    redactor: Redactor
    mappings: tuple[str, ...] = ()
    mappers: tuple[Plugin, ...] = ()


def prepare(
    project: Any, taps: Sequence[str], target: str, environment: str, select: Sequence[str] | None,
    config: Sequence[str] | None, settings: Any, tap_settings: Any = None, target_settings: Any = None,
    mappings: Sequence[str] | None = None, env: Mapping[str, str] = os.environ,
) -> Prepared:  # fmt: skip
    """Raises the UserErrors of a wrong request; starts Meltano once for each new content of project and request, and
    git for a project in a repository."""
    resource = validated(MeltanoProject, project, "project")
    wanted = validated(Settings, settings or {}, "settings")
    asked_taps = checked_names(taps, target)
    patterns = checked_lines(select, "select")
    overrides = parse_overrides(checked_lines(config, "config"))
    mapped = checked_lines(mappings, "mappings")
    source = local_project(resource, env)
    declared = read_project(source.root)
    chosen = environment or resource.environment
    declared.check_environment(chosen)
    tap_names = [("extractors", declared.full_name("extractors", name)) for name in asked_taps]
    check_different([name for _, name in tap_names])
    target_name = ("loaders", declared.full_name("loaders", target))
    for name in mapped:
        declared.check_mapping(name)
    between = [("mappings", name) for name in mapped]
    base = {**base_environment(env), **resource.env}
    with Inspector(source.root, declared.files) as inspector:
        chosen, plugins = inspector.definitions(base, chosen, [*tap_names, *between, target_name])
        ends = [*(plugins[name] for name in tap_names), plugins[target_name]]
        check_overrides(overrides, ends)
        own = {
            **resource_environment(tap_settings, ends[:-1], "tap_settings"),
            **resource_environment(target_settings, ends[-1:], "target_settings"),
            **override_environment(overrides, ends),
            **selection_environment(patterns, ends[:-1]),
        }
        files = file_target(ends[-1])
        # The folder itself is not known yet; that it can be set is what counts here.
        folder = folder_environment(ends[-1], files, "/") if files else {}
        values = request_environment(resource.env, {**own, **folder}, ends)
        reading = {**base_environment(env), **values}
        block_sets = [[name, *between, target_name] for name in tap_names]
        resolved, blocks = inspector.values(reading, chosen, block_sets, plugins)
    running = [plugin for block in blocks for plugin in block]
    for plugin in running:
        check_plugin(plugin, chosen)
        if not plugin.mapping:
            check_required(plugin)
    check_project(resolved)
    seen = {**resolved.variables, **reading}
    store = Store(wanted, env)
    place = state_place(resolved, source.identity, resource.state_backend_uri, store, seen)
    secrets = [
        *resource.secrets(), *wanted.secrets(), *project_secrets(resolved), *variable_secrets(reading),
        *(secret for plugin in running for secret in secrets_in(plugin)),
    ]  # fmt: skip
    return Prepared(
        source, resolved, tuple(block[0] for block in blocks), blocks[0][-1], files, values, seen, store, place,
        Redactor(secrets), tuple(mapped), tuple(blocks[0][1:-1]),
    )  # fmt: skip


def checked_names(taps: Any, target: Any) -> list[str]:
    if (
        not isinstance(taps, list | tuple)
        or not taps
        or not all(isinstance(name, str) and name.strip() for name in taps)
    ):
        raise InvalidInput("taps names no tap", subject="taps", remedy="Give at least one extractor of the project.")
    if not isinstance(target, str) or not target.strip():
        raise InvalidInput("target names no target", subject="target", remedy="Give a loader of the project.")
    return list(taps)


def check_different(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidInput(f"taps names {twice} twice", subject="taps", remedy="Name each tap once.")


def checked_lines(value: Any, what: str) -> list[str]:
    if value is None or value == "":
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInput(f"{what} is not a list of texts", subject=what, remedy="Give one text for each entry.")
    return [item for item in value if item.strip()]
