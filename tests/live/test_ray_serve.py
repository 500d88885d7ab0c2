"""A model on a RayService of a real KubeRay: on trial until it has answered, deployed, a second version, a broken third
one, and taken down."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from f.flexcore.lib.core import contracts, inference, remote_objects, resources
from f.flexcore.lib.core.errors import ExecutionFailed, InvalidInput
from f.flexcore.lib.kubernetes import remote_objects as kubernetes_objects
from f.flexcore.lib.kubernetes_api import credentials, http_client
from f.flexcore.lib.ray import kubernetes_session, ray_service, service_rollout, service_spec
from f.flexcore.lib.ray.remote import model_files
from f.flexcore.lib.ray.train_job import parse_model_manifest
from f.flexcore.lib.serving import estimators
from f.flexcore.lib.storage.object_store import Store
from f.flexcore.ray import (
    deploy_model,
    deploy_service,
    ensure_cluster,
    release_cluster,
    set_traffic,
    undeploy_model,
)
from tests.live import rights
from tests.ray.data import flowers

KINDS = {"petals": "number", "kind": "category"}
# Ray on the head alone: the machine of the tests is small.
SPEC = {"head_cpu": "1", "head_memory": "3Gi", "head_takes_work": True, "groups": []}
# Two of these stand side by side while requests move; KubeRay upgrades only clusters that scale in steps.
STEPWISE = {
    **SPEC,
    "head_cpu": "500m",
    "head_memory": "2Gi",
    "autoscaler_cpu": "100m",
    "groups": [{"max_workers": 1, "cpu": "200m", "memory": "1Gi"}],
}
GATEWAY_CLASS = os.environ.get("FLEXCORE_LIVE_GATEWAY_CLASS", "traefik")
IMAGE = "localhost/ray:2.60.0"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Json]:
    """A Ray resource that refers to the Kubernetes of KUBECONFIG, in a namespace of its own and with the shipped role
    alone; a small server stands for the Windmill from which steps read the Kubernetes resource."""
    kubeconfig = os.environ.get("KUBECONFIG", "")
    if not kubeconfig or not os.environ.get("FLEXCORE_LIVE_HOST"):
        pytest.skip("KUBECONFIG and FLEXCORE_LIVE_HOST name no cluster")
    value: Json = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    patch = pytest.MonkeyPatch()
    patch.setenv("BASE_INTERNAL_URL", f"http://127.0.0.1:{server.server_port}")
    patch.setenv("WM_TOKEN", "t")
    patch.setenv("WM_WORKSPACE", "live")
    namespace = f"r15-serve-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace)
    if not kubectl("api-resources", "--api-group=ray.io", "-o", "name", check=False):
        pytest.skip("the cluster has no KubeRay")
    admin = resources.KubernetesCluster(kubeconfig=Path(kubeconfig).read_text())
    kubernetes = http_client.HttpKubernetes(credentials.resolve_access(admin))
    value |= rights.make_limited(kubernetes, namespace, "flexcore-ray", "flexcore-ray-service")
    kubernetes.close()
    yield {"kubernetes_cluster": "f/live/kubernetes", "namespace": namespace}
    kubectl("delete", "rayservices", "--all", "-n", namespace, "--wait=true", "--timeout=120s", check=False)
    kubectl("delete", "namespace", namespace, "--wait=false")
    patch.undo()
    server.shutdown()


def kubectl(*arguments: str, check: bool = True) -> str:
    command = os.environ.get("FLEXCORE_LIVE_KUBECTL", "kubectl")
    done = subprocess.run([command, *arguments], text=True, capture_output=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def settings() -> Iterator[Json]:
    """An S3 store that pods reach."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=os.environ.get("FLEXCORE_LIVE_HOST", "127.0.0.1"), port=0)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "storage_uri": "s3://models",
        "storage_endpoint_url": f"http://{host}:{port}",
        "storage_access_key": "AKIDEXAMPLE",
        "storage_secret_key": base64.b64encode(os.urandom(24)).decode(),
    }
    client = boto3.client(
        "s3",
        endpoint_url=found["storage_endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="models")
    yield found
    server.stop()


def store_model(folder: Path, version: str, settings: Json, *, is_broken: bool = False) -> contracts.ModelManifest:
    """A model whose answer is near 100 times its version; a broken one cannot be read."""
    folder.mkdir(parents=True)
    rows = pd.DataFrame(flowers(120))
    estimator = estimators.make_estimator("xgboost", "regression", {"n_estimators": 5}, 1)
    pipeline = estimators.make_pipeline(estimator, KINDS, {"kind": ["daisy", "lily", "tulip"]})
    pipeline.fit(rows[list(KINDS)], rows["size"] + 100 * int(version))
    written = model_files.write_model(folder, pipeline, "daisy", version)
    if is_broken:
        (folder / "model.ubj").write_bytes(b"garbage")
    store = Store(resources.Settings.model_validate(settings))
    uri = store.uri("daisy", version)
    files = [item.model_dump() for item in store.upload(folder, uri)]
    fields = {
        "uri": uri,
        "format": written["format"],
        "rows": len(rows),
        "files": files,
        "name": "daisy",
        "version": version,
        "algorithm": "xgboost",
        "target": "size",
        "framework": written["framework"],
        "versions": written["versions"],
        "metrics": {},
        "signature": model_files.make_signature(KINDS, "regression", []),
        "example": model_files.make_examples(rows[list(KINDS)], KINDS),
    }
    return parse_model_manifest({"manifest": fields})


class Caller:
    """Asks without a pause; answers by version, and what was lost."""

    def __init__(self, cluster: Json, model: contracts.ModelManifest, url: str = "") -> None:
        self.answers, self.lost, self._ended = Counter[str](), list[str](), threading.Event()
        self._session = kubernetes_session.open_session(resources.RayCluster.model_validate(cluster))
        self.url = url or service_rollout.caller_url(ray_service.RayService(self._session, "daisy"))
        self._request = inference.build_smoke_request(model)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with service_rollout.open_client(self._session) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post(inference.infer_url(self.url, "daisy"), json=self._request, timeout=60)
                    self.answers[answer.headers.get("x-flexcore-model-version", "none")] += 1
                    if answer.status_code != 200:
                        self.lost.append(f"HTTP {answer.status_code} {answer.text[:200]}")
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))
                time.sleep(0.05)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(90)
        self._session.close()


