# requirements: flexcore_base
"""The data pipeline's result from what its steps left: finished, failed, refused or only planned. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import errors, forms, pipeline_result, workloads
from f.flexcore.lib.views import html


def result_of(analysis: Any, choice: Any, attempts: Any) -> pipeline_result.DataPipelineResult:
    workload = errors.validated(workloads.Workload, html.read_plain(analysis).get("workload"), "analysis.workload")
    made = html.read_plain(choice)
    selection = errors.validated(workloads.Selection, html.read_plain(choice).get("selection"), "choice.selection")
    tried = attempts_of(attempts)
    price = (made.get("prices") or {}).get(tried[-1].runtime) if tried else None
    return pipeline_result.finished(
        tried, workload, selection, errors.validated(workloads.Price, price or {}, "choice.prices")
    )


def attempts_of(judged: Any) -> list[pipeline_result.Attempt]:
    """Of the loop's results those that are judgements; a loop that failed leaves other things, too."""
    found = []
    for item in judged if isinstance(judged, list) else []:
        try:
            found.append(pipeline_result.Attempt.model_validate(item["attempt"]))
        except (ValidationError, KeyError, TypeError):
            continue
    return found


def planned(analysis: Any, choice: Any, checks: Any) -> pipeline_result.DataPipelineResult:
    """What would be done. Success: a runtime would be chosen, and its own check has nothing against the request."""
    workload = errors.validated(workloads.Workload, html.read_plain(analysis).get("workload"), "analysis.workload")
    selection = errors.validated(workloads.Selection, html.read_plain(choice).get("selection"), "choice.selection")
    told = {
        runtime: _told(result)
        for runtime, result in zip(forms.FORMS, checks if isinstance(checks, Sequence) else (), strict=False)
        if runtime in workload.runtimes
    }
    candidate = next((item for item in selection.candidates if item.runtime == selection.runtime), None)
    good = selection.runtime is not None and told.get(selection.runtime, {}).get("success") is not False
    problem = selection.error or (None if good else f"{selection.runtime}: {told[selection.runtime or '']['error']}")
    forecast = (
        pipeline_result.Forecast(duration_s=candidate.duration_s, cost_usd=candidate.cost_usd)
        if candidate
        else pipeline_result.Forecast()
    )
    return pipeline_result.DataPipelineResult(
        success=good,
        runtime=selection.runtime,
        error=problem,
        explain_only=True,
        workload=workload,
        selection=selection,
        forecast=forecast,
        checks=told,
        wm_labels=["flexcore", "plan", f"workflow:{workload.workflow_type}"],
    )


def _told(result: Any) -> dict[str, Any]:
    """A runtime's own check: its data, or why it refuses."""
    found = result if isinstance(result, dict) else {}
    if error := found.get("error"):
        return {"success": False, "error": error.get("message") or error.get("name"), "data": {}}
    return {"success": bool(found.get("success")), "error": None, "data": found.get("data") or {}}


def refused(analysis: Any, choice: Any, attempts: Any, error: dict[str, Any]) -> pipeline_result.DataPipelineResult:
    """The result of a failed run: as `result_of` when a runtime was tried, else why none was."""
    message = str(error.get("message") or error.get("name") or "unknown error")
    plain = html.read_plain(analysis)
    if attempts_of(attempts) and html.read_plain(choice):
        result = result_of(analysis, choice, attempts)
        # What failed may also be the pipeline's own last step.
        return result if not result.success else result.model_copy(update={"success": False, "error": message})
    workload = workloads.Workload.model_validate(plain["workload"]) if plain else None
    # The choice that found nobody says so in its error.
    selection = ((error.get("extra") or {}).get("details") or {}).get("selection") or html.read_plain(choice).get(
        "selection"
    )
    labels = pipeline_result.labels_of(workload.workflow_type, None) if workload else ["flexcore"]
    return pipeline_result.DataPipelineResult(
        success=False, error=message, workload=workload, selection=selection, wm_labels=labels
    )
