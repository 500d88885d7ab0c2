# requirements: flexcore_base
"""The rows that a program on Ray learns from or predicts for: read, typed, and split. Shipped as source."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from f.flexcore.lib.ray.remote import dataset, holdout, ranking_request, read, shared_storage, stream_profile

Json = dict[str, Any]
# Ray Train's defaults suit trainings of hours: it looks at its workers every two seconds.
FAST_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
# The line of a traceback that says what was raised: `pyarrow.lib.ArrowInvalid: JSON parse error …`.
RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Invalid|Warning)\w*: ")


def check_packages(requires: Json) -> None:
    """Raises when a module is not there; the step then submits the job again with the packages that provide it."""
    ray = version("ray")
    missing = [package.format(ray=ray) for module, package in requires.items() if find_spec(module) is None]
    if missing:
        packages = list(dict.fromkeys(missing))
        raise shared_storage.Problem(
            "InvalidInput", f"The cluster lacks {', '.join(packages)}", "packages", missing_packages=packages
        )


def load_libraries(modules: list[str]) -> None:
    for module in modules:
        # What cannot be loaded is reported where it is used.
        with suppress(Exception):
            import_module(module)


def connect() -> float:
    """Joins the cluster; returns the CPUs that each of Ray Data's tasks may reserve: none where the job took the last,
    since a task that waits for it would wait for ever."""
    import ray
    import ray.data

    ray.init(logging_level=logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    available: Any = ray.available_resources
    return 1.0 if available().get("CPU", 0) >= 1 else 0.0


def prepare_rows(parameters: Json, store: shared_storage.RemoteStore, cpus: float) -> tuple[Any, dataset.Plan]:
    """The typed rows that have a target, in memory, and the plan. Raises for data that cannot be learned from."""
    ranking_request.check_request(parameters)
    target, features, group = parameters["target_column"], parameters["features"], parameters.get("group_column") or ""
    wanted = list(dict.fromkeys([target, *features, *([group] if group else [])])) if features else None
    try:
        parts, stream = read_parts(parameters["source"], store, wanted, cpus)
        plan = dataset.make_plan(stream, target, features, parameters["task"], parameters["date_parts"], group)
        rows = parts.map_batches(
            partial(dataset.prepare, plan=plan), batch_format="pyarrow", batch_size=1, num_cpus=cpus
        )
        return rows.materialize(), plan
    except shared_storage.Problem:
        raise
    except Exception as error:
        raise reading_problem(error) from None


def read_parts(
    source: Json, store: shared_storage.RemoteStore, wanted: list[str] | None, cpus: float
) -> tuple[Any, stream_profile.Stream]:
    """The parts of a stream's files, in memory, and what their columns are."""
    parts = read.read(source, store, wanted, cpus)
    facts = parts.select_columns(["file", "part", "facts"]).take_all() if parts.count() else []
    declared = [name for name in source["columns"] if wanted is None or name in wanted]
    return parts, stream_profile.collect(facts, declared)


def choose_held_out_rows(rows: Any, plan: dataset.Plan, fraction: float, cpus: float) -> list[Any]:
    """The numbers of the rows to measure by, as an object of Ray's store; what there is to say of it is noted."""
    import ray

    keys = rows.map_batches(
        holdout.split_columns, fn_args=[plan.target], batch_format="pyarrow", batch_size=None, num_cpus=cpus
    ).to_pandas()
    held, notes = holdout.choose_rows(keys, plan, fraction)
    if plan.task == "classification":
        plan.class_counts = {str(name): int(count) for name, count in keys[plan.target].value_counts().items()}
    plan.notes += notes
    return [ray.put(held)]


def reading_problem(error: BaseException) -> shared_storage.Problem:
    """What Ray Data's errors are really about: they hold whole tracebacks and end with advice; the first that was
    raised in them is the cause."""
    for cause in iterate_causes(error):
        if isinstance(cause, shared_storage.Problem):
            return cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    reason = next((line for line in lines if RAISED.match(line)), lines[-1])
    remedy = "Read the end of the log; when it names no column or file, report this."
    return shared_storage.Problem("DataError", f"The data cannot be read: {reason[:400]}", "source", remedy)


def read_target(rows: Any, plan: dataset.Plan) -> Any:
    """The target as numbers, or as the classes themselves."""
    import pandas as pd

    column = rows[plan.target]
    if plan.task != "classification":
        return column.astype("float64")
    labels = {dataset.format_label(label): label for label in plan.labels}
    kind = {bool: "bool", int: "int64", str: "object"}[type(plan.labels[0])]
    return pd.Series([labels[str(value)] for value in column], index=column.index, dtype=kind)


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps, the innermost last."""
    yield error
    failures = getattr(error, "worker_failures", None) or {}
    inner = [getattr(error, "cause", None), getattr(error, "controller_failure", None), error.__cause__]
    for cause in (*failures.values(), *inner):
        if isinstance(cause, BaseException):
            yield from iterate_causes(cause)
