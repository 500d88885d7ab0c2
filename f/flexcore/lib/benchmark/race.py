# requirements: flexcore_pipeline
"""The plan of a race from its form, and its end: standings with machine and versions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.benchmark import legs, results
from f.flexcore.lib.benchmark import request as benchmark_request
from f.flexcore.lib.core import errors, operation
from f.flexcore.lib.pipeline import work


def plan(given: Mapping[str, Any], schema: str) -> legs.Plan:
    """Asks each runtime that takes part how it is; changes nothing. Raises InvalidInput."""
    request = errors.validate(benchmark_request.BenchmarkRequest, given, "")
    return legs.plan_race(request, check_health(request), schema)


def check_health(request: benchmark_request.BenchmarkRequest) -> dict[str, operation.Health | str]:
    """Of each runtime that the form names a resource for: its health, or why it cannot be told."""
    named = {"meltano": request.project, "ray": request.cluster}

    def ask(name: str) -> operation.Health:
        runtime, resource = runtimes.get_runtime(name), named[name]
        place = os.environ.get("WM_WORKER_GROUP") or "this worker" if runtime.clusters_field is None else name
        return runtimes.check_health(runtime, place, resource, request.settings.namespace)

    asked = [name for name, resource in named.items() if resource is not None]
    answers = work.run_side_by_side({name: lambda name=name: ask(name) for name in asked})  # type: ignore[misc]
    return {
        name: str(answer) if isinstance(answer, errors.FlexcoreError) else answer for name, answer in answers.items()
    }


def finish(plan: legs.Plan, data: Mapping[str, Any], measured: Sequence[Any]) -> dict[str, Any]:
    """The race as plain data. measured: what the loop over the legs has left."""
    items = [
        errors.validate(results.Measurement, item["measurement"], "measured")
        for item in measured
        if isinstance(item, Mapping) and "measurement" in item
    ]
    machine = dict(data["machine"])
    return {
        "success": any(item.success for item in items),
        "machine": {name: value for name, value in machine.items() if name != "versions"},
        "versions": {**plan.versions, **machine["versions"]},
        "rows": plan.rows,
        "repeats": plan.repeats,
        "tables": {name: {key: table[key] for key in ("rows", "bytes")} for name, table in data["tables"].items()},
        "standings": [item.plain() for item in results.rank(plan, items)],
        "measurements": [item.plain() for item in items],
    }
