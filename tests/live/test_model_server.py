"""Model servers in a namespace that enforces Pod Security "restricted": what is deployed runs there, and its answers.

KUBECONFIG                        a cluster in which the tests may create namespaces
FLEXCORE_LIVE_MODEL_SERVER_IMAGE  an image made from resources/model_server
FLEXCORE_LIVE_MLSERVER_IMAGE      an MLServer image with the versions that are installed here
FLEXCORE_LIVE_IMAGE               an image with a shell (busybox)
FLEXCORE_LIVE_HOST                an address of this machine that pods reach, for the S3 store of the test
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.deploy_model import main as deploy_model
from f.flexcore.kubernetes.run_job import main as run_job
from f.flexcore.kubernetes.undeploy_model import main as undeploy_model
from f.flexcore.lib.core import contracts, errors, identity, inference
from f.flexcore.lib.kubernetes import connection
from f.flexcore.lib.kubernetes_api import api_errors
from tests.live import rights
from tests.live.conftest import needed
from tests.ray.models import stored_model

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
SMALL = {"cpu": "300m", "memory": "512Mi", "timeout_s": 150}
FOLDERS = (
    "/apis/apps/v1/namespaces/{}/deployments",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/secrets",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
)


class Place:
    """The restricted namespace and the store. kubernetes: with all rights, for what the test itself looks at;
    by_deploy, by_job: with the role of that name and no other right, for the steps."""

    def __init__(self, resource: Object, namespace: str, settings: Object, folder: Path) -> None:
        self.namespace, self.settings, self.folder = namespace, settings, folder
        self.kubernetes = connection.connect(resource, namespace).kubernetes
        self.by_deploy = rights.make_limited(self.kubernetes, namespace, "flexcore-deploy")
        self.by_job = rights.make_limited(self.kubernetes, namespace, "flexcore-job", account="worker")

    def model(self, version: str) -> Object:
        target = self.folder / uuid.uuid4().hex
        return stored_model(target, "flowers", version, self.settings, joblib=True).plain()

    def deploy(self, model: Object, **arguments: Any) -> Object:
        given = {"server": "flexcore", "image": needed("FLEXCORE_LIVE_MODEL_SERVER_IMAGE"), **SMALL, **arguments}
        return deploy_model(self.by_deploy, model, namespace=self.namespace, settings=self.settings, **given)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"/api/v1/namespaces/{self.namespace}/services/flowers:http/proxy{path}"
        return self.kubernetes.request_raw(method, url, body, api_errors.Call("get", "services/proxy"))

    def read_text(self, path: str, **query: str) -> str:
        with self.kubernetes.stream_lines(path, query, api_errors.Call("get", path), 10) as lines:
            return b"\n".join(lines).decode()

    def list_objects(self, path: str) -> list[Object]:
        page = self.kubernetes.list(path.format(self.namespace), {}, api_errors.Call("list", path))
        return list(page.get("items") or [])

    def undeploy(self) -> Object:
        return undeploy_model(self.by_deploy, "flowers", self.namespace)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    import boto3
    from moto.server import ThreadedMotoServer

    resource = {"kubeconfig": yaml.safe_dump(yaml.safe_load(Path(needed("KUBECONFIG")).read_text()))}
    server = ThreadedMotoServer(ip_address=needed("FLEXCORE_LIVE_HOST"), port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "storage_uri": "s3://models",
        "storage_endpoint_url": f"http://{host}:{port}",
        "storage_access_key": "AKIDEXAMPLE",
        "storage_secret_key": uuid.uuid4().hex,
    }
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=settings["storage_endpoint_url"], **keys).create_bucket(Bucket="models")
    namespace = f"flexcore-server-{uuid.uuid4().hex[:6]}"
    kubernetes = connection.connect(resource, namespace).kubernetes
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}}
    created = kubernetes.create("/api/v1/namespaces", body, api_errors.Call("create", "namespaces"))
    assert created is not None
    yield Place(resource, namespace, settings, tmp_path_factory.mktemp("models"))
    call = api_errors.Call("delete", "namespaces", "", namespace)
    kubernetes.delete(f"/api/v1/namespaces/{namespace}", created["metadata"]["uid"], call)
    server.stop()


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[tuple[Place, Object]]:
    """Our server with a model in skops' format, and its manifest."""
    model = place.model("1")
    result = place.deploy(model)
    assert result["data"]["smoke"]["predicted"]
    yield place, model
    result = place.undeploy()
    assert {"ServiceAccount", "NetworkPolicy"} <= {item["kind"] for item in result["data"]["objects"]}
    for path in FOLDERS:
        assert [item for item in place.list_objects(path) if item["metadata"]["name"].startswith("flowers")] == []


def test_our_server_runs_restricted_with_an_account_of_its_own_and_no_token(served: tuple[Place, Object]) -> None:
    place, _ = served
    (pod,) = place.list_objects("/api/v1/namespaces/{}/pods")
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "flowers" and spec["automountServiceAccountToken"] is False
    assert not any("serviceAccountToken" in str(volume) for volume in spec["volumes"])
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert set(identity.COST_LABELS) <= set(pod["metadata"]["labels"])
    (policy,) = place.list_objects(FOLDERS[3])
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]


def test_our_server_brings_no_pickle_into_its_pod(served: tuple[Place, Object]) -> None:
    place, model = served
    assert "model.joblib" in {item["path"] for item in model["files"]}
    (pod,) = place.list_objects("/api/v1/namespaces/{}/pods")
    path = f"/api/v1/namespaces/{place.namespace}/pods/{pod['metadata']['name']}/log"
    log = place.read_text(path, container="fetch-model")
    assert "model.skops" in log and "joblib" not in log


