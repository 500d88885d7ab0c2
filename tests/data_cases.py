"""What the data pipeline must do, run by the local engine (tests/pipeline) or by a Windmill (tests/live)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from f.flexcore.lib.core import contracts
from f.flexcore.lib.core.pipeline_result import DataPipelineResult
from flexcore.commands.demo import PROJECT
from flexcore.commands.demo_data import write_demo_data
from tests.hybrid_cases import Json, RunFlow

FLOW = "f/flexcore/data_pipeline"
ROWS = 400
PROGRAM = "result = sum(range(parameters['n']))"
FAILING = "raise ValueError('no such column: margin')"


def meltano_form(folder: Path) -> Json:
    """One tap over a few flights, its files below `folder`."""
    write_demo_data(folder / "source", ROWS)
    return {
        "project": {
            "path": str(PROJECT),
            "env": {
                f"FLEXCORE_SAMPLE_{name}": str(folder / f"source/{name.lower()}.csv")
                for name in ("FLIGHTS", "PLANES", "WEATHER")
            },
        },
        "taps": ["tap-flights"],
        "full_refresh": True,
    }


def ray_form(cluster: Json, program: str = PROGRAM) -> Json:
    return {
        "cluster": cluster,
        "operation": "program",
        "program": program,
        "parameters": {"n": 5, "api_key": "sesame-open-1234"},
        "num_cpus": 1,
    }


def settings(folder: Path) -> Json:
    price = {"cpu_hour": 0.04, "memory_gib_hour": 0.005}
    runtimes = {"meltano": {"price": price}, "ray": {"price": price, "startup_s": 3}}
    return {"storage_uri": f"file://{folder}/store", "runtimes": runtimes}


def result_of(run: RunFlow, args: Json) -> DataPipelineResult:
    """Whatever came of it; the flow's success and the result's are the same, except for a plan."""
    success, result = run(FLOW, args)
    found = DataPipelineResult.model_validate(result)
    assert success == (found.success or found.explain_only), result
    assert "sesame" not in str(result)
    return found


def check_small_work_goes_to_meltano(run: RunFlow, args: Json) -> None:
    """The rules choose it, the choice explains itself, and the forecast's place stands beside what happened."""
    done = result_of(run, args)
    assert done.success, done
    assert done.runtime == "meltano"
    assert done.workload and done.workload.rows == ROWS
    assert done.workload.complexity == "simple"
    assert done.selection and done.selection.mode == "rules"
    why_not = {item.runtime: item.reason for item in done.selection.candidates}
    assert "not chosen" in why_not["ray"]
    assert done.result and done.result.output and done.result.output.rows == ROWS
    assert done.actual and done.actual.rows == ROWS
    assert done.actual.duration_s and done.actual.duration_s > 1
    assert done.run and (done.run.runtime, done.run.success) == ("meltano", True)
    assert done.run.data_size_bytes == done.workload.data_size
    assert done.wm_labels == [*contracts.LABELS, f"workflow:{done.run.workflow_type}", "runtime:meltano"]
    assert [(item.runtime, item.started) for item in done.attempts] == [("meltano", True)]


def check_a_pin_decides(run: RunFlow, args: Json) -> None:
    done = result_of(run, args | {"pin": "ray"})
    assert done.success, done
    assert done.selection and done.selection.mode == "pinned"
    assert done.result and done.result.data["result"] == 10
    assert done.actual and done.actual.cost_usd is not None


def check_failed_work_is_nobody_elses(run: RunFlow, args: Json, cluster: Json) -> None:
    """The program's own error is told, and no other runtime gets the work."""
    failing = args | {"ray": ray_form(cluster, FAILING), "data": {"size": "200GB"}}
    failed = result_of(run, failing)
    assert not failed.success
    assert failed.runtime == "ray"
    assert "no such column: margin" in (failed.error or "")
    assert [(item.runtime, item.started) for item in failed.attempts] == [("ray", True)]
    assert failed.run and not failed.run.success
    assert failed.wm_labels[-1] == "runtime:ray"


def check_a_plan_runs_nothing(run: RunFlow, args: Json) -> None:
    plan = result_of(run, args | {"explain_only": True})
    assert plan.success, plan
    assert plan.runtime == "meltano"
    assert plan.attempts == [] and plan.result is None and plan.run is None
    assert plan.checks["meltano"]["success"] is True
    assert plan.checks["ray"]["data"]["ray_version"]
    assert "runtime:meltano" not in plan.wm_labels


def refusal(run: RunFlow, args: Json) -> str:
    """The error of a request that no runtime was tried for."""
    found: Any = result_of(run, args)
    assert not found.success and found.attempts == []
    return str(found.error)
