# requirements: flexcore_base
"""A Meltano project and its plugins as Meltano itself resolves them for one request: data that inspection.py makes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
