# requirements: flexcore_base
"""The runs of a race in their order, and what will not be measured. Pure.

Each turn runs every work on every table once on each runtime, one after the other, the order of the runtimes reversed
from turn to turn: what a busy machine does to one of them it does to its neighbors, and ratios are taken within a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from f.flexcore.lib.benchmark import legs, tables
from f.flexcore.lib.benchmark import request as benchmark_request
from f.flexcore.lib.core import operation

WORKFLOW_PREFIX = "benchmark"
RUNTIMES = ("meltano", "ray", "kubernetes")


def plan_race(
    request: benchmark_request.BenchmarkRequest,
    health: Mapping[str, Any],
    schema: str,
    lacks: Mapping[tuple[str, str], str] | None = None,
) -> legs.Plan:
    """health: `operation.Health` of each runtime that the form names a resource for, or why there is none; lacks:
    (runtime, work) → what its resource does not have for it."""
    lacks = lacks or {}
    gaps, takes_part = [], [legs.REFERENCE]
    for runtime in RUNTIMES:
        absence = explain_absence(runtime, health.get(runtime))
        if not absence:
            takes_part.append(runtime)
        for work in request.works:
            no_operation = "" if (runtime, work) in BUILDERS else NO_OPERATION.get(runtime, NO_OPERATION[""])
            if reason := no_operation or absence or lacks.get((runtime, work), ""):
                gaps.append(legs.Gap(runtime=runtime, work=work, reason=reason))
    runs = [
        build_leg(request, schema, turn, work, table, runtime)
        for turn in range(1, request.repeats + 1)
        for work in request.works
        for table in list_tables_of(work, request)
        for runtime in (takes_part if turn % 2 else list(reversed(takes_part)))
        if runtime == legs.REFERENCE or ((runtime, work) in BUILDERS and (runtime, work) not in lacks)
    ]
    numbered = [leg.model_copy(update={"number": number}) for number, leg in enumerate(runs, 1)]
    known = {name: item.version for name, item in health.items() if isinstance(item, operation.Health) and item.version}
    predicts = any((leg.runtime, leg.work) == ("ray", "predict") for leg in numbered)
    model = build_ray_train_arguments(request, schema, "", "train", "lineitem") if predicts else None
    return legs.Plan(legs=numbered, gaps=gaps, versions=known, model=model, rows=request.rows, repeats=request.repeats)


def list_tables_of(work: str, request: benchmark_request.BenchmarkRequest) -> list[tables.TableName]:
    return ["lineitem"] if work in tables.LEARNING else request.tables


def explain_absence(runtime: str, health: Any) -> str:
    """Why a runtime does not take part; "" when it does."""
    if health is None:
        return "the form names no resource for it"
    if isinstance(health, operation.Health):
        return f"it is down: {health.detail}" if health.state == "down" else ""
    return f"it is down: {health}"


def build_leg(
    request: benchmark_request.BenchmarkRequest,
    schema: str,
    turn: int,
    work: tables.WorkName,
    table: tables.TableName,
    runtime: str,
) -> legs.Leg:
    loaded = f"{schema}_loaded"
    build = BUILDERS.get((runtime, work))
    return legs.Leg(
        number=0,
        turn=turn,
        work=work,
        table=table,
        runtime=runtime,
        workflow_type=request.workflow_type or f"{WORKFLOW_PREFIX}/{work}-{table}",
        source=schema,
        loaded=loaded,
        arguments=build(request, schema, loaded, work, table) if build else {},
    )


def build_meltano_arguments(
    request: benchmark_request.BenchmarkRequest, schema: str, loaded: str, work: str, table: tables.TableName
) -> dict[str, Any]:
    """Of `f/flexcore/meltano/execute`. To load, Meltano's target gets the rows from its tap: PyPI has no tap that reads
    Parquet, and the target is the slower of the two."""
    target = request.file_target if work == "extract" else request.table_target
    config = [f"{request.tap}.{line.replace('{schema}', schema)}" for line in request.tap_config]
    if work == "load":
        config += [f"{target}.{line.replace('{schema}', loaded)}" for line in request.table_target_config]
    return {
        "taps": [request.tap],
        "target": target,
        "select": [f"*{schema}-{table}.*"],
        "config": config,
        "full_refresh": True,
        "timeout_s": request.timeout_s,
    }


def build_ray_arguments(
    request: benchmark_request.BenchmarkRequest, schema: str, loaded: str, work: str, table: tables.TableName
) -> dict[str, Any]:
    """Of `f/flexcore/ray/copy_table`."""
    place = {"table": f"{schema}.{table}", "direction": "to_parquet"}
    if work == "load":
        place = {"table": f"{loaded}.{table}", "direction": "to_database"}
    return {**place, "write": "replace", "timeout_s": request.timeout_s}


def build_ray_train_arguments(
    request: benchmark_request.BenchmarkRequest, schema: str, loaded: str, work: str, table: tables.TableName
) -> dict[str, Any]:
    """Of `f/flexcore/ray/train`."""
    return {
        "target_column": legs.TARGET,
        "features": list(legs.FEATURES),
        "algorithm": "xgboost",
        "parameters": {"n_estimators": legs.TREES, "max_depth": legs.MAX_DEPTH},
        "task": "regression",
        "model_name": "benchmark",
        "timeout_s": request.timeout_s,
    }


def build_ray_predict_arguments(
    request: benchmark_request.BenchmarkRequest, schema: str, loaded: str, work: str, table: tables.TableName
) -> dict[str, Any]:
    """Of `f/flexcore/ray/predict`."""
    return {"keep": [legs.TARGET], "timeout_s": request.timeout_s}


# How each runtime does each work.
BUILDERS: Mapping[tuple[str, str], Callable[..., dict[str, Any]]] = {
    ("meltano", "extract"): build_meltano_arguments,
    ("meltano", "load"): build_meltano_arguments,
    ("ray", "extract"): build_ray_arguments,
    ("ray", "load"): build_ray_arguments,
    ("ray", "train"): build_ray_train_arguments,
    ("ray", "predict"): build_ray_predict_arguments,
}
NO_OPERATION = {
    "kubernetes": "it has no operation of its own for this; its jobs run containers of yours",
    "": "it has no operation for this",
}
