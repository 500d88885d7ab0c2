# requirements: flexcore_pipeline
"""The plan of a race from its form, once each runtime has said how it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.benchmark import legs, planning
from f.flexcore.lib.benchmark import request as benchmark_request
from f.flexcore.lib.core import errors, operation

# Imported only when a project takes part.
READ_PROJECT = "f.flexcore.lib.meltano.form_choices:read_document"


def plan(given: Mapping[str, Any], schema: str) -> legs.Plan:
    """Asks each runtime that takes part how it is; changes nothing. Raises InvalidInput."""
    request = errors.validate(benchmark_request.BenchmarkRequest, given, "")
    return planning.plan_race(request, check_health(request), schema, find_missing_plugins(request))


def find_missing_plugins(request: benchmark_request.BenchmarkRequest) -> dict[tuple[str, str], str]:
    """("meltano", work) → what the project does not declare for it, or why it cannot be read. Names alone are looked
    at: nothing is installed."""
    if request.project is None:
        return {}
    targets, missing = {"extract": request.file_target, "load": request.table_target}, {}
    for work in (item for item in request.works if item in targets):
        try:
            project = operation.resolve(READ_PROJECT)(request.project)
            project.find_name("extractors", request.tap)
            project.find_name("loaders", targets[work])
        except errors.FlexcoreError as error:
            missing["meltano", str(work)] = f"{error}. {error.remedy}".removesuffix(". ")
    return missing


def check_health(request: benchmark_request.BenchmarkRequest) -> dict[str, operation.Health | str]:
    """Of each runtime that the form names a resource for: its health, or why it cannot be told."""
    named = {"meltano": request.project, "ray": request.cluster}

    def ask(name: str) -> operation.Health:
        runtime, resource = runtimes.get_runtime(name), named[name]
        place = os.environ.get("WM_WORKER_GROUP") or "this worker" if runtime.clusters_field is None else name
        return runtimes.check_health(runtime, place, resource, request.settings.namespace)

    asked = [name for name, resource in named.items() if resource is not None]
    answers = runtimes.run_side_by_side({name: lambda name=name: ask(name) for name in asked})  # type: ignore[misc]
    return {
        name: str(answer) if isinstance(answer, errors.FlexcoreError) else answer for name, answer in answers.items()
    }