def test_versions_on_a_ray_service_come_and_go_without_a_lost_request(
    cluster: Json, settings: Json, tmp_path: Path
) -> None:
    first, second = (store_model(tmp_path / version, version, settings) for version in ("1", "2"))
    spec = {**SPEC, "image": IMAGE}
    options: Json = {"cpus": 0.1, "settings": settings, "timeout_s": 600}
    namespace = cluster["namespace"]

    deployed = deploy_service.main(cluster, first.plain(), spec=spec, **options)
    assert deployed["data"]["traffic"] == {"1": 100.0}
    assert deployed["data"]["smoke"]["model_version"] == "1"
    assert deployed["output"]["url"] == f"http://daisy-serve-svc.{namespace}.svc:8000/daisy"
    clusters = kubectl("get", "rayclusters", "-n", namespace, "-o", "name")
    assert settings["storage_secret_key"] not in kubectl("get", "rayservice", "daisy", "-n", namespace, "-o", "yaml")
    (policy,) = json.loads(kubectl("get", "networkpolicies", "-n", namespace, "-o", "json"))["items"]
    chosen = ",".join(f"{name}={value}" for name, value in policy["spec"]["podSelector"]["matchLabels"].items())
    everything = kubectl("get", "pods", "-n", namespace, "-o", "name")
    assert kubectl("get", "pods", "-n", namespace, "-l", chosen, "-o", "name") == everything

    with Caller(cluster, first) as caller:
        beside = deploy_service.main(cluster, second.plain(), weight=50, **options)
        assert beside["data"]["traffic"] == {"1": 50.0, "2": 50.0}
        time.sleep(3)
        moved = set_traffic.main(cluster, "daisy", {"2": 1}, settings=settings)
        assert moved["data"] == {"name": "daisy", "before": {"1": 50.0, "2": 50.0}, "traffic": {"1": 0.0, "2": 100.0}}
        back = set_traffic.main(cluster, "daisy", rollback=True, settings=settings)
        assert back["data"]["traffic"] == {"1": 50.0, "2": 50.0}

        with pytest.raises(InvalidInput, match="gives 50 % of its requests to version '1'"):
            undeploy_model.main(cluster, "daisy", "1", settings=settings)
        set_traffic.main(cluster, "daisy", {"2": 1}, settings=settings)
        undeploy_model.main(cluster, "daisy", "1", settings=settings)

        broken = store_model(tmp_path / "3", "3", settings, is_broken=True)
        began = time.monotonic()
        with pytest.raises(ExecutionFailed, match="could not deploy daisy--3") as caught:
            deploy_service.main(cluster, broken.plain(), **options)
        print(f"A broken version was told after {time.monotonic() - began:.0f} s: {caught.value}")
        before = caller.answers["2"]
        time.sleep(3)
        assert caller.answers["2"] > before
    print(f"{sum(caller.answers.values())} requests, {dict(caller.answers)}, lost {len(caller.lost)}")
    assert caller.lost == []
    assert set(caller.answers) == {"1", "2"}
    assert kubectl("get", "rayclusters", "-n", namespace, "-o", "name") == clusters, "all of it happened in place"

    kubectl("create", "configmap", "other", "-n", namespace)
    gone = undeploy_model.main(cluster, "daisy", settings=settings, timeout_s=120)
    assert gone["data"]["deleted"] is True
    kinds = "rayservices,rayclusters,secrets,configmaps,networkpolicies"
    left = kubectl("get", kinds, "-n", namespace, "-o", "name").split()
    assert [name for name in left if not name.endswith(".crt")] == ["configmap/other"]
    assert undeploy_model.main(cluster, "daisy", settings=settings)["data"]["deleted"] is False


