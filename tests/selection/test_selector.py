from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.workloads import Market, Run, Selection, Workload
from f.flexcore.lib.runtimes import RUNTIMES
from f.flexcore.lib.selection import rules
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.selector import NONE_SUITABLE, select

ALL = ["meltano", "ray", "kubernetes"]


def workload(**fields: Any) -> Workload:
    return Workload.model_validate({"workflow_type": "sync", "runtimes": ALL, **fields})


def market(**runtimes: dict[str, Any]) -> Market:
    return Market.model_validate({"runtimes": runtimes})


def reasons(answer: Selection) -> dict[str, str]:
    return {item.runtime: item.reason for item in answer.candidates}


@pytest.mark.parametrize(
    ("fields", "runtime"),
    [
        ({"data_size": "9.99GB", "complexity": "simple"}, "meltano"),
        ({"data_size": "9.99GB", "complexity": "simple", "resources": {"scaling": "high"}}, "meltano"),
        ({"data_size": "10GB", "complexity": "simple", "resources": {"scaling": "high"}}, "kubernetes"),
        ({"data_size": "5GB", "complexity": "complex", "resources": {"scaling": "high"}}, "kubernetes"),
        ({"data_size": "100GB", "complexity": "simple"}, "meltano"),
        ({"data_size": "100.1GB", "complexity": "simple"}, "ray"),
        ({"data_size": "100GiB"}, "ray"),
        ({"data_size": "500GB", "resources": {"scaling": "high"}}, "ray"),
        ({"data_size": "1GB", "complexity": "ml"}, "ray"),
        ({"complexity": "ml", "resources": {"scaling": "high"}}, "ray"),
        ({"data_size": "50GB", "resources": {"scaling": "medium"}}, "meltano"),
        ({"data_size": None, "complexity": "simple", "resources": {"scaling": "high"}}, "kubernetes"),
        ({}, "meltano"),
        ({"step_type": "singer_tap", "data_size": "1TB", "complexity": "ml"}, "meltano"),
        ({"step_type": "dbt_model", "resources": {"cpu": 64, "parallelizable": True}}, "meltano"),
        ({"step_type": "train", "resources": {"cpu": 8, "parallelizable": True}}, "ray"),
        ({"step_type": "train", "resources": {"gpu": 1, "parallelizable": True}}, "ray"),
        ({"step_type": "train", "resources": {"memory": "64GiB", "parallelizable": True}}, "ray"),
        ({"step_type": "train", "resources": {"cpu": 1, "parallelizable": True}}, "meltano"),
        ({"step_type": "train", "resources": {"cpu": 8}}, "meltano"),
        ({"step_type": "serve", "resources": {"containerized": True, "scaling": "high"}}, "kubernetes"),
        ({"step_type": "serve", "resources": {"containerized": True, "scaling": "low"}}, "meltano"),
        ({"step_type": "copy", "complexity": "ml"}, "meltano"),
    ],
)
def test_without_history_the_base_rules_decide(fields: dict[str, Any], runtime: str) -> None:
    answer = select(workload(**fields), None, Market())
    assert (answer.runtime, answer.mode, answer.error) == (runtime, "rules", None)
    assert "no history" in answer.reason


def test_kubernetes_runs_in_the_production_namespace_unless_the_settings_say_otherwise() -> None:
    scaled = workload(resources={"scaling": "high"})
    assert select(scaled, None, Market()).namespace == "flext-production"
    named = select(scaled, None, market(kubernetes={"namespace": "batch"}))
    assert named.namespace == "batch" and "namespace batch" in named.reason
    assert select(workload(), None, Market()).namespace is None


@pytest.mark.parametrize(
    ("state", "reason"), [({"enabled": False}, "disabled in the settings"), ({"healthy": False}, "not healthy")]
)
def test_the_next_rule_decides_when_the_pick_cannot_be_used(state: dict[str, Any], reason: str) -> None:
    large = workload(data_size="1TB", resources={"scaling": "high"})
    answer = select(large, None, market(ray=state))
    assert answer.runtime == "kubernetes"
    assert reason in reasons(answer)["ray"]
    assert [item.runtime for item in answer.candidates] == ["kubernetes", "meltano", "ray"]


def test_among_runtimes_that_no_rule_names_the_settings_priority_decides() -> None:
    small = workload(data_size="1GB", complexity="simple")
    first = select(small, None, market(meltano={"enabled": False}, ray={"priority": 3}, kubernetes={"priority": 2}))
    assert first.runtime == "kubernetes" and "by its priority 2" in first.reason
    second = select(small, None, market(meltano={"enabled": False}, kubernetes={"priority": 9}))
    assert second.runtime == "kubernetes", "what has no priority comes after what has one"
    assert select(small, None, market(meltano={"enabled": False})).runtime == "ray"
    assert select(small, None, market(meltano={"priority": 9}, ray={"priority": 1})).runtime == "meltano", (
        "a rule goes first"
    )


