# requirements: flexcore_base
"""Compares the versions here with those that a model was trained with, before anything is started. Shipped as source,
with lib/core/model_versions, which has the rules."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import model_versions
from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]


def check_versions(model: Json, requirements: list[str]) -> list[str]:
    """Notes on versions that differ but will do. Raises InvalidInput that names both versions for those that will not;
    the step then submits the job again with `requirements`, the model's own list of packages.

    model: {name, version, format, versions, framework}."""
    trained = model_versions.trained_versions(model["versions"], model["framework"])
    wanted = model_versions.list_relevant(model["format"], trained)
    found = model_versions.compare_versions(model["format"], trained, model_versions.installed_versions(wanted))
    refused = [item for item in found if item.refused]
    if refused:
        message, remedy = model_versions.describe_refusal(f"{model['name']} {model['version']}", refused)
        pins = requirements or [f"{item.package}=={item.trained}" for item in refused if item.package != "python"]
        raise shared_storage.Problem("InvalidInput", message, "model.versions", remedy, missing_packages=pins)
    notes = [f"{item.message}: their answers may differ" for item in found]
    for note in notes:
        print(f"Note: {note}")
    return notes
