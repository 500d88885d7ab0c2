"""`flexcore kubernetes render`: the objects of a Kubernetes job, without a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.kubernetes.manifests import YAML, job
from tests.wmlocal.engine.conftest import Command

# Nobody listens there, and the kubeconfig is none: no server is asked.
CLUSTER = {"mode": "kubeconfig", "kubeconfig": "PASTE A KUBECONFIG HERE"}
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: open-sesame}\n---\n"


def parameters(**given: Any) -> tuple[str, str]:
    return "--parameters", json.dumps({"cluster": CLUSTER, **given})


def test_a_manifest_is_printed_as_kubectl_prints_it_and_what_was_changed_goes_to_stderr(flexcore: Command) -> None:
    done = flexcore("kubernetes", "render", *parameters(manifest=SECRET + YAML, secrets={"KEY": "sesame-2"}))
    assert done.returncode == 0
    body, own, beside = yaml.safe_load_all(done.stdout)
    assert (body["kind"], body["metadata"]["namespace"]) == ("Job", "default")
    assert own["stringData"] == {"KEY": "***"} and beside["stringData"] == {"p": "***"}
    assert "note: metadata.name: load becomes" in done.stderr
    assert "sesame" not in done.stdout + done.stderr


def test_a_secret_is_masked_wherever_a_manifest_repeats_it(flexcore: Command) -> None:
    written = job(container={"args": ["--key=sesame-2"]})
    done = flexcore("kubernetes", "render", *parameters(manifest=written, secrets={"KEY": "sesame-2"}), "--json")
    assert "sesame" not in done.stdout and "--key=***" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DB_PASSWORD", "postgres", "***"),
        ("API_TOKEN", "tok-12345", "***"),
        ("AWS_SECRET_ACCESS_KEY", "a/b", "***"),
        ("DATABASE_URL", "postgres://ann:hunter2@db/x", "postgres://ann:***@db/x"),
        ("MAX_TOKENS", "512", "512"),
        ("TOKENIZERS_PARALLELISM", "false", "false"),
        ("PASSWORD_FILE", "/run/secrets/db", "/run/secrets/db"),
        ("API_TOKEN", "$(KEY)", "$(KEY)"),
        ("MODE", "postgres", "postgres"),
    ],
)
def test_a_variable_that_is_called_a_secret_is_masked(flexcore: Command, name: str, value: str, shown: str) -> None:
    written = job(container={"image": "postgres:16", "env": [{"name": name, "value": value}]})
    done = flexcore("kubernetes", "render", *parameters(manifest=written), "--json")
    (container,) = json.loads(done.stdout)["objects"][0]["spec"]["template"]["spec"]["containers"]
    assert (container["env"], container["image"]) == ([{"name": name, "value": shown}], "postgres:16")


def test_two_prints_of_one_request_differ_in_the_deadline_alone(flexcore: Command) -> None:
    prints = [json.loads(flexcore("kubernetes", "render", *parameters(image="busybox"), "--json").stdout) for _ in "12"]
    for item in prints:
        assert item["objects"][0]["metadata"]["annotations"].pop("flexcore/deadline")
    assert prints[0] == prints[1] and prints[0]["notes"] == []


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({"namespace": "asked"}, "asked"),
        ({"manifest": job(namespace="written"), "image": ""}, "written"),
        ({"cluster": {**CLUSTER, "namespace": "own"}}, "own"),
        ({"cluster": "$res:f/x/cluster", "settings": {"namespace": "settled"}}, "settled"),
        ({}, "default"),
    ],
)
def test_the_namespace_is_the_one_that_the_step_would_choose(
    flexcore: Command, given: dict[str, Any], namespace: str
) -> None:
    done = flexcore("kubernetes", "render", *parameters(**{"image": "busybox", **given}), "--json")
    assert json.loads(done.stdout)["objects"][0]["metadata"]["namespace"] == namespace


@pytest.mark.parametrize(
    ("given", "subject", "remedy"),
    [
        (
            {"manifest": job(pod={"imagePullPolicy": "Always"})},
            "manifest.spec.template.spec.imagePullPolicy",
            "containers",
        ),
        ({"image": "busybox", "memory": "500m"}, "memory", "500Mi"),
        ({"image": "busybox", "comand": ["x"]}, "comand", "Write command."),
        ({"image": "busybox", "namespace": "Bad_Name"}, "namespace", "lower-case"),
        ({"image": "busybox", "namespace": "a", "manifest": job(namespace="b")}, "image", "either"),
        ({"manifest": job(namespace="b"), "namespace": "a"}, "namespace", "one of the two"),
        ({}, "image", "Name an image"),
    ],
)
def test_bad_input_is_the_steps_own_error(flexcore: Command, given: dict[str, Any], subject: str, remedy: str) -> None:
    done = flexcore("kubernetes", "render", *parameters(**given), "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 2 and error.keys() == {"category", "message", "subject", "remedy"}
    assert (error["category"], error["subject"]) == ("invalid_input", subject) and remedy in error["remedy"]
    plain = flexcore("kubernetes", "render", *parameters(**given))
    assert plain.returncode == 2 and plain.stdout == "" and error["message"] in plain.stderr


def test_parameters_that_cannot_be_read_are_an_error_in_json_too(flexcore: Command) -> None:
    done = flexcore("kubernetes", "render", "--parameters", "@nowhere.json", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 2 and "nowhere.json" in error["message"]
    assert (error["category"], error["subject"]) == ("invalid_input", "--parameters")
    assert error["remedy"] == "Give a JSON file as @file."
