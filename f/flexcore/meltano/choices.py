# requirements: flexcore_base
# py: ==3.11.*
"""What a form offers of a Meltano project: its plugins by their short names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from f.flexcore.core.choices import Choices, matching, note, offered
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import MeltanoProject
from f.flexcore.meltano.dbt import dbt_folders
from f.flexcore.meltano.project_file import SINGULAR, ProjectFile, read_project
from f.flexcore.meltano.sources import local_project

FIRST = note("First choose a project", "Without one, create a c_meltano_project resource.")


@offered
def plugin_choices(project: Any, kind: str, typed: str | None = "") -> Choices:
    """The project's plugins of a kind (extractors, loaders) that contain what was typed."""
    if not project:
        return FIRST
    if not (names := document_of(project).names(kind)):
        one = SINGULAR[kind]
        return note(f"The project has no {one}", f"Add one: meltano add {one}-NAME.")
    return matching([(name, short_name(name, kind, names)) for name in names], typed)


@offered
def utility_choices(project: Any, typed: str | None = "") -> Choices:
    if not project:
        return FIRST
    if not (names := document_of(project).names("utilities")):
        return note("The project has no utility", "Add one: meltano add dbt-NAME, or let dbt run by itself.")
    return matching([(name, name) for name in names], typed)


@offered
def dbt_folder_choices(project: Any, typed: str | None = "") -> Choices:
    """Folders of the project with models for dbt; the project need not be one of Meltano."""
    if not project:
        return FIRST
    if not (names := dbt_folders(folder_of(project))):
        return note("The project has no dbt_project.yml", "Add one, or choose another project.")
    return matching([(name, name) for name in names], typed)


def document_of(project: Any) -> ProjectFile:
    return read_project(folder_of(project))


def folder_of(project: Any) -> Path:
    return local_project(validated(MeltanoProject, project, "project")).root


def short_name(name: str, kind: str, names: list[str]) -> str:
    """postgres for tap-postgres, unless another plugin has that very name."""
    short = name.removeprefix(f"{SINGULAR.get(kind, '')}-")
    return name if short in names else short
