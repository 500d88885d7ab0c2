"""On which runtimes an execution runs or ran: by its flow, its arguments, its steps and its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client, live_runtimes
from f.flexcore.lib.windmill.execution_models import execution_from_job, job_runtime, job_runtimes
from flexcore.client.workflows import find_used_runtimes

BUNDLE = Path(__file__).parent.parent.parent / "f/flexcore"
FLOWS = {str(file.parent.relative_to(BUNDLE)).removesuffix("__flow"): file for file in BUNDLE.rglob("flow.yaml")}
# What runs where its request, its forecasts or its plan say it is on no runtime before.
UNDECIDED = {"data_pipeline", "benchmark_runtimes", "operations/run_benchmark"}
HYBRID_LABELS = ["runtime:meltano", "runtime:ray"]


def job(workflow: str, *, ended: bool = False, **fields: Any) -> dict[str, Any]:
    kind = "CompletedJob" if ended else "QueuedJob"
    return {"id": workflow, "type": kind, "job_kind": "flow", "script_path": f"f/flexcore/{workflow}", **fields}


@pytest.mark.parametrize("workflow", FLOWS)
def test_a_flow_has_the_runtimes_of_its_steps_as_labels_so_that_its_live_runs_have_them(workflow: str) -> None:
    flow = yaml.safe_load(FLOWS[workflow].read_text())
    used = find_used_runtimes(f"f/flexcore/{workflow}", flow["value"])
    if workflow == "hybrid_pipeline":
        expected = HYBRID_LABELS
    else:
        assert len(used) < 2 or workflow in UNDECIDED, "say in the flow's labels which runtimes every run of it uses"
        expected = [] if workflow in UNDECIDED else [f"runtime:{name}" for name in used]
    assert flow.get("labels", []) == expected


@pytest.mark.parametrize(
    ("listed", "runtimes", "runtime"),
    [
        (job("templates/ml_training", labels=["runtime:ray"]), ["ray"], "ray"),
        (job("templates/ml_training"), [], None),
        (job("meltano/execute"), ["meltano"], "meltano"),
        (job("meltano/execute", labels=["runtime:meltano"]), ["meltano"], "meltano"),
        (job("hybrid_pipeline", labels=["runtime:ray", "runtime:meltano"]), ["meltano", "ray"], None),
        (
            job("hybrid_pipeline", labels=HYBRID_LABELS, args={"deployment": {"target": "kubernetes"}}),
            ["kubernetes", "meltano", "ray"],
            None,
        ),
        (job("hybrid_pipeline", args={"deployment": "none", "extraction": {"target": "target-jsonl"}}), [], None),
        (job("data_pipeline", args={"pin": "ray"}), ["ray"], "ray"),
        (job("data_pipeline", args={"pin": ""}), [], None),
        (job("data_pipeline", args={"pin": "<b>ray</b>"}), [], None),
        (job("data_pipeline", ended=True, args={"pin": "ray"}), [], None),
        (
            job("data_pipeline", ended=True, labels=["runtime:kubernetes"], args={"pin": ""}),
            ["kubernetes"],
            "kubernetes",
        ),
        (job("templates/table_copy", args={"pin": "meltano"}, labels=["runtime:ray"]), ["ray"], "ray"),
    ],
)
def test_an_execution_has_every_runtime_that_shares_its_work(
    listed: dict[str, Any], runtimes: list[str], runtime: str | None
) -> None:
    assert (job_runtimes(listed), job_runtime(listed)) == (runtimes, runtime)
    told = execution_from_job({"created_at": "2026-11-29T12:00:00Z", "duration_ms": 1, **listed})
    assert (told.runtimes, told.runtime) == (runtimes, runtime)


class Windmill:
    """What is asked of a server: the jobs as they are, and the result of the step `select`."""

    def __init__(self, *jobs: dict[str, Any], order: list[str] | None = None) -> None:
        self.whole = {str(item["id"]): item for item in jobs}
        self.order = order
        self.asked: list[str] = []

    def jobs(self, ids: Any) -> dict[str, Any]:
        self.asked += [*ids]
        return {id: self.whole[id] for id in self.asked if id in self.whole}

    def step_result(self, flow_job: str, step: str) -> Any:
        if self.order is None:
            raise errors.NotFound("no result", subject="id", remedy="-")
        return {"order": self.order, "of": (flow_job, step)}

    def complete(self, *jobs: dict[str, Any]) -> list[list[str]]:
        found = live_runtimes.complete_jobs(cast(client.Client, self), jobs)
        return [job_runtimes(item) for item in found]


def attempts(index: int | None, id: str = "attempts") -> dict[str, Any]:
    iterator = {} if index is None else {"iterator": {"index": index, "itered_len": 2}}
    return {"modules": [{"id": "select", "type": "Success"}, {"id": id, "type": "InProgress", **iterator}]}


def test_a_live_data_pipeline_is_on_the_candidate_whose_turn_it_is() -> None:
    for index, name in enumerate(["meltano", "ray"]):
        running = job("data_pipeline", args={"pin": ""}, flow_status=attempts(index))
        assert Windmill(running, order=["meltano", "ray"]).complete(job("data_pipeline")) == [[name]]


@pytest.mark.parametrize(
    ("flow_status", "order"),
    [
        (attempts(None), ["ray"]),
        (attempts(0), None),
        (attempts(3), ["ray"]),
        (attempts(0, "page"), ["ray"]),
        (None, []),
    ],
)
def test_a_data_pipeline_that_has_not_chosen_yet_is_on_no_runtime(flow_status: Any, order: list[str] | None) -> None:
    running = job("data_pipeline", args={}, flow_status=flow_status)
    assert Windmill(running, order=order).complete(job("data_pipeline")) == [[]]


def test_only_live_runs_whose_arguments_decide_are_read_and_not_too_many() -> None:
    args = {"deployment": {"target": "kubernetes"}}
    listed = [job("hybrid_pipeline", labels=HYBRID_LABELS) | {"id": f"h{number}"} for number in range(50)]
    later = [job("hybrid_pipeline", schedule_path="f/x/s") | {"id": f"s{number}"} for number in range(50)]
    others = [job("templates/ml_training", labels=["runtime:ray"]), job("data_pipeline", ended=True), *later]
    windmill = Windmill(*(item | {"args": args} for item in listed))
    found = windmill.complete(*others, *listed)
    assert windmill.asked == [f"h{number}" for number in range(40)]
    assert found == [["ray"], [], *[[]] * 50, *[["kubernetes", "meltano", "ray"]] * 40, *[["meltano", "ray"]] * 10]
