# requirements: flexcore_base
# py: ==3.11.*
"""What value each setting of a plugin would have in a run, which are missing, and how to override one.

Order, first hit wins: environment variable, .env file, the environment's config, the plugin's config (inherited ones
last), the definition's default. `$VAR` in a value is expanded; a variable that is not set makes the setting missing.
Source: meltano.core.settings_service and settings_store, 4.4.1. Pure: takes and returns data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from f.flexcore.core.errors import InvalidInput, MissingSetting, NotFound
from f.flexcore.core.redaction import SECRET_NAME
from f.flexcore.meltano.project_file import Plugin

VARIABLE = re.compile(r"(\\)?\$(?:\{(\w+)\}|([A-Z][A-Z0-9_]*))")
# Settings of Meltano itself for every plugin; they are written with a leading underscore.
EXTRAS = ("_select", "_metadata", "_schema", "_catalog", "_state", "_load_schema", "_select_filter",
          "_use_cached_catalog", "_dialect", "_log_parser")  # fmt: skip


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
            raise InvalidInput(
                f"config[{number}] is not PLUGIN.SETTING=VALUE",
                subject=f"config[{number}]",
                remedy="Write e.g. tap-postgres.dbname=sales.",
            )
        overrides.append(Override(match[1], match[2], _value(match[3].strip())))
    return overrides


def check_overrides(overrides: Iterable[Override], plugins: Sequence[Plugin]) -> None:
    """Every override names a plugin of the run and a setting that it declares, and none carries a secret."""
    for item in overrides:
        plugin = next((plugin for plugin in plugins if plugin.name == item.plugin), None)
        field = f"{item.plugin}.{item.setting}"
        if plugin is None:
            running = ", ".join(plugin.name for plugin in plugins)
            raise NotFound(
                f"config sets {field}, but {item.plugin} does not run", subject=field, remedy=f"Running: {running}."
            )
        names = [*setting_names(plugin), *EXTRAS]
        if item.setting not in names:
            close = get_close_matches(item.setting, names, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise NotFound(
                f"{plugin.name} declares no setting {item.setting!r}",
                subject=field,
                remedy=f"{hint}Declared: {', '.join(setting_names(plugin)) or 'none'}.",
            )
        if is_secret(plugin, item.setting):
            raise InvalidInput(
                f"{field} is a secret and must not be an argument",
                subject=field,
                remedy=f"Put {variables_of(plugin, item.setting)[0]} into the project resource's env.",
            )


def override_environment(overrides: Iterable[Override], plugins: Sequence[Plugin]) -> dict[str, str]:
    """The environment variables through which Meltano reads the overrides."""
    by_name = {plugin.name: plugin for plugin in plugins}
    return {variables_of(by_name[item.plugin], item.setting)[0]: item.text for item in overrides}


def setting_names(plugin: Plugin) -> list[str]:
    declared = [str(item["name"]) for item in plugin.settings if "name" in item]
    return list(dict.fromkeys([*declared, *plugin.config, *plugin.environment_config]))


def is_secret(plugin: Plugin, name: str) -> bool:
    definition = _definition(plugin, name)
    if definition.get("sensitive") or definition.get("kind") in ("password", "oauth"):
        return True
    # A declared kind (token_url is a string) is believed; an untyped setting is judged by its name.
    return not definition.get("kind") and bool(SECRET_NAME.search(name.rsplit(".", 1)[-1]))


def variables_of(plugin: Plugin, name: str) -> list[str]:
    """Environment variables that set a plugin's setting, the preferred one first."""
    definition = _definition(plugin, name)
    names = [name, *[str(alias) for alias in definition.get("aliases") or []]]
    found = [variable(prefix, item) for item in names for prefix in (plugin.name, plugin.namespace) if prefix]
    return list(dict.fromkeys([*found, *[str(item) for item in definition.get("env_aliases") or []]]))


def variable(*parts: str) -> str:
    return "_".join(re.sub(r"[^A-Za-z0-9]", "_", part).upper() for part in parts)


def value_of(plugin: Plugin, name: str, env: Mapping[str, str]) -> Any:
    """The setting's value before expansion, None when nothing sets it. `env` holds the .env file too."""
    for key in variables_of(plugin, name):
        if key in env:
            return env[key]
    for source in (plugin.environment_config, plugin.config):
        if source.get(name) is not None:
            return source[name]
    return _definition(plugin, name).get("value")


def check_settings(plugin: Plugin, env: Mapping[str, str]) -> None:
    """MissingSetting when a required setting has no value, or a value needs a variable that nobody sets."""
    known = {**env, **{key: "" for name in setting_names(plugin) for key in variables_of(plugin, name)}, **plugin.env}
    for name in setting_names(plugin):
        absent = [key for key in unset_variables(value_of(plugin, name, env), known) if not key.startswith("MELTANO_")]
        if absent:
            raise _missing(plugin, name, f"is set from ${absent[0]}, which has no value", absent[0])
    for name in missing_settings(plugin, env):
        raise _missing(plugin, name, "is required and not set", variables_of(plugin, name)[0])


def missing_settings(plugin: Plugin, env: Mapping[str, str]) -> list[str]:
    """Required settings without a value; of alternative groups, what the most complete one lacks."""
    unset = {name for name in setting_names(plugin) if value_of(plugin, name, env) in (None, "")}
    required = [str(item["name"]) for item in plugin.settings if item.get("required") is True and item["name"] in unset]
    lacking = [[name for name in group if name in unset] for group in plugin.groups]
    return list(dict.fromkeys([*required, *(min(lacking, key=len) if lacking else [])]))


def unset_variables(value: Any, env: Mapping[str, Any]) -> list[str]:
    """Names of the `$VAR`s anywhere in `value` that `env` does not hold."""
    return [name for name in _variables_in(value) if name not in env]


def _variables_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match[2] or match[3] for match in VARIABLE.finditer(value) if not match[1])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _variables_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _variables_in(item)


def expanded(value: str, env: Mapping[str, Any]) -> str:
    """`$VAR` and `${VAR}` replaced; an unknown one becomes empty, as in Meltano."""
    return VARIABLE.sub(lambda found: found[0][1:] if found[1] else str(env.get(found[2] or found[3], "")), value)


def selection_environment(patterns: Iterable[str], taps: Sequence[Plugin]) -> dict[str, str]:
    """Environment that replaces the taps' selection: `flights.*` for all, `tap-x.flights.*` for one; `!` excludes."""
    chosen: dict[str, list[str]] = {tap.name: [] for tap in taps}
    for pattern in patterns:
        sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
        head, _, tail = rest.partition(".")
        names = [head] if head in chosen and tail else list(chosen)
        for name in names:
            chosen[name].append(sign + (tail if head in chosen and tail else rest))
    return {variable(name, "_select"): json.dumps(items) for name, items in chosen.items() if items}


def _missing(plugin: Plugin, name: str, problem: str, key: str) -> MissingSetting:
    return MissingSetting(
        f"{plugin.name}: setting {name} {problem}",
        subject=f"{plugin.name}.{name}",
        remedy=f"Set {key} in the project resource's env, or {name} in meltano.yml.",
    )


def _definition(plugin: Plugin, name: str) -> Mapping[str, Any]:
    return next((item for item in plugin.settings if item.get("name") == name), {})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
