"""Shares of the requests for versions of a model: who gets what, whose applications they are, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from f.flexcore.lib.core.errors import Conflict, InvalidInput
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.ray import serve_job, serve_release, service_spec
from f.flexcore.lib.ray.remote import serve_apps, serve_traffic, traffic
from f.flexcore.lib.ray.remote.shared_storage import Problem

OURS = {"deployments": {"model": {"deployment_config": {"user_config": {"flexcore/key": "fc-1"}}}}}
THEIRS: dict[str, Any] = {"deployments": {"web": {"deployment_config": {"user_config": None}}}}
STATE = {"weights": {"1": 100.0}, "applications": {"1": "m--1"}, "model": "m", "before": {}, "changed_by": "fc-0"}
ROLL_BACK: dict[str, Any] = {"rollback": True, "app": "m", "weights": {}, "from_revision": 0}


def test_requests_are_shared_by_weight_and_none_go_to_a_version_without() -> None:
    shares = traffic.Shares({"1": 90, "2": 10, "3": 0})
    counts = Counter(shares.choose() for _ in range(20_000))
    assert set(counts) == {"1", "2"}
    assert 0.08 < counts["2"] / 20_000 < 0.12


def test_a_key_goes_to_the_same_version_always_and_keys_are_spread_by_weight() -> None:
    shares = traffic.Shares({"1": 75, "2": 25})
    chosen = {key: shares.choose(key) for key in map(str, range(4000))}
    assert all(shares.choose(key) == version for key, version in chosen.items())
    assert 0.22 < Counter(chosen.values())["2"] / 4000 < 0.28


def test_a_key_that_had_a_version_keeps_it_when_that_gets_more() -> None:
    before, after = traffic.Shares({"1": 10, "2": 90}), traffic.Shares({"1": 50, "2": 50})
    keys = [key for key in map(str, range(2000)) if before.choose(key) == "1"]
    assert all(after.choose(key) == "1" for key in keys)


@pytest.mark.parametrize(
    ("version", "name"), [("1", "m--1"), ("fc-12ab-1", "m--fc-12ab-1"), ("a/b", "m--" + "c14cddc033f6")]
)
def test_a_version_has_an_application_of_its_own(version: str, name: str) -> None:
    assert serve_apps.name_version_app("m", version) == name


@pytest.mark.parametrize(
    ("known", "weight", "weights"),
    [
        ({}, 10, {"2": 100.0}),
        ({"weights": {"1": 100.0}}, 10, {"1": 90.0, "2": 10.0}),
        ({"weights": {"1": 100.0}}, 0, {"1": 100.0, "2": 0.0}),
        ({"weights": {"1": 100.0}}, 100, {"1": 0.0, "2": 100.0}),
        ({"weights": {"1": 75.0, "3": 25.0}}, 20, {"1": 60.0, "3": 20.0, "2": 20.0}),
        ({"weights": {"1": 50.0, "2": 50.0}}, 20, {"1": 80.0, "2": 20.0}),
    ],
)
def test_a_new_version_takes_its_share_from_all_others_alike(
    known: dict[str, Any], weight: float, weights: dict[str, float]
) -> None:
    state = serve_apps.merge_version(known, "2", "m--2", weight)
    assert state["weights"] == pytest.approx(weights)
    assert state["before"] == known.get("weights", {})
    assert state["applications"] == {"2": "m--2"}


def test_weights_are_made_percent_and_versions_that_are_not_named_get_nothing() -> None:
    assert serve_apps.check_weights({"1": 1, "2": 3}, ["1", "2", "3"], "m") == {"1": 25.0, "2": 75.0, "3": 0.0}


def test_a_version_that_is_not_deployed_is_refused_by_name() -> None:
    with pytest.raises(Problem, match=r"m has no version '9' \(deployed: 1, 2\)") as caught:
        serve_apps.check_weights({"9": 1}, ["1", "2"], "m")
    assert caught.value.flexcore["subject"] == "weights"


@pytest.mark.parametrize(
    ("before", "words"),
    [({}, "its weights were never changed"), ({"0": 100.0}, "version '0' is not deployed any more")],
)
def test_a_rollback_to_what_is_not_there_is_refused(before: dict[str, float], words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        serve_traffic.choose_weights(ROLL_BACK, {**STATE, "before": before})
    assert caught.value.flexcore["subject"] == "rollback"


def test_a_rollback_gives_the_shares_before_the_last_change() -> None:
    known = {**STATE, "applications": {"1": "m--1", "2": "m--2"}, "before": {"1": 90.0, "2": 10.0}}
    assert serve_traffic.choose_weights(ROLL_BACK, known) == {"1": 90.0, "2": 10.0}


def test_shares_that_were_changed_since_they_were_shown_are_not_taken_back_again() -> None:
    """What a roll back has left is the state before, so a second one would bring it back."""
    shown = {**STATE, "applications": {"1": "m--1", "2": "m--2"}, "weights": {"2": 100.0}, "before": {"1": 100.0}}
    seen = {**ROLL_BACK, "from_revision": 7}
    assert serve_traffic.choose_weights(seen, {**shown, "token": 7}) == {"1": 100.0, "2": 0.0}
    rolled_back = {**shown, "weights": {"1": 100.0, "2": 0.0}, "before": {"2": 100.0}, "token": 8}
    with pytest.raises(Problem, match=r"The shares of m were changed since revision 7: they are 1 100 %$") as caught:
        serve_traffic.choose_weights(seen, rolled_back)
    assert (caught.value.flexcore["type"], caught.value.flexcore["subject"]) == ("Conflict", "from_revision")
    with pytest.raises(Conflict, match="Nothing was changed"):
        service_spec.choose_weights("m", rolled_back, {}, True, 7)
    assert serve_traffic.choose_weights(ROLL_BACK, rolled_back) == {"1": 0.0, "2": 100.0}, "who names none, takes any"


def test_an_application_of_anothers_by_the_name_of_a_version_is_left_alone() -> None:
    with pytest.raises(Problem, match="'m--2' exists already, and flexcore did not deploy it"):
        serve_apps.check_name("m", {"m": OURS, "m--2": THEIRS})
    assert serve_apps.list_version_apps("m", {"m": OURS, "m--1": OURS, "mm--1": OURS, "other": THEIRS}) == ["m--1"]


def test_another_model_does_not_come_beside_one_that_is_served() -> None:
    config = {"flexcore/key": "fc-1", "flexcore/traffic": STATE}
    known = {"m": {"deployments": {"traffic": {"deployment_config": {"user_config": config}}}}}
    serve_traffic.check_application("m", {"name": "m"}, known)
    with pytest.raises(Problem, match="the application 'm' serves the model 'm', not 'other'"):
        serve_traffic.check_application("m", {"name": "other"}, known)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "weights is empty"),
        ({"weights": {"1": 1}, "rollback": True}, "exclude each other"),
        ({"weights": {"1": -1}}, r"weights.1 is not a share"),
        ({"weights": {"1": 0}}, "gives no version any requests"),
    ],
)
def test_wrong_weights_are_refused_before_anything_is_asked(arguments: dict[str, Any], words: str) -> None:
    request = serve_release.SET_TRAFFIC.parse({"name": "m", **arguments})
    with pytest.raises(InvalidInput, match=words) as caught:
        serve_release.check_traffic(request, None, Settings())
    assert caught.value.subject == "weights"
    assert caught.value.remedy


def test_scaling_is_what_ray_serve_takes_and_none_without_a_maximum() -> None:
    assert serve_job.scaling_config(None) is None
    assert serve_job.scaling_config(serve_job.Autoscaling()) is None
    config = serve_job.scaling_config(serve_job.Autoscaling(min_replicas=0, max_replicas=3, target_requests=4))
    assert config == {
        "min_replicas": 0,
        "initial_replicas": 1,
        "max_replicas": 3,
        "target_ongoing_requests": 4,
        "upscale_delay_s": 30,
        "downscale_delay_s": 600,
    }


def test_more_copies_at_least_than_at_most_are_refused() -> None:
    request = serve_job.DEPLOY_MODEL.parse({"autoscaling": {"min_replicas": 3, "max_replicas": 2}})
    with pytest.raises(InvalidInput, match=r"min_replicas: 3 is more than max_replicas \(2\)"):
        serve_job.check(request, None, Settings())