def test_a_model_on_a_ray_cluster_answers_at_its_heads_service(
    cluster: Json, settings: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    model = store_model(tmp_path / "1", "1", settings)
    where = {**cluster, "name": "shared"}
    ensured = ensure_cluster.main(cluster=where, spec={**SPEC, "image": IMAGE, "head_cpu": "500m"}, timeout_s=300)
    reference = ensured["data"]["cluster"]
    try:
        deployed = deploy_model.main(reference, model.plain(), cpus=0.1, settings=settings, timeout_s=300)
        assert deployed["data"]["smoke"]["model_version"] == "1"
        assert deployed["output"]["url"] == f"http://shared-head-svc.{cluster['namespace']}.svc:8000/daisy"
        assert undeploy_model.main(reference, "daisy", settings=settings)["data"]["deleted"] is True
    finally:
        release_cluster.main(cluster=reference)


# --- the trial of one that has never answered


def test_a_first_version_that_cannot_be_deployed_is_rolled_back_and_nothing_stays(
    cluster: Json, settings: Json, tmp_path: Path
) -> None:
    broken = store_model(tmp_path / "1", "1", settings, is_broken=True)
    with pytest.raises(ExecutionFailed, match="could not deploy daisy--1") as caught:
        deploy_service.main(cluster, broken.plain(), **trial_options(settings))
    assert caught.value.category == "deploy_failed"
    assert find_service(cluster) is None
    wait_until_nothing_stays(cluster)


def test_a_trial_whose_step_was_killed_ends_with_its_flow_or_is_promoted_by_the_steps_repeat(
    cluster: Json, settings: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = store_model(tmp_path / "1", "1", settings), trial_options(settings)

    def kill_step(flow: str) -> Json:
        """The RayService that a step of the flow has made before it was killed."""
        for name, value in {"WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": "deploy", "WM_JOB_ID": f"{flow}-1"}.items():
            monkeypatch.setenv(name, value)
        step = subprocess.Popen([sys.executable, "-c", DEPLOY], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert step.stdin
        step.stdin.write(json.dumps({"cluster": cluster, "model": model.plain(), **options}).encode())
        step.stdin.close()
        made = wait_for(lambda: find_service(cluster), 60)
        step.send_signal(signal.SIGKILL)
        step.wait()
        return dict(made)

    # Its flow has ended: nothing else would ever take it away.
    flow = str(uuid.uuid4())
    made = kill_step(flow)
    (item,) = find_items(cluster)
    assert (item.kind, item.uid, item.state, item.owner) == ("RayService", made["metadata"]["uid"], "running", flow)
    assert decide(item, "running") == "leave"
    assert decide(item, "unknown") == "leave"
    assert decide(item, "ended") == "stop"
    assert reconciled(cluster).stop(item) == "deleted"
    wait_until_nothing_stays(cluster)

    # Its flow lives: the step is run again, attaches and proves it. From then on it outlives the flow.
    made = kill_step(str(uuid.uuid4()))
    monkeypatch.setenv("WM_JOB_ID", "again")
    deployed = deploy_service.main(cluster, model.plain(), **options)
    assert deployed["remote"]["uid"] == made["metadata"]["uid"]
    assert deployed["data"]["smoke"]["model_version"] == "1"
    (item,) = find_items(cluster)
    assert item.state == "kept"
    assert decide(item, "ended") == "leave"
    assert undeploy_model.main(cluster, "daisy", settings=settings, timeout_s=120)["data"]["deleted"] is True
    wait_until_nothing_stays(cluster)


DEPLOY = "import json, sys\nfrom f.flexcore.ray import deploy_service\ndeploy_service.main(**json.load(sys.stdin))"


def trial_options(settings: Json) -> Json:
    return {"spec": {**SPEC, "image": IMAGE}, "cpus": 0.1, "settings": settings, "timeout_s": 900}


def find_service(cluster: Json) -> Json | None:
    text = kubectl("get", "rayservices", "-n", cluster["namespace"], "-o", "json")
    return next(iter(json.loads(text)["items"]), None)


def reconciled(cluster: Json) -> kubernetes_objects.KubernetesObjects:
    """What reconcile sees of the Kubernetes cluster. It lists Jobs, too, which the roles of Ray do not grant."""
    resource = {"kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}
    return kubernetes_objects.KubernetesObjects("f/live/kubernetes", resource, cluster["namespace"])


def find_items(cluster: Json) -> list[remote_objects.RemoteObject]:
    return [item for item in reconciled(cluster).find() if item.namespace == cluster["namespace"]]


def decide(item: remote_objects.RemoteObject, owner: remote_objects.Owner) -> str:
    return remote_objects.decide_cleanup(item, owner, time.time()).action


def wait_until_nothing_stays(cluster: Json) -> None:
    """Its clusters, pods and parts go after the RayService that owns them."""
    kinds = "rayservices,rayclusters,pods,secrets,networkpolicies"
    wait_for(lambda: not kubectl("get", kinds, "-n", cluster["namespace"], "-o", "name"), 90)


def wait_for(condition: Callable[[], Any], timeout_s: float) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, "not in time"
        time.sleep(0.5)
    return found


# --- upgrades in steps


def test_another_cluster_takes_over_in_steps_through_a_gateway_without_a_lost_request(
    cluster: Json, settings: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not kubectl("get", "gatewayclass", GATEWAY_CLASS, "-o", "name", check=False):
        pytest.skip(f"the cluster has no GatewayClass {GATEWAY_CLASS}")
    model = store_model(tmp_path / "1", "1", settings)
    options: Json = {"cpus": 0.1, "settings": settings, "timeout_s": 600, "gateway_class": GATEWAY_CLASS}
    namespace = cluster["namespace"]

    def read() -> Json:
        return dict(json.loads(kubectl("get", "rayservice", "daisy", "-n", namespace, "-o", "json")))

    deployed = deploy_service.main(cluster, model.plain(), spec={**STEPWISE, "image": IMAGE}, **options)
    if read()["spec"]["upgradeStrategy"]["type"] == service_spec.AT_ONCE:
        undeploy_model.main(cluster, "daisy", settings=settings, timeout_s=120)
        pytest.skip(f"no upgrades in steps here: {capsys.readouterr().out[-500:]}")
    assert deployed["output"]["url"].endswith("/daisy")
    assert ".svc" not in deployed["output"]["url"], "callers come through the Gateway"
    first = read()["status"]["activeServiceStatus"]["rayClusterName"]

    with Caller(cluster, model, deployed["output"]["url"]) as caller:
        time.sleep(3)
        larger = {**STEPWISE, "image": IMAGE, "head_memory": "2100Mi"}
        began = time.monotonic()
        again = deploy_service.main(cluster, model.plain(), spec=larger, **options)
        print(f"another cluster took over after {time.monotonic() - began:.0f} s")
        assert read()["status"]["activeServiceStatus"]["rayClusterName"] != first
        assert again["output"]["url"] == deployed["output"]["url"]
        assert again["data"]["smoke"]["model_version"] == "1"
        before = caller.answers["1"]
        time.sleep(3)
        assert caller.answers["1"] > before
    said = capsys.readouterr().out
    percents = [int(line.split(" %")[0]) for line in said.splitlines() if "of the requests go to the new" in line]
    print(f"{sum(caller.answers.values())} requests, lost {len(caller.lost)}, steps {percents}\n{said}")
    assert caller.lost == []
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents)

    assert undeploy_model.main(cluster, "daisy", settings=settings, timeout_s=180)["data"]["deleted"] is True
    left = ""
    for _ in range(30):
        left = kubectl("get", "rayservices,gateways,httproutes,networkpolicies", "-n", namespace, "-o", "name")
        if not left:
            break
        time.sleep(1)
    assert left == ""


def test_a_ray_service_of_anothers_is_left_alone(cluster: Json, settings: Json, tmp_path: Path) -> None:
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "daisy", "namespace": cluster["namespace"]},
        "spec": {"rayClusterConfig": {"headGroupSpec": {"template": {"spec": {"containers": []}}}}},
    }
    path = tmp_path / "service.json"
    path.write_text(json.dumps(body))
    kubectl("apply", "-f", str(path))
    model = store_model(tmp_path / "1", "1", settings)
    changes: list[Any] = [
        lambda: deploy_service.main(cluster, model.plain(), spec=SPEC, settings=settings),
        lambda: set_traffic.main(cluster, "daisy", {"1": 1}, settings=settings),
        lambda: undeploy_model.main(cluster, "daisy", settings=settings),
    ]
    for change in changes:
        with pytest.raises(InvalidInput, match="flexcore did not make it"):
            change()
    assert kubectl("get", "rayservice", "daisy", "-n", cluster["namespace"], "-o", "name")
