# requirements: flexcore_base
"""What a request sets of plugins, as the environment variables through which Meltano reads it: `config` lines, a
selection, a Windmill resource of any type, the folder of a target that writes files.

A database's resource calls some fields otherwise than plugins do, and plugins differ among themselves; names that mean
the same are known here. A field that no plugin has a setting for is left out, with a line in the log that has its name
and not its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.meltano import resolved_project

# Windmill's own types postgresql, mysql, oracledb, snowflake, … against what Meltano Hub lists.
SYNONYMS = (
    ("user", "username", "db_user"),
    ("password", "pass", "db_password"),
    ("dbname", "database", "db_name", "db", "database_name", "path_to_db"),
    ("host", "hostname", "server"),
    ("sslmode", "ssl_mode"),
    ("schema", "default_target_schema", "target_schema"),
    ("url", "sqlalchemy_url", "connection_string"),
)


def resource_environment(
    resource: Mapping[str, Any] | None, plugins: Sequence[resolved_project.Plugin], what: str
) -> dict[str, str]:
    """The environment variables through which Meltano reads the fields. Raises InvalidInput when none is a setting."""
    if not resource:
        return {}
    given = {str(name): value for name, value in resource.items() if value not in (None, "")}
    found: dict[str, str] = {}
    used: set[str] = set()
    for plugin in plugins:
        for name, value in given.items():
            if setting := match_setting(name, resolved_project.setting_names(plugin)):
                found[resolved_project.setting_variables(plugin, setting)[0]] = (
                    value if isinstance(value, str) else json.dumps(value)
                )
                used.add(name)
    names = ", ".join(plugin.name for plugin in plugins)
    if given and not used:
        known = dict.fromkeys(name for plugin in plugins for name in resolved_project.setting_names(plugin))
        raise errors.InvalidInput(
            f"{what}: {names} has no setting named {', '.join(given)}",
            subject=what,
            remedy=f"It has: {', '.join(known)}.",
        )
    if unused := [name for name in given if name not in used]:
        print(f"{what}: {names} has no setting named {', '.join(unused)}; left out", flush=True)
    return found


def match_setting(name: str, declared: Sequence[str]) -> str | None:
    """The setting that a field of a resource means, if there is one."""
    if name in declared:
        return name
    same = next((group for group in SYNONYMS if name in group), ())
    return next((other for other in same if other in declared), None)


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A target that writes files. Any other loads into a place of its own; its data is not handed on as a manifest.

    folder: its possible setting names, the first declared is used; fixed: settings that make file names plain."""

    format: str
    folder: tuple[str, ...]
    fixed: dict[str, str] = field(default_factory=dict)


# By executable, because a project may name its plugin as it likes. Settings: the variants that Meltano Hub lists.
FILE_TARGETS = {
    "target-jsonl": FileTarget("jsonl", ("destination_path", "output_path"), {"do_timestamp_file": "false"}),
    "target-csv": FileTarget("csv", ("destination_path", "output_path")),
    "target-parquet": FileTarget("parquet", ("destination_path", "filepath", "output_path")),
    "target-singer-jsonl": FileTarget("jsonl", ("local.folder",)),
}


def find_file_target(target: resolved_project.Plugin) -> FileTarget | None:
    return FILE_TARGETS.get(target.executable) or FILE_TARGETS.get(target.name)


def folder_environment(target: resolved_project.Plugin, kind: FileTarget, folder: str) -> dict[str, str]:
    """Environment variables that point a file target at `folder`.

    InvalidInput when the plugin declares no such setting: Meltano reads variables of declared settings only.
    """
    declared = resolved_project.setting_names(target)
    name = next((item for item in kind.folder if item in declared), None)
    if name is None:
        raise errors.InvalidInput(
            f"{target.name} declares no setting for its output folder",
            subject=target.name,
            remedy=f"Declare {kind.folder[0]} below its settings in meltano.yml.",
        )
    fixed = {
        resolved_project.setting_variables(target, key)[0]: value
        for key, value in kind.fixed.items()
        if key in declared
    }
    return {resolved_project.setting_variables(target, name)[0]: folder, **fixed}


