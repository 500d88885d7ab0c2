# requirements: flexcore_base
"""What a form offers of a Meltano project: its plugins by their short names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from f.flexcore.lib.core import errors, form_choices, resources
from f.flexcore.lib.meltano import (
    project_file,
    sources,
)

CHOOSE_PROJECT = form_choices.note("First choose a project", "Without one, create a c_meltano_project resource.")


@form_choices.explain_failure
def plugin_choices(project: Any, kind: str, typed: str | None = "") -> form_choices.Choices:
    """The project's plugins of a kind (extractors, loaders) that contain what was typed."""
    if not project:
        return CHOOSE_PROJECT
    if not (names := read_document(project).names(kind)):
        one = project_file.SHORT_KINDS[kind]
        return form_choices.note(f"The project has no {one}", f"Add one: meltano add {one}-NAME.")
    return form_choices.filter_choices([(name, short_name(name, kind, names)) for name in names], typed)


@form_choices.explain_failure
def utility_choices(project: Any, typed: str | None = "") -> form_choices.Choices:
    if not project:
        return CHOOSE_PROJECT
    if not (names := read_document(project).names("utilities")):
        return form_choices.note(
            "The project has no utility", "Add one: meltano add dbt-NAME, or let dbt run by itself."
        )
    return form_choices.filter_choices([(name, name) for name in names], typed)


@form_choices.explain_failure
def dbt_folder_choices(project: Any, typed: str | None = "") -> form_choices.Choices:
    """Folders of the project with models for dbt; the project need not be one of Meltano."""
    if not project:
        return CHOOSE_PROJECT
    if not (names := project_file.find_dbt_folders(open_folder(project))):
        return form_choices.note("The project has no dbt_project.yml", "Add one, or choose another project.")
    return form_choices.filter_choices([(name, name) for name in names], typed)


def read_document(project: Any) -> project_file.ProjectFile:
    return project_file.read_project(open_folder(project))


def open_folder(project: Any) -> Path:
    return sources.open_project(errors.validate(resources.MeltanoProject, project, "project")).root


def short_name(name: str, kind: str, names: list[str]) -> str:
    """postgres for tap-postgres, unless another plugin has that very name."""
    short = name.removeprefix(f"{project_file.SHORT_KINDS.get(kind, '')}-")
    return name if short in names else short
