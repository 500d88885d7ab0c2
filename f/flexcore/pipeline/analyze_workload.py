# requirements: flexcore_postgres
"""What a workload is: its data measured at the source, its complexity, what it asks for; each number with its source.

Also checks the whole request, so that nothing is started for one that cannot be carried out.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from f.flexcore.lib.core import errors, forms, resources, tables
from f.flexcore.lib.pipeline import candidates, data_probes
from f.flexcore.lib.selection import analysis

c_flexcore_settings = dict


def main(
    data: dict | None = None,
    meltano: dict | None = None,
    ray: dict | None = None,
    kubernetes: dict | None = None,
    workload: dict | None = None,
    workflow_type: str = "data_pipeline",
    objective: Literal["balanced", "cost", "time"] = "balanced",
    deadline_s: float | None = None,
    deadline: str = "",
    pin: str = "",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    left = analysis.seconds_left(deadline_s, deadline or "", datetime.now(UTC))
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    work = candidates.described({"meltano": meltano, "ray": ray, "kubernetes": kubernetes}, pin)
    declared = errors.validated(forms.DeclaredWork, workload or {}, "workload")
    source, postgres = candidates.data_source(data)
    prepared = candidates.meltano_request(meltano, work, settings)
    if "ray" in work:
        work["ray"]["source"] = work["ray"]["source"] or source.manifest
    parts, notes = data_probes.measured(source, postgres, work, prepared, chosen)
    measures = [
        *analysis.data_measures(source, parts, notes),
        analysis.complexity_of(work, declared),
        *analysis.resource_measures(work, declared),
    ]
    found = analysis.workload_of(
        measures,
        workflow_type=candidates.named(workflow_type),
        runtimes=list(work),
        step_type=declared.step_type,
        deadline_s=left,
        objective=objective or "balanced",
        pin=pin or None,
    )
    for item in measures:
        print(f"{item.what}: {analysis.shown(item)} ({item.source}{', ' + item.detail if item.detail else ''})")
    plain = {"workload": found.plain(), "measures": [item.plain() for item in measures], **candidates.plain_work(work)}
    return tables.rendered(analysis.html(measures), plain)
