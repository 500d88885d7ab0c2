"""What a restart of a run would be: refused, from what was finished, or of the whole workflow."""

from __future__ import annotations

from typing import Any, cast

import pytest

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.pipeline import restart
from f.flexcore.lib.windmill import client
from f.flexcore.lib.windmill.execution_models import RestartOffer

STEP = contracts.StepResult(success=True, runtime="meltano", execution_key="fc-1", attempt=1).plain()
ARGS: dict[str, Any] = {"extraction": {}, "ml": {}}
HYBRID, WORKFLOW = "hybrid_pipeline", "templates/container_workflow"


class Windmill:
    """A server that has kept these results of steps."""

    def __init__(self, **results: Any) -> None:
        self.results = results

    def step_result(self, flow_job: str, step: str) -> Any:
        if step not in self.results:
            raise errors.NotFound(f"no result of {step}", subject="id", remedy="-")
        return self.results[step]


def offer(workflow: str, windmill: Windmill | None = None, **job: Any) -> RestartOffer:
    run = {"id": "r", "type": "CompletedJob", "job_kind": "flow", "success": False, "args": ARGS, **job}
    path = f"f/flexcore/{workflow}"
    return restart.find_offer(cast(client.Client, windmill or Windmill()), {**run, "script_path": path})


def stages(*names: str) -> dict[str, Any]:
    return {"partial_results": [{"stage": name, "result": STEP} for name in names]}


@pytest.mark.parametrize(
    "workflow",
    [
        "data_pipeline",
        "templates/table_copy",
        "templates/singer_extraction",
        "kubernetes/canary_release",
        "ray/execute",
    ],
)
def test_most_workflows_run_whole_again_whatever_their_steps_have_finished(workflow: str) -> None:
    finished = Windmill(prepare=STEP, extraction=STEP, attempts=[STEP])
    assert offer(workflow, finished, result=stages("extraction")) == RestartOffer(resumes=False, kept=())


@pytest.mark.parametrize(
    ("workflow", "result", "kept"),
    [
        (HYBRID, stages("extraction", "ml"), ("extraction", "ml")),
        (HYBRID, stages(), ()),
        (WORKFLOW, {"details": {"partial_results": [{"node": "clean", "result": STEP}]}}, ("clean",)),
        (WORKFLOW, {"details": {}}, ()),
    ],
)
def test_a_hybrid_pipeline_and_a_workflow_of_containers_keep_what_their_failure_says(
    workflow: str, result: dict[str, Any], kept: tuple[str, ...]
) -> None:
    assert offer(workflow, result=result) == RestartOffer(resumes=True, kept=kept)


def test_of_a_canceled_pipeline_what_its_steps_have_left_is_kept() -> None:
    error = {"error": {"name": "Canceled", "message": "enough"}}
    left = Windmill(prepare={"reused": [], "requests": {}}, extraction=STEP)
    assert offer(HYBRID, left, canceled=True, result=error) == RestartOffer(resumes=True, kept=("extraction",))
    left = Windmill(level_state={"finished": [{"node": "clean", "result": STEP}]})
    assert offer(WORKFLOW, left, canceled=True, result=error) == RestartOffer(resumes=True, kept=("clean",))


@pytest.mark.parametrize("workflow", [HYBRID, "data_pipeline", "templates/table_copy"])
@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"success": True}, "has succeeded"),
        ({"type": "QueuedJob"}, "is still running"),
        ({"args": {"reason": "WINDMILL_TOO_BIG"}}, "no longer has the arguments"),
    ],
)
def test_what_cannot_be_started_again_says_why_and_promises_nothing(
    workflow: str, job: dict[str, Any], reason: str
) -> None:
    found = offer(workflow, **job)
    assert reason in str(found.refusal) and not found.resumes and found.kept == ()
