# requirements: flexcore_base
# py: ==3.11.*
"""What a form offers of a Meltano project: its plugins by their short names, and its environments."""

from __future__ import annotations

from typing import Any

from f.flexcore.core.choices import Choices, matching
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import MeltanoProject
from f.flexcore.meltano.dbt import dbt_folders
from f.flexcore.meltano.project_file import SINGULAR, ProjectFile, read_project
from f.flexcore.meltano.sources import local_project


def plugin_choices(project: Any, kind: str, typed: str = "") -> Choices:
    """The project's plugins of a kind (extractors, loaders, utilities) that contain what was typed."""
    document = document_of(project)
    names = document.names(kind) if document else []
    return matching([(name, short_name(name, kind, names)) for name in names], typed)


def environment_choices(project: Any, typed: str = "") -> Choices:
    document = document_of(project)
    return matching([(name, name) for name in document.environments] if document else [], typed)


def document_of(project: Any) -> ProjectFile | None:
    """The project's file; None as long as the form has none chosen. Raises the errors of a wrong project."""
    if not project:
        return None
    resource = validated(MeltanoProject, project, "project")
    return read_project(local_project(resource).root, resource.environment)


def short_name(name: str, kind: str, names: list[str]) -> str:
    """postgres for tap-postgres, unless another plugin has that very name."""
    short = name.removeprefix(f"{SINGULAR.get(kind, '')}-")
    return name if short in names else short


def utility_choices(project: Any, typed: str = "") -> Choices:
    document = document_of(project)
    return matching([(name, name) for name in document.names("utilities")] if document else [], typed)


def dbt_folder_choices(project: Any, typed: str = "") -> Choices:
    """Folders of the project with models for dbt; the project need not be one of Meltano."""
    if not project:
        return []
    root = local_project(validated(MeltanoProject, project, "project")).root
    return matching([(name, name) for name in dbt_folders(root)], typed)
