# requirements: flexcore_base
# py: ==3.11.*
"""The data pipeline's result from what its steps left: finished, failed, refused or only planned. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from f.flexcore.core.data_requests import FORMS
from f.flexcore.core.errors import validated
from f.flexcore.core.outcomes import Attempt, DataPipelineResult, Forecast, finished, labels_of
from f.flexcore.core.tables import plain_of
from f.flexcore.core.workloads import Price, Selection, Workload


def result_of(analysis: Any, choice: Any, attempts: Any) -> DataPipelineResult:
    workload = validated(Workload, plain_of(analysis).get("workload"), "analysis.workload")
    made = plain_of(choice)
    selection = validated(Selection, plain_of(choice).get("selection"), "choice.selection")
    tried = attempts_of(attempts)
    price = (made.get("prices") or {}).get(tried[-1].runtime) if tried else None
    return finished(tried, workload, selection, validated(Price, price or {}, "choice.prices"))


def attempts_of(judged: Any) -> list[Attempt]:
    """Of the loop's results those that are judgements; a loop that failed leaves other things, too."""
    found = []
    for item in judged if isinstance(judged, list) else []:
        try:
            found.append(Attempt.model_validate(item["attempt"]))
        except (ValidationError, KeyError, TypeError):
            continue
    return found


def planned(analysis: Any, choice: Any, checks: Any) -> DataPipelineResult:
    """What would be done. Success: a runtime would be chosen, and its own check has nothing against the request."""
    workload = validated(Workload, plain_of(analysis).get("workload"), "analysis.workload")
    selection = validated(Selection, plain_of(choice).get("selection"), "choice.selection")
    told = {
        runtime: _told(result)
        for runtime, result in zip(FORMS, checks if isinstance(checks, Sequence) else (), strict=False)
        if runtime in workload.runtimes
    }
    candidate = next((item for item in selection.candidates if item.runtime == selection.runtime), None)
    good = selection.runtime is not None and told.get(selection.runtime, {}).get("success") is not False
    problem = selection.error or (None if good else f"{selection.runtime}: {told[selection.runtime or '']['error']}")
    forecast = Forecast(duration_s=candidate.duration_s, cost_usd=candidate.cost_usd) if candidate else Forecast()
    return DataPipelineResult(
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


def refused(analysis: Any, choice: Any, attempts: Any, error: dict[str, Any]) -> DataPipelineResult:
    """The result of a failed run: as `result_of` when a runtime was tried, else why none was."""
    message = str(error.get("message") or error.get("name") or "unknown error")
    plain = plain_of(analysis)
    if attempts_of(attempts) and plain_of(choice):
        result = result_of(analysis, choice, attempts)
        # What failed may also be the pipeline's own last step.
        return result if not result.success else result.model_copy(update={"success": False, "error": message})
    workload = Workload.model_validate(plain["workload"]) if plain else None
    # The choice that found nobody says so in its error.
    selection = ((error.get("extra") or {}).get("details") or {}).get("selection") or plain_of(choice).get("selection")
    labels = labels_of(workload.workflow_type, None) if workload else ["flexcore"]
    return DataPipelineResult(success=False, error=message, workload=workload, selection=selection, wm_labels=labels)
