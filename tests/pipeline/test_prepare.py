"""The first step of the hybrid pipeline: what is wrong anywhere is told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.pipeline.hybrid_request import Given, parse_stages
from f.flexcore.pipeline.prepare import main

EXTRACTION = {"project": {"path": "/p"}, "taps": ["tap-csv"]}
ML = {"cluster": {}, "target_column": "delay"}
TOKEN = {"server": "https://127.0.0.1:6443", "token": "open-sesame"}
KUBERNETES = {"target": "kubernetes", "cluster": TOKEN}
LOCAL_STORE = {"storage_uri": "s3://lake/x", "storage_endpoint_url": "http://localhost:9000"}
S3 = {"storage_uri": "s3://lake/flexcore", "storage_access_key": "a", "storage_secret_key": "b"}


def test_every_part_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        main({"project": {"path": "/p"}}, {"cluster": {}}, {"replicas": 0}, settings=file_store(tmp_path))
    for problem in ("extraction.taps is missing", "ml.target_column is missing", "deployment.replicas: "):
        assert problem in str(caught.value)
    assert str(caught.value).count("Correct the named field") == 1


@pytest.mark.parametrize(
    ("change", "settings", "subject"),
    [
        ({"cluster": {"kubeconfig": "not: [one"}}, S3, "deployment.cluster.kubeconfig"),
        ({"cluster": {"server": "https://x"}}, S3, "deployment.cluster.token"),
        ({"cluster": {"servr": "x"}}, S3, "deployment.cluster.servr"),
        ({"namespace": "Bad_Name"}, S3, "deployment.namespace"),
        ({"image": "two words"}, S3, "deployment.image"),
        ({}, {}, "deployment.settings.storage_uri"),
        ({}, LOCAL_STORE, "deployment.settings.storage_endpoint_url"),
        ({"model_source": "nonsense"}, S3, "deployment.model_source"),
        ({"model_source": "pvc://Bad_Claim/x"}, S3, "deployment.model_source"),
        ({"name": "My Model!"}, S3, "deployment.name"),
        ({"resources": {"cpu": "2Gi"}}, S3, "deployment.resources.cpu"),
        ({"cpu": "2"}, S3, "deployment.cpu"),
        ({"target": "meltano"}, S3, "deployment.target"),
        ({"replica": 2}, S3, "deployment.replica"),
    ],
)
def test_a_deployment_that_cannot_be_is_told_before_the_extraction(
    change: dict[str, Any], settings: dict[str, Any], subject: str, tmp_path: Path
) -> None:
    with pytest.raises(FlexcoreError) as caught:
        main(EXTRACTION, ML, KUBERNETES | change, settings=settings or file_store(tmp_path))
    assert caught.value.subject == subject
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("change", [{"model_source": "image"}, {"model_source": "pvc://models/a"}])
def test_a_model_that_reaches_its_pod_otherwise_needs_no_s3(change: dict[str, Any]) -> None:
    given: Given = {"extraction": EXTRACTION, "ml": ML, "deployment": KUBERNETES | change}
    assert parse_stages(given, Settings(storage_uri="file:///store"))["deployment"].runtime.name == "kubernetes"


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"cluster": None}, "ml.cluster"),
        ({"cluster": {"adress": "http://127.0.0.1:8265"}}, "ml.cluster.adress"),
        ({"packages": ["--index-url=x"]}, "ml.packages"),
        ({"model_name": "My Model!"}, "ml.model_name"),
        ({"test_fraction": 1}, "ml.test_fraction"),
        ({"target_colum": "delay"}, "ml.target_colum"),
    ],
)
def test_a_training_that_cannot_be_is_told_before_the_extraction(
    change: dict[str, Any], subject: str, tmp_path: Path
) -> None:
    with pytest.raises(FlexcoreError) as caught:
        main(EXTRACTION, ML | change, {"target": "ray"}, settings=file_store(tmp_path))
    assert caught.value.subject.startswith(subject)
    assert str(caught.value).startswith(subject)


def test_a_store_on_this_machine_is_refused_for_a_cluster_elsewhere() -> None:
    far = ML | {"cluster": {"address": "http://ray.example.com:8265"}}
    with pytest.raises(FlexcoreError) as caught:
        main(EXTRACTION, far, {"target": "ray"}, settings=LOCAL_STORE)
    assert caught.value.subject == "ml.settings.storage_endpoint_url"


def test_a_field_of_another_target_is_ignored(tmp_path: Path) -> None:
    deployment = {"target": "ray", "model_source": "", "namespace": "x"}
    given: Given = {"extraction": EXTRACTION, "ml": ML, "deployment": deployment}
    stages = parse_stages(given, Settings(storage_uri=tmp_path.as_uri()))
    assert stages["deployment"].plain()["cpus"] == 0.5
    assert stages["deployment"].service == stages["ml"].service


def file_store(folder: Path) -> dict[str, Any]:
    return {"storage_uri": folder.as_uri()}


def test_a_list_that_was_left_empty_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^extraction\.taps is empty: give at least one") as caught:
        main(EXTRACTION | {"taps": []}, ML, {"target": "ray"}, settings=file_store(tmp_path))
    assert caught.value.subject == "extraction.taps"
