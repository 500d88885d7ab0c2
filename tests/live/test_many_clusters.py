"""Two clusters of which one is cut off and comes back: the same API server through two proxies, with a namespace each.

KUBECONFIG                     a cluster in which the tests may create namespaces
FLEXCORE_LIVE_IMAGE            an image with a shell (busybox), which the cluster can pull
FLEXCORE_LIVE_MLSERVER_IMAGE, FLEXCORE_LIVE_HOST   as in test_kubernetes.py, for models
FLEXCORE_LIVE_MODEL_SERVER_IMAGE                   our own model server instead, which starts faster
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import ModelManifest
from f.flexcore.lib.core.errors import FlexcoreError
from f.flexcore.lib.core.inference import build_infer_request
from f.flexcore.lib.core.remote_objects import decide_cleanup
from f.flexcore.lib.core.resources import KubernetesCluster, Settings
from f.flexcore.lib.kubernetes import multikueue, placed_job
from f.flexcore.lib.kubernetes.cluster_status import check_clusters
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes.model_moves import move_models
from f.flexcore.lib.kubernetes.model_withdrawal import withdraw_model
from f.flexcore.lib.kubernetes.placed_job import place_job
from f.flexcore.lib.kubernetes.placed_model import place_model
from f.flexcore.lib.kubernetes.placed_objects import PlacedObjects
from f.flexcore.lib.kubernetes.placement_moves import DEADLINE_MARGIN_S
from f.flexcore.lib.kubernetes.placement_records import PlacementBook
from f.flexcore.lib.kubernetes_api import credentials, watcher
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from f.flexcore.lib.kubernetes_api.transport import make_tls_context
from f.flexcore.lib.storage.object_store import Store
from tests.live.conftest import needed
from tests.live.proxy import Proxy
from tests.live.test_kubernetes import model  # noqa: F401
from tests.ray.models import stored_model

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Json = dict[str, Any]
PATIENCE_S = 120.0
JOBS, DEPLOYMENTS = "/apis/batch/v1", "/apis/apps/v1"


class Line(Proxy):
    """The way to one cluster, which can be cut: what is under way breaks, what is new is refused."""

    def __init__(self, upstream: str, authority: Any) -> None:
        self.is_cut, self.open_connections = False, []  # type: ignore[var-annotated]
        super().__init__(upstream, authority)

    def cut(self) -> None:
        self.is_cut = True
        for connection in self.open_connections:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self.open_connections.clear()

    def mend(self) -> None:
        self.is_cut = False

    def flowing(self) -> None:
        if self.is_cut:
            raise OSError("cut")
        super().flowing()

    def connect(self) -> http.client.HTTPConnection:
        connection = super().connect()
        self.open_connections.append(connection)
        return connection


class Clusters:
    """East is cheaper. `direct`: past the proxies, for what the test itself wants to know."""

    def __init__(self, kubeconfig: str, store: Path) -> None:
        access = credentials.resolve_access(resource_of(kubeconfig))
        self.direct: Kubernetes = connect({"kubeconfig": kubeconfig}).kubernetes
        self.lines = {name: Line(access.server, make_tls_context(access)) for name in ("east", "west")}
        suffix = uuid.uuid4().hex[:6]
        self.namespaces = {name: f"flexcore-{name}-{suffix}" for name in self.lines}
        self.settings: Json = {"storage_uri": f"file://{store}"}
        for namespace in self.namespaces.values():
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            assert self.direct.create("/api/v1/namespaces", body, Call("create", "namespaces"))

    def close(self) -> None:
        for line in self.lines.values():
            line.close()
        for namespace in self.namespaces.values():
            path = f"/api/v1/namespaces/{namespace}"
            stored = self.direct.get(path, Call("get", "namespaces", "", namespace))
            assert stored
            self.direct.delete(path, stored["metadata"]["uid"], Call("delete", "namespaces", "", namespace))

    def read(self, path: str) -> Json:
        name = path.rsplit("/", 1)[-1]
        price = {"east": 0.01, "west": 0.02}[name]
        return {
            "mode": "token",
            "server": self.lines[name].address,
            "token": "of-the-proxy",
            "namespace": self.namespaces[name],
            "cpu_hour_usd": price,
            "region": name,
        }

    def listed(self, name: str, prefix: str, plural: str) -> list[Json]:
        path = f"{prefix}/namespaces/{self.namespaces[name]}/{plural}"
        return list(self.direct.list(path, {}, Call("list", plural))["items"])

    def jobs(self, name: str) -> list[Json]:
        return self.listed(name, JOBS, "jobs")

    def deployments(self, name: str) -> list[Json]:
        return self.listed(name, DEPLOYMENTS, "deployments")

    def placement(self, **more: Any) -> Json:
        return {"clusters": ["f/x/east", "f/x/west"], "expected_s": 60, **more}

    def job(self, *command: str, **more: Any) -> Json:
        image = os.environ["FLEXCORE_LIVE_IMAGE"]
        job = {"image": image, "command": [*command], "cpu": "20m", "memory": "16Mi", **more.pop("job", {})}
        return place_job({"job": job, "placement": self.placement(), "settings": self.settings, **more}, self.read)

    def reconcile(self) -> dict[str, str]:
        """What becomes of each copy that was left, by its cluster."""
        objects = PlacedObjects("here", self.settings, read_resource=self.read)
        found = {}
        for item in objects.find():
            decision = decide_cleanup(item, "running", time.time())
            if item.kind != "placement":
                found[item.place] = objects.stop(item) if decision.action == "stop" else item.state
        return found

    def check(self) -> tuple[dict[str, Json], list[Json]]:
        found = check_clusters(["f/x/east", "f/x/west"], 5, self.settings, self.read)
        return {row["cluster"]: row for row in found["clusters"]}, found["work"]


def resource_of(kubeconfig: str) -> KubernetesCluster:
    return KubernetesCluster(kubeconfig=kubeconfig)


def until(true: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clusters]:
    kubeconfig = Path(needed("KUBECONFIG")).read_text()
    needed("FLEXCORE_LIVE_IMAGE")
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    monkeypatch.setenv("WM_WORKSPACE", "live")
    # A step follows its Job for two minutes after the last contact; here for five seconds.
    defaults = watcher.Watcher.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "outage_s", 5.0)
    monkeypatch.setattr(placed_job, "RETRY_INTERVAL_S", 1.0)
    two = Clusters(kubeconfig, tmp_path)
    yield two
    two.close()


class Running:
    """A step in a thread of its own."""

    def __init__(self, run: Callable[[], Json]) -> None:
        self.result: Json = {}
        self.error: FlexcoreError | None = None
        self.run = run
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.result = self.run()
        except FlexcoreError as error:
            self.error = error

    def end(self, patience_s: float = PATIENCE_S) -> Json:
        self.thread.join(patience_s)
        assert not self.thread.is_alive() and self.error is None, self.error
        return self.result


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def is_started(clusters: Clusters, name: str) -> bool:
    pods = clusters.listed(name, "/api/v1", "pods")
    return any(pod["status"].get("phase") == "Running" for pod in pods)


def test_a_job_goes_to_the_chosen_cluster_and_both_are_in_one_table(clusters: Clusters) -> None:
    result = clusters.job("sh", "-c", "echo done")
    assert result["data"]["cluster"] == "$res:f/x/east" and result["log_tail"] == "done"
    assert len(clusters.jobs("east")) == 1 and clusters.jobs("west") == []
    found, work = clusters.check()
    assert {name: row["state"] for name, row in found.items()} == {"f/x/east": "ready", "f/x/west": "ready"}
    assert found["f/x/east"]["cpus"] and found["f/x/east"]["version"].startswith("v1.")
    (row,) = work
    assert (row["cluster"], row["state"], row["placed"]) == ("f/x/east", "succeeded", "in use")


def test_a_job_starts_elsewhere_only_when_its_deadline_there_has_passed(clusters: Clusters) -> None:
    running = Running(lambda: clusters.job("sh", "-c", "sleep 1000", job={"timeout_s": 20}))
    until(lambda: is_started(clusters, "east"))
    time.sleep(2)
    clusters.lines["east"].cut()
    began = time.monotonic()
    until(lambda: clusters.check()[0]["f/x/east"]["state"] == "unreachable")
    _, work = clusters.check()
    (row,) = [item for item in work if item["cluster"] == "f/x/east"]
    assert row["state"] == "not known" and row["last_contact"] and 0 < row["deadline_in_s"] < 20 + 3 + DEADLINE_MARGIN_S
    # It sleeps on west as well, and its own limit ends it there: what counts is when it was made.
    until(lambda: clusters.jobs("west"), 90)
    print(f"moved {time.monotonic() - began:.1f} s after the cut")
    (there,), (here,) = clusters.jobs("east"), clusters.jobs("west")
    failed = next(item for item in there["status"]["conditions"] if item["type"] == "Failed")
    assert failed["reason"] == "DeadlineExceeded"
    assert seconds(here["metadata"]["creationTimestamp"]) > seconds(failed["lastTransitionTime"])
    assert not is_started(clusters, "east")
    clusters.lines["east"].mend()
    assert clusters.reconcile() == {"f/x/east": "finished"}, "a Job that has ended is left to its time to live"
    running.thread.join(PATIENCE_S)
    assert running.error is not None and running.error.category == "deadline"
    assert len(clusters.jobs("east")) == 1, "nothing was started there a second time"


def test_a_job_that_may_run_twice_starts_elsewhere_at_once_and_the_other_copy_goes(clusters: Clusters) -> None:
    script = "sleep 25; echo ended"
    running = Running(lambda: clusters.job("sh", "-c", script, job={"timeout_s": 300}, safe_to_repeat=True))
    until(lambda: is_started(clusters, "east"))
    clusters.lines["east"].cut()
    began = time.monotonic()
    until(lambda: is_started(clusters, "west"), 60)
    print(f"running elsewhere {time.monotonic() - began:.1f} s after the cut")
    assert is_started(clusters, "east"), "unreachable is not dead"
    assert clusters.reconcile() == {}, "what cannot be reached is not touched"
    clusters.lines["east"].mend()
    assert clusters.reconcile() == {"f/x/east": "deleted"}
    until(lambda: not clusters.jobs("east"))
    result = running.end()
    assert result["data"]["cluster"] == "$res:f/x/west" and result["log_tail"] == "ended"
    assert clusters.reconcile() == {}
    (record,) = PlacementBook(Store(Settings(**clusters.settings))).list()
    assert record.left == []


def test_a_cluster_that_comes_back_in_time_keeps_its_job(clusters: Clusters) -> None:
    running = Running(lambda: clusters.job("sh", "-c", "sleep 20; echo ended", job={"timeout_s": 300}))
    until(lambda: is_started(clusters, "east"))
    clusters.lines["east"].cut()
    time.sleep(12)
    clusters.lines["east"].mend()
    result = running.end()
    assert result["data"]["cluster"] == "$res:f/x/east" and result["data"]["moves"] == []
    assert clusters.jobs("west") == [] and len(clusters.jobs("east")) == 1


def test_a_queue_that_dispatches_is_handed_the_job_and_nothing_starts_here(clusters: Clusters) -> None:
    name = f"flexcore-{uuid.uuid4().hex[:6]}"
    kueue = "/apis/kueue.x-k8s.io/v1beta2"
    checks = {"admissionChecks": [{"name": name}]}
    made = [
        ("admissionchecks", "AdmissionCheck", {"controllerName": multikueue.CONTROLLER}),
        ("clusterqueues", "ClusterQueue", {"namespaceSelector": {}, "admissionChecksStrategy": checks}),
    ]
    try:
        for plural, kind, spec in made:
            body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}
            assert clusters.direct.create(f"{kueue}/{plural}", body, Call("create", plural))
        namespace = clusters.namespaces["west"]
        meta = {"name": "queue", "namespace": namespace}
        body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": meta}
        body |= {"spec": {"clusterQueue": name}}
        path = f"{kueue}/namespaces/{namespace}/localqueues"
        assert clusters.direct.create(path, body, Call("create", "localqueues"))
        pod = {"restartPolicy": "Never", "containers": [{"name": "m", "image": os.environ["FLEXCORE_LIVE_IMAGE"]}]}
        labels = {"kueue.x-k8s.io/queue-name": "queue"}
        manifest: Json = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "m", "labels": labels}}
        manifest["spec"] = {"template": {"spec": pod}}
        job = {"manifest": manifest, "timeout_s": 12, "queue_timeout_s": 8}
        given = {"job": job, "placement": clusters.placement(), "settings": clusters.settings}
        running = Running(lambda: place_job(given, clusters.read))
        # East is cheaper; west's queue decides by itself.
        until(lambda: clusters.jobs("west"), 30)
        (stored,) = clusters.jobs("west")
        assert stored["spec"]["managedBy"] == multikueue.CONTROLLER and stored["spec"]["suspend"] is True
        running.thread.join(60)
        assert clusters.listed("west", "/api/v1", "pods") == [] and clusters.jobs("east") == []
    finally:
        for plural, _, _ in reversed(made):
            found = clusters.direct.get(f"{kueue}/{plural}/{name}", Call("get", plural, "", name))
            if found:
                call = Call("delete", plural, "", name)
                clusters.direct.delete(f"{kueue}/{plural}/{name}", found["metadata"]["uid"], call)


# --- models


class Served:
    def __init__(self, clusters: Clusters, manifest: Json) -> None:
        self.clusters, self.manifest = clusters, manifest
        self.server: Json = {}

    def place(self, version: str = "1", **placement: Any) -> Json:
        deployment = {
            "model": {**self.manifest, "version": version},
            "image": os.environ["FLEXCORE_LIVE_MLSERVER_IMAGE"],
            "cpu": "300m",
            "timeout_s": 120,
            **self.server,
        }
        given = {"deployment": deployment, "placement": self.clusters.placement(**placement)}
        return place_model({**given, "settings": self.clusters.settings}, self.clusters.read)

    def ask(self, name: str) -> int:
        manifest = ModelManifest.model_validate(self.manifest)
        path = f"/api/v1/namespaces/{self.clusters.namespaces[name]}/services/delay:http/proxy/v2/models/delay/infer"
        body = build_infer_request(manifest.example, manifest.signature)
        return self.clusters.direct.request_raw("POST", path, body, Call("create", "services/proxy"))[0]


@pytest.fixture
def served(clusters: Clusters, model: tuple[Json, Json], tmp_path: Path) -> Served:  # noqa: F811
    settings, manifest = model
    # A folder of its own: the store is that of all tests, and so would the records be.
    clusters.settings = {**settings, "storage_uri": f"s3://models/{uuid.uuid4().hex[:6]}"}
    found = Served(clusters, manifest)
    if image := os.environ.get("FLEXCORE_LIVE_MODEL_SERVER_IMAGE"):
        found.manifest = stored_model(tmp_path / "model", "delay", "1", settings, joblib=True).plain()
        found.server = {"server": "flexcore", "image": image, "memory": "512Mi"}
    return found


def describe_start(clusters: Clusters, name: str, since: float) -> str:
    """When what came about on a cluster, in seconds since a moment; the API says them whole."""
    (deployment,) = clusters.deployments(name)
    (pod,) = clusters.listed(name, "/api/v1", "pods")
    status = pod["status"]
    fetched = status["initContainerStatuses"][0]["state"]["terminated"]
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    times = {
        "Deployment made": deployment["metadata"]["creationTimestamp"],
        "pod made": pod["metadata"]["creationTimestamp"],
        "fetching began": fetched["startedAt"],
        "fetching ended": fetched["finishedAt"],
        "server started": status["containerStatuses"][0]["state"]["running"]["startedAt"],
        "pod ready": ready["lastTransitionTime"],
    }
    return ", ".join(f"{what} {seconds(at) - since:.0f} s" for what, at in times.items())


def test_a_model_is_served_elsewhere_when_its_cluster_is_lost_and_the_copy_there_goes_when_it_comes_back(
    served: Served,
) -> None:
    clusters = served.clusters
    began = time.monotonic()
    served.place()
    cold_start_s = time.monotonic() - began
    assert served.ask("east") == 200 and clusters.deployments("west") == []
    clusters.lines["east"].cut()
    (row,) = move_models(clusters.settings, clusters.read)["table-row-object"]
    print(f"moved {row['lost_s']} s after the first failed contact; the same rollout took {cold_start_s:.1f} s before")
    print(describe_start(clusters, "west", time.time() - row["lost_s"]))
    assert (row["action"], row["cluster"], row["now_on"]) == ("move", "f/x/east", "f/x/west")
    assert served.ask("west") == 200
    # What is beyond the model server's own start; on a quiet machine the whole is below 30 s.
    assert row["lost_s"] <= max(30, cold_start_s + 15)
    # It serves those who reach it, as long as nobody here does.
    assert served.ask("east") == 200 and clusters.reconcile() == {}
    clusters.lines["east"].mend()
    assert clusters.reconcile() == {"f/x/east": "deleted"}
    until(lambda: not clusters.deployments("east"))
    assert served.ask("west") == 200 and clusters.reconcile() == {}
    withdraw_model("delay", "", 60, clusters.settings, clusters.read)
    assert clusters.deployments("west") == []


def test_a_cluster_that_takes_connections_and_never_answers_is_left_as_well(served: Served) -> None:
    """Each of two contacts is waited for; the choice of another cluster waits for it no more."""
    clusters = served.clusters
    began = time.monotonic()
    served.place()
    cold_start_s = time.monotonic() - began
    clusters.lines["east"].pause()
    (row,) = move_models(clusters.settings, clusters.read)["table-row-object"]
    print(f"moved {row['lost_s']} s after the first contact that failed")
    assert (row["action"], row["now_on"]) == ("move", "f/x/west") and served.ask("west") == 200
    assert row["lost_s"] <= max(30, cold_start_s + 20)
    clusters.lines["east"].resume()
    assert clusters.reconcile() == {"f/x/east": "deleted"}


def test_a_cluster_that_comes_back_before_the_second_contact_keeps_its_model(served: Served) -> None:
    clusters = served.clusters
    served.place()
    clusters.lines["east"].cut()
    mending = threading.Timer(2, clusters.lines["east"].mend)
    mending.start()
    (row,) = move_models(clusters.settings, clusters.read)["table-row-object"]
    mending.join()
    assert (row["action"], row["now_on"], row["lost_s"]) == ("stands", "f/x/east", None)
    assert clusters.deployments("west") == [] and served.ask("east") == 200


def test_a_second_cluster_that_is_lost_while_the_model_moves_there_leaves_one_copy_in_the_end(served: Served) -> None:
    clusters = served.clusters
    served.place()
    clusters.lines["east"].cut()
    moving = threading.Thread(target=move_models, args=(clusters.settings, clusters.read), daemon=True)
    moving.start()
    until(lambda: clusters.deployments("west"))
    clusters.lines["west"].cut()
    moving.join(PATIENCE_S)
    assert not moving.is_alive() and served.ask("east") == 200, "unreachable is not dead"
    clusters.lines["east"].mend()
    rows = move_models(clusters.settings, clusters.read)["table-row-object"]
    assert {row["cluster"]: row["action"] for row in rows}["f/x/east"] == "stands"
    clusters.lines["west"].mend()
    until(lambda: not clusters.reconcile() and not clusters.deployments("west"))
    assert served.ask("east") == 200
    (record,) = PlacementBook(Store(Settings(**clusters.settings))).list()
    assert [copy.cluster for copy in record.copies] == ["f/x/east"] and record.left == []


def test_a_model_with_a_copy_that_stands_by_is_moved_within_30_s(served: Served) -> None:
    clusters = served.clusters
    placed = served.place(strategy="failover", count=2)
    assert [row["state"] for row in placed["data"]["clusters"]] == ["deployed", "deployed"]
    clusters.lines["east"].cut()
    rows = move_models(clusters.settings, clusters.read)["table-row-object"]
    (row,) = [item for item in rows if item["action"] == "move"]
    print(f"moved {row['lost_s']} s after the first failed contact")
    assert row["now_on"] == "f/x/west" and row["lost_s"] <= 30 and served.ask("west") == 200
    clusters.lines["east"].mend()
    assert clusters.reconcile() == {"f/x/east": "deleted"}


def test_a_staged_rollout_stops_at_the_first_bad_cluster(served: Served) -> None:
    clusters = served.clusters
    namespace = clusters.namespaces["west"]
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    quota |= {"spec": {"hard": {"services": "0"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    assert clusters.direct.create(path, quota, Call("create", "resourcequotas"))
    until(lambda: clusters.listed("west", "/api/v1", "resourcequotas")[0].get("status", {}).get("hard"))
    with pytest.raises(FlexcoreError, match="has stopped") as caught:
        served.place(strategy="spread", count=2)
    rows = caught.value.details["clusters"]
    assert [(row["cluster"], row["state"], row["version"]) for row in rows] == [
        ("f/x/east", "deployed", "1"),
        ("f/x/west", "failed", ""),
    ]
    assert served.ask("east") == 200 and clusters.deployments("west") == []
