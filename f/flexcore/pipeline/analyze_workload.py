# requirements: flexcore_postgres
# py: ==3.11.*
"""What a workload is: its data measured at the source, its complexity, what it asks for; each number with its source.

Also checks the whole request, so that nothing is started for one that cannot be carried out.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import f.flexcore.core.analysis as analysis
from f.flexcore.core.data_requests import DeclaredWork
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import Settings
from f.flexcore.core.tables import rendered
from f.flexcore.pipeline.data_probes import measured
from f.flexcore.pipeline.described import data_source, described, meltano_request, named, plain_work

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
    chosen = validated(Settings, settings or {}, "settings")
    work = described({"meltano": meltano, "ray": ray, "kubernetes": kubernetes}, pin)
    declared = validated(DeclaredWork, workload or {}, "workload")
    source, postgres = data_source(data)
    prepared = meltano_request(meltano, work, settings)
    if "ray" in work:
        work["ray"]["source"] = work["ray"]["source"] or source.manifest
    parts, notes = measured(source, postgres, work, prepared, chosen)
    measures = [
        *analysis.data_measures(source, parts, notes),
        analysis.complexity_of(work, declared),
        *analysis.resource_measures(work, declared),
    ]
    found = analysis.workload_of(
        measures, workflow_type=named(workflow_type), runtimes=list(work), step_type=declared.step_type,
        deadline_s=left, objective=objective or "balanced", pin=pin or None,
    )  # fmt: skip
    for item in measures:
        print(f"{item.what}: {analysis.shown(item)} ({item.source}{', ' + item.detail if item.detail else ''})")
    plain = {"workload": found.plain(), "measures": [item.plain() for item in measures], **plain_work(work)}
    return rendered(analysis.html(measures), plain)
