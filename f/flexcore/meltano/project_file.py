# requirements: flexcore_base
# py: ==3.11.*
"""A Meltano project read from its files, without running Meltano (any call of its command line costs 2.5 s).

meltano.yml and its include_paths are merged; a plugin is what it declares itself, on top of the plugin that it inherits
from or of the lock file below plugins/. Source: meltano.core.project_files and project_plugin, 4.4.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.core.errors import InvalidInput, NotFound

PLUGIN_KINDS = ("extractors", "loaders", "mappers", "utilities", "orchestrators", "transformers")
SINGULAR = {"extractors": "tap", "loaders": "target"}
# libyaml is about ten times as fast; it is in every wheel, but a build from source may lack it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin as a run uses it: definition, inherited and own parts merged.

    config: as declared, without the environment's; environment_config: the active environment's;
    folder: the name of its virtual environment, shared by plugins that inherit and change nothing of the package.
    """

    kind: str
    name: str
    namespace: str
    executable: str
    pip_url: str
    python: str
    folder: str
    settings: tuple[Mapping[str, Any], ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment_config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """The merged document of a project at `root`, seen through one of its environments."""

    root: Path
    document: Mapping[str, Any]
    environment: str

    def plugin(self, kind: str, name: str) -> Plugin:
        """The plugin, or NotFound with what is declared. A short name will do: oracle is tap-oracle."""
        entries = {item.get("name"): item for item in reversed(self._declared(kind))}
        entry = entries.get(name) or entries.get(f"{SINGULAR.get(kind, '')}-{name}")
        if entry is None:
            raise self._unknown(kind, name)
        return self._resolved(kind, entry)

    def mapper_of(self, mapping: str) -> Plugin:
        """The mapper that declares a mapping of that name, or NotFound with the mappings that are declared."""
        owners = {
            str(item["name"]): entry
            for entry in self._declared("mappers")
            for item in _entries(entry.get("mappings"))
            if item.get("name")
        }
        if mapping not in owners:
            declared = f"Declared: {', '.join(owners)}." if owners else "It declares no mapping at all."
            raise NotFound(
                f"The project declares no mapping named {mapping!r}", subject=mapping, remedy=declared,
                declared=list(owners),
            )  # fmt: skip
        return self._resolved("mappers", owners[mapping])

    def names(self, kind: str) -> list[str]:
        return [str(item["name"]) for item in self._declared(kind) if item.get("name")]

    def setting(self, name: str) -> Any:
        """A setting of the project itself (`state_backend.uri`): the environment's, else the root's, else None."""
        for document in (self._environment(), self.document):
            if (value := _dotted(document, name)) is not None:
                return value
        return None

    @property
    def environments(self) -> list[str]:
        return environment_names(self.document)

    @property
    def env(self) -> dict[str, Any]:
        """The `env:` of the project and of the active environment."""
        return {**_mapping(self.document.get("env")), **_mapping(self._environment().get("env"))}

    @property
    def state_id_suffix(self) -> str:
        return str(self._environment().get("state_id_suffix") or "")

    def _environment(self) -> Mapping[str, Any]:
        entries = _entries(self.document.get("environments"))
        return next((item for item in entries if item.get("name") == self.environment), {})

    def _declared(self, kind: str) -> list[Mapping[str, Any]]:
        return _entries(_mapping(self.document.get("plugins")).get(kind))

    def _unknown(self, kind: str, name: str) -> NotFound:
        names = self.names(kind)
        word = SINGULAR.get(kind, "plugin")
        close = get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        declared = f"Declared: {', '.join(names)}" if names else f"It declares no {word} at all"
        return NotFound(
            f"The project declares no {word} named {name!r}",
            subject=name,
            remedy=f"{hint}{declared}.",
            declared=names,
        )

    def _resolved(self, kind: str, entry: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Plugin:
        name = str(entry["name"])
        if name in seen:
            raise InvalidInput(
                f"{name} inherits from itself", subject=name, remedy="Correct inherit_from in meltano.yml."
            )
        parent_name = str(entry.get("inherit_from") or "")
        parent_entry = next((item for item in self._declared(kind) if item.get("name") == parent_name), None)
        parent = self._resolved(kind, parent_entry, (*seen, name)) if parent_entry and parent_name != name else None
        base = {} if parent else self._locked(kind, parent_name or name, entry)
        settings = [*_entries(entry.get("settings")), *(parent.settings if parent else _entries(base.get("settings")))]
        pip_url = str(entry.get("pip_url") or (parent.pip_url if parent else base.get("pip_url")) or "")
        plugins_of_environment = _mapping(_mapping(self._environment().get("config")).get("plugins"))
        of_environment = next(
            (item for item in _entries(plugins_of_environment.get(kind)) if item.get("name") == name), {}
        )
        groups = (
            entry.get("settings_group_validation")
            or (parent.groups if parent else base.get("settings_group_validation"))
            or ()
        )
        return Plugin(
            kind=kind,
            name=name,
            namespace=str(entry.get("namespace") or (parent.namespace if parent else base.get("namespace")) or "")
            or name.replace("-", "_"),
            executable=str(
                entry.get("executable")
                or (parent.executable if parent else base.get("executable"))
                or parent_name
                or name
            ),
            pip_url=pip_url,
            python=str(entry.get("python") or (parent.python if parent else "") or self.setting("python") or ""),
            folder=parent.folder if parent and pip_url == parent.pip_url else name,
            settings=tuple(settings),
            groups=tuple(tuple(str(item) for item in group) for group in groups),
            config={**(parent.config if parent else {}), **flat(_mapping(entry.get("config")))},
            environment_config={
                **(parent.environment_config if parent else {}),
                **flat(_mapping(of_environment.get("config"))),
            },
            env={**(parent.env if parent else {}), **_mapping(entry.get("env")), **_mapping(of_environment.get("env"))},
            extras={key: entry[key] for key in ("select", "metadata", "catalog", "state", "schema") if key in entry},
        )

    def _locked(self, kind: str, name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """The lock file's definition; {} for a custom plugin, which defines itself."""
        folder = self.root / "plugins" / kind
        variant = str(entry.get("variant") or "")
        found = [folder / f"{name}--{variant}.lock", folder / f"{name}.lock", *sorted(folder.glob(f"{name}--*.lock"))]
        path = next((item for item in found if item.is_file()), None)
        if path:
            return _mapping(_parsed(path, json.loads))
        if not entry.get("namespace"):
            raise InvalidInput(
                f"The project holds no definition of {name}",
                subject=name,
                remedy=f"Run `meltano lock --plugin-type {kind[:-1]} {name}` and commit plugins/.",
            )
        return {}


def read_project(root: Path, environment: str) -> ProjectFile:
    """The project at `root` seen through `environment` (empty: its default, or the only one it has).

    Raises NotFound (no meltano.yml, unknown environment) and InvalidInput (unreadable, or no environment to use).
    """
    path = root / "meltano.yml"
    if not path.is_file():
        raise NotFound(
            f"There is no meltano.yml in {root}",
            subject="project",
            remedy="Check path and subdirectory of the project.",
        )
    document = _document(path)
    for pattern in document.get("include_paths") or []:
        for included in sorted(root.glob(str(pattern))):
            if included != path:
                document = _merged(document, _document(included))
    return ProjectFile(root, document, _environment_of(document, environment))


def environment_names(document: Mapping[str, Any]) -> list[str]:
    return [str(item["name"]) for item in _entries(document.get("environments")) if item.get("name")]


def _environment_of(document: Mapping[str, Any], wanted: str) -> str:
    names = environment_names(document)
    name = wanted or str(document.get("default_environment") or "") or (names[0] if len(names) == 1 else "")
    if name in names:
        return name
    declared = f"Declared: {', '.join(names)}." if names else "Declare one below environments: in meltano.yml."
    if not name:
        raise InvalidInput("No Meltano environment is chosen", subject="environment", remedy=f"Name one. {declared}")
    close = get_close_matches(name, names, n=1)
    raise NotFound(
        f"The project declares no environment named {name!r}",
        subject="environment",
        remedy=f"Did you mean {close[0]}? {declared}" if close else declared,
        declared=names,
    )


def _document(path: Path) -> dict[str, Any]:
    document = _parsed(path, lambda text: yaml.load(text, Loader=LOADER))
    if not isinstance(document, dict):
        raise InvalidInput(
            f"{path.name} is not a Meltano project file", subject="project", remedy="It must be a YAML mapping."
        )
    return document


def _parsed(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InvalidInput(
            f"{path.name}{where} cannot be parsed: {getattr(error, 'problem', None) or type(error).__name__}",
            subject="project",
            remedy="Correct the file.",
        ) from None
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}",
            subject="project",
            remedy="Give the worker the right to read it.",
        ) from None


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Meltano's deep merge of project files: mappings by key, lists one after the other, else the later wins."""
    result = dict(first)
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merged(result[key], value)
        elif isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = [*result[key], *value]
        else:
            result[key] = value
    return result


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings beside their dotted names (`a: {b: 1}` gives a and a.b), as Meltano accepts both."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        result[name] = value
        if isinstance(value, Mapping):
            result.update(flat(value, f"{name}."))
    return result


def _dotted(document: Mapping[str, Any], name: str) -> Any:
    if document.get(name) is not None:
        return document[name]
    head, _, rest = name.partition(".")
    inner = document.get(head)
    return _dotted(inner, rest) if rest and isinstance(inner, Mapping) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value or [] if isinstance(item, Mapping)] if isinstance(value, list) else []