@dataclass(frozen=True, slots=True)
class Override:
    """One `PLUGIN.SETTING=VALUE` line of a request."""

    plugin: str
    setting: str
    value: Any

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def parse_overrides(lines: Iterable[str]) -> list[Override]:
    """`PLUGIN.SETTING=VALUE` lines; VALUE is JSON when it parses, else text. InvalidInput names the bad line."""
    overrides = []
    for number, line in enumerate(lines):
        match = re.fullmatch(r"\s*([\w-]+)\.([\w.-]+)\s*=(.*)", line, re.DOTALL)
        if not match:
            # The line itself is not repeated: what stands behind the sign may be a secret.
            raise errors.InvalidInput(
                f"config[{number}] is not PLUGIN.SETTING=VALUE",
                subject=f"config[{number}]",
                remedy="Write e.g. tap-postgres.dbname=sales.",
            )
        overrides.append(Override(match[1], match[2], _parse_value(match[3].strip())))
    return overrides


def check_overrides(overrides: Iterable[Override], plugins: Sequence[resolved_project.Plugin]) -> None:
    """Every override names a plugin of the run and a setting that it declares, and none carries a secret."""
    for item in overrides:
        plugin = next((plugin for plugin in plugins if plugin.name == item.plugin), None)
        field = f"{item.plugin}.{item.setting}"
        if plugin is None:
            running = ", ".join(plugin.name for plugin in plugins)
            raise errors.NotFound(
                f"config sets {field}, but {item.plugin} is not part of this run",
                subject=field,
                remedy=f"The run has: {running}.",
            )
        names = resolved_project.setting_names(plugin)
        if resolved_project.find_setting(plugin, item.setting) is None:
            close = get_close_matches(item.setting, names, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise errors.NotFound(
                f"{plugin.name} declares no setting {item.setting!r}",
                subject=field,
                remedy=f"{hint}Declared: {', '.join(resolved_project.setting_names(plugin)) or 'none'}.",
            )
        if resolved_project.is_secret(plugin, item.setting):
            variable = resolved_project.setting_variables(plugin, item.setting)[0]
            raise errors.InvalidInput(
                f"{field} is a secret and must not be an argument",
                subject=field,
                remedy=f"Put {variable} into the project resource's env.",
            )


def override_environment(overrides: Iterable[Override], plugins: Sequence[resolved_project.Plugin]) -> dict[str, str]:
    """The environment variables through which Meltano reads the overrides."""
    by_name = {plugin.name: plugin for plugin in plugins}
    return {resolved_project.setting_variables(by_name[item.plugin], item.setting)[0]: item.text for item in overrides}


def request_environment(
    given: Mapping[str, str], own: Mapping[str, str], plugins: Sequence[resolved_project.Plugin]
) -> dict[str, str]:
    """The resource's variables and the request's own, which win: Meltano refuses a setting that two variables set."""
    replaced = {
        other
        for plugin in plugins
        for item in plugin.settings
        if own.keys() & set(item.variables)
        for other in item.variables
    }
    return {**{name: value for name, value in given.items() if name not in replaced}, **own}


def selection_environment(patterns: Iterable[str], taps: Sequence[resolved_project.Plugin]) -> dict[str, str]:
    """Environment that replaces the taps' selection: `flights.*` for all, `tap-x.flights.*` for one; `!` excludes."""
    chosen: dict[str, list[str]] = {tap.name: [] for tap in taps}
    for pattern in patterns:
        sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
        head, _, tail = rest.partition(".")
        names = [head] if head in chosen and tail else list(chosen)
        for name in names:
            chosen[name].append(sign + (tail if head in chosen and tail else rest))
    return {resolved_project.variable(name, "_select"): json.dumps(items) for name, items in chosen.items() if items}


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
