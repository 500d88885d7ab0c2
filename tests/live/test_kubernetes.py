"""The Kubernetes steps on a real cluster, in a namespace that is made for them and removed afterwards.

KUBECONFIG                     a cluster in which the tests may create namespaces
FLEXCORE_LIVE_IMAGE            an image with a shell (busybox), which the cluster can pull
FLEXCORE_LIVE_MLSERVER_IMAGE   an MLServer image with the versions of scikit-learn and joblib that are installed here
FLEXCORE_LIVE_HOST             an address of this machine that pods reach, for the S3 store of the test
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from f.flexcore.kubernetes.check_cluster import main as check_cluster
from f.flexcore.kubernetes.deploy_model import main as deploy_model
from f.flexcore.kubernetes.run_job import main as run_job
from f.flexcore.kubernetes.undeploy_model import main as undeploy_model
from f.flexcore.lib.core.contracts import Column, Framework, ModelManifest, Signature, compute_checksum
from f.flexcore.lib.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    ManifestMismatch,
    NotFound,
)
from f.flexcore.lib.core.inference import build_infer_request
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from f.flexcore.lib.storage.object_store import file_entry
from tests.live import rights
from tests.live.conftest import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]


class Live:
    """The cluster of KUBECONFIG and the test's own namespace on it. resource, kubernetes: with all rights, for what the
    test itself makes and looks at; by_job, by_deploy: with the role of that name and no other right, for the steps."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        self.resource: Object = {"kubeconfig": yaml.safe_dump(config)}
        self.kubernetes: Kubernetes = connect(self.resource).kubernetes
        self.namespace = f"flexcore-test-{uuid.uuid4().hex[:6]}"
        self.image = ""
        self.by_job: Object = {}
        self.by_deploy: Object = {}

    def limit(self) -> None:
        """Once the namespace is there."""
        self.by_job = rights.make_limited(self.kubernetes, self.namespace, "flexcore-job")
        self.by_deploy = rights.make_limited(self.kubernetes, self.namespace, "flexcore-deploy", account="deployer")

    def create(self, path: str, body: Object) -> Object:
        created = self.kubernetes.create(path, body, Call("create", path))
        assert created is not None
        return created

    def listed(self, path: str) -> list[Object]:
        return list(self.kubernetes.list(path, {}, Call("list", path))["items"])

    def jobs(self) -> list[Object]:
        return self.listed(f"/apis/batch/v1/namespaces/{self.namespace}/jobs")

    def run(self, *command: str, **arguments: Any) -> Object:
        given: Object = {"image": self.image, "command": list(command), "timeout_s": 90, **arguments}
        return run_job(**{"cluster": self.by_job, "namespace": self.namespace, **given})


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    cluster = Live(needed("KUBECONFIG"))
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}}
    created = cluster.create("/api/v1/namespaces", body)
    cluster.limit()
    yield cluster
    path = f"/api/v1/namespaces/{cluster.namespace}"
    cluster.kubernetes.delete(path, created["metadata"]["uid"], Call("delete", "namespaces", "", cluster.namespace))


