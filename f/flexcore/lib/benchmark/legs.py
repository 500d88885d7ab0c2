# requirements: flexcore_base
"""The runs of a race in their order, and what will not be measured. Pure.

Each turn runs every work on every table once on each runtime, one after the other, the order of the runtimes reversed
from turn to turn: what a busy machine does to one of them it does to its neighbors, and ratios are taken within a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from f.flexcore.lib.benchmark import request as benchmark_request
from f.flexcore.lib.benchmark import tables
from f.flexcore.lib.core import contracts, operation

# A single process of the worker, with no runtime around it: what the others are compared with.
REFERENCE = "reference"
WORKFLOW_PREFIX = "benchmark"
RUNTIMES = ("meltano", "ray", "kubernetes")
# Of the schemas that a race makes in the database; what loads write lies in a second one, with _loaded behind it.
SCHEMA_PREFIX = "flexcore_benchmark_"


# What train and predict learn from lineitem, and the model that does so.
TARGET, FEATURES = "l_extendedprice", ("l_partkey", "l_suppkey", "l_quantity", "l_discount", "l_tax")
TREES, MAX_DEPTH = 100, 6
# Of the variance of the price, what the predictions of a correct run explain at least.
MIN_R2 = 0.9


class Leg(contracts.Contract):
    """One run. arguments: of the runtime's own step or flow, without resources; schema: of the database, the source
    table's; loaded: the schema that a load writes to."""

    number: int
    turn: int
    work: benchmark_request.WorkName
    table: tables.TableName
    runtime: str
    workflow_type: str
    source: str
    loaded: str
    arguments: dict[str, Any] = {}


class Gap(contracts.Contract):
    """What is not measured, and why."""

    runtime: str
    work: str
    reason: str


class Plan(contracts.Contract):
    """versions: of the runtimes, as they say it. model: arguments of the training on Ray whose model its runs of
    predict use; null when there are none."""

    legs: list[Leg]
    gaps: list[Gap] = []
    versions: dict[str, str] = {}
    model: dict[str, Any] | None = None
    rows: int
    repeats: int


def name_schema(race: str) -> str:
    """The schema of a race. race: the id of its flow's job."""
    return f"{SCHEMA_PREFIX}{race.replace('-', '')[:12] or 'local'}"


def plan_race(request: benchmark_request.BenchmarkRequest, health: Mapping[str, Any], schema: str) -> Plan:
    """health: `operation.Health` of each runtime that the form names a resource for, or why there is none."""
    gaps, takes_part = [], [REFERENCE]
    for runtime in RUNTIMES:
        absence = explain_absence(runtime, health.get(runtime))
        if not absence:
            takes_part.append(runtime)
        for work in request.works:
            if reason := "" if (runtime, work) in BUILDERS else NO_OPERATION.get(runtime, NO_OPERATION[""]):
                gaps.append(Gap(runtime=runtime, work=work, reason=reason))
            elif absence:
                gaps.append(Gap(runtime=runtime, work=work, reason=absence))
    legs = [
        build_leg(request, schema, turn, work, table, runtime)
        for turn in range(1, request.repeats + 1)
        for work in request.works
        for table in list_tables_of(work, request)
        for runtime in (takes_part if turn % 2 else list(reversed(takes_part)))
        if runtime == REFERENCE or (runtime, work) in BUILDERS
    ]
    numbered = [leg.model_copy(update={"number": number}) for number, leg in enumerate(legs, 1)]
    known = {name: item.version for name, item in health.items() if isinstance(item, operation.Health) and item.version}
    predicts = any((leg.runtime, leg.work) == ("ray", "predict") for leg in numbered)
    model = build_ray_train_arguments(request, schema, "", "train", "lineitem") if predicts else None
    return Plan(legs=numbered, gaps=gaps, versions=known, model=model, rows=request.rows, repeats=request.repeats)


def list_tables_of(work: str, request: benchmark_request.BenchmarkRequest) -> list[tables.TableName]:
    return ["lineitem"] if work in benchmark_request.LEARNING else request.tables


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
    work: benchmark_request.WorkName,
    table: tables.TableName,
    runtime: str,
) -> Leg:
    loaded = f"{schema}_loaded"
    build = BUILDERS.get((runtime, work))
    return Leg(
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


def list_tables(plan: Plan) -> Sequence[tables.TableName]:
    return list(dict.fromkeys(leg.table for leg in plan.legs))


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
        "target_column": TARGET,
        "features": list(FEATURES),
        "algorithm": "xgboost",
        "parameters": {"n_estimators": TREES, "max_depth": MAX_DEPTH},
        "task": "regression",
        "model_name": "benchmark",
        "timeout_s": request.timeout_s,
    }


def build_ray_predict_arguments(
    request: benchmark_request.BenchmarkRequest, schema: str, loaded: str, work: str, table: tables.TableName
) -> dict[str, Any]:
    """Of `f/flexcore/ray/predict`."""
    return {"keep": [TARGET], "timeout_s": request.timeout_s}


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
