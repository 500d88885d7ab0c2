"""What a Job's program is handed, and what it hands on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest, File, compute_checksum
from f.flexcore.lib.core.errors import DataError, InvalidInput, ManifestMismatch
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.kubernetes import job_handover
from f.flexcore.lib.kubernetes.job_manifest import JobRequest, build
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import ends, job_story, true
from tests.kubernetes.test_run_job import jobs, run

Object = dict[str, Any]
FILE = {"path": "a.csv", "bytes": 3, "checksum": f"sha256:{'a' * 64}"}
MANIFEST: Object = {
    "kind": "data",
    "uri": "s3://b/x",
    "format": "csv",
    "checksum": compute_checksum([File.model_validate(FILE)]),
    "streams": [{"name": "a", "bytes": 3, "files": [FILE]}],
}
S3 = {"storage_uri": "s3://b/store", "storage_access_key": "AKIA", "storage_secret_key": "sesame-open"}


def hands_on(text: str) -> Any:
    return job_story(ends(message=text), conditions=[true("Complete")])


def variables(job: Object) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item["value"] for item in container.get("env", ())}


def test_inputs_lie_in_a_config_map_of_the_jobs_own_and_the_program_knows_where(cluster: FakeCluster) -> None:
    cluster.api.story = hands_on("{}")
    run(cluster, inputs={"raw-rows": MANIFEST, "n": {"rows": 3}})
    (job,), (stored,) = jobs(cluster), cluster.api.all("v1/configmaps")
    assert json.loads(stored["data"]["raw-rows.json"]) == MANIFEST and stored["immutable"] is True
    assert stored["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    known = variables(job)
    assert known["FLEXCORE_INPUT_RAW_ROWS"] == "/flexcore/inputs/raw-rows.json"
    assert known["FLEXCORE_INPUT_RAW_ROWS_URI"] == "s3://b/x" and "FLEXCORE_INPUT_N_URI" not in known
    pod = job["spec"]["template"]["spec"]
    (volume,) = [item for item in pod["volumes"] if "configMap" in item]
    assert volume["configMap"]["name"] == stored["metadata"]["name"]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == volume["name"]]
    assert mount["readOnly"] is True


def test_a_manifest_gets_its_inputs_in_each_container(cluster: FakeCluster) -> None:
    cluster.api.story = hands_on("{}")
    both = [
        {"name": "a", "image": "i", "env": [{"name": "FLEXCORE_INPUTS", "value": "mine"}]},
        {"name": "b", "image": "i"},
    ]
    spec = {"template": {"spec": {"containers": both, "restartPolicy": "Never"}}}
    run(cluster, image="", manifest={"apiVersion": "batch/v1", "kind": "Job", "spec": spec}, inputs={"a": {"x": 1}})
    first, second = jobs(cluster)[0]["spec"]["template"]["spec"]["containers"]
    assert first["env"][0] == {"name": "FLEXCORE_INPUTS", "value": "mine"} and len(first["env"]) == 2
    assert [mount["mountPath"] for mount in second["volumeMounts"]] == ["/flexcore/inputs"]


def test_each_attempt_has_a_folder_of_its_own_in_the_store_and_keys_travel_in_the_secret(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = hands_on(json.dumps(MANIFEST))
    result = run(cluster, output="manifest", options={"store_keys": True}, settings={**S3, "storage_region": "eu"})
    (job,) = jobs(cluster)
    known, key = variables(job), job["metadata"]["labels"]["flexcore/key"]
    assert known["FLEXCORE_OUTPUT_URI"] == f"s3://b/store/{key}/1" and known["AWS_REGION"] == "eu"
    assert cluster.api.all("v1/secrets")[0]["stringData"] == {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "sesame-open",
    }
    assert "sesame" not in f"{job}{result}{capsys.readouterr().out}"
    assert result["output"] == DataManifest.model_validate(MANIFEST).plain()


def test_a_long_manifest_is_read_from_the_store(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(MANIFEST))
    cluster.api.story = hands_on(json.dumps({"manifest": f"file://{tmp_path}/m.json"}))
    result = run(cluster, output="manifest", settings={"storage_uri": f"file://{tmp_path}"})
    assert result["output"]["uri"] == "s3://b/x"


@pytest.mark.parametrize(
    ("output", "text", "error", "words"),
    [
        ("json", "", DataError, "has handed on nothing"),
        ("json", "done", DataError, "is not JSON"),
        ("json", "[1]", DataError, "is no JSON object"),
        ("json", '{"a": "' + "x" * 4090, DataError, "is cut after 4096 bytes"),
        ("manifest", "{}", ManifestMismatch, "is no manifest"),
        ("manifest", json.dumps({**MANIFEST, "checksum": f"sha256:{'b' * 64}"}), ManifestMismatch, "own checksum"),
        ("manifest", '{"manifest": "file:///nowhere/m.json"}', DataError, "does not exist"),
        ("manifest", '{"manifest": "s3://elsewhere/m.json"}', InvalidInput, "is not in the configured store"),
    ],
)
def test_what_is_not_what_was_asked_for_fails_the_step_and_names_the_remedy(
    cluster: FakeCluster, output: str, text: str, error: type[DataError], words: str
) -> None:
    cluster.api.story = hands_on(text)
    with pytest.raises(error, match=words) as caught:
        run(cluster, output=output)
    assert caught.value.remedy and len(jobs(cluster)) == 1


def test_what_a_failed_pod_wrote_is_not_handed_on(cluster: FakeCluster) -> None:
    failed = job_story(ends(1, message='{"half": 1}'), conditions=[true("Complete")])
    cluster.api.story = failed
    with pytest.raises(DataError, match="handed on nothing"):
        run(cluster, output="json")


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ({"inputs": {"bad name": {}}}, "inputs.bad name"),
        ({"inputs": {"a": "s3://b/x"}}, "inputs.a"),
        ({"inputs": {"a": {"x": "y" * 1_000_001}}}, "inputs"),
        ({"output": "manifest", "options": {"indexed": True, "completions": 2}}, "output"),
        ({"output": "json", "options": {"completions": 2}}, "output"),
        ({"options": {"store_keys": True}}, "settings.storage_uri"),
        (
            {"options": {"store_keys": True}, "settings": {**S3, "storage_endpoint_url": "http://localhost:9000"}},
            "settings.storage_endpoint_url",
        ),
        (
            {"options": {"store_keys": True}, "settings": {**S3, "storage_endpoint_url": "http://[::]:9000"}},
            "settings.storage_endpoint_url",
        ),
    ],
)
def test_what_cannot_be_handed_over_is_named_before_the_cluster_is_asked(
    cluster: FakeCluster, arguments: Object, subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(cluster, **arguments)
    assert caught.value.subject == subject and caught.value.remedy and not cluster.api._requests


def test_without_a_store_that_pods_reach_there_is_no_folder() -> None:
    request = JobRequest(image="i", output="json")
    job = build(request, "fc-1", "work").job
    job_handover.add_to_job(job, request, Settings(), "")
    assert variables(job) == {"FLEXCORE_OUTPUT": "/dev/termination-log"}
