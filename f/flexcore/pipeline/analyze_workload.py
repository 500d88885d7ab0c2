# requirements: flexcore_postgres
"""What a workload is: its data measured at the source, its complexity, what it asks for; each number with its source.

Also checks the whole request, so that nothing is started for one that cannot be carried out.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, forms, resources
from f.flexcore.lib.pipeline import candidates, data_probes
from f.flexcore.lib.selection import analysis
from f.flexcore.lib.views import html, selection_pages

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
    left = analysis.compute_seconds_left(deadline_s, deadline or "", datetime.now(UTC))
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    work = candidates.described({"meltano": meltano, "ray": ray, "kubernetes": kubernetes}, pin)
    declared = errors.validated(forms.DeclaredWork, workload or {}, "workload")
    source, postgres = candidates.data_source(data)
    prepared = candidates.meltano_request(meltano, work, settings)
    if "ray" in work:
        work["ray"]["source"] = work["ray"]["source"] or source.manifest
    parts, notes = data_probes.measured(source, postgres, work, prepared, chosen)
    hints = analysis.merge_hints([runtimes.RUNTIMES[name].derive_hints(request) for name, request in work.items()])
    measures = [
        *analysis.measure_data(source, parts, notes),
        analysis.estimate_complexity(hints, declared),
        *analysis.estimate_resources(hints, declared),
    ]
    found = analysis.build_workload(
        measures,
        workflow_type=candidates.named(workflow_type),
        runtimes=list(work),
        step_type=declared.step_type,
        deadline_s=left,
        objective=objective or "balanced",
        pin=pin or None,
    )
    rows = [item.plain() for item in measures]
    print("\n".join(selection_pages.format_analysis_lines(rows)))
    plain = {"workload": found.plain(), "measures": rows, **candidates.plain_work(work)}
    return html.wrap_page(selection_pages.render_analysis_page(rows), plain)