def test_the_protocol_is_answered_and_what_does_not_fit_is_refused(served: tuple[Place, Object]) -> None:
    place, plain = served
    model = contracts.ModelManifest.model_validate(plain)
    status, described = place.ask("GET", "/v2/models/flowers")
    assert status == 200 and described["platform"] == "sklearn-skops" and described["versions"] == ["1"]
    assert [item["datatype"] for item in described["inputs"]] == ["FP64", "BYTES"]
    request = inference.build_infer_request([{"petals": 5, "kind": "lily"}, {"petals": None}], model.signature)
    status, answer = place.ask("POST", "/v2/models/flowers/infer", request)
    assert status == 200 and len(inference.parse_predictions(answer, 2)) == 2
    for body, text in (
        ({"inputs": request["inputs"][:1]}, "lack the columns kind"),
        ({"inputs": [{**request["inputs"][0], "shape": [7, 1]}, request["inputs"][1]]}, "has the shape"),
        ({"inputs": "<script>"}, "no list `inputs`"),
    ):
        status, answer = place.ask("POST", "/v2/models/flowers/infer", body)
        assert status == 400 and text in str(answer)
    text = place.read_text(f"/api/v1/namespaces/{place.namespace}/services/flowers:http/proxy/metrics")
    assert 'flexcore_requests_total{model="flowers",version="1",code="400"} 3' in text


def test_versions_change_under_load_and_no_request_is_lost(served: tuple[Place, Object]) -> None:
    place, plain = served
    model = contracts.ModelManifest.model_validate(plain)
    body = inference.build_infer_request(model.example, model.signature)
    codes: list[int] = []
    stop, until = threading.Event(), time.monotonic() + 120

    def send() -> None:
        while not stop.is_set() and time.monotonic() < until:
            codes.append(place.ask("POST", "/v2/models/flowers/infer", body)[0])
            time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        result = place.deploy(place.model("2"))
        time.sleep(6)  # the pod before has stopped meanwhile
    finally:
        stop.set()
        sender.join(30)
    assert result["output"]["model_version"] == "2"
    assert len(codes) > 50 and set(codes) == {200}


def test_a_repeat_by_another_run_restarts_nothing(served: tuple[Place, Object]) -> None:
    place, _ = served
    model = place.model("3")
    place.deploy(model)
    before = {pod["metadata"]["uid"] for pod in running(place)}
    os.environ["WM_JOB_ID"] = str(uuid.uuid4())
    try:
        place.deploy(model)
    finally:
        del os.environ["WM_JOB_ID"]
    assert {pod["metadata"]["uid"] for pod in running(place)} <= before


def running(place: Place) -> list[Object]:
    pods = place.list_objects("/api/v1/namespaces/{}/pods")
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def test_versions_that_cannot_read_the_model_are_refused_before_anything_is_made(place: Place) -> None:
    model = place.model("1") | {"name": "older"}
    model["versions"] = {**model["versions"], "scikit-learn": "1.4.2"}
    with pytest.raises(errors.InvalidInput, match=r"trained with 1\.4\.2, served with 1\.9\.1"):
        place.deploy(model)
    assert not [item for item in place.list_objects(FOLDERS[0]) if item["metadata"]["name"] == "older"], (
        "nothing may be there"
    )


def test_an_image_whose_versions_were_told_wrongly_is_found_out_before_the_server_starts(place: Place) -> None:
    model = place.model("1")
    model["versions"] = {**model["versions"], "scikit-learn": "1.4.2"}
    with pytest.raises(errors.ManifestMismatch, match=r"trained with scikit-learn 1\.4\.2, and the image has 1\.9"):
        place.deploy(model, name="told-wrongly", image_packages=["scikit-learn==1.4.2", "skops==0.16.0"])
    assert [item["metadata"]["name"] for item in place.list_objects(FOLDERS[0])] in ([], ["flowers"])


def test_mlserver_runs_restricted_as_well(place: Place) -> None:
    image = needed("FLEXCORE_LIVE_MLSERVER_IMAGE")
    model = place.model("1")
    result = place.deploy(model, name="by-mlserver", server="mlserver", image=image)
    assert result["data"]["smoke"]["predicted"]
    undeploy_model(place.by_deploy, "by-mlserver", place.namespace)


def test_our_server_is_ready_in_half_the_time_of_mlserver(place: Place) -> None:
    """From the start of the server's container until its pod is ready; the API tells both by the second."""
    model, took = place.model("1"), dict[str, float]()
    mlserver = {"server": "mlserver", "image": needed("FLEXCORE_LIVE_MLSERVER_IMAGE")}
    for name, choice in (("cold-flexcore", dict[str, str]()), ("cold-mlserver", mlserver)):
        place.deploy(model, name=name, **choice)
        (pod,) = [pod for pod in running(place) if pod["metadata"]["name"].startswith(name)]
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        (ready,) = [item for item in pod["status"]["conditions"] if item["type"] == "Ready"]
        took[name] = read_time(ready["lastTransitionTime"]) - read_time(started)
        undeploy_model(place.by_deploy, name, place.namespace)
    print(f"seconds from the container's start to a ready pod: {took}")
    assert took["cold-flexcore"] <= 0.5 * took["cold-mlserver"] + 1


def read_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_job_runs_restricted_as_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    image = needed("FLEXCORE_LIVE_IMAGE")
    result = run_job(place.by_job, image, ["true"], namespace=place.namespace, timeout_s=90, secrets={"KEY": "x"})
    assert result["data"]["exit_code"] == 0
