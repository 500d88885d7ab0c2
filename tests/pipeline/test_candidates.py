"""The data pipeline's form: what a request is refused for, before anything is asked or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import resources
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput
from f.flexcore.lib.core.forms import DeclaredWork
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.pipeline.candidates import parse_request, validate_candidates
from f.flexcore.lib.pipeline.choice import describe_candidates

FLOW = Path(__file__).parent.parent.parent / "f/flexcore/data_pipeline__flow/flow.yaml"
PROJECT = {"path": "/x"}
RAY = {"cluster": {"address": "http://127.0.0.1:1"}, "program": "result = 1"}
TRAINING = {"cluster": {"address": "http://127.0.0.1:1"}, "operation": "train", "target_column": "delay"}
KUBERNETES = {"image": "busybox"}


def schema() -> dict[str, Any]:
    return dict(yaml.safe_load(FLOW.read_text())["schema"]["properties"])


def test_a_form_sends_nothing_of_a_runtime_that_is_not_asked_for() -> None:
    # Windmill's form fills in every part that it shows, and sends none that it hides.
    fields = schema()
    assert fields["shown"]["items"]["enum"] == list(runtimes.RUNTIMES)
    shown = {name: fields[name]["showExpr"] for name in runtimes.RUNTIMES}
    assert shown == {name: f"fields.shown?.includes('{name}')" for name in runtimes.RUNTIMES}


def test_a_form_that_is_left_alone_declares_nothing_of_the_workload() -> None:
    # A form sends false for a switch that nobody has touched.
    fields = schema()["workload"]["properties"]
    sent = {name: False if field["type"] == "boolean" else field.get("default") for name, field in fields.items()}
    assert DeclaredWork.model_validate(sent) == DeclaredWork()
    assert DeclaredWork.model_validate({"containerized": "yes", "parallelizable": "no"}) == DeclaredWork(
        containerized=True, parallelizable=False
    )


def test_only_what_is_given_takes_part_and_what_may_be_secret_is_in_no_result() -> None:
    secret = {"parameters": {"key": "sesame"}, "secrets": {"TOKEN": "sesame"}, "runtime_env": {"env_vars": {"A": "b"}}}
    works = parse_request({"meltano": None, "ray": RAY | secret, "kubernetes": {}}).candidates
    assert list(works) == ["ray"]
    plain = describe_candidates(works, {"ray": ""}, "rules")
    assert plain["meltano"] is plain["kubernetes"] is None
    assert not set(resources.marked_fields(type(works["ray"].request))) & set(plain["ray"])
    assert "sesame" not in str(plain) and "cluster" not in plain["ray"]


def test_a_field_of_the_operation_that_is_not_chosen_is_ignored_and_one_of_none_is_refused() -> None:
    both = RAY | {"num_workers": 0, "target_column": "delay"}
    assert validate_candidates({"ray": both}, Settings())["ray"].operation.name == "program"
    with pytest.raises(InvalidInput, match=r"ray\.num_workers"):
        validate_candidates({"ray": both | {"operation": "train"}}, Settings())
    with pytest.raises(InvalidInput, match=r"ray\.num_worker is not a known field"):
        validate_candidates({"ray": RAY | {"num_worker": 1}}, Settings())


def test_a_training_reads_the_manifest_of_the_data_unless_it_names_one() -> None:
    manifest = {"kind": "data", "uri": "file:///x", "format": "jsonl"}
    with pytest.raises(FlexcoreError) as caught:
        validate_candidates({"ray": TRAINING}, Settings(), {**manifest, "bytes": "many"})
    assert "bytes" in str(caught.value)
    work = validate_candidates({"ray": TRAINING}, Settings())["ray"]
    assert work.plain()["source"] is None


@pytest.mark.parametrize(
    ("form", "subject"),
    [
        ({}, "meltano"),
        ({"ray": {"program": "x"}}, "ray.cluster"),
        ({"ray": RAY | {"cluster": {"adress": "http://127.0.0.1:1"}}}, "ray.cluster.adress"),
        ({"ray": RAY | {"packages": ["--index-url=x"]}}, "ray.packages"),
        ({"ray": RAY | {"program": "result ="}}, "ray.program"),
        ({"ray": RAY | {"operation": "cook"}}, "ray.operation"),
        ({"ray": TRAINING | {"model_name": "My Model!"}}, "ray.model_name"),
        ({"ray": TRAINING | {"target_column": ""}}, "ray.target_column"),
        ({"ray": {**RAY, "num_cpu": 1}}, "ray.num_cpu"),
        ({"ray": {**RAY, "wait": "perhaps"}}, "ray.wait"),
        ({"meltano": {"taps": ["tap-a"]}}, "meltano.project"),
        ({"meltano": {"project": PROJECT}}, "meltano.taps"),
        ({"meltano": {"project": PROJECT, "taps": ["tap-a", "tap-a"]}}, "meltano.taps"),
        ({"kubernetes": KUBERNETES | {"cpu": "lots"}}, "kubernetes.cpu"),
        ({"kubernetes": KUBERNETES | {"namespace": "Bad_Name"}}, "kubernetes.namespace"),
        ({"kubernetes": {"image": "two words"}}, "kubernetes.image"),
        ({"kubernetes": KUBERNETES | {"env": ["no-equals-sign"]}}, "kubernetes.env"),
        ({"kubernetes": "busybox"}, "kubernetes"),
        ({"ray": RAY, "settings": {"storage_uri": "ftp://x"}}, "settings.storage_uri"),
        ({"ray": RAY, "pin": "meltano"}, "pin"),
        ({"ray": RAY, "pin": "moon"}, "pin"),
        ({"ray": RAY, "meltanoo": {}}, "meltanoo"),
    ],
)
def test_a_wrong_form_is_refused_by_its_field(form: dict[str, Any], subject: str) -> None:
    with pytest.raises(FlexcoreError) as caught:
        parse_request(form)
    assert caught.value.subject.startswith(subject), caught.value


def test_every_problem_of_every_section_is_told_at_once() -> None:
    form = {
        "meltano": {"taps": []},
        "ray": RAY | {"packages": ["--index-url=x"], "num_cpus": -1},
        "kubernetes": KUBERNETES | {"cpu": "lots"},
        "data": {"size": "much"},
        "deadline_s": -1,
    }
    with pytest.raises(InvalidInput) as caught:
        parse_request(form)
    for field in (
        "meltano.project",
        "meltano.taps",
        "ray.packages",
        "ray.num_cpus",
        "kubernetes.cpu",
        "data.size",
        "deadline_s",
    ):
        assert field in str(caught.value)
