"""Forecasts from histories whose law is known."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import HuberRegressor

from bench.selection import MARKET, measure_regret, simulate_online
from bench.worlds import WORLDS
from f.flexcore.lib.core.workloads import Market, Run, Workload
from f.flexcore.lib.selection.cost_regression import DesignMatrix, History, _fit_robustly, _initial_residuals
from f.flexcore.lib.selection.forecast import Estimate, Forecasts, parse_forecasts, softplus
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.log_distribution import QUANTILE_LEVELS, LogDistribution
from f.flexcore.lib.selection.selector import select
from f.flexcore.lib.selection.training_data import build_training_data

GB = 10**9
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=365)
SIZES = [round(GB * math.exp(0.5 * (number % 12))) for number in range(48)]


def run(runtime: str = "ray", size: int | None = GB, seconds: float = 100, day: float = 0, **more: Any) -> Run:
    return Run.model_validate(
        {
            "workflow_type": "sync",
            "runtime": runtime,
            "data_size_bytes": size,
            "started_at": START + timedelta(days=day),
            "duration_s": seconds,
            "cost_usd": seconds / 100,
            "success": True,
            **more,
        }
    )


def workload(size: int | None = 5 * GB, **more: Any) -> Workload:
    described = {"workflow_type": "sync", "data_size": size, "runtimes": ["meltano", "ray"], "objective": "cost"}
    return Workload.model_validate({**described, **more})


def history(law: Callable[[float], float], runtime: str = "ray", noise: float = 0.2, **more: Any) -> list[Run]:
    """48 runs of 1 to 245 GB, one a day, with lognormal noise."""
    chance = random.Random(runtime)
    return [
        run(runtime, size, law(size / GB) * math.exp(chance.gauss(0, noise)), day, **more)
        for day, size in enumerate(SIZES)
    ]


def median(model: Forecasts, runtime: str = "ray", size: int | None = 5 * GB, **more: Any) -> float:
    found = model.estimate(workload(size, **more), runtime).duration
    assert found
    return found.quantile(0.5)


def linear(gb: float) -> float:
    return 60 + 4 * gb


@pytest.mark.parametrize("size", [1, 10, 100, 240])
@pytest.mark.parametrize("law", [linear, lambda gb: 20 * gb**0.7, lambda gb: 2 * gb**1.3, lambda gb: 300 + gb**1.1])
def test_the_median_follows_the_law_over_all_sizes(law: Callable[[float], float], size: int) -> None:
    assert median(fit_forecasts(history(law), NOW), size=size * GB) == pytest.approx(law(size), rel=0.2)


def test_wrong_rows_of_six_orders_of_magnitude_move_nothing() -> None:
    wrong = [
        run(size=GB, seconds=1e8, day=3.5),
        run(size=GB, seconds=1e-4, day=9.5),
        run(size=GB * 10**6, seconds=90, day=20.5),
    ]
    assert median(fit_forecasts([*history(linear), *wrong], NOW)) == pytest.approx(
        median(fit_forecasts(history(linear), NOW)), rel=0.1
    )


def test_the_robust_regression_agrees_with_scikit_learns() -> None:
    table = build_training_data(history(linear), NOW).tables["ray"]
    y = np.log(table.duration_s)
    y[::9] += 3
    center = float(np.median(table.log_size))
    design = DesignMatrix(table, center, center, History([], False))
    design.precision[1:] = 1e-6
    design.precision[design.names.index("level:sync")] = 1e9
    ours = design.matrix @ _fit_robustly(design, y, _initial_residuals(table, y, center), np.ones(len(y)), 50).beta
    theirs = HuberRegressor(epsilon=1.345, alpha=0).fit(design.matrix[:, 1:3], y).predict(design.matrix[:, 1:3])
    assert np.abs(ours - theirs).max() < 0.1


def test_exact_duplicates_count_once_and_their_order_does_not_matter() -> None:
    rows = history(linear)
    model = fit_forecasts([*rows, *rows[::-1]], NOW)
    assert (model.runs, model.duplicates) == (96, 48)
    assert model.runtimes == fit_forecasts(rows, NOW).runtimes


def test_a_jump_of_the_level_is_followed_after_a_few_runs() -> None:
    before, after = (
        history(linear)[:40],
        [run(size=size, seconds=3 * linear(size / GB), day=50 + day) for day, size in enumerate(SIZES[:5])],
    )
    model = fit_forecasts([*before, *after], NOW)
    assert median(model) == pytest.approx(3 * linear(5), rel=0.25)
    assert model.runtimes["ray"].forgotten == 40
    assert "before a shift" in " ".join(model.estimate(workload(), "ray").notes)


def test_a_steady_drift_is_followed_to_its_end() -> None:
    rows = [
        each.model_copy(update={"duration_s": (each.duration_s or 0) * math.exp(day / 30)})
        for day, each in enumerate(history(linear))
    ]
    assert median(fit_forecasts(rows, NOW)) == pytest.approx(linear(5) * math.exp(47 / 30), rel=0.25)


def test_unknown_and_future_starts_show_no_drift() -> None:
    slow = [
        each.model_copy(update={"started_at": NOW + timedelta(days=30)})
        for each in history(lambda gb: 3 * linear(gb))[:6]
    ]
    model = fit_forecasts([*history(linear), *slow], NOW)
    assert median(model) == pytest.approx(linear(5), rel=0.15)


def test_failed_runs_lower_the_probability_of_success_and_no_duration() -> None:
    failed = [
        run(size=size, seconds=1, day=2 * day + 0.5, success=False, cost_usd=None)
        for day, size in enumerate(SIZES[:24])
    ]
    found = fit_forecasts([*history(linear), *failed], NOW).estimate(workload(), "ray")
    assert (found.samples, found.failures) == (48, 24)
    assert found.success == pytest.approx(2 / 3, abs=0.08)
    assert found.duration and found.duration.quantile(0.5) == pytest.approx(linear(5), rel=0.15)


def test_failures_that_grow_with_size_are_told_from_those_by_chance() -> None:
    rows = [each.model_copy(update={"success": (each.data_size_bytes or 0) < 60 * GB}) for each in history(linear)]
    model = fit_forecasts(rows, NOW)
    assert (model.estimate(workload(2 * GB), "ray").success or 0) > 0.9
    assert (model.estimate(workload(200 * GB), "ray").success or 1) < 0.3


def test_a_runtime_that_began_to_fail_is_known_by_its_latest_runs() -> None:
    failed = [run(size=size, day=60 + day, success=False) for day, size in enumerate(SIZES[:10])]
    assert (fit_forecasts([*history(linear), *failed], NOW).estimate(workload(), "ray").success or 1) < 0.4


def test_unknown_costs_follow_the_durations() -> None:
    rows = [
        each if day % 8 == 0 else each.model_copy(update={"cost_usd": None}) for day, each in enumerate(history(linear))
    ]
    cost = fit_forecasts(rows, NOW).estimate(workload(), "ray").cost
    assert cost and cost.quantile(0.5) == pytest.approx(linear(5) / 100, rel=0.2)
    nothing = [each.model_copy(update={"cost_usd": None}) for each in history(linear)]
    assert fit_forecasts(nothing, NOW).estimate(workload(), "ray").cost is None


def test_a_size_that_is_not_known_comes_from_the_rows_else_widens_the_interval() -> None:
    rows = [each.model_copy(update={"rows": round((each.data_size_bytes or 0) / 100)}) for each in history(linear)]
    model = fit_forecasts(rows, NOW)
    assert median(model, size=None, rows=50_000_000) == pytest.approx(linear(5), rel=0.15)
    blind, known = model.estimate(workload(None), "ray"), model.estimate(workload(), "ray")
    assert blind.duration and known.duration and blind.duration.scale > 2 * known.duration.scale
    assert "not known" in " ".join(blind.notes)


@pytest.mark.parametrize("count", [5, 48])
def test_runs_whose_size_nobody_knows_forecast_the_next_such_run(count: int) -> None:
    rows = [run(size=None, seconds=100 * (1 + day % 4 / 10), day=day) for day in range(count)]
    found = fit_forecasts(rows, NOW).estimate(workload(None), "ray")
    assert found.duration
    interval = found.duration.interval()
    assert interval.p50 == pytest.approx(115, rel=0.1) and interval.p90 < 2 * interval.p10
    assert "beyond" not in " ".join(found.notes)


def test_beyond_the_sizes_seen_the_interval_is_wider() -> None:
    model = fit_forecasts(history(linear), NOW)
    far, near = (model.estimate(workload(size * GB), "ray") for size in (20_000, 20))
    assert far.duration and near.duration and far.duration.scale > 1.5 * near.duration.scale
    assert "beyond the sizes seen" in " ".join(far.notes)


def test_a_type_with_few_runs_borrows_the_slope_of_the_others() -> None:
    few = [run(size=GB, seconds=3 * linear(1), day=day + 0.3, workflow_type="rare") for day in range(4)]
    model = fit_forecasts([*history(linear), *few], NOW)
    assert median(model, size=100 * GB, workflow_type="rare") == pytest.approx(3 * linear(100), rel=0.3)
    unseen = model.estimate(workload(workflow_type="never"), "ray")
    assert unseen.samples == 0 and "borrowed" in " ".join(unseen.notes)


def test_the_stored_form_predicts_the_same_without_numpy() -> None:
    model = fit_forecasts(history(linear), NOW)
    again, problem = parse_forecasts(json.loads(json.dumps(model.plain())))
    assert again == model and not problem


def test_features_of_a_workload_are_those_of_the_fit() -> None:
    table = build_training_data(history(linear), NOW).tables["ray"]
    design = DesignMatrix(table, 23.0, 22.0, History([], False))
    model = fit_forecasts(history(linear), NOW)
    features = model.locate(workload(SIZES[0])).features(22.0, 23.0)
    assert [features[name] for name in design.names] == pytest.approx(design.matrix[0].tolist())
    assert softplus(800) == 800


def test_a_distribution_is_consistent_with_itself() -> None:
    normal = statistics.NormalDist()
    distribution = LogDistribution(2.0, 0.5, tuple(normal.inv_cdf(level) for level in QUANTILE_LEVELS), 0.5)
    for level in (0.1, 0.37, 0.5, 0.9):
        assert distribution.cdf(distribution.quantile(level)) == pytest.approx(level, abs=0.01)
    moved = distribution.add(10).multiply(3)
    assert moved.quantile(0.5) == pytest.approx(3 * (math.exp(2) + 10))
    assert moved.cdf(moved.quantile(0.9)) == pytest.approx(0.9, abs=0.01)
    assert distribution.mean() == pytest.approx(math.exp(2 + 0.125))
    assert distribution.cdf(0) == 0


# The choice


def both(ray: float = 0.5, runs: int = 48) -> list[Run]:
    """Ray takes `ray` of what Meltano takes, from `runs` runs."""
    return [*history(linear, "meltano"), *history(lambda gb: ray * linear(gb), "ray")[:runs]]


def test_the_cheaper_runtime_is_chosen_once_both_are_known() -> None:
    answer = select(workload(), fit_forecasts(both(), NOW), MARKET)
    assert (answer.runtime, answer.mode) == ("ray", "learned")
    assert "meltano not chosen: expected cost 1.8" in answer.reason


@pytest.mark.parametrize("runs", [0, 1, 2, 3, 4])
def test_fewer_runs_than_needed_never_win(runs: int) -> None:
    answer = select(workload(), fit_forecasts(both(ray=0.01, runs=runs), NOW), MARKET)
    assert (answer.runtime, answer.mode) == ("meltano", "rules")
    assert "little history" in answer.reason


def test_a_runtime_that_comes_late_wins_when_it_is_clearly_better() -> None:
    late = [each.model_copy(update={"started_at": START + timedelta(days=80)}) for each in both(0.3)[48:54]]
    assert select(workload(), fit_forecasts([*both()[:48], *late], NOW), MARKET).runtime == "ray"


def test_a_runtime_that_always_failed_is_never_chosen_unless_it_is_pinned() -> None:
    failed = [run("meltano", size, 10, day, success=False) for day, size in enumerate(SIZES[:6])]
    model = fit_forecasts([*failed, *history(linear, "ray")[:2]], NOW)
    answer = select(workload(), model, MARKET)
    assert (
        answer.runtime == "ray"
        and "all its 6 runs failed" in answer.candidates[-1].reason + answer.candidates[1].reason
    )
    assert select(workload(pin="meltano"), model, MARKET).runtime == "meltano"
    assert select(workload(runtimes=["meltano"]), model, MARKET).error
    elsewhere = select(workload(workflow_type="other"), model, MARKET)
    assert elsewhere.runtime == "ray"


def test_what_fails_often_costs_more_the_more_a_failure_costs() -> None:
    rows = both(0.8)
    failing = [
        each.model_copy(update={"success": day % 3 > 0}) if each.runtime == "ray" else each
        for day, each in enumerate(rows)
    ]
    model = fit_forecasts(failing, NOW)
    assert select(workload(), model, Market(failure_cost_factor=0)).runtime == "ray"
    assert select(workload(), model, Market(failure_cost_factor=5)).runtime == "meltano"


def test_a_deadline_weighs_as_a_probability() -> None:
    dear = [
        each.model_copy(update={"cost_usd": (each.cost_usd or 0) * 9}) if each.runtime == "ray" else each
        for each in both(0.2)
    ]
    model = fit_forecasts(dear, NOW)
    assert select(workload(), model, MARKET).runtime == "meltano"
    answer = select(workload(deadline_s=linear(5) * 0.7), model, MARKET)
    ray, meltano = answer.candidates[:2]
    assert answer.runtime == "ray" and "deadline" in meltano.reason
    assert (ray.deadline_probability or 0) > 0.9 > 0.3 > (meltano.deadline_probability or 0)
    slow = Market.model_validate({"runtimes": {"ray": {"queue_s": 500, "startup_s": 100}}})
    late = select(workload(deadline_s=linear(5) * 0.7), model, slow)
    assert late.candidates[-1].deadline_probability == 0 or late.runtime == "meltano"


def test_prices_give_costs_that_history_does_not_hold() -> None:
    rows = [each.model_copy(update={"cost_usd": None}) for each in both(0.9)]
    prices = {name: {"price": {"cpu_hour": cpu, "memory_gib_hour": 0}} for name, cpu in (("meltano", 0.1), ("ray", 1))}
    priced = Market.model_validate({"runtimes": prices})
    asked = workload(resources={"cpu": 2, "memory": "4GiB"})
    answer = select(asked, fit_forecasts(rows, NOW), priced)
    assert answer.runtime == "meltano"
    cost = answer.candidates[0].cost_usd
    assert cost and cost.p50 == pytest.approx(linear(5) * 2 * 0.1 / 3600, rel=0.2)
    assert select(asked, fit_forecasts(rows, NOW), MARKET).mode == "rules"


def test_moving_the_data_costs_the_egress_price_of_its_location() -> None:
    market = Market.model_validate({"egress_usd_per_gib": {"here": 5}, "runtimes": {"ray": {"location": "there"}}})
    model = fit_forecasts(both(), NOW)
    assert select(workload(data_location="here"), model, market).runtime == "meltano"
    assert select(workload(data_location="there"), model, market).runtime == "ray"


class FixedForecasts:
    """A model with the given estimates."""

    def __init__(self, **estimates: Estimate) -> None:
        self.estimates = estimates

    def estimate(self, workload: Workload, runtime: str) -> Estimate:
        return self.estimates.get(runtime, Estimate())


def estimate(cost: float, seconds: float, samples: int = 50, success: float = 0.95, doubt: float = 0.05) -> Estimate:
    flat = tuple(level - 0.5 for level in QUANTILE_LEVELS)
    distributions = [LogDistribution(math.log(value), 0.3, flat, 0.1, doubt) for value in (cost, seconds)]
    return Estimate(samples, 0, samples, distributions[1], distributions[0], success)


NUMBERS = st.floats(0.01, 1e4)
ESTIMATES = st.builds(estimate, NUMBERS, NUMBERS, st.integers(0, 60), st.floats(0.05, 0.99), st.floats(0.01, 0.5))
OBJECTIVES = st.sampled_from(["cost", "time", "balanced"])


@given(ESTIMATES, ESTIMATES, OBJECTIVES, st.integers(-20, 20))
def test_the_unit_of_money_does_not_change_the_pick(a: Estimate, b: Estimate, objective: str, power: int) -> None:
    def scaled(each: Estimate) -> Estimate:
        return replace(each, cost=each.cost and each.cost.multiply(2.0**power))

    asked = workload(objective=objective)
    picks = [
        select(asked, FixedForecasts(meltano=x, ray=y), MARKET).runtime for x, y in ((a, b), (scaled(a), scaled(b)))
    ]
    assert picks[0] == picks[1]


@given(ESTIMATES, ESTIMATES, OBJECTIVES, st.floats(1.01, 100))
def test_a_dominated_runtime_does_not_change_the_pick(a: Estimate, b: Estimate, objective: str, factor: float) -> None:
    worse = replace(a, cost=a.cost and a.cost.multiply(factor), duration=a.duration and a.duration.multiply(factor))
    asked = workload(objective=objective)
    more = workload(objective=objective, runtimes=["meltano", "ray", "kubernetes"])
    pick = select(asked, FixedForecasts(meltano=a, ray=b), MARKET).runtime
    assert select(more, FixedForecasts(meltano=a, ray=b, kubernetes=worse), MARKET).runtime == pick


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_history_does_not_change_the_answer(chance: random.Random) -> None:
    rows = both(0.9)
    shuffled = chance.sample(rows, len(rows))
    assert select(workload(), fit_forecasts(shuffled, NOW), MARKET) == select(
        workload(), fit_forecasts(rows, NOW), MARKET
    )


WILD = st.builds(
    run,
    st.sampled_from(["meltano", "ray", "spark"]),
    st.none() | st.integers(0, 2**62),
    st.floats(1e-9, 1e12),
    st.integers(-1000, 1000),
    rows=st.none() | st.integers(0, 2**62),
    cost_usd=st.none() | st.floats(0, 1e14),
    success=st.booleans(),
    complexity=st.sampled_from([None, "simple", "complex", "ml"]),
    workflow_type=st.sampled_from(["sync", "", "a\x00b"]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WILD, max_size=30), st.none() | st.integers(0, 2**62), OBJECTIVES)
def test_any_history_leads_to_an_answer_of_finite_numbers(rows: list[Run], size: int | None, objective: str) -> None:
    answer = select(workload(size, objective=objective, deadline_s=60), fit_forecasts(rows, NOW), MARKET)
    json.dumps(answer.plain(), allow_nan=False)


# The simulated worlds of the bench, few of each


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_regret_is_small_after_fifty_runs_and_intervals_cover(world: Any) -> None:
    found = measure_regret(world, 50, range(4), 25)
    assert found.regret() < max(0.05, 0.3 * found.rules_regret())
    assert 0.65 < statistics.mean(found.duration_hits) < 0.93


@pytest.mark.parametrize("each", [0, 2, 4])
def test_with_few_runs_the_pick_is_never_worse_than_the_rules(each: int) -> None:
    for world in WORLDS:
        if world.name != "failures with size":
            found = measure_regret(world, each, range(2), 5)
            assert found.regret() <= found.rules_regret() + 1e-9, world.name


def test_history_from_the_chosen_runtime_alone_keeps_the_regret_below_the_rules() -> None:
    found = simulate_online(WORLDS[0], 8, 20, range(3))
    assert found.regret() < found.rules_regret()