def test_health_that_was_not_measured_is_mentioned_and_excludes_nothing() -> None:
    answer = select(workload(), None, market(meltano={"healthy": None}, ray={"healthy": True}))
    assert answer.runtime == "meltano"
    assert "health was not measured" in reasons(answer)["meltano"]
    assert "measured" not in reasons(answer)["ray"]


def test_no_candidate_is_an_error_with_the_reason_of_each_runtime() -> None:
    answer = select(workload(runtimes=["ray", "spark"]), None, market(ray={"healthy": False}))
    assert answer.runtime is None and answer.error == NONE_SUITABLE
    assert answer.reason == (
        "No suitable runtime available: ray: it is not healthy now; "
        "spark: unknown runtime (known: meltano, ray, kubernetes); "
        "meltano: the pipeline does not describe it; kubernetes: the pipeline does not describe it"
    )
    assert not any(item.eligible for item in answer.candidates)


def test_a_runtime_of_the_settings_is_a_candidate_like_any_other() -> None:
    answer = select(workload(runtimes=["spark"]), None, market(spark={}))
    assert answer.runtime == "spark"


def test_a_runtime_that_no_rule_names_wins_by_its_history_its_priority_and_a_pin() -> None:
    market = Market.model_validate({"runtimes": {"spark": {"priority": 1, "namespace": "batch"}, "meltano": {}}})
    asked = workload(runtimes=["meltano", "spark"], data_size="1GB", objective="time")
    rows = [
        {"workflow_type": "sync", "runtime": name, "data_size_bytes": 10**9, "duration_s": seconds + n, "success": True}
        for name, seconds in (("meltano", 100), ("spark", 10))
        for n in range(8)
    ]
    learned = select(asked, fit_forecasts(Run.model_validate(row) for row in rows), market)
    assert (learned.runtime, learned.mode, learned.namespace) == ("spark", "learned", "batch")
    pinned = select(workload(runtimes=["spark", "ray"], pin="spark"), None, market)
    assert (pinned.runtime, pinned.mode, pinned.namespace) == ("spark", "pinned", "batch")
    down = {"spark": {"priority": 1}, "ray": {}, "meltano": {"healthy": False}}
    answer = select(workload(runtimes=["meltano", "ray", "spark"]), None, Market.model_validate({"runtimes": down}))
    assert answer.runtime == "spark" and "by its priority 1" in answer.reason


def test_history_names_no_namespace_of_its_own() -> None:
    rows = [
        {"workflow_type": "sync", "runtime": name, "data_size_bytes": 10**9, "duration_s": seconds + n, "success": True}
        for name, seconds in (("meltano", 100), ("kubernetes", 10))
        for n in range(8)
    ]
    model = fit_forecasts(Run.model_validate(row) for row in rows)
    asked = workload(runtimes=["meltano", "kubernetes"], data_size="1GB", objective="time")
    answer = select(asked, model, Market())
    assert (answer.runtime, answer.mode, answer.namespace) == ("kubernetes", "learned", None)
    assert select(asked, model, market(kubernetes={"namespace": "batch"})).namespace == "batch"


def test_the_rules_know_the_runtimes_of_their_tables_in_order() -> None:
    assert rules.RUNTIMES == ("meltano", "ray", "kubernetes")
    assert set(rules.RUNTIMES) <= set(RUNTIMES), "the rules lead to runtimes of the registry"


def test_a_pin_decides() -> None:
    answer = select(workload(pin="kubernetes", data_size="1TB"), None, Market())
    assert (answer.runtime, answer.mode, answer.namespace) == ("kubernetes", "pinned", "flext-production")
    assert "ray is pinned" not in reasons(answer)["ray"] and "kubernetes is pinned" in reasons(answer)["ray"]


@pytest.mark.parametrize(
    ("pin", "states", "reason"),
    [
        ("ray", {"ray": {"enabled": False}}, "disabled"),
        ("ray", {"ray": {"healthy": False}}, "not healthy"),
        ("spark", {}, "unknown runtime"),
    ],
)
def test_a_pin_that_cannot_be_used_is_an_error_and_nothing_is_chosen_instead(
    pin: str, states: dict[str, Any], reason: str
) -> None:
    answer = select(workload(pin=pin), None, market(**states))
    assert answer.runtime is None and answer.mode == "pinned"
    assert answer.error and reason in answer.error and "Remove the pin" in answer.error
