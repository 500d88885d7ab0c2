"""The same history leads to the same forecasts, choices and words in every version, unless a change is agreed to."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from f.flexcore.lib.core.forms import DataSource, DeclaredWork
from f.flexcore.lib.core.workloads import Market, Run, WorkHints, Workload
from f.flexcore.lib.selection.analysis import (
    Part,
    build_workload,
    compute_seconds_left,
    estimate_complexity,
    estimate_resources,
    measure_data,
)
from f.flexcore.lib.selection.comparison import compare_runs
from f.flexcore.lib.selection.forecast import Forecasts, parse_forecasts
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.selector import select
from tests.agreed import check_agreed

GB = 10**9
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=365)
Change = Callable[[int], dict[str, Any]]


def runs(
    count: int, runtime: str = "ray", change: Change = lambda day: {}, first: int = 0, factor: float = 1
) -> list[Run]:
    """Runs of 1 to 245 GB, one a day, with lognormal noise."""
    chance = random.Random(f"{runtime} {first}")
    found = []
    for day in range(first, first + count):
        size = round(GB * math.exp(0.5 * (day * 5 % 12)))
        seconds = factor * (60 + 4 * size / GB) * math.exp(chance.gauss(0, 0.2))
        known = {"workflow_type": "sync", "runtime": runtime, "success": True, "data_size_bytes": size}
        times = {"started_at": START + timedelta(day), "duration_s": seconds, "cost_usd": seconds / 100}
        found.append(Run.model_validate({**known, **times, **change(day)}))
    return found


def rows_of(day: int) -> int:
    return round(math.exp(0.5 * (day * 5 % 12)) * 10**7 * (1.5 if day % 3 else 0.6))


HISTORIES: dict[str, list[Run]] = {
    "plain": runs(48),
    "two runs": runs(2),
    "three runs": runs(3),
    "eleven runs": runs(11),
    "no size": runs(16, change=lambda day: {"data_size_bytes": None}),
    "size from rows": runs(
        24, change=lambda day: {"rows": rows_of(day)} | ({"data_size_bytes": None} if day % 6 == 0 else {})
    ),
    "rows that say nothing": runs(24, change=lambda day: {"rows": 10 ** (day % 7)}),
    "a jump": [*runs(20), *runs(16, first=20, factor=3)],
    "a jump long ago": [*runs(20), *runs(34, first=20, factor=3)],
    "two jumps": [*runs(14), *runs(14, first=14, factor=4), *runs(14, first=28)],
    "a ramp": runs(40, change=lambda day: {"duration_s": 100 * math.exp(day / 15 + 0.1 * (day % 5))}),
    "a slow move": runs(
        40, change=lambda day: {"duration_s": 100 * math.exp(0.35 * math.sin(day / 6) + 0.05 * (day % 3))}
    ),
    "two types": [*runs(24), *runs(12, first=100, factor=2, change=lambda day: {"workflow_type": "copy"})],
    "a rare type": [*runs(24), *runs(3, first=100, factor=5, change=lambda day: {"workflow_type": "copy"})],
    "kinds of work": runs(36, change=lambda day: {"complexity": ("simple", "complex", "ml", None)[day % 4]}),
    "failures by size": runs(48, change=lambda day: {"success": day * 5 % 12 < 9}),
    "failures since": runs(40, change=lambda day: {"success": day < 30}),
    "failures of one type": [
        *runs(20),
        *runs(20, first=50, change=lambda day: {"workflow_type": "copy", "success": day % 2 > 0}),
    ],
    "failures alone": runs(4, change=lambda day: {"success": False}),
    "few costs": runs(30, change=lambda day: {"cost_usd": 0.5 * day if day % 6 == 0 else None}),
    "wrong numbers": runs(30, change=lambda day: {"duration_s": 1e8 if day == 7 else 1e-4 if day == 9 else 100 + day}),
    "no start": [*runs(20), *runs(8, first=30, factor=2, change=lambda day: {"started_at": None})],
    "starts ahead": [*runs(20), *runs(6, first=900, factor=2)],
    "a clock that is behind": runs(12, first=900),
    "a clock that is behind by more than half of them": [*runs(8), *runs(10, first=900, factor=2)],
    "twice": [*runs(10), *runs(10)[::-1]],
    "two runtimes": [*runs(20), *runs(15, "meltano", factor=2)],
    "many": [*runs(210), *runs(5, first=209, factor=1.1)],
}
WORKLOADS: list[dict[str, Any]] = [
    {"data_size": 5 * GB},
    {"data_size": 5000 * GB, "complexity": "ml"},
    {"data_size": 10},
    {"data_size": 20 * GB, "rows": 10**9, "complexity": "complex"},
    {"rows": 50_000_000},
    {},
    {"data_size": 5 * GB, "workflow_type": "copy"},
    {"workflow_type": "never"},
]


def asked(**fields: Any) -> Workload:
    return Workload.model_validate({"workflow_type": "sync", "runtimes": ["meltano", "ray"], **fields})


def tell_model(model: Forecasts) -> dict[str, Any]:
    """The numbers of a model, and what it says of several workloads."""
    plain = model.plain()
    for runtime in plain["runtimes"].values():
        for curve in (runtime["duration"], runtime["cost"]):
            if curve:
                curve["covariance"] = [line[number] for number, line in enumerate(curve["covariance"])]
                curve["quantiles"] = curve["quantiles"][::6]
    estimates = []
    for fields in WORKLOADS:
        found = asdict(model.estimate(asked(**fields), "ray"))
        for name in ("duration", "cost"):
            if found[name]:
                found[name].pop("quantiles")
        estimates.append(found)
    return {"model": plain, "estimates": estimates, "summary": model.summarize()}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_leads_to_the_forecasts_that_were_agreed(name: str) -> None:
    check_agreed(f"forecasts/{name.replace(' ', '_')}.json", tell_model(fit_forecasts(HISTORIES[name], NOW)))


def with_doubt(count: int, **change: Any) -> list[Run]:
    return [*runs(20, "meltano"), *runs(count, "ray", lambda day: change)]


CHOICES: list[tuple[list[Run] | None, dict[str, Any], dict[str, Any]]] = [
    (None, {}, {}),
    (None, {"data_size": "1TB"}, {"ray": {"enabled": False}, "meltano": {"healthy": None}}),
    (None, {"data_size": "2GB", "complexity": "simple"}, {}),
    (None, {"step_type": "dbt_model"}, {}),
    (
        None,
        {
            "step_type": "serve",
            "runtimes": ["kubernetes", "meltano"],
            "resources": {"containerized": True, "scaling": "medium"},
        },
        {},
    ),
    (None, {"pin": "ray"}, {}),
    (None, {"pin": "ray"}, {"ray": {"healthy": False}}),
    (None, {"pin": "spark"}, {}),
    (None, {"runtimes": ["spark"]}, {"spark": {"priority": 2, "namespace": "batch"}, "ray": {"priority": 1}}),
    (None, {"runtimes": ["kubernetes"]}, {}),
    (None, {"runtimes": ["ray"]}, {"ray": {"enabled": False}}),
    ([], {"data_size": GB}, {}),
    (with_doubt(20), {"data_size": 5 * GB, "objective": "cost"}, {}),
    (with_doubt(20), {"data_size": 5 * GB, "objective": "time"}, {"meltano": {"startup_s": 30, "queue_s": 90}}),
    (with_doubt(20), {"data_size": 5 * GB, "objective": "balanced"}, {}),
    (with_doubt(20), {"data_size": 5 * GB, "deadline_s": 70}, {}),
    (with_doubt(20), {"data_size": 5 * GB, "deadline_s": 95}, {}),
    (with_doubt(20), {"data_size": 5 * GB, "deadline_s": 9000}, {}),
    (with_doubt(3), {"data_size": 5 * GB}, {}),
    (with_doubt(4, success=False), {"data_size": 5 * GB}, {}),
    (with_doubt(4, success=False), {"data_size": 5 * GB, "pin": "ray"}, {}),
    (with_doubt(4, success=False), {"data_size": 5 * GB, "workflow_type": "other"}, {}),
    (with_doubt(20, cost_usd=None), {"data_size": 5 * GB, "objective": "balanced"}, {}),
    (with_doubt(20, cost_usd=None), {"data_size": 5 * GB, "objective": "cost"}, {}),
    (with_doubt(20, workflow_type="copy"), {"data_size": 5 * GB}, {}),
    (with_doubt(20, workflow_type="copy"), {"data_size": 5 * GB, "workflow_type": "copy"}, {}),
    (
        [*runs(20, "meltano", lambda day: {"cost_usd": None}), *runs(20, "ray", factor=0.4)],
        {"data_size": 5 * GB, "objective": "cost"},
        {},
    ),
    (
        [*runs(20, "meltano", lambda day: {"success": day % 3 == 0}), *runs(4, "ray", factor=0.4)],
        {"data_size": 5 * GB},
        {},
    ),
    (
        [*runs(4, "meltano", lambda day: {"success": day == 0}), *runs(12, "ray")],
        {"data_size": 5 * GB},
        {},
    ),
    (
        [*runs(20, "meltano", lambda day: {"cost_usd": None}), *runs(20, "ray", lambda day: {"cost_usd": None})],
        {"data_size": 5 * GB, "objective": "cost", "data_location": "here", "resources": {"cpu": 2, "memory": "8GiB"}},
        {
            "ray": {"price": {"cpu_hour": 0.5, "memory_gib_hour": 0.1}, "startup_s": 20, "location": "there"},
            "meltano": {"price": {"cpu_hour": 1, "gpu_hour": 5}, "location": "here"},
        },
    ),
    (
        [*runs(20, "meltano", lambda day: {"cost_usd": None}), *runs(20, "ray", lambda day: {"cost_usd": None})],
        {"data_size": 5 * GB, "objective": "cost", "resources": {"gpu": 1}},
        {"ray": {"price": {"cpu_hour": 0.5}}, "meltano": {"price": {"cpu_hour": 0, "gpu_hour": 0}}},
    ),
]


def test_the_choice_and_its_reasons_read_as_agreed() -> None:
    found = []
    for history, fields, states in CHOICES:
        market = Market.model_validate({"runtimes": states, "egress_usd_per_gib": {"here": 0.02}})
        model = None if history is None else fit_forecasts(history, NOW)
        workload = asked(**fields)
        found.append(select(workload, model, market, "" if fields else "nothing was learned yet").plain())
    check_agreed("selections.json", found)


def priced(count: int, runtime: str, change: Change = lambda day: {}, **more: Any) -> list[Run]:
    return runs(count, runtime, lambda day: {"rows": rows_of(day), **change(day)}, **more)


def no_cost(day: int) -> dict[str, Any]:
    return {"cost_usd": None}


COMPARED: dict[str, list[Run]] = {
    "none": [],
    "one": priced(8, "ray"),
    "few": priced(3, "ray"),
    "few of two": [*priced(3, "ray"), *priced(4, "meltano")],
    "enough of one": [*priced(3, "ray"), *priced(6, "meltano")],
    "two": [*priced(12, "ray", factor=0.8), *priced(12, "meltano")],
    "by duration": [*priced(12, "ray", no_cost, factor=0.8), *priced(12, "meltano")],
    "with failures": [*priced(12, "ray", lambda day: {"success": day % 3 > 0}), *priced(12, "meltano")],
    "all failed": priced(4, "ray", lambda day: {"success": False}),
    "one failed": [*priced(6, "ray"), *priced(6, "meltano", lambda day: {"success": False})],
    "other sizes": [
        *priced(12, "ray", lambda day: {"data_size_bytes": GB * (100 if day % 4 else 1)}),
        *priced(12, "meltano", lambda day: {"data_size_bytes": GB * (1 if day % 4 else 100)}),
    ],
    "sizes without a match": [
        *priced(12, "ray", lambda day: {"data_size_bytes": 400 * GB}),
        *priced(12, "meltano", lambda day: {"data_size_bytes": GB}),
    ],
    "three": [*priced(9, "ray"), *priced(9, "meltano", factor=1.1), *priced(9, "kubernetes", factor=1.2)],
    "long ago": [*priced(520, "ray", lambda day: {"cost_usd": 9 if day < 20 else 1}), *priced(6, "meltano")],
}


def test_comparisons_read_as_agreed() -> None:
    found = {name: compare_runs(history, "sync").plain() for name, history in COMPARED.items()}
    since, until = START + timedelta(2), datetime(2026, 1, 7)
    found["in a range"] = compare_runs(
        [*priced(12, "ray"), *priced(1, "ray", lambda day: {"started_at": None})], "sync", since, until
    ).plain()
    found["since"] = compare_runs(priced(12, "ray"), "sync", since).plain()
    found["of another type"] = compare_runs(priced(12, "ray"), "copy").plain()
    check_agreed("comparisons.json", found)


MEASURED = Part(place="a", bytes=100, rows=10, bytes_source="measured", rows_source="estimated", detail="by a sample")
SURE = Part(place="b", bytes=50, rows=5, bytes_source="measured", rows_source="measured")
UNKNOWN = Part(place="tap-x", rows=1, rows_source="declared")
SAID = WorkHints("ml", "it trains", 2, 10**9, 1, "high", "8 workers", True, True)


def test_measures_of_a_workload_read_as_agreed() -> None:
    sources = [DataSource(), DataSource(size=7, rows=15), DataSource(size=100)]
    parts: list[list[Part]] = [[], [MEASURED], [SURE, SURE], [MEASURED, SURE], [MEASURED, UNKNOWN, UNKNOWN]]
    measures = [
        measure_data(source, given, notes) for source in sources for given in parts for notes in ([], ["one", "two"])
    ]
    declared = DeclaredWork.model_validate({"cpu": 0, "complexity": "simple", "containerized": False})
    for hints in (WorkHints(), SAID):
        for work in (DeclaredWork(), declared):
            measures.append([estimate_complexity(hints, work), *estimate_resources(hints, work)])
    check_agreed("measures.json", [[item.plain() for item in each] for each in measures])


def test_measures_become_a_workload_whole() -> None:
    measures = [*measure_data(DataSource(), [MEASURED]), *estimate_resources(SAID, DeclaredWork())]
    given: dict[str, Any] = {
        "workflow_type": "sales",
        "runtimes": ["ray"],
        "step_type": "train",
        "objective": "time",
        "pin": "ray",
    }
    found = build_workload([*measures, estimate_complexity(SAID, DeclaredWork())], deadline_s=60, **given)
    assert {name: value for name, value in found.plain().items() if name in given} == given
    assert (found.data_size, found.rows, found.complexity, found.deadline_s) == (100, 10, "ml", 60)
    assert found.resources.plain() == {
        **{"cpu": 2, "memory": 10**9, "gpu": 1, "scaling": "high"},
        **{"parallelizable": True, "containerized": True},
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0.0, ""), "deadline_s: 0 is not after now. Give seconds from now, e.g. 3600."),
        ((math.inf, ""), "deadline_s: inf is not after now. Give seconds from now, e.g. 3600."),
        (
            (None, "2026-01-01T00:00:00+00:00"),
            "deadline: 2026-01-01T00:00:00+00:00 has passed. Give a later one, or none.",
        ),
        ((None, "soon"), "deadline: 'soon' is not a time. Write it as 2026-01-31T06:00:00+00:00."),
        ((5.0, "2026-02-01"), "deadline_s and deadline are both given. Give one of them."),
    ],
)
def test_a_deadline_that_cannot_be_met_is_refused_with_what_to_give(given: tuple[float | None, str], said: str) -> None:
    with pytest.raises(Exception) as caught:
        compute_seconds_left(*given, START)
    assert str(caught.value) == said


def test_a_stored_forecast_that_cannot_be_used_says_what_to_do() -> None:
    plain = fit_forecasts(HISTORIES["two runtimes"], NOW).plain()
    assert parse_forecasts(None) == (None, "the stored forecast is empty; run f/flexcore/operations/learn")
    for field, value in (("quantiles", [*range(22, -1, -1)]), ("beta", [1.0]), ("covariance", [[1.0]])):
        broken = {**plain["runtimes"]["ray"], "duration": {**plain["runtimes"]["ray"]["duration"], field: value}}
        model, why = parse_forecasts({**plain, "runtimes": {"ray": broken}})
        assert model is None and why.startswith("the stored forecast cannot be used (forecast.runtimes.ray.duration")
        assert ("ascend" if field == "quantiles" else "as long as names") in why
        assert why.endswith("run f/flexcore/operations/learn")
