# requirements: flexcore_base
"""A Meltano project and its plugins as Meltano itself resolves them for one request: data that inspection.py makes, and
which settings are missing, wrong or secret. Pure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from f.flexcore.lib.core import errors, redaction

# Where Meltano finds a value that is not set anywhere.
DEFAULT_SOURCES = ("", "default")
# Settings of Meltano itself for every plugin begin with it.
EXTRA_PREFIX = "_"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that a plugin has. variables: environment variables that set it, the preferred one first."""

    name: str
    kind: str = ""
    sensitive: bool = False
    required: bool = False
    aliases: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unset:
    """A variable without a value. path: where in the value it stands; inner: the variable from which an `env:` block
    sets it, which Meltano leaves as it stands."""

    variable: str
    path: str = ""
    inner: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """What a plugin gets for a setting: variables filled in, of the setting's kind.

    source: the store of Meltano that has it (env, dotenv, meltano_environment, meltano_yml, inherited, default); parts:
    what the variables in it hold; problem: why Meltano does not accept it.
    """

    value: Any = None
    source: str = ""
    unset: tuple[Unset, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin as a run uses it.

    folder: the name of its virtual environment, shared by plugins that inherit and change nothing of the package;
    config: the values, nested as in its configuration file; requirements: what is installed; mapping: which mapping of
    a mapper this is, mapping_config its own config; env: the variables of `env:` blocks as it gets them. All these but
    mapping are known once the request's variables are.
    """

    kind: str
    name: str
    namespace: str = ""
    executable: str = ""
    folder: str = ""
    variant: str = ""
    parent: str = ""
    lock: str = ""
    mapping: str = ""
    settings: tuple[Setting, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    capabilities: tuple[str, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    requirements_unset: tuple[Unset, ...] = ()
    python: str = ""
    mapping_config: Value = Value()
    env: Value = Value()

    @property
    def pip_url(self) -> str:
        return shlex.join(self.requirements)


@dataclass(frozen=True, slots=True)
class Project:
    """A project in one of its environments. settings: Meltano's own (`state_backend.uri`); variables: of its .env file
    and of the `env:` blocks of the project and the environment."""

    root: Path
    environment: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    state_id_suffix: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def setting(self, name: str) -> Any:
        """The value that somebody set for a setting of Meltano itself, else None."""
        found = self.settings.get(name, Value())
        return None if found.source in DEFAULT_SOURCES else found.value


# --- decisions over the settings; values and their sources are Meltano's own

# Names of variables and of parts of a mapping's config whose values are secret, beyond what a setting is called.
SECRET_VARIABLE = re.compile(
    rf"{redaction.SECRET_WORD}|(?<![a-z])(?:pass|pw)(?![a-z])|salt|passcode|(?:signing|encryption|master|hmac)[_-]?key"
    r"|connection[_-]?string|dsn\b",
    re.IGNORECASE,
)
# A long name before a host, without a password, is a token.
MIN_TOKEN_CHARACTERS = 16
# `password=true` of an ordinary text is a switch.
MIN_ASSIGNED_CHARACTERS = 6
USER_INFO = re.compile(r"://([^\s/@]+)@")


def setting_names(plugin: Plugin) -> list[str]:
    """The plugin's own settings, without Meltano's for every plugin."""
    return [item.name for item in plugin.settings if not item.name.startswith(EXTRA_PREFIX)]


def find_setting(plugin: Plugin, name: str) -> Setting | None:
    return next((item for item in plugin.settings if name in (item.name, *item.aliases)), None)


def is_secret(plugin: Plugin, name: str) -> bool:
    setting = find_setting(plugin, name) or Setting(name)
    # A declared kind (token_url is a string) is believed; an untyped setting is judged by its name.
    return setting.sensitive or (not setting.kind and bool(redaction.SECRET_NAME.search(name.rsplit(".", 1)[-1])))


def setting_variables(plugin: Plugin, name: str) -> tuple[str, ...]:
    """Environment variables that set a plugin's setting, the preferred one first."""
    setting = find_setting(plugin, name)
    return setting.variables if setting else (variable(plugin.name, name),)


def variable(*parts: str) -> str:
    return "_".join(re.sub(r"[^A-Za-z0-9]", "_", part).upper() for part in parts)


def setting_value(plugin: Plugin, name: str) -> Any:
    """The value that the plugin gets for a setting, None when it has none."""
    return plugin.values.get(name, Value()).value


def check_plugin(plugin: Plugin, environment: str) -> None:
    """InvalidInput for a value that Meltano does not accept; MissingSetting where a setting, a mapping, pip_url or an
    `env:` block refers to a variable without a value."""
    for name, value in plugin.values.items():
        if value.problem:
            raise errors.InvalidInput(
                f"{plugin.name}: setting {name} {value.problem}",
                subject=f"{plugin.name}.{name}",
                remedy=f"Correct {name} in meltano.yml, or {' or '.join(setting_variables(plugin, name))}.",
            )
    # First: a mapping's config is among its settings, too.
    for item in plugin.mapping_config.unset:
        raise _unset_error(plugin, f"mapping {plugin.mapping}", plugin.mapping, item)
    for name, value in plugin.values.items():
        for item in value.unset:
            raise _unset_error(plugin, f"setting {name}", name, item)
    for item in plugin.requirements_unset:
        raise _unset_error(plugin, "pip_url", "pip_url", item)
    for item in plugin.env.unset:
        raise errors.MissingSetting(
            f"{plugin.name}: env {item.path} is set from ${item.variable}, which has no value in a plugin's env block",
            subject=f"{plugin.name}.env.{item.path}",
            remedy=f"Move {item.path} to the env block of the environment {environment}, where Meltano fills variables "
            f"in, and set {item.variable} in the project resource's env.",
        )


def check_required(plugin: Plugin) -> None:
    """MissingSetting when a required setting has no value."""
    for name in list_missing_settings(plugin):
        raise errors.MissingSetting(
            f"{plugin.name}: setting {name} is required and not set",
            subject=f"{plugin.name}.{name}",
            remedy=f"Set {setting_variables(plugin, name)[0]} in the project resource's env, or {name} in meltano.yml.",
        )


def check_project(project: Project) -> None:
    """check_plugin for those of Meltano's own settings that count here; of state backends the one in use."""
    backend = urlsplit(str(project.setting("state_backend.uri") or "")).scheme
    for name, value in project.settings.items():
        if name.startswith("state_backend.") and name.split(".")[1] not in ("uri", backend):
            continue
        if value.problem:
            raise errors.InvalidInput(f"{name} {value.problem}", subject=name, remedy=f"Correct {name} in meltano.yml.")
        for item in value.unset:
            raise _missing_error(name, name, item)


def list_missing_settings(plugin: Plugin) -> list[str]:
    """Required settings without a value; of alternative groups, what the most complete one lacks."""
    unset = {name for name in setting_names(plugin) if setting_value(plugin, name) in (None, "")}
    required = [item.name for item in plugin.settings if item.required and item.name in unset]
    lacking = [[name for name in group if name in unset] for group in plugin.groups]
    return list(dict.fromkeys([*required, *(min(lacking, key=len) if lacking else [])]))


def plugin_secrets(plugin: Plugin) -> Iterator[str]:
    """Every secret that the plugin gets: values of its secret settings with what their variables hold, and whatever
    stands under a secret-looking name."""
    for name, value in plugin.values.items():
        if is_secret(plugin, name):
            yield from _texts(value.value)
            yield from value.parts.values()
        yield from _secrets_by_name(value)
    yield from _secrets_by_name(plugin.mapping_config)
    yield from _secrets_by_name(plugin.env)
    yield from (part for item in plugin.requirements for part in url_secrets(item))


def project_secrets(project: Project) -> Iterator[str]:
    """Secrets of the .env file, of `env:` blocks and of Meltano's own settings."""
    yield from variable_secrets(project.variables)
    for name, value in project.settings.items():
        if value.sensitive or redaction.SECRET_NAME.search(name):
            yield from _texts(value.value)
        yield from _secrets_by_name(value)


def variable_secrets(variables: Mapping[str, str]) -> Iterator[str]:
    """Values of the variables with a secret-looking name, and what is secret in the others."""
    for name, value in variables.items():
        yield from [value] if SECRET_VARIABLE.search(name) else embedded_secrets(value or "")


def embedded_secrets(text: str) -> Iterator[str]:
    """What is secret in a text that as a whole is not: in a URL, in a connection string."""
    yield from url_secrets(text)
    yield from (item for item in redaction.assigned_secrets(text) if len(item) >= MIN_ASSIGNED_CHARACTERS)


def url_secrets(text: str) -> Iterator[str]:
    """What authenticates in the URLs of a text: passwords, and tokens without one."""
    for match in USER_INFO.finditer(text):
        user, sign, password = match[1].partition(":")
        if sign or len(user) >= MIN_TOKEN_CHARACTERS:
            yield password or user
            yield unquote(password or user)


def _secrets_by_name(value: Value) -> Iterator[str]:
    yield from _texts_by_name(value.value)
    yield from variable_secrets(value.parts)


def _texts_by_name(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts_by_name(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts_by_name(item, name)
    elif isinstance(value, str):
        yield from [value] if SECRET_VARIABLE.search(name) else embedded_secrets(value)


def _texts(value: Any) -> Iterator[str]:
    """The texts and numbers anywhere in a secret value, and the value as one text where it is nested."""
    if isinstance(value, Mapping | list):
        yield json.dumps(value)
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _unset_error(plugin: Plugin, what: str, name: str, item: Unset) -> errors.MissingSetting:
    return _missing_error(f"{plugin.name}: {what}", f"{plugin.name}.{name}", item)


def _missing_error(what: str, subject: str, item: Unset) -> errors.MissingSetting:
    where = f" (in {item.path})" if item.path else ""
    if item.inner:
        return errors.MissingSetting(
            f"{what} is set from ${item.variable}{where}, and the env block that sets it from ${item.inner} is not "
            "filled in",
            subject=subject,
            remedy=f"Refer to ${item.inner} itself, and set {item.inner} in the project resource's env.",
        )
    instead = "" if SECRET_VARIABLE.search(item.variable) else ", or write the value into meltano.yml"
    return errors.MissingSetting(
        f"{what} is set from ${item.variable}, which has no value{where}",
        subject=subject,
        remedy=f"Set {item.variable} in the project resource's env{instead}.",
    )
