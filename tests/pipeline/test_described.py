"""The forms of the data pipeline against those of the execute flows, and what a request is refused for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.forms import FORMS, DeclaredWork
from f.flexcore.lib.pipeline.candidates import OPAQUE, SERVICE, described, plain_work

ROOT = Path(__file__).parent.parent.parent / "f/flexcore"
# Inputs of the execute flows that the pipeline gives itself, or that belong to a deployment.
OWN = {
    "meltano": {"settings"},
    "ray": {"settings", "expected_s", "model", "name", "replicas", "cpus"},
    "kubernetes": {"settings", "expected_s", "operation", "model", "name", "replicas", "model_source", "service_type"},
}
RAY = {"cluster": {"address": "http://127.0.0.1:1"}, "program": "result = 1"}


def flow(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / f"{path}__flow/flow.yaml").read_text()))


@pytest.mark.parametrize("runtime", FORMS)
def test_a_runtimes_form_has_every_input_of_its_execute_flow_with_the_same_default(runtime: str) -> None:
    inputs = flow(f"{runtime}/execute")["schema"]["properties"]
    form = flow("data_pipeline")["schema"]["properties"][runtime]["properties"]
    # `more` says which of the others are shown.
    assert set(form) - {"more"} == set(inputs) - OWN[runtime]
    assert set(form) - {SERVICE[runtime]} == set(FORMS[runtime].model_fields)
    for name, field in FORMS[runtime].model_fields.items():
        if not field.is_required() and name != "operation":
            assert (form[name].get("default") or None) == (field.default or None), name


def test_a_form_sends_nothing_of_a_runtime_that_is_not_asked_for() -> None:
    # Windmill's form fills in every part that it shows, and sends none that it hides.
    fields = flow("data_pipeline")["schema"]["properties"]
    assert fields["shown"]["items"]["enum"] == list(FORMS)
    assert [fields[name]["showExpr"] for name in FORMS] == [f"fields.shown?.includes('{name}')" for name in FORMS]


def test_a_form_that_is_left_alone_declares_nothing_of_the_workload() -> None:
    # A form sends false for a switch that nobody has touched.
    fields = flow("data_pipeline")["schema"]["properties"]["workload"]["properties"]
    sent = {name: False if field["type"] == "boolean" else field.get("default") for name, field in fields.items()}
    assert DeclaredWork.model_validate(sent) == DeclaredWork()
    assert DeclaredWork.model_validate({"containerized": "yes", "parallelizable": "no"}) == DeclaredWork(
        containerized=True, parallelizable=False
    )


def test_only_what_is_given_takes_part_and_what_may_be_secret_is_in_no_result() -> None:
    secret = {"parameters": {"key": "sesame"}, "secrets": {"TOKEN": "sesame"}, "runtime_env": {"env_vars": {"A": "b"}}}
    work = described({"meltano": None, "ray": RAY | secret, "kubernetes": {}})
    assert list(work) == ["ray"]
    plain = plain_work(work)
    assert plain["meltano"] is plain["kubernetes"] is None
    assert not set(OPAQUE) & set(plain["ray"])
    assert "sesame" not in str(plain) and "cluster" not in plain["ray"]


@pytest.mark.parametrize(
    ("asked", "pin", "subject"),
    [
        ({}, "", "meltano"),
        ({"ray": {"program": "x"}}, "", "ray.cluster"),
        ({"meltano": {"taps": ["tap-a"]}}, "", "meltano.project"),
        ({"meltano": {"project": {"path": "/x"}}}, "", "meltano.taps"),
        ({"ray": {**RAY, "num_cpu": 1}}, "", "ray.num_cpu"),
        ({"kubernetes": {"cpu": "lots"}}, "", "kubernetes.cpu"),
        ({"kubernetes": "busybox"}, "", "kubernetes"),
        ({"ray": RAY}, "meltano", "pin"),
        ({"ray": RAY}, "moon", "pin"),
    ],
)
def test_a_wrong_form_is_refused_by_its_field(asked: dict[str, Any], pin: str, subject: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        described(asked, pin)
    assert caught.value.subject == subject
