# requirements: flexcore_base
# py: ==3.11.*
"""A request against a project, checked before anything runs: what both the check and the run start from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f.flexcore.core.errors import InvalidInput, validated
from f.flexcore.core.redaction import SECRET_NAME, Redactor
from f.flexcore.core.resources import MeltanoProject, Settings
from f.flexcore.meltano.plugin_settings import (
    check_overrides,
    check_settings,
    is_secret,
    override_environment,
    parse_overrides,
    selection_environment,
    setting_names,
    value_of,
)
from f.flexcore.meltano.project_file import Plugin, ProjectFile, read_project
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
    project: ProjectFile
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
    """Raises the UserErrors of a wrong request; starts nothing but git, for a project in a repository."""
    resource = validated(MeltanoProject, project, "project")
    wanted = validated(Settings, settings or {}, "settings")
    names = checked_names(taps, target)
    patterns = checked_lines(select, "select")
    overrides = parse_overrides(checked_lines(config, "config"))
    source = local_project(resource, env)
    document = read_project(source.root, environment or resource.environment)
    tap_plugins = tuple(document.plugin("extractors", name) for name in names)
    check_different([plugin.name for plugin in tap_plugins])
    target_plugin = document.plugin("loaders", target)
    mapped = checked_lines(mappings, "mappings")
    mappers = tuple(document.mapper_of(name) for name in mapped)
    plugins = (*tap_plugins, target_plugin)
    check_overrides(overrides, plugins)
    values = {
        **resource.env,
        **resource_environment(tap_settings, tap_plugins, "tap_settings"),
        **resource_environment(target_settings, [target_plugin], "target_settings"),
        **override_environment(overrides, plugins),
        **selection_environment(patterns, tap_plugins),
    }
    files = file_target(target_plugin)
    reading = readable_environment(source, document, values, target_plugin, files, env)
    for plugin in plugins:
        check_settings(plugin, reading)
    store = Store(wanted, env)
    place = state_place(document, source.identity, resource.state_backend_uri, store, reading)
    secrets = [*resource.secrets(), *wanted.secrets(), *plugin_secrets((*plugins, *mappers), reading)]
    return Prepared(
        source, document, tap_plugins, target_plugin, files, values, reading, store, place, Redactor(secrets),
        tuple(mapped), mappers,
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


def readable_environment(
    source: Source, project: ProjectFile, values: Mapping[str, str], target: Plugin, files: FileTarget | None,
    env: Mapping[str, str],
) -> dict[str, str]:  # fmt: skip
    """All variables that Meltano would see; of two the later wins, as there."""
    own = {key: str(value) for key, value in project.env.items()}
    # The folder itself is not known yet; that it can be set is what counts here.
    folder = folder_environment(target, files, "/") if files else {}
    return {**dotenv(source.root / ".env"), **base_environment(env), **values, **folder, **own}


def dotenv(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a .env file, quotes removed; {} when there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if sign and name.strip() and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("'\"")
    return found


def plugin_secrets(plugins: Sequence[Plugin], env: Mapping[str, str]) -> list[str]:
    """Values of the plugins' secret settings and of secret-looking variables, wherever the project takes them from."""
    values = [
        value_of(plugin, name, env) for plugin in plugins for name in setting_names(plugin) if is_secret(plugin, name)
    ]
    named = [value for key, value in env.items() if SECRET_NAME.search(key)]
    return [str(value) for value in [*values, *named] if value]
