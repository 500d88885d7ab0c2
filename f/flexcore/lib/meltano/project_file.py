# requirements: flexcore_base
"""What a project's files declare: names of plugins, mappings and environments, without running Meltano.

A form lists them and a wrong name is refused within milliseconds. All else of a plugin is Meltano's to say
(inspection.py). Source of include_paths and of their merge: meltano.core.project_files, 4.4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core import errors

SHORT_KINDS = {"extractors": "tap", "loaders": "target", "utilities": "utility"}
# libyaml is about ten times as fast; it is in every wheel, but a build from source may lack it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NamesLoader(LOADER):  # type: ignore[misc, valid-type]
    """YAML in which each scalar is its text and any tag will do: what a value is, is Meltano's to say."""


NamesLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":merge", ":null"))]
    for first, resolvers in LOADER.yaml_implicit_resolvers.items()
}
NamesLoader.add_multi_constructor("!", lambda loader, tag, node: None)


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """The merged document of the project at `root`; files: those that it was read from."""

    root: Path
    document: Mapping[str, Any]
    files: tuple[Path, ...] = ()

    def find_name(self, kind: str, name: str) -> str:
        """The plugin's name, or NotFound with what is declared. A short name will do: oracle is tap-oracle."""
        names = self.names(kind)
        found = next((item for item in (name, f"{SHORT_KINDS.get(kind, '')}-{name}") if item in names), None)
        if found is None:
            raise self._unknown_plugin(kind, name)
        return found

    def check_mapping(self, name: str) -> None:
        """NotFound with the mappings that are declared when there is none of that name."""
        declared = [
            str(item["name"])
            for mapper in self._plugins("mappers")
            for item in _as_entries(mapper.get("mappings"))
            if item.get("name")
        ]
        if name not in declared:
            remedy = f"Declared: {', '.join(declared)}." if declared else "It declares no mapping at all."
            raise errors.NotFound(
                f"The project declares no mapping named {name!r}", subject=name, remedy=remedy, declared=declared
            )

    def names(self, kind: str) -> list[str]:
        return list(dict.fromkeys(str(item["name"]) for item in self._plugins(kind) if item.get("name")))

    @property
    def environments(self) -> list[str]:
        entries = _as_entries(self.document.get("environments"))
        return [str(item["name"]) for item in entries if item.get("name")]

    def check_environment(self, name: str) -> None:
        """NotFound with those that are declared when a name is given and no environment has it."""
        if not name or name in self.environments or not self.environments:
            return
        close = get_close_matches(name, self.environments, n=1)
        declared = f"Declared: {', '.join(self.environments)}."
        raise errors.NotFound(
            f"The project declares no environment named {name!r}",
            subject="environment",
            remedy=f"Did you mean {close[0]}? {declared}" if close else declared,
            declared=self.environments,
        )

    def _plugins(self, kind: str) -> list[Mapping[str, Any]]:
        return _as_entries(_as_mapping(self.document.get("plugins")).get(kind))

    def _unknown_plugin(self, kind: str, name: str) -> errors.NotFound:
        names = self.names(kind)
        word = SHORT_KINDS.get(kind, "plugin")
        close = get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        declared = f"Declared: {', '.join(names)}" if names else f"It declares no {word} at all"
        return errors.NotFound(
            f"The project declares no {word} named {name!r}",
            subject=name,
            remedy=f"{hint}{declared}.",
            declared=names,
        )


def read_project(root: Path) -> ProjectFile:
    """The project at `root`. Raises NotFound (no meltano.yml) and InvalidInput (unreadable)."""
    path = root / "meltano.yml"
    if not path.is_file():
        raise errors.NotFound(
            f"There is no meltano.yml in {root}",
            subject="project",
            remedy="Check path and subdirectory of the project.",
        )
    document, files = _load_document(path), [path]
    patterns = document.get("include_paths")
    for pattern in patterns if isinstance(patterns, list) else []:
        for included in sorted(root.glob(str(pattern))):
            if included not in files and included.is_file():
                files.append(included)
                document = _merge(document, _load_document(included))
    return ProjectFile(root, document, tuple(files))


def _load_document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=NamesLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise errors.InvalidInput(
            f"{path.name}{where} cannot be parsed: {getattr(error, 'problem', None) or type(error).__name__}",
            subject="project",
            remedy="Correct the file.",
        ) from None
    except OSError as error:
        raise errors.InvalidInput(
            f"{path} cannot be read: {error.strerror}",
            subject="project",
            remedy="Give the worker the right to read it.",
        ) from None
    if not isinstance(document, dict):
        raise errors.InvalidInput(
            f"{path.name} is not a Meltano project file", subject="project", remedy="It must be a YAML mapping."
        )
    return document


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Meltano's deep merge of project files: mappings by key, lists one after the other, else the later wins."""
    result = dict(first)
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merge(result[key], value)
        elif isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = [*result[key], *value]
        else:
            result[key] = value
    return result


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_entries(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value or [] if isinstance(item, Mapping)] if isinstance(value, list) else []


DBT_PROJECT_FILE = "dbt_project.yml"
MAX_DEPTH = 3
# Where people keep the models of a Meltano project; dbt's packages hold projects of their own.
IGNORED_FOLDERS = {"dbt_packages", "dbt_modules", ".meltano", "node_modules", ".venv", "target"}


def find_dbt_folders(root: Path) -> list[str]:
    """Folders below the root that hold a dbt project, as relative paths; a form waits for it."""
    found = []
    for path in sorted(root.glob(f"**/{DBT_PROJECT_FILE}")):
        parts = path.relative_to(root).parts[:-1]
        if len(parts) <= MAX_DEPTH and not IGNORED_FOLDERS.intersection(parts):
            found.append("/".join(parts) or ".")
    return found
