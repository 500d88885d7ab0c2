# requirements: flexcore_base
"""The stages of the hybrid pipeline: which were done before and still hold, and the result of a run, good or failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, errors

STAGES: tuple[contracts.Stage, ...] = get_args(contracts.Stage)
# How long a stage may take and where it waits changes nothing of what it hands on.
IGNORED_IN_DIGEST = ("timeout_s", "wait", "expected_s")
# The page of a run cuts a text after 200 characters.
MAX_HEADLINE = 180
# Less says only which stage it was.
MIN_HEADLINE = 40
FAILURE_TITLES = {"extraction": "Extraction failed", "ml": "ML processing failed", "deployment": "Deployment failed"}


def find_finished(
    partial_results: list[Any],
    verify: Callable[[contracts.StepResult], None],
    requests: Mapping[contracts.Stage, str] | None = None,
) -> tuple[dict[contracts.Stage, contracts.StepResult], list[str]]:
    """The leading stages that need not run again, and a line for each that must, with the reason.

    A stage counts when the same was asked of it (`requests`: stage → digest), its manifest still verifies (`verify`
    raises FlexcoreError when not) and every stage before it counts: a model must not outlive the data that it claims to
    come from. Raises InvalidInput for what is no stage.
    """
    given = [
        errors.validate(contracts.StageResult, item, f"partial_results.{index}")
        for index, item in enumerate(partial_results)
    ]
    by_stage = {item.stage: item.result for item in given}
    earlier = {item.stage: item.request for item in given}
    finished: dict[contracts.Stage, contracts.StepResult] = {}
    notes = []
    for stage in STAGES:
        if stage not in by_stage:
            break
        if earlier[stage] and requests and earlier[stage] != requests.get(stage):
            notes.append(f"{stage} runs again: its request has changed")
            break
        try:
            verify(by_stage[stage])
        except errors.FlexcoreError as error:
            notes.append(f"{stage} runs again: {error}")
            break
        finished[stage] = by_stage[stage]
    return finished, notes


def compute_digest(request: Mapping[str, Any]) -> str:
    """Digest of what is asked of a stage, so far as it decides the outcome."""
    decisive = {name: value for name, value in request.items() if name not in IGNORED_IN_DIGEST}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def collect_stages(
    results: dict[contracts.Stage, Any], reused: Any, requests: Mapping[str, str] | None = None
) -> list[contracts.StageResult]:
    """The stages that finished, in order; what a failed or unstarted stage left behind is not one."""
    stages = []
    # A failure module reports what failed, whatever else it was given.
    before = set(map(str, reused)) if isinstance(reused, list | set) else set()
    digests = requests if isinstance(requests, Mapping) else {}
    for stage in STAGES:
        try:
            step = contracts.StepResult.model_validate(results.get(stage))
        except ValidationError:
            break
        request = digests[stage] if isinstance(digests.get(stage), str) else None
        stages.append(contracts.StageResult(stage=stage, reused=stage in before, result=step, request=request))
    return stages


def return_earlier(error: dict[str, Any], partial_results: Any) -> list[contracts.StageResult]:
    """The earlier results that came with a request which was refused as a whole; [] when they are none."""
    if error.get("step_id") != "prepare":
        return []
    try:
        return [contracts.StageResult.model_validate(item) for item in partial_results or []]
    except (ValidationError, TypeError):
        return []


def build_success(stages: list[contracts.StageResult]) -> contracts.PipelineResult:
    """Raises InvalidInput when a stage has no result."""
    if len(stages) < len(STAGES):
        missing = STAGES[len(stages)]
        raise errors.InvalidInput(f"{missing} has no result", subject=missing, remedy="Run the stage again.")
    endpoint = stages[-1].result.output
    url = endpoint.url if isinstance(endpoint, contracts.EndpointManifest) else None
    return contracts.PipelineResult(success=True, stages=stages, final_endpoint=url)


def build_failure(
    error: dict[str, Any], stages: list[contracts.StageResult], target: str = ""
) -> contracts.PipelineResult:
    """The result of a failed pipeline. `error` is Windmill's {name, message, stack, step_id, extra}; target: the
    deployment's runtime, "" while it is not known.

    What was finished stands in partial_results alone, which the next run is given as it is.
    """
    message = str(error.get("message") or error.get("name") or "unknown error")
    stage = find_failed_stage(error, stages)
    text = f"{FAILURE_TITLES[stage]}: {message}" if stage else f"Request refused: {message}"
    short = shorten(text)
    detail = None if short == text else text
    labels = [f"runtime:{target}"] if stage == STAGES[-1] and target else []
    labels += contracts.label_refusal(str(error.get("name")), str((error.get("extra") or {}).get("category")))
    return contracts.PipelineResult(
        success=False, error=short, detail=detail, failed_stage=stage, partial_results=stages, wm_labels=labels
    )


def shorten(text: str) -> str:
    """As much of a message as can be seen at once: whole sentences of its first line, where they fit."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    if len(line) <= MAX_HEADLINE:
        return line
    cut = line[: MAX_HEADLINE - 1]
    sentences, words = line[:MAX_HEADLINE].rpartition(". ")[0], cut.rpartition(" ")[0]
    if len(sentences) >= MIN_HEADLINE:
        return f"{sentences}."
    return f"{words if len(words) >= MIN_HEADLINE else cut}…"


def find_failed_stage(error: dict[str, Any], stages: list[contracts.StageResult]) -> contracts.Stage | None:
    """The stage at fault: the one a refused request names, else the first that has no result."""
    if error.get("step_id") == "prepare":
        subject = str((error.get("extra") or {}).get("subject", "")).split(".")[0]
        return next((stage for stage in STAGES if stage == subject), None)
    done = {item.stage for item in stages}
    return next((stage for stage in STAGES if stage not in done), None)
