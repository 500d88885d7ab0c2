# requirements: flexcore_base
"""Taps into a target, as an operation: what is checked, and what a plan says. Its execution: extraction_adapter."""

from __future__ import annotations

import time
from typing import Any

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.meltano import (
    installation,
    preparation,
    request_models,
    request_settings,
    sources,
    state_store,
)

Invocation = operation.Invocation[request_models.ExtractionRequest, resources.MeltanoProject]


def check(
    request: request_models.ExtractionRequest, project: resources.MeltanoProject | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput for what is wrong whatever the project holds."""
    preparation.check_different(request.taps)
    request_settings.parse_overrides(request.config)
    if project and project.git_url:
        sources.check_repository(project)


def plan(invocation: Invocation) -> contracts.StepResult:
    """What would run: project, plugins, settings and state are looked at; no plugin is installed or started."""
    started = time.monotonic()
    prepared = preparation.prepare(invocation.request, invocation.service, invocation.settings)
    return contracts.StepResult(
        success=True,
        runtime=invocation.runtime,
        execution_key=invocation.key.value,
        attempt=1,
        data={
            "taps": [tap.name for tap in prepared.taps],
            "target": prepared.target.name,
            "environment": prepared.project.environment,
            "hands_on_files": prepared.files is not None,
            "state_place": prepared.place.label,
            "state_reachable": state_store.StateStore(prepared.place).check(),
            "meltano_version": installation.MELTANO_VERSION,
            **({"commit": prepared.source.commit} if prepared.source.commit else {}),
        },
        timings=contracts.Timings(running=round(time.monotonic() - started, 3)),
    )


def list_sources(invocation: Invocation) -> list[operation.DataSource]:
    """Where the taps read from, by their own configuration. Raises what plan raises."""
    prepared = preparation.prepare(invocation.request, invocation.service, invocation.settings)
    return preparation.list_sources(prepared, invocation.request.select)


def execute(invocation: Invocation) -> dict[str, Any]:
    # A pipeline that checks, plans or measures an extraction needs none of what runs it.
    from f.flexcore.lib.core import driver
    from f.flexcore.lib.meltano import extraction_adapter

    return driver.drive(extraction_adapter.open_extraction, invocation)


RUN = operation.Operation(
    runtime="meltano",
    name="run",
    request=request_models.ExtractionRequest,
    service=resources.MeltanoProject,
    check=check,
    plan=plan,
    execute=execute,
    service_field="project",
    sources=list_sources,
)