@pytest.fixture
def jobs(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """A cluster that can run jobs, and a step of its own for each test."""
    live.image = needed("FLEXCORE_LIVE_IMAGE")
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    return live


def test_the_cluster_tells_its_version_and_that_all_is_allowed(live: Live) -> None:
    for operation in ("job", "deploy"):
        result = check_cluster(live.resource, live.namespace, operation)
        assert result["data"]["version"].startswith("v1.") and result["data"]["namespace_exists"]
        assert result["data"]["missing_rights"] == []


def test_a_command_runs_and_its_log_and_exit_code_come_back(jobs: Live, capsys: pytest.CaptureFixture[str]) -> None:
    script = 'echo "hello $WHO"; sleep 1; echo result > /dev/termination-log; echo bye'
    result = jobs.run("sh", "-c", script, env=["WHO=world"])
    assert result["data"]["exit_code"] == 0 and result["log_tail"] == "hello world\nbye"
    assert result["data"]["message"] == "result\n" and "hello world" in capsys.readouterr().out
    assert result["timings"]["running"] >= 1


def test_a_failing_command_is_told_with_exit_code_and_log(jobs: Live) -> None:
    with pytest.raises(ExecutionFailed, match="exit code 3") as caught:
        jobs.run("sh", "-c", "echo oops >&2; exit 3")
    assert caught.value.details["log_tail"] == "oops" and caught.value.details["exit_code"] == 3


def test_a_program_that_uses_too_much_memory_is_told_as_such(jobs: Live) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        jobs.run("sh", "-c", "tail /dev/zero", memory="16Mi")
    assert caught.value.category == "out_of_memory"


@pytest.mark.parametrize(
    ("arguments", "error", "category"),
    [
        ({"image": "registry.invalid/nosuch:1"}, FlexcoreError, "image_unreachable"),
        ({"command": ["nosuch-command"]}, InvalidInput, "command_not_found"),
        ({"secret_env": ["A=nosuch/key"]}, NotFound, "config_missing"),
        ({"service_account": "nosuch"}, NotFound, "service_account_missing"),
        ({"cpu": "500", "queue_timeout_s": 2}, InvalidInput, "unschedulable"),
    ],
)
def test_what_cannot_start_is_told_within_seconds(
    jobs: Live, arguments: Object, error: type[FlexcoreError], category: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        jobs.run(**arguments)
    assert caught.value.category == category
    assert time.monotonic() - begun < 40
    running = [job for job in jobs.jobs() if not (job.get("status") or {}).get("conditions")]
    assert running == []


def test_a_quota_is_told_within_seconds(jobs: Live) -> None:
    spec = {"hard": {"count/pods": "0"}}
    path = f"/api/v1/namespaces/{jobs.namespace}/resourcequotas"
    metadata = {"name": "none", "namespace": jobs.namespace}
    quota = jobs.create(path, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
    try:
        with pytest.raises(InvalidInput, match="exceeded quota: none") as caught:
            jobs.run("true")
        assert caught.value.category == "quota_exceeded"
    finally:
        jobs.kubernetes.delete(f"{path}/none", quota["metadata"]["uid"], Call("delete", "resourcequotas"))


def test_a_fast_log_comes_whole_and_its_tail_is_its_end(jobs: Live, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        jobs.run("sh", "-c", "seq 1 20000; echo 'ValueError: the end' >&2; exit 3")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.isdigit()] == [str(number) for number in range(1, 20001)]
    assert "ValueError: the end" in lines
    assert {*caught.value.details["log_tail"].splitlines()} <= {*lines}


def job_of(live: Live, containers: Object, init: Object | None = None, **spec: Any) -> Object:
    """A manifest of containers (name → shell command), and of native sidecars."""
    make = {"image": live.image, "imagePullPolicy": "IfNotPresent"}
    pod: Object = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, **spec.pop("pod", {})}
    pod["containers"] = [{"name": name, "command": ["sh", "-c", text], **make} for name, text in containers.items()]
    pod["initContainers"] = [
        {"name": name, "command": ["sh", "-c", text], "restartPolicy": "Always", **make}
        for name, text in (init or {}).items()
    ]
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {**spec, "template": {"spec": pod}}}


def test_a_program_that_is_started_again_is_followed_to_its_last_run(
    jobs: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = job_of(jobs, {"main": "echo run; exit 7"}, backoffLimit=1, pod={"restartPolicy": "OnFailure"})
    with pytest.raises(ExecutionFailed, match="backoffLimit 1") as caught:
        jobs.run(image="", command=None, manifest=manifest)
    assert caught.value.details["exit_code"] == 7 and caught.value.details["log_tail"].splitlines() == ["run", "run"]
    assert capsys.readouterr().out.splitlines().count("run") == 2


def test_a_native_sidecars_end_is_not_the_programs(jobs: Live, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = job_of(jobs, {"train": "sleep 1; echo epoch; exit 3"}, {"log-shipper": "echo ships; sleep 1000"})
    with pytest.raises(ExecutionFailed, match="train ended with exit code 3") as caught:
        jobs.run(image="", command=None, manifest=manifest)
    assert caught.value.details["container"] == "train" and caught.value.details["exit_code"] == 3
    lines = capsys.readouterr().out.splitlines()
    assert "train: epoch" in lines and "log-shipper: ships" in lines


def test_a_program_that_is_done_beside_a_proxy_is_told_at_the_time_limit(jobs: Live) -> None:
    manifest = job_of(jobs, {"load": "echo loaded", "mesh-proxy": "sleep 1000"})
    with pytest.raises(DeadlineExceeded, match="load had ended with exit code 0, but mesh-proxy still ran"):
        jobs.run(image="", command=None, manifest=manifest, timeout_s=10)


def test_a_liveness_probe_that_had_the_program_killed_is_told(jobs: Live) -> None:
    manifest = job_of(jobs, {"train": "sleep 1000"})
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    manifest["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe
    with pytest.raises(ExecutionFailed, match="liveness probe had failed") as caught:
        jobs.run(image="", command=None, manifest=manifest)
    assert caught.value.category == "killed"


def test_at_the_time_limit_job_and_pods_are_gone(jobs: Live) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        jobs.run("sleep", "300", timeout_s=4)
    name = caught.value.details["remote"]["name"]
    assert caught.value.details["deleted"] is True
    assert name not in [job["metadata"]["name"] for job in jobs.jobs()]
    pods = [pod["metadata"]["name"] for pod in jobs.listed(f"/api/v1/namespaces/{jobs.namespace}/pods")]
    assert not [pod for pod in pods if pod.startswith(name)]


def test_two_copies_of_a_step_run_one_job(jobs: Live) -> None:
    results: list[Object] = []
    copies = [threading.Thread(target=lambda: results.append(jobs.run("sleep", "3"))) for _ in range(2)]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join(90)
    assert len(results) == 2 and results[0]["remote"] == results[1]["remote"]


def test_a_missing_namespace_is_named(jobs: Live) -> None:
    with pytest.raises(NotFound, match="Namespace flexcore-nowhere does not exist"):
        jobs.run("true", cluster=jobs.resource, namespace="flexcore-nowhere")
    with pytest.raises(Forbidden, match="in namespace flexcore-nowhere"):
        jobs.run("true", namespace="flexcore-nowhere")


def test_each_shipped_role_is_enough_for_its_steps_and_for_no_other(jobs: Live) -> None:
    cases: list[tuple[Literal["job", "deploy"], Object, Object, str]] = [
        ("job", jobs.by_job, jobs.by_deploy, r"create jobs\.batch"),
        ("deploy", jobs.by_deploy, jobs.by_job, r"create deployments\.apps"),
    ]
    for operation, own, other, missing in cases:
        assert check_cluster(own, jobs.namespace, operation)["data"]["missing_rights"] == []
        with pytest.raises(Forbidden, match=missing):
            check_cluster(other, jobs.namespace, operation)
    assert jobs.run("echo", "hi")["log_tail"] == "hi"
    with pytest.raises(Forbidden, match="in namespace default"):
        jobs.run("true", namespace="default")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Object, Object]]:
    """(settings, manifest) of a small scikit-learn model in an S3 store that pods reach."""
    import boto3
    import joblib
    import pandas
    import sklearn
    from moto.server import ThreadedMotoServer
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    needed("FLEXCORE_LIVE_MLSERVER_IMAGE")
    server = ThreadedMotoServer(ip_address=needed("FLEXCORE_LIVE_HOST"), port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "storage_uri": "s3://models",
        "storage_endpoint_url": f"http://{host}:{port}",
        "storage_access_key": "AKIDEXAMPLE",
        "storage_secret_key": base64.b64encode(os.urandom(24)).decode(),
    }
    folder = tmp_path_factory.mktemp("model")
    rows = pandas.DataFrame({"distance": [100.0, 500.0, 900.0, 1300.0], "carrier": ["UA", "AA", "UA", "AA"]})
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"]), remainder="passthrough")
    joblib.dump(make_pipeline(encode, Ridge()).fit(rows, rows["distance"] / 100), folder / "model.joblib")
    runtime = {
        "name": "delay",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    store = boto3.client(
        "s3",
        endpoint_url=settings["storage_endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    store.create_bucket(Bucket="models")
    files = []
    for path in sorted(folder.iterdir()):
        store.upload_file(str(path), "models", f"run/1/model/{path.name}")
        files.append(file_entry(path, path.name))
    manifest = ModelManifest(
        uri="s3://models/run/1/model",
        format="mlserver",
        checksum=compute_checksum(files),
        name="delay",
        version="1",
        algorithm="Ridge",
        target="y",
        framework=Framework(name="scikit-learn", version=sklearn.__version__),
        signature=Signature(
            inputs=[Column(name="distance", datatype="FP64"), Column(name="carrier", datatype="BYTES")],
            outputs=[Column(name="predict", datatype="FP64")],
        ),
        metrics={},
        example=rows.head(3).to_dict("records"),
        files=files,
    )
    yield settings, manifest.plain()
    server.stop()


def deployed(live: Live, model: tuple[Object, Object], **arguments: Any) -> Object:
    settings, manifest = model
    image = os.environ["FLEXCORE_LIVE_MLSERVER_IMAGE"]
    given = {"image": image, "timeout_s": 120, "settings": settings, **arguments}
    return deploy_model(live.by_deploy, {**manifest, **given.pop("changes", {})}, namespace=live.namespace, **given)


def test_a_model_is_deployed_updated_without_a_gap_rolled_back_and_taken_down(
    live: Live, model: tuple[Object, Object]
) -> None:
    first = deployed(live, model)
    assert first["data"]["smoke"]["predicted"] and len(first["data"]["smoke"]["predictions"]) == 3
    assert first["output"]["url"] == f"http://delay.{live.namespace}.svc:8080"

    answers: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        manifest = ModelManifest.model_validate(model[1])
        path = f"/api/v1/namespaces/{live.namespace}/services/delay:http/proxy/v2/models/delay/infer"
        while not stop.is_set():
            body = build_infer_request(manifest.example, manifest.signature)
            answers.append(live.kubernetes.request_raw("POST", path, body, Call("create", "services/proxy"))[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        second = deployed(live, model, changes={"version": "2"}, cpu="400m")
        assert second["remote"]["uid"] == first["remote"]["uid"]
        with pytest.raises(FlexcoreError, match="rolled back") as caught:
            deployed(live, model, image="registry.invalid/nosuch:1")
        assert caught.value.category == "image_unreachable"
        with pytest.raises(NotFound, match="rolled back"):
            deployed(live, model, changes={"uri": "s3://models/elsewhere"})
    finally:
        stop.set()
        asking.join(30)
    assert len(answers) > 20 and set(answers) == {200}, "an update or its failure must not be felt"

    undeploy_model(live.by_deploy, "delay", live.namespace)
    for path in (
        "/apis/apps/v1/namespaces/{}/deployments",
        "/api/v1/namespaces/{}/services",
        "/api/v1/namespaces/{}/secrets",
    ):
        assert live.listed(path.format(live.namespace)) == []


def test_a_model_whose_files_are_not_the_manifests_never_serves(live: Live, model: tuple[Object, Object]) -> None:
    files = [{**item, "checksum": "sha256:" + "0" * 64} for item in model[1]["files"]]
    changed = ModelManifest.model_validate({**model[1], "files": files})
    with pytest.raises(ManifestMismatch, match="another checksum"):
        deployed(live, model, name="wrong", changes={"files": files, "checksum": compute_checksum(changed.files)})
    assert live.listed(f"/apis/apps/v1/namespaces/{live.namespace}/deployments") == []
